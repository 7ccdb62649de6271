//! A handshake with an endpoint.
//!
//! It is a part of dialling: nothing of a request has been written, so whatever goes wrong, the request may go to another
//! endpoint, whatever its method. It has as long as connecting had, `connect_timeout` once more.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use rustls::Error;

use crate::config::settings::Alpn;
use crate::error::Reason;
use crate::net::Io;
use crate::tls::client::{Inside, Proof};

/// The same connection under TLS, its other end proved.
pub async fn secure(io: Io, proof: &Proof, inside: Inside, within: Duration) -> Result<Io, Reason> {
    let config = proof.dialer.config(inside).map_err(|error| {
        tracing::debug!(%error, "an endpoint's certificate cannot be judged");
        Reason::TlsCertificate
    })?;
    let mut io = io.into_tls_client(config, proof.name.clone()).map_err(|_| Reason::Internal)?;
    match tokio::time::timeout(within, poll_fn(|cx| io.poll_handshake(cx))).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(name = %proof, %error, "a TLS handshake with an endpoint failed");
            return Err(reason_of(&error));
        }
        Err(_) => return Err(Reason::ConnectTimeout),
    }
    let spoken = io.tls().and_then(|session| session.alpn_protocol());
    if inside == Inside::Http2 && spoken != Some(Alpn::H2.as_bytes()) {
        tracing::debug!(name = %proof, "an endpoint does not speak HTTP/2 over TLS");
        return Err(Reason::TlsProtocol);
    }
    Ok(io)
}

/// Why a handshake failed.
pub fn reason_of(error: &io::Error) -> Reason {
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => Reason::TlsCertificate,
        Some(Error::AlertReceived(_)) => Reason::TlsAlert,
        Some(_) => Reason::TlsProtocol,
        // It hung up: a port that takes connections and does not want this one.
        None => Reason::ConnectFailed,
    }
}
