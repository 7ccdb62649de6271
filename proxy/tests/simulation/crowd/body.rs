//! Bodies: which bytes they are follows from a request's id, so that those of another, or too few of its own, show.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

/// What hyper sends here.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The largest body.
pub const MOST: usize = 3 << 20;
/// The bytes of one frame.
pub const FRAME: usize = 32 << 10;

/// No run of it comes twice within a body.
static BYTES: LazyLock<Bytes> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(MOST + (1 << 20));
    while bytes.len() < MOST + (1 << 20) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
});

/// Part of the body of a request or an answer.
pub fn content(id: u64, range: Range<usize>) -> Bytes {
    let from = (id as usize * 7_919) % (1 << 20);
    BYTES.slice(from + range.start..from + range.end)
}

/// A body of so many bytes, frame by frame; `pause` is waited for before each.
pub fn body<F>(id: u64, size: usize, pause: impl Fn() -> F + Send + 'static) -> UnsyncBoxBody<Bytes, Infallible>
where
    F: Future<Output = ()> + Send,
{
    let frames = stream::unfold((0, pause), move |(at, pause)| async move {
        pause().await;
        let end = size.min(at + FRAME);
        (at < size).then(|| (Ok(Frame::data(content(id, at..end))), (end, pause)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Checks a body as it comes: where it is, and whether all was right so far.
#[derive(Debug)]
pub struct Check {
    id: u64,
    pub at: usize,
    pub right: bool,
}

impl Check {
    pub fn new(id: u64) -> Self {
        Self { id, at: 0, right: true }
    }

    pub fn add(&mut self, data: &[u8]) {
        let end = self.at + data.len();
        self.right &= end <= MOST && content(self.id, self.at..end) == data;
        self.at = end;
    }
}
