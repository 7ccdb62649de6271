//! The client: HTTP/1.1 over kept-alive connections, a deadline, and no resilience of its own.
//!
//! It does what RFC 9112 section 9.3.1 asks of every client and no more: a GET on a *reused* connection that was closed
//! without a byte of an answer is sent once more, on a new connection. Whatever is not a whole, right answer with a status
//! of 2xx within the deadline is a failure. Right means: the answer to this request, of the length it says, with no
//! byte missing or foreign.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::instance::body;
use crate::proxies::origin::content_length;

/// What a user waits for one call.
pub const DEADLINE: Duration = Duration::from_secs(1);

/// In the answers of [`super::fleet::STANDBY`].
const STANDBY_SAYS: &str = "\r\nx-instance: s0/99\r\n";

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// As it should.
    Good,
    /// With an answer that says that it is not the service's own.
    Degraded,
    /// With a status that is not 2xx.
    Status(u16),
    /// Refused, closed or reset before an answer was whole.
    Broken,
    /// Not within the deadline.
    Late,
    /// With an answer that is not this request's.
    Wrong,
}

impl End {
    /// Whether the user got something to go on with.
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Good | Self::Degraded)
    }
}

/// Connections to one address.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    idle: RefCell<Vec<Kept>>,
    /// GETs that were sent again because a reused connection had been closed.
    pub stale: Cell<u64>,
}

#[derive(Debug)]
struct Kept {
    stream: TcpStream,
    buffer: Vec<u8>,
}

enum Trouble {
    /// The connection ended without a byte of an answer.
    Unanswered,
    Broken,
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl Client {
    /// No connection yet.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, idle: RefCell::default(), stale: Cell::new(0) }
    }

    /// One request to a service.
    pub async fn call(&self, service: usize, id: &str, post: bool) -> End {
        tokio::time::timeout(DEADLINE, self.exchange(service, id, post)).await.unwrap_or(End::Late)
    }

    async fn exchange(&self, service: usize, id: &str, post: bool) -> End {
        let request = match post {
            true => format!("POST /{id} HTTP/1.1\r\nHost: s{service}\r\nContent-Length: {}\r\n\r\n{id}", id.len()),
            false => format!("GET /{id} HTTP/1.1\r\nHost: s{service}\r\n\r\n"),
        };
        let kept = self.idle.borrow_mut().pop();
        let reused = kept.is_some();
        let mut outcome = self.send(kept, &request, id).await;
        if reused && !post && matches!(outcome, Err(Trouble::Unanswered)) {
            self.stale.set(self.stale.get() + 1);
            outcome = self.send(None, &request, id).await;
        }
        outcome.unwrap_or(End::Broken)
    }

    async fn send(&self, kept: Option<Kept>, request: &str, id: &str) -> Result<End, Trouble> {
        let mut connection = match kept {
            Some(kept) => kept,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                let _ = stream.set_nodelay(true);
                Kept { stream, buffer: Vec::with_capacity(4096) }
            }
        };
        connection.stream.write_all(request.as_bytes()).await.map_err(|_| Trouble::Unanswered)?;
        let (end, keep) = connection.answer(id).await?;
        if keep && connection.buffer.is_empty() {
            self.idle.borrow_mut().push(connection);
        }
        Ok(end)
    }
}

impl Kept {
    async fn answer(&mut self, id: &str) -> Result<(End, bool), Trouble> {
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) if self.buffer.is_empty() => return Err(Trouble::Unanswered),
                Ok(0) | Err(_) => return Err(Trouble::Broken),
                Ok(_) => {}
            }
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|s| s.parse::<u16>().ok());
        let Some(status) = status else { return Ok((End::Wrong, false)) };
        let keep = !text.contains("\r\nconnection: close");
        let marks = ["\r\noutrigger-degraded:", "\r\nx-degraded:", STANDBY_SAYS];
        let degraded = marks.iter().any(|mark| text.contains(mark));
        let Some(length) = content_length(&self.buffer[..head]) else {
            // An error page that ends with the connection; every right answer has a length.
            return Ok((if (200..300).contains(&status) { End::Wrong } else { End::Status(status) }, false));
        };
        while self.buffer.len() < head + length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Trouble::Broken);
            }
        }
        let right = self.buffer[head..head + length] == body(id, length);
        self.buffer.drain(..head + length);
        let end = match status {
            200..300 if degraded => End::Degraded,
            200..300 if right => End::Good,
            200..300 => End::Wrong,
            status => End::Status(status),
        };
        Ok((end, keep))
    }
}
