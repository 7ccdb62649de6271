//! HTTP/1.1 by hand: bytes go out as they are given, and come in through a parser that forgives nothing.
//!
//! A lenient parser would hide exactly the faults that matter in a proxy, those on which two readers disagree. This
//! one shares no code with the proxy and refuses whatever RFC 9112 does not plainly allow a sender. It reads both
//! directions: what a client is answered, and what an origin is asked.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::SOON;

/// One end of a TCP connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    taken: usize,
}

/// A start line and its fields, names as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Without its CRLF.
    pub start: String,
    /// In the order they came.
    pub fields: Vec<(String, String)>,
}

/// A whole message.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Of the final answer, or of the request.
    pub head: Head,
    /// Interim answers that came before, 101 excepted.
    pub interim: Vec<Head>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// After the last chunk.
    pub trailers: Vec<(String, String)>,
    /// What told the body's end.
    pub framing: Framing,
}

/// What tells a body's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// There can be no body.
    #[default]
    None,
    /// `Content-Length`.
    Length(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The connection's end.
    Close,
}

/// Why there is no message, or no whole one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The peer closed before the first byte.
    Closed,
    /// The peer closed in the middle.
    Cut,
    /// The peer reset the connection.
    Reset,
    /// Nothing came in time.
    Late,
    /// What came is not HTTP, or is ambiguous.
    Grammar(String),
}

/// A message that did not arrive whole, and what did of it.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Why.
    pub fault: Fault,
    /// What had arrived.
    pub part: Box<Message>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {:?} and {} bytes of body", self.fault, self.part.head, self.part.body.len())
    }
}

impl Head {
    /// The values under a name, whatever its case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// The one value under a name. Panics where there are several.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came {} times: {:?}", all.len(), self.fields);
        all.first().copied()
    }

    /// Whether a comma list under a name holds an element, whatever the case.
    pub fn lists(&self, name: &str, element: &str) -> bool {
        self.all(name).iter().flat_map(|v| v.split(',')).any(|e| e.trim().eq_ignore_ascii_case(element))
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.word(1).parse().expect("a status")
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.word(1)
    }

    /// `HTTP/1.1` or `HTTP/1.0`.
    pub fn version(&self) -> &str {
        self.word(if self.start.starts_with("HTTP/") { 0 } else { 2 })
    }

    fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }
}

impl Message {
    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The one value under a name.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The one trailer under a name.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

impl From<TcpStream> for Connection {
    fn from(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(SOON)).expect("a read timeout");
        stream.set_write_timeout(Some(SOON)).expect("a write timeout");
        Self { stream, received: Vec::new(), taken: 0 }
    }
}

