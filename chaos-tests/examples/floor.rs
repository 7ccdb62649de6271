//! The least that an HTTP/1.1 proxy can do, straight on epoll: the floor that the benchmark measures against.
//!
//! One thread; round robin over the endpoints; a pool of idle connections per endpoint; one read and one write per
//! message where the kernel allows it. It adds `X-Forwarded-For`, takes `Connection: close` off, and trusts everything
//! else. What it lacks is what a real proxy costs: timeouts, retries, chunks, checks, counters. A request has to
//! fit its buffer, and must be followed by its answer before the next one comes; a message without a
//! `Content-Length` has no body. Anything else ends the connection. Not for use.
//!
//! `floor LISTEN ENDPOINT...`

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addresses = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<Vec<SocketAddr>, _>>()?;
    let (listen, endpoints) = addresses.split_first().ok_or("usage: floor LISTEN ENDPOINT...")?;
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let pools = vec![Vec::new(); endpoints.len()];
    let endpoints = endpoints.to_vec();
    let (clients, upstreams, scratch) = (Slab::new(), Slab::new(), vec![0; ROOM + 65536]);
    let mut floor = Floor { epoll, endpoints, next: 0, pools, clients, upstreams, scratch };
    let mut events = vec![EpollEvent::empty(); 256];
    loop {
        let ready = floor.epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            match event.data() {
                LISTENER => floor.accept(&listener)?,
                // Whatever goes wrong on a connection ends it, and nothing else.
                token if token % 2 == 0 => {
                    let client = (token / 2) as usize;
                    if floor.request(client).and_then(|()| floor.flush(client)).is_err() {
                        floor.end(client);
                    }
                }
                token => {
                    let upstream = (token / 2) as usize;
                    if floor.answer(upstream).is_err() {
                        floor.lost(upstream);
                    }
                }
            }
        }
    }
}

const LISTENER: u64 = u64::MAX;
/// Space before what is read, into which a head moves to make place for one line more.
const ROOM: usize = 64;

struct Floor {
    epoll: Epoll,
    endpoints: Vec<SocketAddr>,
    next: usize,
    pools: Vec<Vec<usize>>,
    clients: Slab<Client>,
    upstreams: Slab<Upstream>,
    scratch: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    forwarded: Vec<u8>,
    /// The start of a request whose rest has not come.
    request: Vec<u8>,
    /// What the socket would not take of an answer.
    unsent: Vec<u8>,
    upstream: Option<usize>,
    close: bool,
}

