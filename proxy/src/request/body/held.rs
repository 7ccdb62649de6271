//! What has come of a body over HTTP/2, in the pieces in which it came.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Buf, Bytes};

use crate::http::Head;
use crate::http::gather::{SMALL, gather};

/// The pieces, and whether there will be more.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) chunks: VecDeque<Bytes>,
    pub(super) len: usize,
    pub(super) done: bool,
    pub(super) trailers: Option<Rc<Head>>,
}

impl Held {
    pub(super) fn push(&mut self, data: Bytes) {
        self.len += data.len();
        match self.chunks.back_mut() {
            Some(last) if last.len() < SMALL && data.len() < SMALL => gather(last, &data),
            _ => self.chunks.push_back(data),
        }
    }

    pub(super) fn slice(&self, mut at: usize) -> &[u8] {
        for chunk in &self.chunks {
            if at < chunk.len() {
                return &chunk[at..];
            }
            at -= chunk.len();
        }
        &[]
    }

    pub(super) fn drop_front(&mut self, n: usize) {
        let mut left = n.min(self.len);
        self.len -= left;
        while let Some(first) = self.chunks.front_mut() {
            if left < first.len() {
                first.advance(left);
                return;
            }
            left -= first.len();
            self.chunks.pop_front();
        }
    }
}
