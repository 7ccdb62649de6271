//! The client of the demo: HTTP/1.1 over kept-alive connections, without any resilience of its own.
//!
//! One call is one request, sent once. Whatever is not the right answer of the right service within a second is a
//! failure, and there is no second try: what a user sees is what the instance, or the proxy, made of it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fault::REQUEST;
use super::instance::SERVICE;

/// How long the client waits before it gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// A connection idle for longer is not used again, so that no server's idle timeout is met.
const FRESH: Duration = Duration::from_secs(5);

/// Why a call failed, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// An answer that is not 200.
    Status,
    /// The connection was refused, closed or reset.
    Connection,
    /// No answer while the patience lasted.
    Timeout,
    /// An answer of another service.
    Wrong,
}

/// Kept-alive connections by address.
#[derive(Debug, Default)]
pub(crate) struct Client {
    idle: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Which service it says it is from.
    pub service: Option<String>,
    /// Its body.
    pub body: Bytes,
}

impl Client {
    /// One call of a service by way of an address, an instance's or the proxy's, for the numbered user request;
    /// without a number for none, and then it meets no fault.
    pub(crate) async fn call(&self, to: SocketAddr, service: &str, number: Option<u64>) -> Result<(), Failure> {
        let mut request = Request::builder().uri("/").header(header::HOST, service);
        if let Some(number) = number {
            request = request.header(REQUEST, number);
        }
        let request = request.body(Full::default()).map_err(|_| Failure::Wrong)?;
        let answer = self.send(to, request).await?;
        match answer {
            Answer { status: StatusCode::OK, service: Some(name), .. } if name == service => Ok(()),
            Answer { status: StatusCode::OK, .. } => Err(Failure::Wrong),
            _ => Err(Failure::Status),
        }
    }

    /// A request with a body of JSON or none, for registries and admin APIs.
    pub(crate) async fn ask(
        &self,
        to: SocketAddr,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Answer, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, to.to_string())
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| Failure::Wrong)?;
        self.send(to, request).await
    }

    async fn send(&self, to: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        timeout(PATIENCE, self.exchange(to, request)).await.map_err(|_| Failure::Timeout)?
    }

    async fn exchange(&self, to: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let mut sender = match self.take(to).await {
            Some(sender) => sender,
            None => connect(to).await?,
        };
        let (head, body) = sender.send_request(request).await.map_err(|_| Failure::Connection)?.into_parts();
        let body = body.collect().await.map_err(|_| Failure::Connection)?.to_bytes();
        self.idle.borrow_mut().entry(to).or_default().push(Idle { sender, since: Instant::now() });
        let service = head.headers.get(SERVICE).and_then(|name| name.to_str().ok()).map(str::to_owned);
        Ok(Answer { status: head.status, service, body })
    }

    async fn take(&self, to: SocketAddr) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let mut idle = self.idle.borrow_mut().get_mut(&to)?.pop()?;
            if idle.since.elapsed() < FRESH && idle.sender.ready().await.is_ok() {
                return Some(idle.sender);
            }
        }
    }
}

async fn connect(to: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = TcpStream::connect(to).await.map_err(|_| Failure::Connection)?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Connection)?;
    tokio::spawn(connection);
    Ok(sender)
}
