//! One check of one address: a connection of its own, one question, one word.
//!
//! Why a connection of its own each time, when the pools have warm ones? Because what a check must find out is whether
//! *new* work is taken: a process whose accept queue is full, or that has closed its listener to drain, goes on
//! answering on the connections it has. And because the control plane has no part in the data plane's connections.
//!
//! What is asked for by HTTP goes in the service's own protocol. A check on another port is HTTP/1.1: that is where
//! frameworks put their management servers, whatever the service itself speaks.
//!
//! A status decides at once. What follows it is read up to a bound, within what is left of the time, so that a server
//! does not log a broken connection for every check; that it is long, slow or broken changes nothing.
//!
//! What goes wrong on our side (no file descriptor, no port) is no result: it says nothing of the endpoint.

use std::convert::Infallible;
use std::error::Error;
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::timeout_at;

use super::grpc;
use crate::clock::Instant;
use crate::config::settings::{Probe, Protocol};
use crate::net::{Io, is_own_lack};
use crate::tls::client::{Inside, Proof};

/// Bytes of a body that are read.
const BODY: usize = 64 << 10;
/// Bytes that a head may have.
const HEAD: usize = 64 << 10;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("outrigger-health-check/", env!("CARGO_PKG_VERSION")));

/// One check, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The endpoint's address.
    pub address: SocketAddr,
    /// Where it is asked, if that is another port.
    pub port: Option<u16>,
    /// What is asked.
    pub probe: Probe,
    /// What endpoints of the service speak.
    pub protocol: Protocol,
    /// What it has to prove; none in cleartext. Another port is asked in cleartext.
    pub tls: Option<Proof>,
    /// The service's name, for a `Host` that nobody set.
    pub service: Arc<str>,
    /// For all of it.
    pub timeout: Duration,
}

/// Why a check was not good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The endpoint's, for operators: `connection refused`, `status 503`.
    Theirs(String),
    /// Ours: it says nothing of the endpoint.
    Ours(String),
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self::Theirs(why)
    }
}

/// Asks.
pub async fn ask(question: Question) -> Result<(), Fault> {
    let time = Time { ends: Instant::now() + question.timeout, given: question.timeout };
    let address = SocketAddr::new(question.address.ip(), question.port.unwrap_or(question.address.port()));
    let io = time.within(Io::connect(address)).await?.map_err(|error| fault(&error))?;
    let grpc = matches!(question.probe, Probe::Grpc { .. });
    let http2 = grpc || question.port.is_none() && question.protocol == Protocol::Http2;
    let io = match question.tls.as_ref().filter(|_| question.port.is_none()) {
        Some(proof) => time.within(proven(io, proof, http2)).await??,
        None => io,
    };
    match &question.probe {
        Probe::Tcp => Ok(()),
        Probe::Http { path, host } => {
            let host = host.as_deref().unwrap_or(&question.service);
            match http2 {
                false => over_http1(io, get(path, host)?, time).await,
                true => over_http2(io, get_http2(path, host)?, time, false).await,
            }
        }
        Probe::Grpc { service } => {
            let mut request = grpc::request(service, address, question.timeout)?;
            request.headers_mut().insert(USER_AGENT, AGENT);
            over_http2(io, request, time, true).await
        }
    }
}

/// The time that a check has.
#[derive(Debug, Clone, Copy)]
struct Time {
    ends: Instant,
    given: Duration,
}

impl Time {
    async fn within<T>(&self, waited: impl Future<Output = T>) -> Result<T, Fault> {
        let late = |_| Fault::Theirs(format!("no answer within {:?}", self.given));
        timeout_at(self.ends.into(), waited).await.map_err(late)
    }
}

/// The same connection under TLS.
async fn proven(io: Io, proof: &Proof, http2: bool) -> Result<Io, Fault> {
    let config = proof.dialer.config(if http2 { Inside::Http2 } else { Inside::Http1 }).map_err(Fault::Theirs)?;
    let mut io = io.into_tls_client(config, proof.name.clone()).map_err(|error| fault(&error))?;
    match poll_fn(|cx| io.poll_handshake(cx)).await {
        Ok(()) => Ok(io),
        Err(error) => match error.get_ref() {
            Some(error) => Err(Fault::Theirs(format!("TLS: {error}"))),
            None => Err(fault(&error)),
        },
    }
}

