//! The endpoints: small HTTP/1.1 servers that keep their connections, and a book of everything that they have read.
//!
//! An endpoint that is well answers each request within milliseconds, with a body that follows from the request's id, so
//! that a client can tell an answer from another's. What is wrong with one is its [`Mood`], changed from outside; each
//! mood is one arm of [`converse`].

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

use crate::proxy::PORT;

/// The endpoints' hosts.
pub const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What an endpoint does with the requests that reach it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mood {
    Well,
    /// Listens no more; what is connected stays.
    Refusing,
    /// Reads a request, and closes without a word.
    HangingUp,
    /// Closes in the middle of an answer.
    BreakingOff,
    /// Answers with this status.
    Failing(u16),
    /// Reads, and never answers.
    Hanging,
    /// Answers after this long.
    Slow(Duration),
    /// Sends a byte of its answer every so often.
    Trickling(Duration),
}

/// What became of a request that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Open,
    Answered,
    /// The endpoint closed its connection without a word.
    Dropped,
    /// Whoever had sent it went away.
    Left,
}

/// A request that was read to its end, which is when it counts as executed.
#[derive(Debug)]
pub struct Read {
    /// When, since the simulation began.
    pub at: Duration,
    pub id: u64,
    pub is_post: bool,
    /// Whether its connection had carried another one.
    pub reused: bool,
    pub fate: Cell<Fate>,
}

/// Everything that all endpoints have read, in order.
pub type Book = Rc<RefCell<Vec<Rc<Read>>>>;

/// The body of the answer to a request: what is right, and nothing else.
pub fn body_of(id: u64) -> String {
    format!("answer {id} ").repeat(1 + id as usize % 40)
}

/// Adds an endpoint to a simulation.
pub fn add(sim: &mut Sim<'static>, name: &'static str, mood: &Rc<Cell<Mood>>, book: &Book) {
    let (mood, book) = (Rc::clone(mood), Rc::clone(book));
    sim.host(name, move || {
        let (mood, book) = (Rc::clone(&mood), Rc::clone(&book));
        async move {
            loop {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
                while mood.get() != Mood::Refusing {
                    if let Ok(accepted) = tokio::time::timeout(LOOK, listener.accept()).await {
                        tokio::task::spawn_local(converse(accepted?.0, Rc::clone(&mood), Rc::clone(&book)));
                    }
                }
                drop(listener);
                while mood.get() == Mood::Refusing {
                    sleep(LOOK).await;
                }
            }
        }
    });
}

/// How often an endpoint looks whether it should listen.
const LOOK: Duration = Duration::from_millis(20);

/// Settles a request's fate if its conversation ends before that was done, as in a crash.
struct Closing(Rc<Read>);

impl Drop for Closing {
    fn drop(&mut self) {
        if self.0.fate.get() == Fate::Open {
            self.0.fate.set(Fate::Dropped);
        }
    }
}

async fn converse(mut stream: TcpStream, mood: Rc<Cell<Mood>>, book: Book) -> io::Result<()> {
    let mut held = Vec::new();
    let mut reused = false;
    while let Some((id, is_post)) = request(&mut stream, &mut held).await? {
        let at = turmoil::sim_elapsed().unwrap();
        let read = Rc::new(Read { at, id, is_post, reused, fate: Cell::new(Fate::Open) });
        book.borrow_mut().push(Rc::clone(&read));
        let closing = Closing(read);
        reused = true;
        sleep(Duration::from_millis(fastrand::u64(1..12))).await;
        let body = body_of(id);
        let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let sent = match mood.get() {
            Mood::Well | Mood::Refusing => stream.write_all(whole.as_bytes()).await,
            Mood::HangingUp => return Ok(()),
            Mood::BreakingOff => {
                let part = whole.len() - body.len() / 2;
                let _ = stream.write_all(&whole.as_bytes()[..part]).await;
                return Ok(());
            }
            Mood::Failing(status) => {
                let answer = format!("HTTP/1.1 {status} Sorry\r\nContent-Length: 2\r\n\r\nno");
                stream.write_all(answer.as_bytes()).await
            }
            Mood::Hanging => {
                let _ = stream.read(&mut [0; 1]).await;
                closing.0.fate.set(Fate::Left);
                return Ok(());
            }
            Mood::Slow(time) => {
                sleep(time).await;
                stream.write_all(whole.as_bytes()).await
            }
            Mood::Trickling(every) => trickle(&mut stream, &whole, every).await,
        };
        closing.0.fate.set(if sent.is_ok() { Fate::Answered } else { Fate::Left });
        sent?;
    }
    Ok(())
}

async fn trickle(stream: &mut TcpStream, whole: &str, every: Duration) -> io::Result<()> {
    let head = whole.len().min(60);
    stream.write_all(&whole.as_bytes()[..head]).await?;
    for byte in whole.as_bytes()[head..].chunks(1) {
        sleep(every).await;
        stream.write_all(byte).await?;
    }
    Ok(())
}

/// Reads a request to its end: its id, which is all of its path, and whether it is a POST. None at the end of the stream.
async fn request(stream: &mut TcpStream, held: &mut Vec<u8>) -> io::Result<Option<(u64, bool)>> {
    loop {
        if let Some(head) = held.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) {
            let text = String::from_utf8_lossy(&held[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = head + length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if held.len() >= whole {
                held.drain(..whole);
                let id = text.split([' ', '/']).find_map(|word| word.parse().ok());
                return Ok(Some((id.expect("a request without an id"), text.starts_with("post "))));
            }
        }
        if stream.read_buf(held).await? == 0 {
            return Ok(None);
        }
    }
}
