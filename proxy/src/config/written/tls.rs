//! TLS on either side.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Interval;

/// TLS on a listener: HTTPS, with HTTP/2 where the client offers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// The certificates, each with its key. A client gets the first whose DNS names (its subject alternative names) the name
    /// that it asks for is among, and that is of a kind that it understands: so there may be one of RSA and one of ECDSA for
    /// the same names. Where none is, it gets the first of all (see `unknown_sni`).
    pub certificates: Vec<Certificate>,
    /// The least version: `"1.2"` or `"1.3"`.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// The protocols that are offered inside, the best first. A client that offers others only is refused; one that says
    /// nothing may speak either.
    #[serde(default = "both")]
    pub alpn: Vec<Alpn>,
    /// What becomes of a client that asks for a name that is in no certificate, or for none: `default` has the first
    /// certificate answer, `refuse` ends the handshake.
    #[serde(default)]
    pub unknown_sni: UnknownSni,
    /// Whether clients are asked for a certificate: `none`, `request` (one that shows none is served all the same, one with a
    /// bad one is not), or `require`.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// A PEM file of the authorities whose client certificates are good. With `client_auth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// PEM files of those authorities' revocation lists. Where any is given, there has to be one of each authority that issues
    /// clients' certificates; that a list is past its date is not held against anybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_crls: Vec<PathBuf>,
    /// For the whole handshake, from the connection's first moment.
    #[serde(default = "patience")]
    pub handshake_timeout: Interval,
    /// Not offered: `true` is an error. Authorities have given OCSP up; certificates that live for days are what takes its
    /// place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ocsp_stapling: bool,
}

/// A certificate and its key. Both files are looked at every second, and a handshake that begins after they were replaced goes
/// by the new ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// A PEM file: the certificate, then who issued it, and so on. (The last one, the root, may be left out.)
    pub cert: PathBuf,
    /// A PEM file: its private key, unencrypted.
    pub key: PathBuf,
}

/// TLS to a service's instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceTls {
    /// The name that each instance's certificate has to be for, and that it is asked for (SNI). Left out: what the registry
    /// says (the tag `outrigger.server_name=NAME`, or `outrigger-server-name` among its metadata), else the instance's own
    /// host: a name, or an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// A PEM file of authorities. Left out: those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// A PEM file: the certificate that is shown to instances which ask for one, then who issued it, and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// A PEM file: its private key, unencrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The least version: `"1.2"` or `"1.3"`.
    pub min_version: TlsVersion,
    /// Take any certificate for good. Whoever is on the way to the instances can then read and change everything. It is
    /// warned of at each start, and shown by `outrigger check` and `outrigger services`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2, with forward secrecy and authenticated encryption alone.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

/// What is spoken inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Alpn {
    /// HTTP/2.
    #[serde(rename = "h2")]
    H2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http11,
}

/// What becomes of a client that asks for an unknown name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownSni {
    /// The first certificate answers.
    #[default]
    Default,
    /// The handshake is refused.
    Refuse,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// No.
    #[default]
    None,
    /// They are asked.
    Request,
    /// They have to show one.
    Require,
}

fn both() -> Vec<Alpn> {
    vec![Alpn::H2, Alpn::Http11]
}

fn patience() -> Interval {
    Interval(std::time::Duration::from_secs(5))
}
