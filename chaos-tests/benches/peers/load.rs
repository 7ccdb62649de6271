//! HTTP/1.1 load: requests made once, answers counted and not kept.
//!
//! *Closed loop*: each of 32 connections sends its next request when it has the answer to the last; for cost per
//! request. *Open loop*: requests are due at fixed times, whatever became of those before, and latency counts from
//! when one was due, so that a pause of the proxy's shows in every request that should have fallen into it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use chaos_tests::proxies::origin::content_length;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};

use crate::workload::Workload;

const CONNECTIONS: usize = 32;
/// Requests a second.
const RATE: u32 = 2000;

/// What the connections of a run have in common.
#[derive(Debug)]
pub struct Shared {
    scratch: Scratch,
    pub answered: Cell<u64>,
    pub stop: Cell<bool>,
    /// Microseconds, in an open loop; kept while `keep` is set.
    pub latencies: RefCell<Vec<f64>>,
    pub keep: Cell<bool>,
    due: RefCell<VecDeque<Instant>>,
    more: Notify,
}

impl Shared {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            scratch: scratch(),
            answered: Cell::new(0),
            stop: Cell::new(false),
            latencies: RefCell::default(),
            keep: Cell::new(false),
            due: RefCell::default(),
            more: Notify::new(),
        })
    }

    pub fn count(&self) {
        self.answered.set(self.answered.get() + 1);
    }

    /// Tells the connections to end after the request at hand.
    pub fn end(&self) {
        self.stop.set(true);
        self.more.notify_waiters();
    }
}

/// Runs until the end is told; an answer that is not the expected one is an error.
pub async fn run(workload: Workload, to: SocketAddr, shared: &Rc<Shared>) -> io::Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..CONNECTIONS {
        let shared = Rc::clone(shared);
        match workload {
            Workload::NewConn => drop(tasks.spawn_local(new_connections(n, to, shared))),
            Workload::Rate => drop(tasks.spawn_local(open_loop(to, shared))),
            _ => drop(tasks.spawn_local(closed_loop(workload, to, shared))),
        }
    }
    if workload == Workload::Rate {
        tasks.spawn_local(schedule(Rc::clone(shared)));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn closed_loop(workload: Workload, to: SocketAddr, shared: Rc<Shared>) -> io::Result<()> {
    let (request, length) = match workload {
        Workload::Get64k => (get("/64k", ""), 65536),
        Workload::Post16k => (post(16384), 2),
        _ => (get("/1k", ""), 1024),
    };
    let mut connection = Connection::open(to, &shared.scratch).await?;
    while !shared.stop.get() {
        connection.exchange(&request, length).await?;
        shared.count();
    }
    Ok(())
}

async fn new_connections(n: usize, to: SocketAddr, shared: Rc<Shared>) -> io::Result<()> {
    let request = get("/1k", "Connection: close\r\n");
    // A source address for each, or the ports that wait out their last minute would run short.
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 1, n as u8 + 1), 0));
    let mut buffer = vec![0; 16384];
    while !shared.stop.get() {
        let socket = TcpSocket::new_v4()?;
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(from)?;
        let mut stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&request).await?;
        let mut held = 0;
        loop {
            match stream.read(&mut buffer[held..]).await? {
                0 => break,
                read => held += read,
            }
        }
        let (head, length) = judge(&buffer[..held])?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if held != head + length || length != 1024 {
            return Err(io::Error::other(format!("an answer of {held} bytes")));
        }
        shared.count();
    }
    Ok(())
}

async fn open_loop(to: SocketAddr, shared: Rc<Shared>) -> io::Result<()> {
    let request = get("/1k", "");
    let mut connection = Connection::open(to, &shared.scratch).await?;
    while !shared.stop.get() {
        let next = shared.due.borrow_mut().pop_front();
        let Some(due) = next else {
            shared.more.notified().await;
            continue;
        };
        connection.exchange(&request, 1024).await?;
        shared.count();
        if shared.keep.get() {
            shared.latencies.borrow_mut().push(due.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(())
}

/// Makes requests due. Tokio's timers are good to a millisecond, in which two are due: so a thread sleeps for it.
async fn schedule(shared: Rc<Shared>) -> io::Result<()> {
    let period = Duration::from_secs(1) / RATE;
    let (tell, mut told) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut next = Instant::now();
        while tell.send(next).is_ok() {
            next += period;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
    while let Some(due) = told.recv().await.filter(|_| !shared.stop.get()) {
        shared.due.borrow_mut().push_back(due);
        shared.more.notify_one();
    }
    Ok(())
}

/// A keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    scratch: Scratch,
}

/// What all connections read into. One each would fall out of the cache between two turns, and the load would be
/// slower than what it measures.
pub type Scratch = Rc<RefCell<Vec<u8>>>;

pub fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; 128 * 1024]))
}

impl Connection {
    pub async fn open(to: SocketAddr, scratch: &Scratch) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, scratch: Rc::clone(scratch) })
    }

    /// Sends a request, and takes its answer in, which must be a 200 with a body of `expected` bytes.
    pub async fn exchange(&mut self, request: &[u8], expected: usize) -> io::Result<()> {
        self.stream.write_all(request).await?;
        // An answer's head is small and comes whole: all proxies here send it with what they have of the body.
        let (mut held, head, length) = self.read(|bytes| Ok((bytes.len(), judge(bytes)?))).await.and_then(whole)?;
        while held < head + length {
            held += self.read(|bytes| Ok(bytes.len())).await?;
        }
        if held == head + expected { Ok(()) } else { Err(io::Error::other(format!("an answer of {held} bytes"))) }
    }

    async fn read<T>(&mut self, mut look: impl FnMut(&[u8]) -> io::Result<T>) -> io::Result<T> {
        poll_fn(|cx| {
            let scratch = &mut *self.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let read = buffer.filled();
            Poll::Ready(if read.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { look(read) })
        })
        .await
    }
}

fn whole((held, judged): (usize, Option<(usize, usize)>)) -> io::Result<(usize, usize, usize)> {
    judged.map(|(head, length)| (held, head, length)).ok_or_else(|| io::Error::other("half a head"))
}

/// The lengths of head and body of an answer with a 200; none if its head is not whole.
fn judge(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(head) = bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else { return Ok(None) };
    let length = content_length(&bytes[..head]).filter(|_| bytes.starts_with(b"HTTP/1.1 200 "));
    let wrong = || io::Error::other(String::from_utf8_lossy(&bytes[..head]).into_owned());
    Ok(Some((head, length.ok_or_else(wrong)?)))
}

/// A request as a program would make it; `more` is header lines.
pub fn get(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: origin\r\n{COMMON}{more}\r\n").into_bytes()
}

fn post(length: usize) -> Vec<u8> {
    let head = format!(
        "POST /16k HTTP/1.1\r\nHost: origin\r\n{COMMON}Content-Type: application/octet-stream\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    [head.into_bytes(), vec![b'x'; length]].concat()
}

const COMMON: &str = "User-Agent: outrigger-bench/1.0\r\nAccept: */*\r\nAccept-Language: en\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n";
