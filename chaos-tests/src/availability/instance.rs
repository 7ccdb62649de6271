//! One instance of one service: a listener, its connections, and the fault it has just now.
//!
//! It reads HTTP as far as its callers need (a head, a body with a Content-Length), and checks nothing else: what is
//! measured is what happens to requests, not how they are written.
//!
//! **What counts as executed.** A POST that was read whole and whose handler ran: with whatever end, an error, a lost
//! answer, silence. It is reported before anything is answered, through a pipe, so that a killed process has reported it
//! too. That is the strictest reading: a POST that was answered with 503 and then tried again counts as executed twice,
//! since nothing says that a 503 means "not done".

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::fault::{Deed, Door, Fault, Manner, Model, What};
use crate::proxies::origin::content_length;

/// Where checks ask. They meet every fault that a request meets, but do not queue for a capacity and are not counted.
pub const CHECK: &str = "/healthz";

/// One of them.
pub struct Instance {
    /// `s3/1`: the second instance of the fourth service.
    pub name: String,
    /// Requests that came, checks left out.
    pub requests: Cell<u64>,
    /// Connections that are open.
    pub connections: Cell<usize>,
    door: watch::Sender<Door>,
    model: RefCell<Box<dyn Model>>,
    queues: Cell<bool>,
    /// Faults that it has had.
    faults: Cell<u64>,
    rng: RefCell<fastrand::Rng>,
    /// Said of every POST that is executed.
    executed: Box<dyn Fn(&str)>,
}

struct Request {
    /// What its path says, without the slash; its place in an answer's body says whose answer it is.
    id: String,
    post: bool,
    check: bool,
}

impl Instance {
    /// Without a fault.
    pub fn new(name: String, seed: u64, executed: Box<dyn Fn(&str)>) -> Rc<Self> {
        Rc::new(Self {
            name,
            requests: Cell::new(0),
            connections: Cell::new(0),
            door: watch::Sender::new(Door::Open),
            model: RefCell::new(Fault::None.model()),
            queues: Cell::new(false),
            faults: Cell::new(0),
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            executed,
        })
    }

    /// From now on it has this fault, and no other.
    pub fn set(self: &Rc<Self>, fault: &Fault) {
        let model = fault.model();
        let (door, change) = model.door(Duration::ZERO);
        self.model.replace(model);
        self.faults.set(self.faults.get() + 1);
        self.queues.set(matches!(fault, Fault::Capacity(_)));
        self.stand(door);
        if change.is_some() {
            tokio::task::spawn_local(swing(Rc::clone(self), fault.model()));
        }
    }

    /// It ends: see [`Door::Draining`].
    pub fn drain(&self) {
        self.stand(Door::Draining);
    }

    fn stand(&self, door: Door) {
        self.door.send_if_modified(|old| std::mem::replace(old, door) != door);
    }

