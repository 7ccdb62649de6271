//! The endpoints of a crowd: hyper's servers of either protocol, and a book of everything that they have been given.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::sleep;
use turmoil::Sim;
use turmoil::net::TcpListener;

use super::body::{Body, Check, body};
use crate::proxy::PORT;

/// What an endpoint does with the bodies that reach it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mood {
    Well,
    /// Reads no more of any body, and goes on where it was.
    ReadingNothing,
    /// Writes no more of any body, and goes on where it was.
    WritingNothing,
    /// Begins late.
    Slow,
    /// Gives another request's answer.
    Lying,
    /// Takes what it is given, and says that it failed.
    Failing,
}

/// A body that an endpoint was given, to its end, which is when it counts as executed.
#[derive(Debug)]
pub struct Taken {
    pub id: u64,
    pub is_post: bool,
    /// Whether every byte of it was right, and none was missing.
    pub whole: bool,
}

/// Everything that endpoints were given, in order.
pub type Book = Rc<RefCell<Vec<Taken>>>;

/// Runs what hyper wants to run on the host that it is on.
#[derive(Debug, Clone, Copy)]
pub struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Adds an endpoint to a simulation.
pub fn add(sim: &mut Sim<'static>, name: &'static str, framed: bool, mood: &Rc<Cell<Mood>>, book: &Book) {
    let (mood, book) = (Rc::clone(mood), Rc::clone(book));
    sim.host(name, move || {
        let (mood, book) = (Rc::clone(&mood), Rc::clone(&book));
        async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
            loop {
                let io = TokioIo::new(listener.accept().await?.0);
                let (mood, book) = (Rc::clone(&mood), Rc::clone(&book));
                let service = service_fn(move |request| answer(request, Rc::clone(&mood), Rc::clone(&book)));
                // How a connection ends is its other end's to see.
                tokio::task::spawn_local(async move {
                    match framed {
                        true => {
                            hyper::server::conn::http2::Builder::new(Local).serve_connection(io, service).await.ok()
                        }
                        false => hyper::server::conn::http1::Builder::new().serve_connection(io, service).await.ok(),
                    }
                });
            }
        }
    });
}

/// How often an endpoint that stands still looks whether it should go on.
const LOOK: Duration = Duration::from_millis(20);

async fn answer(request: Request<Incoming>, mood: Rc<Cell<Mood>>, book: Book) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut parts = path.split('/').skip(1);
    let kind = parts.next().unwrap_or_default();
    let mut number = || parts.next().and_then(|part| part.parse().ok()).expect("a number in the path");
    let (id, size): (u64, u64) = (number(), number());
    let lie = u64::from(mood.get() == Mood::Lying);
    sleep(Duration::from_millis(fastrand::u64(1..8))).await;
    if mood.get() == Mood::Slow {
        sleep(Duration::from_millis(600)).await;
    }
    let mut response = Response::new(body(id, size as usize, || async {}));
    match kind {
        "bad" => {
            *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
            *response.body_mut() = body(id, 0, || async {});
        }
        "take" => {
            let is_post = request.method() == Method::POST;
            let (mut incoming, mut check) = (request.into_body(), Check::new(id));
            while let Some(frame) = incoming.frame().await {
                let Ok(frame) = frame else {
                    *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
                    return Ok(response);
                };
                check.add(frame.data_ref().map_or(&[], |data| &data[..]));
                while mood.get() == Mood::ReadingNothing {
                    sleep(LOOK).await;
                }
            }
            let whole = check.right && check.at == size as usize;
            book.borrow_mut().push(Taken { id, is_post, whole });
            *response.body_mut() = body(id, 100, || async {});
            if mood.get() == Mood::Failing {
                *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
            }
        }
        _ => {
            let still = Still(mood);
            *response.body_mut() = still.body(id + lie, size as usize);
        }
    }
    Ok(response)
}

/// An answer's body that stands still while its endpoint does.
struct Still(Rc<Cell<Mood>>);

impl Still {
    fn body(self, id: u64, size: usize) -> Body {
        use futures_util::stream;
        use http_body_util::{BodyExt, StreamBody};
        // Nothing of a simulation leaves its thread, and hyper does not ask it to; the box's name for that is missing.
        let (tell, told) = tokio::sync::mpsc::channel(1);
        tokio::task::spawn_local(async move {
            let mut at = 0;
            while at < size {
                while self.0.get() == Mood::WritingNothing {
                    sleep(LOOK).await;
                }
                let end = size.min(at + super::body::FRAME);
                if tell.send(super::body::content(id, at..end)).await.is_err() {
                    return;
                }
                at = end;
            }
        });
        let frames = stream::unfold(told, |mut told| async move {
            told.recv().await.map(|data| (Ok(hyper::body::Frame::data(data)), told))
        });
        StreamBody::new(frames).boxed_unsync()
    }
}
