//! One HTTP client towards one Consul: its address, its TLS, its token; every answer bounded.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Certificate, Identity, Method, RequestBuilder, StatusCode, redirect, tls};

use super::address::Address;
use super::{ConsulError, ConsulOptions, ConsulTls};

/// Requests that do not block get this long.
pub(super) const PROMPT: Duration = Duration::from_secs(10);

/// As much of an error's body as a message shows.
const SHOWN: usize = 300;

/// The largest token file; a token has 36 bytes.
const MAX_TOKEN_FILE: u64 = 16 << 10;

pub(super) struct Client {
    http: reqwest::Client,
    pub address: Address,
    pub options: ConsulOptions,
}

/// A complete answer with status 200.
pub(super) struct Reply {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(options: ConsulOptions) -> Result<Self, ConsulError> {
        let address = Address::parse(&options.address).map_err(|why| invalid("address", why))?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("outrigger/", env!("CARGO_PKG_VERSION")))
            // The token would go along to wherever an answer points.
            .redirect(redirect::Policy::none())
            // `http_proxy` may well name the very proxy that is being fed.
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            // A peer that vanished without a word is noticed long before the deadline of a blocking query.
            .tcp_keepalive(Duration::from_secs(15))
            .tcp_keepalive_interval(Duration::from_secs(5))
            .tcp_keepalive_retries(3)
            .http2_keep_alive_interval(Duration::from_secs(15))
            .http2_keep_alive_timeout(Duration::from_secs(10));
        if let Some(path) = &address.socket {
            builder = builder.unix_socket(path.as_path());
        }
        install_crypto();
        let (builder, address) = match address.base.scheme() {
            "https" => with_tls(builder, address, &options.tls)?,
            // No authorities: reading the system's takes time, and nobody will ask.
            _ => (builder.tls_certs_only([]), address),
        };
        let http = builder.build().map_err(|error| invalid("tls", chain(&error)))?;
        Ok(Self { http, address, options })
    }

    pub fn has_token(&self) -> bool {
        self.options.token_file.is_some() || self.options.token.is_some()
    }

    /// A read below `/v1/`, in the chosen datacenter.
    pub async fn read(&self, path: &[&str], query: &[(&str, &str)], timeout: Duration) -> Result<Reply, ConsulError> {
        let dc = self.options.datacenter.as_deref().map(|dc| ("dc", dc));
        let request = self.http.get(self.address.url(path)).query(query).query(&dc.as_slice()).timeout(timeout);
        self.send(request).await
    }

    /// A write below `/v1/`, to the agent itself.
    pub async fn write(&self, path: &[&str], query: &[(&str, &str)], body: Vec<u8>) -> Result<Reply, ConsulError> {
        let json = HeaderValue::from_static("application/json");
        let request = self.http.request(Method::PUT, self.address.url(path)).query(query).body(body);
        self.send(request.header("content-type", json).timeout(PROMPT)).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Reply, ConsulError> {
        let ConsulOptions { namespace, partition, basic_auth, max_answer, .. } = &self.options;
        let part = |name, value: &Option<String>| value.clone().map(|value| (name, value));
        let mut request =
            request.query(&part("ns", namespace).as_slice()).query(&part("partition", partition).as_slice());
        if let Some(token) = self.token().await? {
            request = request.header("x-consul-token", token);
        }
        if let Some(auth) = basic_auth {
            let (user, password) = match auth.reveal().split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (auth.reveal(), None),
            };
            request = request.basic_auth(user, password);
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bound = if status == StatusCode::OK { *max_answer } else { SHOWN };
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > bound {
                if status == StatusCode::OK {
                    return Err(ConsulError::Answer(format!("the answer is larger than {bound} bytes")));
                }
                body.extend_from_slice(&chunk[..bound - body.len()]);
                break;
            }
            body.extend_from_slice(&chunk);
        }
        match status {
            StatusCode::OK => Ok(Reply { headers, body }),
            _ => Err(ConsulError::Status { status: status.as_u16(), text: shown(&body) }),
        }
    }

    async fn token(&self) -> Result<Option<HeaderValue>, ConsulError> {
        let text = match (&self.options.token_file, &self.options.token) {
            (Some(path), _) => {
                let why = |why: String| invalid(&format!("token file {}", path.display()), why);
                let size = tokio::fs::metadata(path).await.map_err(|error| why(error.to_string()))?.len();
                if size > MAX_TOKEN_FILE {
                    return Err(why("is too large to be a token".to_owned()));
                }
                let text = tokio::fs::read_to_string(path).await.map_err(|error| why(error.to_string()))?;
                match text.trim() {
                    "" => return Err(why("is empty".to_owned())),
                    token => token.to_owned(),
                }
            }
            (None, Some(token)) => token.reveal().trim().to_owned(),
            (None, None) => return Ok(None),
        };
        let mut value =
            HeaderValue::try_from(text).map_err(|_| invalid("token", "has characters that no header can bear"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Whoever embeds this crate may have chosen a provider; then that one stays.
fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only where another thread was first, and then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn with_tls(
    mut builder: reqwest::ClientBuilder,
    mut address: Address,
    options: &ConsulTls,
) -> Result<(reqwest::ClientBuilder, Address), ConsulError> {
    builder = builder.min_tls_version(tls::Version::TLS_1_2).tls_danger_accept_invalid_certs(!options.verify);
    let mut authorities = Vec::new();
    if let Some(path) = &options.ca_file {
        authorities.extend(certificates(path)?);
    }
    if let Some(directory) = &options.ca_dir {
        let unreadable = |error: std::io::Error| invalid(&format!("CA path {}", directory.display()), error);
        for entry in std::fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("pem" | "crt" | "cer")) {
                authorities.extend(certificates(&path)?);
            }
        }
        if authorities.is_empty() {
            return Err(invalid(&format!("CA path {}", directory.display()), "holds no .pem, .crt or .cer file"));
        }
    }
    if !authorities.is_empty() {
        builder = builder.tls_certs_only(authorities);
    }
    if let Some((certificate, key)) = &options.client {
        let mut pem = file("client certificate", certificate)?;
        pem.push(b'\n');
        pem.extend(file("client key", key)?);
        let identity = Identity::from_pem(&pem)
            .map_err(|error| invalid(&format!("client certificate {}", certificate.display()), chain(&error)))?;
        builder = builder.identity(identity);
    }
    if let Some(name) = &options.server_name {
        // The name goes into the URL, where TLS takes it from, and the resolver leads it back to the real host.
        let host = address.base.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        address.base.set_host(Some(name)).map_err(|error| invalid("TLS server name", error))?;
        builder = builder.dns_resolver(AlwaysTo(host));
    }
    Ok((builder, address))
}

/// Resolves every name to one host's addresses.
struct AlwaysTo(String);

impl Resolve for AlwaysTo {
    fn resolve(&self, _name: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, ConsulError> {
    let found = Certificate::from_pem_bundle(&file("CA certificate", path)?)
        .map_err(|error| invalid(&format!("CA certificate {}", path.display()), chain(&error)))?;
    if found.is_empty() {
        return Err(invalid(&format!("CA certificate {}", path.display()), "holds no certificate"));
    }
    Ok(found)
}

fn file(what: &str, path: &Path) -> Result<Vec<u8>, ConsulError> {
    std::fs::read(path).map_err(|error| invalid(&format!("{what} {}", path.display()), error))
}

fn invalid(what: &str, why: impl ToString) -> ConsulError {
    ConsulError::Invalid { what: what.to_owned(), why: why.to_string() }
}

fn unreachable(error: reqwest::Error) -> ConsulError {
    ConsulError::Unreachable(chain(&error.without_url()))
}

/// An error with everything that led to it: the interesting part is at the bottom.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.is_empty() { String::new() } else { format!(": {text}") }
}