impl Connection {
    /// Connects. Panics where nobody listens.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|e| panic!("connecting to {address}: {e}"))
    }

    /// Connects.
    ///
    /// # Errors
    /// The system's, when nobody listens or accepts.
    pub fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        TcpStream::connect_timeout(&address, SOON).map(Self::from)
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("sending");
    }

    /// Sends bytes as they are, as far as the peer lets it.
    ///
    /// # Errors
    /// The system's.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends pieces with a pause between, each in a segment of its own.
    #[track_caller]
    pub fn send_pieces(&mut self, pieces: &[&[u8]], pause: Duration) {
        for piece in pieces {
            self.send(piece);
            std::thread::sleep(pause);
        }
    }

    /// Changes how long a read waits.
    pub fn patience(&mut self, bound: Duration) {
        self.stream.set_read_timeout(Some(bound)).expect("a read timeout");
    }

    /// The socket itself, to write from another thread or to set options on.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle")
    }

    /// Ends the sending side.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).ok();
    }

    /// Ends the connection by a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("linger");
    }

    /// Reads the answer to a request of any method but HEAD. Panics where it is not whole.
    #[track_caller]
    pub fn answer(&mut self) -> Message {
        self.try_answer("GET").unwrap_or_else(|broken| panic!("no whole answer: {broken}"))
    }

    /// Reads the answer to a request of the method.
    ///
    /// # Errors
    /// What ended it, and what had arrived.
    pub fn try_answer(&mut self, method: &str) -> Result<Message, Broken> {
        let mut message = Message::default();
        loop {
            match self.head() {
                Ok(head) => message.head = head,
                Err(fault) => return Err(Broken { fault, part: Box::new(message) }),
            }
            if let Err(fault) = check_status_line(&message.head) {
                return Err(Broken { fault, part: Box::new(message) });
            }
            match message.head.status() {
                101 => return Ok(message),
                100..=199 => message.interim.push(std::mem::take(&mut message.head)),
                _ => break,
            }
        }
        let bodiless = method == "HEAD" || matches!(message.status(), 204 | 304);
        let framing = framing(&message.head, Framing::Close);
        match framing {
            Ok(_) if bodiless => Ok(message),
            Ok(framing) => self.body(message, framing),
            Err(fault) => Err(Broken { fault, part: Box::new(message) }),
        }
    }

    /// Reads a request with its body. Panics where what comes is not one.
    ///
    /// # Errors
    /// What ended it, and what had arrived; [`Fault::Closed`] where the client has no more to ask.
    pub fn request(&mut self) -> Result<Message, Broken> {
        let head = self.head().map_err(|fault| Broken { fault, part: Box::default() })?;
        self.request_body(head)
    }

    /// Reads the body of a request whose head was read with [`Connection::head`].
    ///
    /// # Errors
    /// What ended it, and what had arrived.
    pub fn request_body(&mut self, head: Head) -> Result<Message, Broken> {
        let framing = framing(&head, Framing::None);
        let message = Message { head, ..Message::default() };
        match framing {
            Ok(framing) => self.body(message, framing),
            Err(fault) => Err(Broken { fault, part: Box::new(message) }),
        }
    }

    /// Reads a head.
    ///
    /// # Errors
    /// What ended it.
    pub fn head(&mut self) -> Result<Head, Fault> {
        let start = self.line().map_err(|fault| match fault {
            Fault::Cut if self.taken == self.received.len() => Fault::Closed,
            other => other,
        })?;
        let fields = self.fields()?;
        Ok(Head { start, fields })
    }

    /// Whether the peer ends the connection, be it by a reset, without another byte.
    pub fn ended(&mut self) -> bool {
        matches!(self.more(), Err(Fault::Cut | Fault::Reset)) && self.taken == self.received.len()
    }

    /// The next bytes, whatever they are.
    ///
    /// # Errors
    /// What ended it before there were as many.
    pub fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        while self.received.len() - self.taken < count {
            self.more()?;
        }
        self.taken += count;
        Ok(self.received[self.taken - count..self.taken].to_vec())
    }

    /// Everything until the peer ends the connection, cleanly or not.
    pub fn rest(&mut self) -> (Vec<u8>, Fault) {
        let fault = loop {
            if let Err(fault) = self.more() {
                break fault;
            }
        };
        let rest = self.received.split_off(self.taken);
        (rest, fault)
    }

    fn body(&mut self, mut message: Message, framing: Framing) -> Result<Message, Broken> {
        message.framing = framing;
        let outcome = match framing {
            Framing::None => Ok(()),
            Framing::Length(length) => self.take_into(&mut message.body, length),
            Framing::Chunked => self.chunks(&mut message),
            Framing::Close => {
                let (rest, fault) = self.rest();
                message.body = rest;
                if fault == Fault::Cut { Ok(()) } else { Err(fault) }
            }
        };
        match outcome {
            Ok(()) => Ok(message),
            Err(fault) => Err(Broken { fault, part: Box::new(message) }),
        }
    }

    fn chunks(&mut self, message: &mut Message) -> Result<(), Fault> {
        loop {
            let line = self.line()?;
            let plain = !line.is_empty() && line.len() <= 8 && line.bytes().all(|b| b.is_ascii_hexdigit());
            if !plain {
                return Err(Fault::Grammar(format!("chunk line {line:?}")));
            }
            let size = usize::from_str_radix(&line, 16).expect("hex digits");
            if size == 0 {
                message.trailers = self.fields()?;
                return Ok(());
            }
            self.take_into(&mut message.body, size)?;
            if self.bytes(2)? != b"\r\n" {
                return Err(Fault::Grammar("no CRLF after a chunk".into()));
            }
        }
    }

    /// Takes bytes as they come, so that what had arrived of a broken body is known.
    fn take_into(&mut self, body: &mut Vec<u8>, mut count: usize) -> Result<(), Fault> {
        while count > 0 {
            if self.taken == self.received.len() {
                self.received.clear();
                self.taken = 0;
                self.more()?;
            }
            let part = count.min(self.received.len() - self.taken);
            body.extend_from_slice(&self.received[self.taken..self.taken + part]);
            self.taken += part;
            count -= part;
        }
        Ok(())
    }

    fn fields(&mut self) -> Result<Vec<(String, String)>, Fault> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| Fault::Grammar(format!("no colon in {line:?}")))?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(Fault::Grammar(format!("field name {name:?}")));
            }
            if value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
                return Err(Fault::Grammar(format!("field value {value:?}")));
            }
            fields.push((name.into(), value.trim_matches([' ', '\t']).into()));
        }
    }

    fn line(&mut self) -> Result<String, Fault> {
        let mut searched = self.taken;
        loop {
            if let Some(at) = self.received[searched..].iter().position(|b| *b == b'\n') {
                let line = &self.received[self.taken..searched + at];
                let Some((b'\r', line)) = line.split_last() else {
                    return Err(Fault::Grammar(format!("bare LF after {:?}", String::from_utf8_lossy(line))));
                };
                if line.iter().any(|b| matches!(b, b'\r' | 0)) {
                    return Err(Fault::Grammar("CR or NUL within a line".into()));
                }
                let line = line.iter().map(|b| char::from(*b)).collect();
                self.taken = searched + at + 1;
                return Ok(line);
            }
            searched = self.received.len();
            self.more()?;
        }
    }

    fn more(&mut self) -> Result<(), Fault> {
        let mut buffer = [0; 64 * 1024];
        loop {
            return match self.stream.read(&mut buffer) {
                Ok(0) => Err(Fault::Cut),
                Ok(n) => {
                    self.received.extend_from_slice(&buffer[..n]);
                    Ok(())
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(Fault::Late),
                Err(_) => Err(Fault::Reset),
            };
        }
    }
}

