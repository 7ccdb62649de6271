//! How a request arrives and its answer leaves.
//!
//! A client speaks HTTP/1.1 ([`http1`], over a [`connection`]) or HTTP/2 ([`http2`]). Either way its requests go
//! through the same [`forward`](crate::forward::forward). Under TLS a handshake comes before all of it ([`tls`]). After a 101 the connection carries bytes only
//! ([`upgrade`]).

pub mod connection;
pub mod http1;
pub mod http2;
pub mod tls;
pub mod upgrade;
