//! How a request arrives and its answer leaves.
//!
//! [`http1`] (over a [`connection`]) and [`http2`] are the two ways in; both put what they have read through the same
//! [`forward`](crate::forward::forward). [`upgrade`] is what becomes of a connection after a 101.

pub mod connection;
pub mod http1;
pub mod http2;
pub mod upgrade;
