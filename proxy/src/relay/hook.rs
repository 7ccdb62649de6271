//! Byte-stream faults on connections that carry requests.
//!
//! The code that carries requests knows nothing of these faults. A connection to an endpoint has a [`StreamFaultHook`]. Without
//! faults it costs one comparison at each poll of the connection. When a fault is added, the socket is moved into a
//! task of its own, which is a [`Relay`](super::Relay) with the faults' stages, and the connection goes on as a pipe
//! to that task. The relay and the stages are those of TCP proxies, for HTTP/1.1 and HTTP/2 alike.
//!
//! A parked connection is not polled, so a fault change must wake it. Each tap keeps the waker of the task that waits
//! for its connection, and when a service's faults change, its taps are woken.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::{Change, End, Relay, Watch};
use crate::fault::{FaultTarget, Stream};
use crate::http::BufferPool;
use crate::net::{FaultHook, Io};
use crate::timer;

/// The taps of one service's connections from one worker.
#[derive(Debug)]
pub struct StreamFaultHooks {
    subject: Arc<FaultTarget>,
    told: Cell<u64>,
    posts: RefCell<Vec<Weak<AtomicWaker>>>,
}

/// On one connection.
#[derive(Debug)]
pub struct StreamFaultHook {
    watch: Watch,
    met: Vec<(Stream, Change)>,
    /// Atomic only because health checks, which have none, take their connections across threads.
    post: Arc<AtomicWaker>,
}

/// Free buffers of a faulted connection that are kept.
const KEPT: usize = 2;

impl StreamFaultHooks {
    /// Of a service without connections.
    pub fn new(subject: &Arc<FaultTarget>) -> Rc<Self> {
        Rc::new(Self { told: Cell::new(subject.generation()), subject: Arc::clone(subject), posts: RefCell::default() })
    }

    /// One for a connection that is about to be made. It has looked already.
    pub fn tap(&self, endpoint: SocketAddr) -> Box<dyn FaultHook> {
        let post = Arc::<AtomicWaker>::default();
        let mut posts = self.posts.borrow_mut();
        if posts.len() == posts.capacity() {
            posts.retain(|post| post.strong_count() > 0);
        }
        posts.push(Arc::downgrade(&post));
        let watch = Watch::new(Arc::clone(&self.subject), Some(endpoint));
        let mut tap = StreamFaultHook { watch, met: Vec::new(), post };
        if tap.is_stale() {
            tap.look();
        }
        Box::new(tap)
    }

    /// Wakes those who wait, if the faults have changed.
    pub fn tell(&self) {
        let now = self.subject.generation();
        if self.told.replace(now) != now {
            self.posts.borrow_mut().retain(|post| {
                let post = post.upgrade();
                post.inspect(|post| post.wake()).is_some()
            });
        }
    }
}

impl FaultHook for StreamFaultHook {
    #[inline]
    fn is_stale(&self) -> bool {
        self.watch.is_stale()
    }

    fn look(&mut self) {
        let met = &mut self.met;
        self.watch.refresh(timer::now(), |stream, change| met.push((stream, change)));
    }

    fn is_down(&self) -> bool {
        self.watch.is_down()
    }

    fn is_struck(&self) -> bool {
        self.watch.is_struck()
    }

    #[inline]
    fn remember(&self, cx: &Context<'_>) {
        self.post.register(cx.waker());
    }

    fn divert(self: Box<Self>, near: Io, far: Io) {
        let Self { watch, met, .. } = *self;
        let (subject, seen) = (Arc::clone(watch.subject()), watch.seen());
        let relay = Relay::new(None).watched(watch, met);
        tokio::task::spawn_local(carry(relay, near, far, subject, seen));
    }
}

async fn carry(mut relay: Relay, mut near: Io, mut far: Io, subject: Arc<FaultTarget>, seen: u64) {
    let pool = BufferPool::new(KEPT);
    let mut changed = pin!(subject.changed(seen));
    let end = poll_fn(|cx| {
        while let Poll::Ready(now) = changed.as_mut().poll(cx) {
            changed.set(subject.changed(now));
        }
        relay.poll(cx, &mut near, &mut far, &pool)
    })
    .await;
    if matches!(end, End::Reset | End::Broken) {
        far.abort();
    }
}
