//! TLS on either side: files, names, and what is asked of the peer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// TLS on a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// The first answers where no other does. At least one.
    pub certificates: Vec<CertificateFiles>,
    /// Versions below are refused.
    pub min_version: TlsVersion,
    /// What is offered, the best first. At least one.
    pub alpn: Vec<Alpn>,
    /// What becomes of a client that asks for a name in no certificate, or for none.
    pub unknown_sni: UnknownSni,
    /// Whether clients have to show a certificate; none where they are not asked.
    pub clients: Option<ClientCertificates>,
    /// For the whole handshake.
    pub handshake_timeout: Duration,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// PEM: the certificate itself first, then who issued it, and so on.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// What clients' certificates are judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Whether one without any is refused.
    pub required: bool,
    /// PEM: authorities.
    pub ca: PathBuf,
    /// PEM: revocation lists of those.
    pub crls: Vec<PathBuf>,
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// RFC 5246.
    V12,
    /// RFC 8446.
    V13,
}

/// What is spoken inside, RFC 7301.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// `h2`
    H2,
    /// `http/1.1`
    Http11,
}

impl Alpn {
    /// As it stands in a handshake.
    pub const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::H2 => b"h2",
            Self::Http11 => b"http/1.1",
        }
    }
}

/// What becomes of a client that asks for a name in no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownSni {
    /// The first certificate answers.
    Default,
    /// The handshake is refused.
    Refuse,
}

/// TLS to a service's instances.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceTls {
    /// To which of them.
    pub to: TlsTo,
    /// Whom each has to prove to be; none for the host that it is registered or written with.
    pub server_name: Option<Arc<str>>,
    /// How that is judged.
    pub trust: Trust,
}

/// To which instances TLS is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TlsTo {
    /// Those that are written as `https://…`, or whose registry says so.
    #[default]
    Named,
    /// All.
    All,
    /// None.
    None,
}

/// How an instance's certificate is judged, and what it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trust {
    /// PEM: authorities; none for the system's.
    pub ca: Option<PathBuf>,
    /// What we show where we are asked.
    pub certificate: Option<CertificateFiles>,
    /// Versions below are refused.
    pub min_version: TlsVersion,
    /// Whether it is judged at all.
    pub verify: bool,
}

impl Default for Trust {
    fn default() -> Self {
        Self { ca: None, certificate: None, min_version: TlsVersion::V12, verify: true }
    }
}

impl Default for ServiceTls {
    fn default() -> Self {
        Self { to: TlsTo::Named, server_name: None, trust: Trust::default() }
    }
}
