//! Where streams run: futures that are used again, each with its timer.
//!
//! A stream needs a place for its future and a timer that may have to end it. Both are larger than all else that a small
//! request costs to set up, and none of it depends on the connection. So a worker keeps them for the next stream, and an idle
//! connection has none.

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
    /// What all streams of its connection have in common.
    pub caller: Rc<Caller>,
    /// Its timer, and its end.
    pub pulse: Rc<Pulse>,
    /// The request.
    pub message: http::Request<RecvStream>,
    /// Where the answer goes.
    pub respond: SendResponse<Bytes>,
}

/// A stream that runs, or the place for one.
pub trait Slot {
    /// Begins a stream.
    fn begin(&mut self, caller: &Rc<Caller>, message: http::Request<RecvStream>, respond: SendResponse<Bytes>);

    /// Ready when nothing more is to be done for it, or when it has to end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ends it, which resets what has not ended.
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

    /// Takes one back, and ends what ran in it.
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

/// Free ones that are kept.
const FREE: usize = 256;