fn get(path: &str, host: &str) -> Result<Request<Full<Bytes>>, String> {
    let unfit = |_| format!("`{host}{path}` cannot be asked for");
    let mut request = Request::new(Full::default());
    *request.uri_mut() = path.parse().map_err(|_| unfit(()))?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(host).map_err(|_| unfit(()))?);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    request.headers_mut().insert(USER_AGENT, AGENT);
    Ok(request)
}

fn get_http2(path: &str, host: &str) -> Result<Request<Full<Bytes>>, String> {
    let uri = Uri::builder().scheme("http").authority(host).path_and_query(path).build();
    let mut request = Request::new(Full::default());
    *request.uri_mut() = uri.map_err(|_| format!("`{host}{path}` cannot be asked for"))?;
    request.headers_mut().insert(USER_AGENT, AGENT);
    Ok(request)
}

async fn over_http1(io: Io, request: Request<Full<Bytes>>, time: Time) -> Result<(), Fault> {
    let begun = http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(io));
    let (mut sender, driver) = time.within(begun).await?.map_err(|error| fault(&error))?;
    let asked = async {
        let response = time.within(sender.send_request(request)).await?.map_err(|error| fault(&error))?;
        by_status(response, time).await
    };
    driven(driver, asked).await
}

async fn over_http2(io: Io, request: Request<Full<Bytes>>, time: Time, grpc: bool) -> Result<(), Fault> {
    let begun = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD as u32)
        .handshake(TokioIo::new(io));
    let (mut sender, driver) = time.within(begun).await?.map_err(|error| fault(&error))?;
    let asked = async {
        let response = time.within(sender.send_request(request)).await?.map_err(|error| fault(&error))?;
        if grpc { by_grpc(response, time).await } else { by_status(response, time).await }
    };
    driven(driver, asked).await
}

/// Keeps a connection going for as long as something is asked on it, and no longer.
async fn driven<T>(driver: impl Future<Output = hyper::Result<()>>, asked: impl Future<Output = T>) -> T {
    let driver = async {
        // How it ends shows in what was asked.
        driver.await.ok();
        pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        answer = asked => answer,
        never = driver => match never {},
    }
}

async fn by_status(response: Response<Incoming>, time: Time) -> Result<(), Fault> {
    let status = response.status().as_u16();
    // Whatever becomes of the body, the status has decided.
    time.within(Limited::new(response.into_body(), BODY).collect()).await.ok();
    if (200..400).contains(&status) { Ok(()) } else { Err(Fault::Theirs(format!("status {status}"))) }
}

async fn by_grpc(response: Response<Incoming>, time: Time) -> Result<(), Fault> {
    let (parts, body) = response.into_parts();
    if parts.status != http::StatusCode::OK {
        return Err(Fault::Theirs(format!("status {}, which no gRPC server answers", parts.status.as_u16())));
    }
    let whole = time.within(Limited::new(body, BODY).collect()).await?;
    let whole = whole.map_err(|error| match error.downcast_ref::<hyper::Error>() {
        Some(error) => fault(error),
        None => Fault::Theirs(error.to_string()),
    })?;
    let trailers = whole.trailers().unwrap_or(&parts.headers).clone();
    Ok(grpc::judge(&trailers, &whole.to_bytes())?)
}

/// An error in an operator's words: what the system says, wherever in the chain it stands.
fn fault<'e>(error: &'e (dyn Error + 'static)) -> Fault {
    let chain = std::iter::successors(Some(error), |error: &&'e (dyn Error + 'static)| (*error).source());
    if let Some(error) = chain.clone().find_map(|error| error.downcast_ref::<io::Error>())
        && error.kind() != io::ErrorKind::Other
    {
        return match is_own_lack(error) {
            true => Fault::Ours(error.to_string()),
            false => Fault::Theirs(error.kind().to_string()),
        };
    }
    let mut said: Vec<String> = chain.map(ToString::to_string).collect();
    said.dedup();
    Fault::Theirs(said.join(": "))
}
