//! An answer's body under injected faults: cut short, slowed down, changed.
//!
//! A faulted body copies what it lets through into a piece of its own. That costs a little, and only here: a body
//! without faults never takes this way. A faulted body never says that it is whole, so that it is neither kept as a
//! stale copy nor sent by a shortcut for whole bodies.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::time::Sleep;

use crate::clock::Instant;
use crate::error::Reason;
use crate::fault::Active;
use crate::fault::http::HttpFault;
use crate::fault::spec::Kind;
use crate::forward::response_body::Download;
use crate::http::{Head, Length};
use crate::timer;
use crate::upstream::Upstream;
use crate::upstream::held::Holding;

/// The size of a piece, in bytes.
const PIECE: usize = 16 << 10;
/// How many pieces of a slowed body come in a second. Where a piece would be less than a byte, it is a byte.
const PIECES_A_SECOND: usize = 50;

/// A body under faults.
pub struct Faulted {
    inner: Download,
    /// What was taken out of the real body and has not been sent yet.
    piece: Bytes,
    truncate: Option<Truncated>,
    throttle: Option<Throttled>,
    corrupt: Option<Corrupted>,
}

struct Truncated {
    active: Arc<Active>,
    left: u64,
}

struct Throttled {
    active: Arc<Active>,
    rate: f64,
    began: Instant,
    /// How many bytes were let through.
    passed: u64,
    sleep: Pin<Box<Sleep>>,
    over: Pin<Box<dyn Future<Output = ()>>>,
}

struct Corrupted {
    active: Arc<Active>,
    share: f64,
    any: bool,
}

impl Faulted {
    /// What these faults do to a body. None where none of them changes bodies.
    pub fn new(faults: &[&Arc<Active>]) -> Option<Self> {
        let mut faulted =
            Self { inner: Download::Empty, piece: Bytes::new(), truncate: None, throttle: None, corrupt: None };
        for active in faults {
            let active = || Arc::clone(active);
            match &active().fault.kind {
                Kind::Http(HttpFault::Truncate(truncate)) => {
                    let left = truncate.after.0 as u64;
                    let shortest = faulted.truncate.as_ref().is_none_or(|other| left < other.left);
                    if shortest {
                        faulted.truncate = Some(Truncated { active: active(), left });
                    }
                }
                Kind::Http(HttpFault::Throttle(throttle)) => {
                    let rate = throttle.rate.0 as f64;
                    if faulted.throttle.as_ref().is_none_or(|other| rate < other.rate) {
                        faulted.throttle = Some(Throttled::new(active(), rate));
                    }
                }
                Kind::Http(HttpFault::Corrupt(corrupt)) => {
                    faulted.corrupt = Some(Corrupted { active: active(), share: corrupt.bytes.0, any: false });
                }
                _ => {}
            }
        }
        let Self { truncate, throttle, corrupt, .. } = &faulted;
        (truncate.is_some() || throttle.is_some() || corrupt.is_some()).then_some(faulted)
    }

    /// Puts the faults around a body.
    pub fn around(mut self, inner: Download) -> Download {
        if matches!(inner, Download::Empty) {
            return inner;
        }
        self.inner = inner;
        Download::Faulted(Box::new(self))
    }

    /// How its end is stated: as for the real body, as if nothing were wrong.
    pub fn length(&self) -> Length {
        self.inner.length()
    }

    /// As [`Download::occupies`].
    pub fn occupies(&self) -> Option<&Rc<Upstream>> {
        self.inner.occupies()
    }

    /// As [`Download::has_sent`].
    pub fn has_sent(&self) -> bool {
        self.inner.has_sent()
    }

    /// Whether nothing more comes.
    pub fn is_over(&self) -> bool {
        self.piece.is_empty() && self.inner.is_over()
    }