/// Asks once, on a connection of its own, and reads the whole answer.
#[track_caller]
pub fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Message {
    let mut connection = Connection::open(address);
    connection.send(request);
    connection.answer()
}

/// `GET` of a path for a host, on a connection of its own.
#[track_caller]
pub fn get(address: SocketAddr, host: &str, path: &str) -> Message {
    ask(address, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

fn check_status_line(head: &Head) -> Result<(), Fault> {
    let bytes = head.start.as_bytes();
    let fine = bytes.len() >= 13
        && (bytes.starts_with(b"HTTP/1.1 ") || bytes.starts_with(b"HTTP/1.0 "))
        && bytes[9..12].iter().all(u8::is_ascii_digit)
        && bytes[12] == b' ';
    if fine { Ok(()) } else { Err(Fault::Grammar(format!("status line {:?}", head.start))) }
}

fn framing(head: &Head, otherwise: Framing) -> Result<Framing, Fault> {
    let (codings, lengths) = (head.all("transfer-encoding"), head.all("content-length"));
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(otherwise),
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") && head.version() == "HTTP/1.1" => {
            Ok(Framing::Chunked)
        }
        ([], [length]) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|e| Fault::Grammar(format!("length {length}: {e}")))
        }
        _ => Err(Fault::Grammar(format!("codings {codings:?} and lengths {lengths:?}"))),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
