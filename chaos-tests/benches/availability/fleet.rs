//! Instances that fail on command: one process is one instance of every service.
//!
//! The HTTP here is written by hand, because what is asked for is what no library does: a reset in mid-body, a port that
//! drops its SYNs, a queue that goes on working for clients that have left. `/healthz` answers as long as the process
//! would: an instance whose *application* fails passes its health check, one that hangs or is down does not.
//!
//! Started with the ports to listen on (`0` for any), it says which they are, and then takes one command a line:
//! `fault SERVICE FAULT`, `*` for every service, and `count`, which it answers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use crate::Result;

/// How an instance fails.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// It does not.
    None,
    /// A share of its answers is this status, at once.
    Answers { status: u16, share: f64 },
    /// Its port is closed, and its connections are reset.
    Refuses,
    /// It refuses and serves in turn.
    Flaps { ms: u64 },
    /// It takes requests and never answers.
    Hangs,
    /// It is not there any more: SYNs are dropped, and what was open says nothing.
    Vanishes,
    /// It takes far longer: lognormal, of this median.
    Slow { median_ms: f64 },
    /// A share of its answers is 503, and all take so many times as long.
    Gray { share: f64, times: f64 },
    /// A share of its answers, 1 to 16 KiB, is reset in mid-body.
    Resets { share: f64 },
    /// Its answers come in 16 pieces, 100 ms apart.
    Trickles,
    /// It can do so many requests at a time, each for so long; the others wait in line, also those whose clients have left.
    Capacity { slots: usize, ms: u64 },
}

/// What an instance has counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Requests, of each service.
    pub requests: Vec<u64>,
    /// Ids of POSTs that were executed, of all services.
    pub posts: Vec<u64>,
    /// Requests that were finished within their capacity, of each service.
    pub served: Vec<u64>,
}

/// What answers take when all is well: lognormal, this median in milliseconds and this sigma.
const MEDIAN_MS: f64 = 5.0;
const SIGMA: f64 = 0.4;
const BODY: usize = 1024;

struct Service {
    index: usize,
    address: SocketAddr,
    fault: Cell<Fault>,
    changed: Notify,
    requests: Cell<u64>,
    served: Cell<u64>,
    slots: RefCell<Rc<Semaphore>>,
    posts: Rc<RefCell<Vec<u64>>>,
    draining: Rc<Cell<bool>>,
    active: Rc<Cell<usize>>,
}

/// Runs an instance until its standard input ends, or SIGTERM.
pub async fn run(ports: &[u16]) -> Result<()> {
    let posts = Rc::new(RefCell::new(Vec::new()));
    let (draining, active) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let mut services = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], *port)))?;
        let service = Rc::new(Service {
            index,
            address: listener.local_addr()?,
            fault: Cell::new(Fault::None),
            changed: Notify::new(),
            requests: Cell::new(0),
            served: Cell::new(0),
            slots: RefCell::new(Rc::new(Semaphore::new(1))),
            posts: Rc::clone(&posts),
            draining: Rc::clone(&draining),
            active: Rc::clone(&active),
        });
        tokio::task::spawn_local(serve(Rc::clone(&service), listener));
        services.push(service);
    }
    say(&services.iter().map(|s| s.address.port()).collect::<Vec<_>>())?;
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => match line? { Some(line) => line, None => return Ok(()) },
            _ = terminated.recv() => {
                draining.set(true);
                services.iter().for_each(|s| s.changed.notify_waiters());
                let until = Instant::now() + Duration::from_secs(3);
                while active.get() > 0 && Instant::now() < until {
                    sleep(Duration::from_millis(5)).await;
                }
                return Ok(());
            }
        };
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("fault", rest) => {
                let (service, fault) = rest.split_once(' ').ok_or("fault SERVICE FAULT")?;
                let fault: Fault = serde_json::from_str(fault)?;
                for each in services.iter().filter(|s| service == "*" || service == s.index.to_string()) {
                    each.set(fault);
                }
            }
            ("count", _) => say(&Counted {
                requests: services.iter().map(|s| s.requests.get()).collect(),
                posts: posts.borrow().clone(),
                served: services.iter().map(|s| s.served.get()).collect(),
            })?,
            _ => return Err(format!("what is {line:?}").into()),
        }
    }
}

