//! Slots in which streams run: pooled futures, each with its timer.
//!
//! A stream needs memory for its future and a timer that may have to end it. Setting up both costs more than
//! everything else that a small request needs, and neither depends on the connection. So a worker keeps them for the
//! next stream, whichever connection that is on, and an idle connection has none.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;

use super::stream::{self, Caller};
use crate::upstream::http2::pulse::Pulse;

/// What a stream begins with.
pub struct Start {
    /// What all streams of the connection share.
    pub caller: Rc<Caller>,
    /// The stream's timer, and what ends it.
    pub pulse: Rc<Pulse>,
    /// The request.
    pub message: http::Request<RecvStream>,
    /// Where the answer goes.
    pub respond: SendResponse<Bytes>,
}

/// A place for a stream, free or in use.
pub trait Slot {
    /// Begins a stream.
    fn begin(&mut self, caller: &Rc<Caller>, message: http::Request<RecvStream>, respond: SendResponse<Bytes>);

    /// Ready when nothing more is to be done for the stream, or when it has to end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ends the stream. If it has not ended on the wire, it is reset.
    fn end(&mut self);
}

struct Of<M, F> {
    make: M,
    future: Pin<Box<Option<F>>>,
    pulse: Rc<Pulse>,
}

impl<M: Fn(Start) -> F, F: Future<Output = ()>> Slot for Of<M, F> {
    fn begin(&mut self, caller: &Rc<Caller>, message: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        let idle = caller.worker.http.stream_idle_timeout;
        match Rc::get_mut(&mut self.pulse) {
            Some(pulse) => pulse.begin_again(idle),
            None => self.pulse = Pulse::new(idle),
        }
        let start = Start { caller: Rc::clone(caller), pulse: Rc::clone(&self.pulse), message, respond };
        self.future.set(Some((self.make)(start)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(future) = self.future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        if future.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.pulse.poll_stalled(cx)
    }

    fn end(&mut self) {
        self.future.set(None);
    }
}

fn slot<M, F>(make: M, pulse: Rc<Pulse>) -> Box<dyn Slot>
where
    M: Fn(Start) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    Box::new(Of { make, future: Box::pin(None), pulse })
}

/// The free slots of a worker.
#[derive(Clone, Default)]
pub struct Slots {
    free: Rc<RefCell<Vec<Box<dyn Slot>>>>,
}

impl Slots {
    /// A slot for a stream of this connection.
    pub fn take(&self, caller: &Caller) -> Box<dyn Slot> {
        let free = self.free.borrow_mut().pop();
        free.unwrap_or_else(|| slot(stream::run, Pulse::new(caller.worker.http.stream_idle_timeout)))
    }

    /// Takes a slot back, and ends the stream that ran in it.
    pub fn give(&self, mut slot: Box<dyn Slot>) {
        slot.end();
        let mut free = self.free.borrow_mut();
        if free.len() < FREE {
            free.push(slot);
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("free", &self.free.borrow().len()).finish()
    }
}

/// How many free slots a worker keeps.
const FREE: usize = 256;
