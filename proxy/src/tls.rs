//! Certificates, keys and authorities: what TLS on either side goes by.
//!
//! `rustls` is what speaks TLS, with `ring` for its arithmetic, and [`net`](crate::net) is where its records meet sockets. Here
//! is what both are told: which certificate answers for which name ([`server`]),
//! whom an endpoint has to prove to be ([`client`]). Only [`load`] looks at files, so that whoever carries requests or plans them never does.
//!
//! What a listener or a service goes by is replaced whole when its files change, and a handshake that begins takes what is
//! there then. Connections that live are not touched.

pub mod certificate;
pub mod client;
pub mod dialers;
pub mod load;
pub mod server;
