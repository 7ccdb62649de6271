//! A listener's side: which certificate answers, and which requests it answers for.
//!
//! One [`Acceptor`] serves all workers, and so do the keys of its session tickets: a client that comes back is mostly met by
//! another worker. They are made anew every six hours, and those before are good for as long again. Two listeners never share
//! them, nor do two generations of a listener that ask for different client certificates: what a session was allowed is
//! resumed only where it would be allowed again. (That a session is not resumed under another name is rustls' rule.)
//!
//! **Which certificate.** The first that is for the name that the client asks for, and whose kind of key it understands;
//! where none is, the listener's first, unless unknown names are refused.
//!
//! **Which requests.** A connection lives longer than its handshake: a kept one, or one over HTTP/2, may carry a request for
//! a host that another certificate is for. Such a request is not for this connection ([`Secured::is_for`]); it gets 421, and
//! its client opens another. A host that no certificate is for may come over any: a service's own name, for example.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Facts;
use crate::config::settings::{Alpn, UnknownSni};

/// What a listener goes by.
#[derive(Debug)]
pub struct Acceptor {
    current: ArcSwap<Serving>,
    /// For a handshake.
    pub timeout: Duration,
}

/// What it goes by at one time.
#[derive(Debug)]
pub struct Serving {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// The certificates.
    pub certificates: Arc<Certificates>,
}

/// A listener's certificates, in the order of its configuration.
#[derive(Debug)]
pub struct Certificates {
    /// Each with what stands in it. Never empty.
    pub all: Vec<(Arc<CertifiedKey>, Facts)>,
    /// What becomes of a name that is in none.
    pub unknown: UnknownSni,
}

impl Acceptor {
    /// A listener's acceptor.
    pub fn new(serving: Serving, timeout: Duration) -> Self {
        Self { current: ArcSwap::from_pointee(serving), timeout }
    }

    /// What a handshake that begins now goes by.
    pub fn current(&self) -> Arc<Serving> {
        self.current.load_full()
    }

    /// Handshakes that begin from now on go by this.
    pub fn replace(&self, serving: Serving) {
        self.current.store(Arc::new(serving));
    }
}

impl Certificates {
    /// The certificate for a name: the first that is for it and that `suits`, else the first of those that suit.
    fn choose(&self, name: Option<&str>, suits: impl Fn(&CertifiedKey) -> bool) -> Option<usize> {
        let suiting = |(_, (key, _)): &(usize, &(Arc<CertifiedKey>, Facts))| suits(key);
        let named = name.and_then(|name| {
            self.all.iter().enumerate().filter(suiting).find(|(_, (_, facts))| facts.is_for(name)).map(|(at, _)| at)
        });
        named.or_else(|| match self.unknown {
            UnknownSni::Default => Some(self.all.iter().enumerate().find(suiting).map_or(0, |(at, _)| at)),
            UnknownSni::Refuse => None,
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let suits = |key: &CertifiedKey| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let at = self.choose(name.as_deref(), suits)?;
        self.all.get(at).map(|(key, _)| Arc::clone(key))
    }
}

/// What the handshake of a client's connection has settled.
#[derive(Debug, Clone)]
pub struct Secured {
    certificates: Arc<Certificates>,
    /// Which of them answers for the connection.
    at: usize,
    /// What is spoken; none where the client did not say.
    alpn: Option<Alpn>,
}

impl Secured {
    /// Of a connection whose handshake is over.
    pub fn of(session: &rustls::Connection, certificates: Arc<Certificates>) -> Self {
        let name = match session {
            rustls::Connection::Server(session) => session.server_name().map(str::to_ascii_lowercase),
            rustls::Connection::Client(_) => None,
        };
        let at = certificates.choose(name.as_deref(), |_| true).unwrap_or(0);
        let alpn = [Alpn::H2, Alpn::Http11].into_iter().find(|alpn| session.alpn_protocol() == Some(alpn.as_bytes()));
        Self { certificates, at, alpn }
    }

    /// Whether HTTP/2 is spoken; none where the client did not say.
    pub fn is_http2(&self) -> Option<bool> {
        self.alpn.map(|alpn| alpn == Alpn::H2)
    }

    /// Whether a request for this host (`shop.example`, `shop.example:8443`) may come over the connection: its certificate is
    /// for that host, or no other is.
    pub fn is_for(&self, host: &[u8]) -> bool {
        if self.certificates.all.len() < 2 {
            return true;
        }
        let Ok(host) = std::str::from_utf8(host) else { return false };
        let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
        let host = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(host, _)| host);
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let mut named = self.certificates.all.iter().filter(|(_, facts)| facts.is_for(&host));
        // Of two certificates for the same names, one for each kind of key, either answers for both.
        let own = self.certificates.all.get(self.at).is_some_and(|(_, facts)| facts.is_for(&host));
        own || named.next().is_none()
    }
}