    /// As [`Download::poll_hold`]. A slowed body is held for as long as it takes, and a truncated one breaks off
    /// here.
    pub fn poll_hold(&mut self, cx: &mut Context<'_>, first: bool) -> Poll<Result<(), Reason>> {
        ready!(self.inner.poll_hold(cx, first))?;
        let known = match (self.inner.whole(), self.inner.length()) {
            (Some(whole), _) => whole.len() as u64,
            (None, Length::Exact(n)) => n,
            (None, _) => 1,
        };
        if let Some(truncate) = self.truncate.as_ref().filter(|truncate| truncate.is_living())
            && !first
            && known > truncate.left
        {
            return Poll::Ready(Err(Reason::UpstreamClosed));
        }
        match &mut self.throttle {
            Some(throttle) => throttle.poll(cx, if first { 1 } else { known }).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }

    /// As [`Download::poll_piece`].
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Reason>> {
        if !self.piece.is_empty() {
            return Poll::Ready(Ok(self.piece.len()));
        }
        let mut len = ready!(self.inner.poll_piece(cx))?.min(PIECE);
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        if let Some(truncate) = self.truncate.as_mut().filter(|truncate| truncate.is_living()) {
            if truncate.left == 0 {
                return Poll::Ready(Err(Reason::UpstreamClosed));
            }
            len = len.min(usize::try_from(truncate.left).unwrap_or(usize::MAX));
        }
        if let Some(throttle) = &mut self.throttle {
            len = len.min(((throttle.rate as usize) / PIECES_A_SECOND).max(1));
            ready!(throttle.poll(cx, len as u64));
            throttle.passed += len as u64;
        }
        if let Some(truncate) = &mut self.truncate {
            truncate.left = truncate.left.saturating_sub(len as u64);
        }
        let piece = self.inner.take(len);
        self.piece = match &mut self.corrupt {
            Some(corrupt) if !corrupt.active.is_over(timer::now()) => corrupt.change(&piece),
            _ => piece,
        };
        Poll::Ready(Ok(self.piece.len()))
    }

    /// What was taken out and has not been sent yet.
    pub fn piece(&self) -> &[u8] {
        &self.piece
    }

    /// Takes up to `len` bytes out.
    pub fn take(&mut self, len: usize) -> Bytes {
        self.piece.split_to(len.min(self.piece.len()))
    }

    /// The first `n` bytes were sent.
    pub fn consume(&mut self, n: usize) {
        self.piece.advance(n.min(self.piece.len()));
    }

    /// As [`Download::keep`].
    pub fn keep(&mut self, held: Holding) {
        self.inner.keep(held);
    }

    /// As [`Download::stop_upload`].
    pub fn stop_upload(&mut self) {
        self.inner.stop_upload();
    }

    /// As [`Download::poll_upload`].
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) {
        self.inner.poll_upload(cx);
    }

    /// The trailers, once they have come.
    pub fn trailers(&self) -> Option<Rc<Head>> {
        self.inner.trailers()
    }
}

impl Truncated {
    fn is_living(&self) -> bool {
        !self.active.is_over(timer::now())
    }
}

impl Throttled {
    fn new(active: Arc<Active>, rate: f64) -> Self {
        let over = {
            let active = Arc::clone(&active);
            Box::pin(async move { active.over().await })
        };
        let began = timer::now();
        Self { active, rate, began, passed: 0, sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), over }
    }

    /// Ready when so many bytes more may be let through, or the fault is over.
    fn poll(&mut self, cx: &mut Context<'_>, more: u64) -> Poll<()> {
        if self.active.is_over(timer::now()) {
            return Poll::Ready(());
        }
        let due = self.began + Duration::from_secs_f64((self.passed + more) as f64 / self.rate);
        if due <= timer::now() {
            return Poll::Ready(());
        }
        self.sleep.as_mut().reset(due.into());
        if self.over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.sleep.as_mut().poll(cx)
    }
}

impl Corrupted {
    fn change(&mut self, piece: &Bytes) -> Bytes {
        let mut bytes = piece.to_vec();
        for byte in &mut bytes {
            if !self.any || fastrand::f64() < self.share {
                // Any other byte, each as likely as the next.
                *byte = byte.wrapping_add(fastrand::u8(1..=255));
                self.any = true;
            }
        }
        bytes.into()
    }
}

impl std::fmt::Debug for Faulted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faulted").field("inner", &self.inner).finish_non_exhaustive()
    }
}