    /// Serves until its runtime ends.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn serve(self: Rc<Self>, address: SocketAddr) -> io::Result<()> {
        let mut door = self.door.subscribe();
        let mut kept: Option<TcpListener> = None;
        loop {
            let now = *door.borrow_and_update();
            match now {
                Door::Open => {
                    let listener = match kept.take() {
                        Some(listener) => listener,
                        None => TcpListener::bind(address).await?,
                    };
                    SockRef::from(&listener).listen(1024)?;
                    self.accept(&listener, &mut door).await;
                    kept = Some(listener);
                }
                Door::Closed | Door::Draining => {
                    kept = None;
                    changed(&mut door).await;
                }
                Door::Deaf => {
                    let listener = match kept.take() {
                        Some(listener) => listener,
                        None => TcpListener::bind(address).await?,
                    };
                    SockRef::from(&listener).listen(0)?;
                    let knocks = [(); 3].map(|()| {
                        tokio::task::spawn_local(tokio::time::timeout(
                            Duration::from_secs(60),
                            TcpStream::connect(address),
                        ))
                    });
                    changed(&mut door).await;
                    knocks.iter().for_each(tokio::task::JoinHandle::abort);
                    kept = Some(listener);
                }
            }
        }
    }

    async fn accept(self: &Rc<Self>, listener: &TcpListener, door: &mut watch::Receiver<Door>) {
        loop {
            tokio::select! {
                () = changed(door) => return,
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        tokio::task::spawn_local(Rc::clone(self).connection(stream));
                    }
                }
            }
        }
    }

    async fn connection(self: Rc<Self>, mut stream: TcpStream) {
        self.connections.set(self.connections.get() + 1);
        let door = self.door.subscribe();
        if self.requests_of(&mut stream, door.clone()).await == Left::Cut {
            self.cut(stream, door).await;
        }
        self.connections.set(self.connections.get() - 1);
    }

    async fn requests_of(&self, stream: &mut TcpStream, mut door: watch::Receiver<Door>) -> Left {
        let _ = stream.set_nodelay(true);
        let mut buffer = Vec::with_capacity(2048);
        let mut drained = door.clone();
        loop {
            let request = tokio::select! {
                biased;
                () = stands(&mut door, |d| matches!(d, Door::Closed | Door::Deaf)) => return Left::Cut,
                request = read_request(stream, &mut buffer) => request,
                () = stands(&mut drained, |d| d == Door::Draining) => return Left::Closed,
            };
            let Ok(Some(request)) = request else { return Left::Closed };
            let deed = self.deed(&request);
            tokio::select! {
                biased;
                () = stands(&mut door, |d| matches!(d, Door::Closed | Door::Deaf)) => return Left::Cut,
                end = self.perform(stream, deed, &request) => match end {
                    Ok(Left::Open) => {}
                    Ok(end) => return end,
                    Err(_) => return Left::Closed,
                },
            }
        }
    }

    fn deed(&self, request: &Request) -> Deed {
        let rng = &mut *self.rng.borrow_mut();
        let ordinary = Deed::ordinary(rng);
        if request.check && self.queues.get() {
            return ordinary;
        }
        if !request.check {
            self.requests.set(self.requests.get() + 1);
            if request.post {
                (self.executed)(&request.id);
            }
        }
        self.model.borrow_mut().deed(ordinary, rng, Instant::now())
    }

    async fn perform(&self, stream: &mut TcpStream, deed: Deed, request: &Request) -> io::Result<Left> {
        tokio::time::sleep(deed.after).await;
        let (status, size, manner) = match deed.what {
            What::Silence => std::future::pending().await,
            What::Reset => {
                reset(stream);
                return Ok(Left::Closed);
            }
            What::Answer { status, size, manner } => (status, size, manner),
        };
        let last = *self.door.borrow() == Door::Draining;
        let close = if last { "Connection: close\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} Said\r\nX-Instance: {}\r\nContent-Type: text/plain\r\n{close}Content-Length: {size}\r\n\r\n",
            self.name
        );
        let body = body(&request.id, size);
        match manner {
            Manner::Whole => stream.write_all(&[head.as_bytes(), &body].concat()).await?,
            Manner::Cut(at) => {
                stream.write_all(&[head.as_bytes(), &body[..at.min(size)]].concat()).await?;
                // A reset overtakes what the other side has not read yet: let it read, or this were no reset in mid-body.
                tokio::time::sleep(Duration::from_millis(10)).await;
                reset(stream);
                return Ok(Left::Closed);
            }
            Manner::Pieces(pieces, gap) => {
                stream.write_all(head.as_bytes()).await?;
                for piece in body.chunks(size.div_ceil(pieces.max(1) as usize).max(1)) {
                    tokio::time::sleep(gap).await;
                    stream.write_all(piece).await?;
                }
            }
        }
        Ok(if last { Left::Closed } else { Left::Open })
    }

    /// What becomes of a connection when the door is shut on it.
    async fn cut(&self, stream: TcpStream, mut door: watch::Receiver<Door>) {
        stands(&mut door, |d| d != Door::Deaf).await;
        reset(&stream);
    }
}

/// Moves the door of a fault that moves it, until the instance has another fault.
async fn swing(instance: Rc<Instance>, model: Box<dyn Model>) {
    let (begun, fault) = (Instant::now(), instance.faults.get());
    let (_, mut until) = model.door(Duration::ZERO);
    while let Some(change) = until {
        tokio::time::sleep_until((begun + change).into()).await;
        if instance.faults.get() != fault {
            return;
        }
        let (door, next) = model.door(begun.elapsed().max(change));
        instance.stand(door);
        until = next;
    }
}

/// How a connection was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It goes on.
    Open,
    /// It is at its end.
    Closed,
    /// The door was shut on it.
    Cut,
}

async fn changed(door: &mut watch::Receiver<Door>) {
    if door.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn stands(door: &mut watch::Receiver<Door>, so: impl FnMut(Door) -> bool) {
    let mut so = so;
    if door.wait_for(|d| so(*d)).await.is_err() {
        std::future::pending().await
    }
}

/// The next thing that is sent on it is a RST; dropping it sends one.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// The body of the answer to a request: it says whose answer it is and how long, and every further byte is one letter.
pub fn body(id: &str, size: usize) -> Vec<u8> {
    let letter = b'a' + id.bytes().fold(0_u8, u8::wrapping_add) % 26;
    let mut body = format!("{id} {size}\n").into_bytes();
    body.resize(size, letter);
    body
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        if let Some(head) = buffer.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) {
            let whole = head + content_length(&buffer[..head]).unwrap_or(0);
            if buffer.len() >= whole {
                let line = buffer.split(|b| *b == b'\r').next().unwrap_or_default();
                let line = String::from_utf8_lossy(line).into_owned();
                let mut words = line.split(' ');
                let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let request = Request {
                    id: path.trim_start_matches('/').to_owned(),
                    post: method == "POST",
                    check: path == CHECK,
                };
                buffer.drain(..whole);
                return Ok(Some(request));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests;
