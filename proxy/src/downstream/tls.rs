//! A client's handshake.
//!
//! It is the most that a stranger can make us do for a few bytes of its own, so it is bounded: in time, by the listener's
//! `handshake_timeout` from the connection's first moment on; in number, since a connection in its handshake is a client's
//! connection like any other; and in memory, by rustls. When connections run short, one whose handshake takes longer than an
//! honest one is among the first to go, as one with a head that does not end is.
//!
//! What fails is the client's affair or an operator's mistake, and may come a thousand times a second: it is counted by kind,
//! and logged at debug.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustls::{AlertDescription, Error, HandshakeKind};

use crate::drain::Phase;
use crate::net::Io;
use crate::telemetry::metrics::Handshake;
use crate::timer::{self, Timer};
use crate::tls::server::{Acceptor, Secured};
use crate::worker::Worker;
use crate::worker::presence::{Does, Presence};

/// The connection under TLS, and what was settled. None where nothing came of it; the connection is closed then.
pub async fn accept(
    io: Io,
    acceptor: &Acceptor,
    timer: &Timer,
    presence: &Presence,
    worker: &Worker,
) -> Option<(Io, Secured)> {
    let serving = acceptor.current();
    let mut io = io.into_tls_server(serving.config.clone()).ok()?;
    let now = timer::now();
    presence.does(Does::Begin(now));
    let deadline = now + acceptor.timeout;
    let shaken = poll_fn(|cx| {
        if let Poll::Ready(shaken) = io.poll_handshake(cx) {
            return Poll::Ready(shaken.map_err(|error| (kind_of(&error), Some(error))));
        }
        presence.remember(cx);
        if presence.is_told() || worker.phase() >= Phase::Closing {
            return Poll::Ready(Err((Handshake::MadeRoom, None)));
        }
        timer.poll(cx, deadline).map(|()| Err((Handshake::Timeout, None)))
    })
    .await;
    let session = io.tls()?;
    match shaken {
        Ok(()) => {
            let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
            worker.shook_hands(if resumed { Handshake::Resumed } else { Handshake::Full });
            let secured = Secured::of(session, serving.certificates.clone());
            Some((io, secured))
        }
        Err((kind, error)) => {
            worker.shook_hands(kind);
            tracing::debug!(
                kind = kind.name(),
                error = error.map(tracing::field::display),
                "a client's TLS handshake failed"
            );
            None
        }
    }
}

fn kind_of(error: &io::Error) -> Handshake {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else { return Handshake::Closed };
    match error {
        Error::AlertReceived(AlertDescription::CloseNotify | AlertDescription::UserCanceled) => Handshake::Closed,
        Error::AlertReceived(_) => Handshake::AlertReceived,
        Error::InvalidMessage(_) => Handshake::NotTls,
        Error::PeerIncompatible(_) => Handshake::Incompatible,
        Error::NoApplicationProtocol => Handshake::Alpn,
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => {
            Handshake::ClientCertificate
        }
        // The one reason for which our resolver finds none.
        Error::General(said) if said.contains("no server certificate chain resolved") => Handshake::UnknownName,
        _ => Handshake::Broken,
    }
}
