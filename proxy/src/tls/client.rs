//! An endpoint's side: whom it has to prove to be, and how that is judged.
//!
//! A [`Dialer`] is one way to judge: authorities, a certificate of our own, a least version. Services that judge alike share
//! one, and with it the sessions that are resumed; those that do not never do, so that no session outlives what it was
//! allowed by. New files make new sessions, too.
//!
//! **There is no silent way around it.** An endpoint that is spoken to over TLS is never spoken to otherwise, and one whose
//! certificate does not verify gets no request. Who does not want that has to write `insecure_skip_verify`.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::config::settings::{Alpn, ServiceTls, TlsTo, Trust};

/// One way to judge endpoints.
#[derive(Debug)]
pub struct Dialer {
    /// What it goes by.
    pub trust: Trust,
    current: ArcSwap<Judging>,
}

/// What a dialer goes by at one time, or why it cannot.
pub type Judging = Result<Configs, String>;

/// For rustls: the same, with another protocol inside.
#[derive(Debug)]
pub struct Configs {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    bytes: Arc<ClientConfig>,
}

/// What is spoken inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, and nothing else.
    Http2,
    /// Whatever the two ends of a TCP proxy make of it.
    Bytes,
}

impl Configs {
    /// Those made from one.
    pub fn of(config: ClientConfig) -> Self {
        let speaking = |alpn: &[Alpn]| {
            let mut config = config.clone();
            config.alpn_protocols = alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
            Arc::new(config)
        };
        Self { http1: speaking(&[Alpn::Http11]), http2: speaking(&[Alpn::H2]), bytes: speaking(&[]) }
    }
}

impl Dialer {
    /// A way to judge, as its files have it now.
    pub fn new(trust: Trust, judging: Judging) -> Self {
        Self { trust, current: ArcSwap::from_pointee(judging) }
    }

    /// Handshakes that begin from now on go by this.
    pub fn replace(&self, judging: Judging) {
        self.current.store(Arc::new(judging));
    }

    /// What a handshake that begins now goes by.
    ///
    /// # Errors
    ///
    /// Why there is nothing to go by: a sentence for the operator.
    pub fn config(&self, inside: Inside) -> Result<Arc<ClientConfig>, String> {
        match &**self.current.load() {
            Ok(configs) => Ok(Arc::clone(match inside {
                Inside::Http1 => &configs.http1,
                Inside::Http2 => &configs.http2,
                Inside::Bytes => &configs.bytes,
            })),
            Err(why) => Err(why.clone()),
        }
    }
}

/// Whom an endpoint has to prove to be.
#[derive(Clone)]
pub struct Proof {
    /// How that is judged.
    pub dialer: Arc<Dialer>,
    /// Its name.
    pub name: ServerName<'static>,
}

impl PartialEq for Proof {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.dialer, &other.dialer) && self.name == other.name
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Proof {
    /// For operators: the name, or that nothing is proved.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.to_str();
        if self.dialer.trust.verify { f.write_str(&name) } else { write!(f, "{name}, not verified") }
    }
}

/// What holds for a service's instances: to which TLS is spoken, and whom each has to prove to be.
#[derive(Debug, Clone, Default)]
pub struct Originate {
    /// The service's settings.
    pub tls: ServiceTls,
    /// None while no instance needs one.
    pub dialer: Option<Arc<Dialer>>,
}

/// What an instance says of itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Says<'i> {
    /// That it speaks TLS.
    pub https: bool,
    /// Whom it can prove to be.
    pub server_name: Option<&'i str>,
}

impl Originate {
    /// Whether TLS is spoken to an instance.
    pub fn is_for(&self, says: Says<'_>) -> bool {
        match self.tls.to {
            TlsTo::Named => says.https,
            TlsTo::All => true,
            TlsTo::None => false,
        }
    }

    /// What an instance at `host` has to prove; none where it is spoken to in cleartext. What the operator writes goes before
    /// what the registry says.
    ///
    /// # Errors
    ///
    /// Why it cannot be asked: a sentence for the operator.
    pub fn proof(&self, host: &str, says: Says<'_>) -> Result<Option<Proof>, String> {
        if !self.is_for(says) {
            return Ok(None);
        }
        let name = self.tls.server_name.as_deref().or(says.server_name).unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("`{name}` is no name that a certificate can be for; set `tls.server_name`"))?;
        let dialer = self.dialer.clone().ok_or("there is nothing to judge its certificate by")?;
        Ok(Some(Proof { dialer, name }))
    }
}
