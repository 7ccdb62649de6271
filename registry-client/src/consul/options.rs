//! What an operator can say about a Consul, with the defaults.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::ConsulError;

/// How to reach a Consul and how to read from it. [`ConsulOptions::from_env`] takes the standard `CONSUL_*`
/// variables; every field can be set over that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulOptions {
    /// `host:port`, `http(s)://host[:port][/prefix]` or `unix:///path`. Default `http://127.0.0.1:8500`.
    pub address: String,
    /// The ACL token.
    pub token: Option<Secret>,
    /// A file with the ACL token; wins over `token`. Read before each request, so a rotated token is used at once.
    pub token_file: Option<PathBuf>,
    /// `user` or `user:password`, for a Consul behind a proxy with basic authentication.
    pub basic_auth: Option<Secret>,
    /// TLS, where the address is https.
    pub tls: ConsulTls,
    /// The datacenter to ask about. Default: the agent's own.
    pub datacenter: Option<String>,
    /// The namespace (Consul Enterprise).
    pub namespace: Option<String>,
    /// The admin partition (Consul Enterprise).
    pub partition: Option<String>,
    /// Whether any server may answer, also one without a leader (default). An election then stops nothing, at the
    /// price of data that is normally up to 50 ms old.
    pub stale: bool,
    /// How long the answering server may have been without contact to the leader; beyond it the leader itself is
    /// asked, and if that fails the last good set stays and the watch reports the failure. Default 60 s; `None`: any age.
    pub max_stale: Option<Duration>,
    /// Whether an instance with a warning takes traffic (default), with its `Weights.Warning`. If not, its weight is 0.
    pub include_warning: bool,
    /// How long one blocking query may be held back by the server: the age at which unchanged data is confirmed.
    /// Default 60 s, within Consul's bounds of 1 ms and 10 min.
    pub wait: Duration,
    /// How often everything is read anew, whatever the index says. Default 60 s. An agent's streaming backend, which answers
    /// blocking queries by default, says neither that it lost its servers nor what ACLs hide; a full read does.
    pub full_reread: Duration,
    /// The largest answer that is read, in bytes. Default 64 MiB.
    pub max_answer: usize,
}

impl Default for ConsulOptions {
    fn default() -> Self {
        Self {
            address: "http://127.0.0.1:8500".to_owned(),
            token: None,
            token_file: None,
            basic_auth: None,
            tls: ConsulTls::default(),
            datacenter: None,
            namespace: None,
            partition: None,
            stale: true,
            max_stale: Some(Duration::from_secs(60)),
            include_warning: true,
            wait: Duration::from_secs(60),
            full_reread: Duration::from_secs(60),
            max_answer: 64 << 20,
        }
    }
}

impl ConsulOptions {
    /// The defaults, with this address.
    pub fn at(address: impl Into<String>) -> Self {
        Self { address: address.into(), ..Self::default() }
    }

    /// The defaults, with what the standard `CONSUL_*` variables of this process say.
    ///
    /// # Errors
    /// A variable that cannot be understood, by name.
    pub fn from_env() -> Result<Self, ConsulError> {
        super::env::of_this_process()
    }
}

/// TLS towards Consul.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulTls {
    /// A PEM file of authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A directory of PEM files (`.pem`, `.crt`, `.cer`) of authorities to trust instead of the system's.
    pub ca_dir: Option<PathBuf>,
    /// The client's certificate and its key, PEM: both or neither.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must bear, where it is not the address's.
    pub server_name: Option<String>,
    /// Whether the server's certificate is checked (default). Without it anyone on the way can answer.
    pub verify: bool,
}

impl Default for ConsulTls {
    fn default() -> Self {
        Self { ca_file: None, ca_dir: None, client: None, server_name: None, verify: true }
    }
}

/// A text that no log and no debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