struct Upstream {
    stream: TcpStream,
    endpoint: usize,
    client: Option<usize>,
    /// Bytes of the body to come; none before the head.
    remaining: Option<usize>,
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Ok((stream, peer)) = listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let forwarded = format!("X-Forwarded-For: {}\r\n\r\n", peer.ip()).into_bytes();
            let (request, unsent) = (Vec::new(), Vec::new());
            let client = self.clients.put(Client { stream, forwarded, request, unsent, upstream: None, close: false });
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
            self.epoll.add(&self.clients.at(client)?.stream, EpollEvent::new(flags, client as u64 * 2))?;
        }
        Ok(())
    }

    fn request(&mut self, index: usize) -> io::Result<()> {
        loop {
            let client = self.clients.at(index)?;
            let held = ROOM + client.request.len();
            self.scratch[ROOM..held].copy_from_slice(&client.request);
            let read = match client.stream.read(&mut self.scratch[held..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let end = held + read;
            let bytes = &self.scratch[ROOM..end];
            match Framing::of(bytes) {
                Some(framing) if framing.head + framing.body == bytes.len() => self.forward(index, framing, end)?,
                _ if end == self.scratch.len() => return Err(ErrorKind::InvalidData.into()),
                _ => client.request = bytes.to_vec(),
            }
            // A short read has emptied the socket: the next byte brings an event of its own.
            if end < self.scratch.len() {
                return Ok(());
            }
        }
    }

    fn forward(&mut self, index: usize, framing: Framing, end: usize) -> io::Result<()> {
        let endpoint = self.next;
        self.next = (endpoint + 1) % self.endpoints.len();
        let upstream = match self.pools[endpoint].pop() {
            Some(idle) => idle,
            None => self.connect(endpoint)?,
        };
        let client = self.clients.at(index)?;
        client.request = Vec::new();
        client.upstream = Some(upstream);
        client.close = framing.close.is_some();
        let mut start = ROOM;
        if let Some(line) = framing.close {
            self.scratch.copy_within(start..start + line.start, start + line.len());
            start += line.len();
        }
        // The new line takes the place of the blank one, and what is before it moves forward by as much.
        let (blank, line) = (ROOM + framing.head - 2, &client.forwarded);
        let from = start + 2 - line.len();
        self.scratch.copy_within(start..blank, from);
        self.scratch[blank + 2 - line.len()..blank + 2].copy_from_slice(line);
        let upstream = self.upstreams.at(upstream)?;
        upstream.client = Some(index);
        upstream.remaining = None;
        upstream.stream.write_all(&self.scratch[from..end])
    }

    fn connect(&mut self, endpoint: usize) -> io::Result<usize> {
        let stream = TcpStream::connect(self.endpoints[endpoint])?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let index = self.upstreams.put(Upstream { stream, endpoint, client: None, remaining: None });
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, index as u64 * 2 + 1);
        self.epoll.add(&self.upstreams.at(index)?.stream, event)?;
        Ok(index)
    }

    fn answer(&mut self, index: usize) -> io::Result<()> {
        loop {
            let upstream = self.upstreams.at(index)?;
            let read = match upstream.stream.read(&mut self.scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let owner = upstream.client.ok_or(ErrorKind::InvalidData)?;
            let bytes = &self.scratch[..read];
            let expected = match upstream.remaining {
                Some(remaining) => remaining,
                None => Framing::of(bytes).map(|f| f.head + f.body).ok_or(ErrorKind::InvalidData)?,
            };
            let remaining = expected.checked_sub(read).ok_or(ErrorKind::InvalidData)?;
            upstream.remaining = Some(remaining);
            let client = self.clients.at(owner)?;
            let sent = match client.stream.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                sent => sent?,
            };
            client.unsent.extend_from_slice(&bytes[sent..]);
            if remaining == 0 {
                upstream.client = None;
                client.upstream = None;
                self.pools[upstream.endpoint].push(index);
                if client.close && client.unsent.is_empty() {
                    self.end(owner);
                }
                return Ok(());
            }
            if !client.unsent.is_empty() || read < self.scratch.len() {
                return Ok(());
            }
        }
    }

    fn flush(&mut self, index: usize) -> io::Result<()> {
        let Ok(client) = self.clients.at(index) else { return Ok(()) };
        if client.unsent.is_empty() {
            return Ok(());
        }
        match client.stream.write(&client.unsent) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            sent => drop(client.unsent.drain(..sent?)),
        }
        match (client.unsent.is_empty(), client.upstream) {
            (true, Some(upstream)) => self.answer(upstream),
            (true, None) if client.close => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn end(&mut self, client: usize) {
        if let Some(upstream) = self.clients.take(client).and_then(|c| c.upstream) {
            self.upstreams.take(upstream);
        }
    }

    fn lost(&mut self, upstream: usize) {
        let Some(gone) = self.upstreams.take(upstream) else { return };
        self.pools[gone.endpoint].retain(|idle| *idle != upstream);
        if let Some(client) = gone.client {
            self.clients.take(client);
        }
    }
}

struct Framing {
    head: usize,
    body: usize,
    close: Option<Range<usize>>,
}

impl Framing {
    fn of(bytes: &[u8]) -> Option<Self> {
        let (mut at, mut body, mut close) = (0, 0, None);
        loop {
            let end = at + bytes[at..].iter().position(|b| *b == b'\n')? + 1;
            let line = &bytes[at..end];
            if line == b"\r\n" {
                return Some(Self { head: end, body, close });
            } else if let Some(length) = value(line, b"content-length:") {
                body = std::str::from_utf8(length).ok()?.trim().parse().ok()?;
            } else if value(line, b"connection: close").is_some() {
                close = Some(at..end);
            }
            at = end;
        }
    }
}

fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(rest)
}

struct Slab<T>(Vec<Option<T>>, Vec<usize>);

impl<T> Slab<T> {
    fn new() -> Self {
        Self(Vec::new(), Vec::new())
    }

    fn put(&mut self, value: T) -> usize {
        let index = self.1.pop().unwrap_or(self.0.len());
        if index == self.0.len() {
            self.0.push(None);
        }
        self.0[index] = Some(value);
        index
    }

    fn at(&mut self, index: usize) -> io::Result<&mut T> {
        self.0.get_mut(index).and_then(Option::as_mut).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn take(&mut self, index: usize) -> Option<T> {
        let taken = self.0.get_mut(index)?.take();
        if taken.is_some() {
            self.1.push(index);
        }
        taken
    }
}
