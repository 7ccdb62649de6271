//! The clients: an open stream of requests, each with a deadline of a second, and what became of every one.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use outrigger::snapshot::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;

use crate::endpoint::body_of;
use crate::proxy::PORT;

/// How long a client waits for an answer.
pub const DEADLINE: Duration = Duration::from_secs(1);
/// How much later than that the proxy's word for it may be there.
pub const SLACK: Duration = Duration::from_millis(250);

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The answer to its request.
    Right,
    /// An answer of 200 that is not.
    Wrong(String),
    /// Another status.
    Status(u16),
    /// The connection ended before the answer did.
    Closed,
    /// Nothing, until it would wait no longer.
    Nothing,
}

/// A request, and what became of it.
#[derive(Debug)]
pub struct Asked {
    pub id: u64,
    pub is_post: bool,
    /// When, since the simulation began.
    pub at: Duration,
    pub took: Duration,
    pub outcome: Outcome,
    /// Whether it told the proxy how long it would wait, and so is owed an answer by then.
    pub told: bool,
    /// Whether the service's account refused nobody while it was under way.
    pub in_credit: bool,
}

/// What a client does.
#[derive(Clone)]
pub struct Load {
    /// From one request to the next, on average.
    pub every: Duration,
    pub lasts: Duration,
    /// The share of requests that are POSTs.
    pub posts: f64,
}

/// What all clients of a simulation share.
#[derive(Clone, Default)]
pub struct Shared {
    pub asked: Rc<RefCell<Vec<Asked>>>,
    /// Requests that have begun, whether or not they have ended, and when.
    pub begun: Rc<RefCell<Vec<Duration>>>,
    pub next: Rc<Cell<u64>>,
    pub cluster: Rc<RefCell<Option<std::sync::Arc<Cluster>>>>,
}

impl Shared {
    fn refused(&self) -> u64 {
        self.cluster.borrow().as_ref().map_or(0, |cluster| cluster.shared.budget.balance().refused)
    }
}

/// Sends requests for as long as it is to, and waits until all have ended.
pub async fn run(shared: Shared, load: Load) -> io::Result<()> {
    let idle = Rc::new(RefCell::new(Vec::new()));
    let mut open = Vec::new();
    while turmoil::sim_elapsed().unwrap() < load.lasts {
        sleep(load.every.mul_f64(2.0 * fastrand::f64())).await;
        let (shared, idle, posts) = (shared.clone(), Rc::clone(&idle), load.posts);
        open.push(tokio::task::spawn_local(async move { one(&shared, &idle, posts).await }));
    }
    for request in open {
        request.await?;
    }
    Ok(())
}

async fn one(shared: &Shared, idle: &RefCell<Vec<TcpStream>>, posts: f64) {
    let id = shared.next.replace(shared.next.get() + 1);
    let (is_post, told) = (fastrand::f64() < posts, fastrand::bool());
    let at = turmoil::sim_elapsed().unwrap();
    shared.begun.borrow_mut().push(at);
    let refused = shared.refused();
    let patience = if told { DEADLINE + SLACK } else { DEADLINE };
    let outcome = match timeout(patience, exchange(idle, id, is_post, told)).await {
        Ok(Ok((200, body))) if body == body_of(id) => Outcome::Right,
        Ok(Ok((200, body))) => Outcome::Wrong(body),
        Ok(Ok((status, _))) => Outcome::Status(status),
        Ok(Err(_)) => Outcome::Closed,
        Err(_) => Outcome::Nothing,
    };
    let took = turmoil::sim_elapsed().unwrap() - at;
    let in_credit = shared.refused() == refused;
    shared.asked.borrow_mut().push(Asked { id, is_post, at, took, outcome, told, in_credit });
}

/// Asks on a free connection, or on a new one. Whoever drops it hangs up.
async fn exchange(idle: &RefCell<Vec<TcpStream>>, id: u64, is_post: bool, told: bool) -> io::Result<(u16, String)> {
    let free = idle.borrow_mut().pop();
    let mut stream = match free {
        Some(stream) => stream,
        None => TcpStream::connect(("proxy", PORT)).await?,
    };
    let (method, framing) = if is_post { ("POST", "Content-Length: 4\r\n") } else { ("GET", "") };
    let waits = if told { format!("x-request-deadline: {}\r\n", DEADLINE.as_millis()) } else { String::new() };
    let body = if is_post { "body" } else { "" };
    let request = format!("{method} /{id} HTTP/1.1\r\nHost: orders\r\n{framing}{waits}\r\n{body}");
    stream.write_all(request.as_bytes()).await?;
    let mut held = Vec::new();
    loop {
        if let Some(head) = held.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) {
            let text = String::from_utf8_lossy(&held[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("no length");
            if held.len() >= head + length.trim().parse::<usize>().unwrap() {
                if !text.contains("connection: close") {
                    idle.borrow_mut().push(stream);
                }
                let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("no status");
                return Ok((status, String::from_utf8_lossy(&held[head..]).into_owned()));
            }
        }
        if stream.read_buf(&mut held).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
