//! Users: each needs some services, all of them, within their deadlines.
//!
//! The load is open: a user comes when it is due, whether or not those before have got what they wanted, so that an
//! answer that is late does not hold up the question that would show it. A call is a GET, or one time in ten a POST with an
//! id of its own, and has a second; a user request makes all of its calls, ten at a time, and succeeds if all do: an
//! answer of 2xx whose body is whole, in time.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

/// What one call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Whole, in time.
    Good,
    /// The same, and marked as a fallback.
    Degraded,
    /// Another status.
    Status(u16),
    /// No whole answer: reset, closed, broken off.
    Cut,
    /// No whole answer within its second.
    Late,
}

/// A call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// When it was made, from the round's start.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// For which service.
    pub service: usize,
    /// Whether it was a POST.
    pub post: bool,
    /// What it came to.
    pub came: Came,
}

/// A user request.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// When it was due, from the round's start.
    pub at: Duration,
    /// Whether all of its calls were good, or at least degraded.
    pub good: bool,
    /// Whether one was degraded.
    pub degraded: bool,
    /// Whether a POST was among those that failed.
    pub lost_post: bool,
    /// Whether a GET was.
    pub lost_get: bool,
}

/// What the users of one proxy saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Every call.
    pub calls: Vec<Call>,
    /// Every user request.
    pub users: Vec<User>,
}

/// How users come.
#[derive(Debug, Clone)]
pub struct Load {
    /// Services that each needs.
    pub services: usize,
    /// User requests a second, from so many seconds on.
    pub rates: Vec<(f64, f64)>,
    /// The share of POSTs.
    pub posts: f64,
    /// How long they come.
    pub seconds: f64,
}

/// How long a call may take.
pub const DEADLINE: Duration = Duration::from_secs(1);
/// Calls of one user request at the same time.
const AT_ONCE: usize = 10;

struct Pool {
    address: SocketAddr,
    idle: RefCell<Vec<TcpStream>>,
    seen: RefCell<Seen>,
}

/// Sends users to a proxy; returns when the last has what it gets. Ids of POSTs begin at `ids`.
pub async fn run(address: SocketAddr, load: Load, ids: u64, start: Instant) -> Seen {
    let pool = Rc::new(Pool { address, idle: RefCell::default(), seen: RefCell::default() });
    let mut users = tokio::task::JoinSet::new();
    let (mut due, mut id) = (0.0, ids);
    while due < load.seconds {
        let rate = load.rates.iter().rev().find(|(from, _)| due >= *from).map_or(1.0, |(_, rate)| *rate);
        // Poisson: the time to the next is exponential.
        due += -(1.0 - fastrand::f64()).ln() / rate;
        sleep_until(start + Duration::from_secs_f64(due)).await;
        let posts: Vec<Option<u64>> = (0..load.services)
            .map(|_| {
                (fastrand::f64() < load.posts).then(|| {
                    id += 1;
                    id
                })
            })
            .collect();
        users.spawn_local(user(Rc::clone(&pool), posts, Duration::from_secs_f64(due), start));
        while users.try_join_next().is_some() {}
    }
    while users.join_next().await.is_some() {}
    pool.seen.take()
}

async fn user(pool: Rc<Pool>, posts: Vec<Option<u64>>, at: Duration, start: Instant) {
    let mut one = User { at, good: true, degraded: false, lost_post: false, lost_get: false };
    let services: Vec<_> = posts.into_iter().enumerate().collect();
    for together in services.chunks(AT_ONCE) {
        let calls = together.iter().map(|(service, post)| call(&pool, *service, *post, start));
        for call in futures_util::future::join_all(calls).await {
            match call.came {
                Came::Good => {}
                Came::Degraded => one.degraded = true,
                _ => {
                    one.good = false;
                    one.lost_post |= call.post;
                    one.lost_get |= !call.post;
                }
            }
            pool.seen.borrow_mut().calls.push(call);
        }
    }
    pool.seen.borrow_mut().users.push(one);
}

async fn call(pool: &Pool, service: usize, post: Option<u64>, start: Instant) -> Call {
    let began = Instant::now();
    let came = timeout(DEADLINE, exchange(pool, service, post)).await.unwrap_or(Came::Late);
    Call { at: began - start, took: began.elapsed(), service, post: post.is_some(), came }
}

async fn exchange(pool: &Pool, service: usize, post: Option<u64>) -> Came {
    let request = match post {
        None => format!("GET /item/1 HTTP/1.1\r\nHost: s{service}\r\n\r\n"),
        Some(id) => format!("POST /order/{id} HTTP/1.1\r\nHost: s{service}\r\nContent-Length: 2\r\n\r\nhi"),
    };
    let idle = pool.idle.borrow_mut().pop();
    let reused = idle.is_some();
    let mut stream = match idle {
        Some(stream) => stream,
        None => match connect(pool.address).await {
            Some(stream) => stream,
            None => return Came::Cut,
        },
    };
    let mut told = ask(&mut stream, &request).await;
    if told.is_none() && reused {
        // The proxy had closed the idle connection: that is between the two of them, and no failure. Only GETs may be
        // sent twice; a POST takes a new connection to begin with.
        if let Some(fresh) = connect(pool.address).await
            && post.is_none()
        {
            stream = fresh;
            told = ask(&mut stream, &request).await;
        }
    }
    let Some(told) = told else { return Came::Cut };
    if told.keeps && pool.idle.borrow().len() < 256 {
        pool.idle.borrow_mut().push(stream);
    }
    match told.status {
        200..=299 if told.degraded => Came::Degraded,
        200..=299 => Came::Good,
        status => Came::Status(status),
    }
}

async fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

struct Told {
    status: u16,
    degraded: bool,
    keeps: bool,
}

/// Sends a request and reads its answer to the end; none where there is no whole one.
async fn ask(stream: &mut TcpStream, request: &str) -> Option<Told> {
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut bytes = Vec::with_capacity(2048);
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let closes = field("connection").is_some_and(|value| value.contains("close"));
    match field("content-length").and_then(|n| n.parse::<usize>().ok()) {
        Some(length) => {
            while bytes.len() < end + length {
                if stream.read_buf(&mut bytes).await.ok()? == 0 {
                    return None;
                }
            }
        }
        // The peers' own errors come in chunks, or end with the connection.
        None if field("transfer-encoding").is_some() => {
            while !bytes.ends_with(b"0\r\n\r\n") {
                if stream.read_buf(&mut bytes).await.ok()? == 0 {
                    return None;
                }
            }
        }
        None => while stream.read_buf(&mut bytes).await.ok()? > 0 {},
    }
    Some(Told { status, degraded: field("outrigger-degraded").is_some(), keeps: !closes })
}