fn say(what: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(what)?)?;
    Ok(out.flush()?)
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(1024)?)
}

impl Service {
    fn set(&self, fault: Fault) {
        if let Fault::Capacity { slots, .. } = fault {
            self.slots.replace(Rc::new(Semaphore::new(slots)));
        }
        self.fault.set(fault);
        self.changed.notify_waiters();
    }

    /// Whether its port is open now.
    fn is_open(&self, since: Instant) -> bool {
        match self.fault.get() {
            _ if self.draining.get() => false,
            Fault::Refuses | Fault::Vanishes => false,
            Fault::Flaps { ms } => (since.elapsed().as_millis() as u64 / ms) % 2 == 1,
            _ => true,
        }
    }
}

async fn serve(service: Rc<Service>, first: TcpListener) {
    let mut listener = Some(first);
    let mut since = Instant::now();
    let mut known = service.fault.get();
    let mut ghosts: Vec<std::net::TcpStream> = Vec::new();
    loop {
        let fault = service.fault.get();
        if fault != known {
            known = fault;
            since = Instant::now();
            ghosts.clear();
        }
        match (&listener, fault, service.is_open(since)) {
            // A queue of accepted connections that is full, and is never emptied: from then on the kernel drops SYNs.
            (Some(open), Fault::Vanishes, _) if ghosts.is_empty() => {
                let _ = socket2::SockRef::from(open).listen(0);
                for _ in 0..2 {
                    ghosts.extend(std::net::TcpStream::connect_timeout(&service.address, Duration::from_millis(20)));
                }
            }
            (Some(open), _, true) => {
                let _ = socket2::SockRef::from(open).listen(1024);
            }
            (Some(_), Fault::Vanishes, _) => {}
            (Some(_), ..) => listener = None,
            (None, _, true) => listener = listen(service.address).ok(),
            (None, ..) => {}
        }
        let accepting = async {
            match &listener {
                Some(listener) if fault != Fault::Vanishes => listener.accept().await.ok(),
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepting => if let Some((stream, _)) = accepted {
                let _ = stream.set_nodelay(true);
                tokio::task::spawn_local(converse(Rc::clone(&service), stream));
            },
            () = service.changed.notified() => {}
            () = sleep(Duration::from_millis(20)), if matches!(fault, Fault::Flaps { .. }) || listener.is_none() => {}
        }
        if service.draining.get() {
            return;
        }
    }
}

/// One connection, until it ends or the instance fails in a way that ends it.
async fn converse(service: Rc<Service>, mut stream: TcpStream) {
    let since = Instant::now();
    let mut held = Vec::new();
    loop {
        tokio::select! {
            request = read(&mut stream, &mut held) => {
                let Some(request) = request else { return };
                service.active.set(service.active.get() + 1);
                let kept = answer(&service, &mut stream, &request).await;
                service.active.set(service.active.get() - 1);
                if !kept {
                    return;
                }
            }
            () = service.changed.notified() => {}
            () = sleep(Duration::from_millis(20)), if matches!(service.fault.get(), Fault::Flaps { .. }) => {}
        }
        match service.fault.get() {
            Fault::Refuses => return reset(stream),
            Fault::Flaps { .. } if !service.is_open(since) => return reset(stream),
            // Nothing is read, written or closed any more.
            Fault::Vanishes => {
                while service.fault.get() == Fault::Vanishes {
                    service.changed.notified().await;
                }
                return reset(stream);
            }
            _ if service.draining.get() => return,
            _ => {}
        }
    }
}

fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

struct Request {
    post: Option<u64>,
    health: bool,
}

/// Reads one request; none at the end.
async fn read(stream: &mut TcpStream, held: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some(end) = held.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&held[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse().ok());
            let whole = end + 4 + length.unwrap_or(0usize);
            if held.len() >= whole {
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let number = path.rsplit('/').next().and_then(|n| n.parse().ok());
                let post = if head.starts_with("post ") { number } else { None };
                held.drain(..whole);
                return Some(Request { post, health: path == "/healthz" });
            }
        }
        if stream.read_buf(held).await.ok()? == 0 {
            return None;
        }
    }
}

/// Answers. False when the connection ends with that.
async fn answer(service: &Rc<Service>, stream: &mut TcpStream, request: &Request) -> bool {
    let fault = service.fault.get();
    if request.health {
        return match fault {
            Fault::Hangs | Fault::Vanishes => std::future::pending().await,
            _ => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_ok(),
        };
    }
    service.requests.set(service.requests.get() + 1);
    let mut takes = lognormal(MEDIAN_MS);
    let mut status = 200;
    match fault {
        Fault::Hangs | Fault::Vanishes => {
            // Until it is told otherwise; by then nobody waits.
            service.changed.notified().await;
            return false;
        }
        Fault::Answers { status: fails, share } if fastrand::f64() < share => {
            status = fails;
            takes = 0.0;
        }
        Fault::Slow { median_ms } => takes = lognormal(median_ms),
        Fault::Gray { share, times } => {
            takes *= times;
            if fastrand::f64() < share {
                status = 503;
            }
        }
        Fault::Capacity { ms, .. } => {
            let slots = Rc::clone(&service.slots.borrow());
            let Ok(_slot) = slots.acquire().await else { return false };
            sleep(Duration::from_millis(ms)).await;
            service.served.set(service.served.get() + 1);
            takes = 0.0;
        }
        _ => {}
    }
    if takes > 0.0 {
        sleep(Duration::from_secs_f64(takes / 1e3)).await;
    }
    // What answers with an error has not done it.
    if let (Some(id), 200) = (request.post, status) {
        service.posts.borrow_mut().push(id);
    }
    let length = match fault {
        Fault::Resets { .. } => fastrand::usize(1024..=16 * 1024),
        _ => BODY,
    };
    let length = if status == 200 { length } else { 5 };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n");
    let body = vec![b'x'; length];
    let sent = match fault {
        Fault::Resets { share } if fastrand::f64() < share => {
            let _ = stream.write_all(&[head.as_bytes(), &body[..length / 2]].concat()).await;
            // What was written has to arrive before the reset does.
            sleep(Duration::from_millis(1)).await;
            let _ = stream.set_zero_linger();
            return false;
        }
        Fault::Trickles => trickle(stream, &head, &body).await,
        _ => stream.write_all(&[head.as_bytes(), &body].concat()).await,
    };
    sent.is_ok()
}

async fn trickle(stream: &mut TcpStream, head: &str, body: &[u8]) -> std::io::Result<()> {
    stream.write_all(head.as_bytes()).await?;
    let mut next = Instant::now();
    for piece in body.chunks(body.len().div_ceil(16)) {
        stream.write_all(piece).await?;
        next += Duration::from_millis(100);
        sleep_until(next).await;
    }
    Ok(())
}

/// In milliseconds.
fn lognormal(median: f64) -> f64 {
    // Box-Muller; 1 - f64() is never 0.
    let normal = (-2.0 * (1.0 - fastrand::f64()).ln()).sqrt() * (std::f64::consts::TAU * fastrand::f64()).cos();
    median * (SIGMA * normal).exp()
}

/// POSTs that were executed more than once.
pub fn doubled(counts: &[Counted]) -> usize {
    let mut seen: HashMap<u64, u32> = HashMap::new();
    counts.iter().flat_map(|c| &c.posts).for_each(|id| *seen.entry(*id).or_default() += 1);
    seen.values().filter(|n| **n > 1).count()
}
