//! Bytes as they arrive, with room in front.
//!
//! A buffer has 67 KiB for what is read, so that 64 KiB and their head come in one read, and 1 KiB before it, which
//! is more than is ever added to a head. A message's new head is written so that it *ends*
//! where the body begins: head and body leave in one send, and the body is never copied. 64 KiB is the least that
//! moves large bodies cheaply (half of it costs a sixth more CPU per request, a quarter costs twice as much), so a
//! buffer is taken from a pool when bytes are about to be read and given back when none are left in it: an idle
//! connection holds none.

use std::cell::RefCell;
use std::rc::Rc;

/// Room before the first byte read.
pub const FRONT: usize = 1024;
/// Room for what is read.
pub const ROOM: usize = 67 * 1024;

/// Bytes read and not yet consumed: `start..end` of a block that has room on both sides.
#[derive(Debug)]
pub struct Buffer {
    block: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new(block: Box<[u8]>) -> Self {
        Self { block, start: FRONT, end: FRONT }
    }

    /// What was read and not consumed.
    pub fn bytes(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }

    /// The same, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.block[self.start..self.end]
    }

    /// How many bytes [`Self::bytes`] has.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where the next bytes are read to. Empty when the buffer is full.
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.block[self.end..]
    }

    /// Whether [`Self::spare`] has room.
    pub fn has_room(&self) -> bool {
        self.end < self.block.len()
    }

    /// `n` bytes were read into [`Self::spare`].
    pub fn filled(&mut self, n: usize) {
        self.end += n.min(self.block.len() - self.end);
    }

    /// The first `n` bytes are done with. A buffer that becomes empty starts again behind its front room.
    pub fn consume(&mut self, n: usize) {
        self.start += n.min(self.len());
        if self.is_empty() {
            self.start = FRONT;
            self.end = FRONT;
        }
    }

    /// Drops what follows the first `n` bytes. A buffer that becomes empty starts again, as in [`Self::consume`].
    pub fn truncate(&mut self, n: usize) {
        self.end = self.start + n.min(self.len());
        self.consume(0);
    }

    /// Moves what is left to where a fresh buffer begins, so that [`Self::spare`] is as large as it can be.
    pub fn compact(&mut self) {
        if self.start > FRONT {
            self.block.copy_within(self.start..self.end, FRONT);
            self.end -= self.start - FRONT;
            self.start = FRONT;
        }
    }

    /// Writes `head` so that it ends at `at`, an offset into [`Self::bytes`], over whatever stood there. False, and
    /// nothing written, where there is no room. Reach it through [`Self::from_front`].
    pub fn write_before(&mut self, at: usize, head: &[u8]) -> bool {
        if at > self.len() || head.len() > self.start + at {
            return false;
        }
        let end = self.start + at;
        self.block[end - head.len()..end].copy_from_slice(head);
        true
    }

    /// The bytes from `before` bytes ahead of `at` up to `to`, both offsets into [`Self::bytes`]: a head written by
    /// [`Self::write_before`] and what follows it.
    pub fn from_front(&self, before: usize, at: usize, to: usize) -> &[u8] {
        let start = (self.start + at.min(self.len())).saturating_sub(before);
        let end = self.start + to.min(self.len());
        &self.block[start..end.max(start)]
    }
}

/// The buffers of a worker that nobody holds at the moment.
#[derive(Debug, Clone)]
pub struct BufferPool {
    free: Rc<RefCell<Vec<Box<[u8]>>>>,
    keep: usize,
}

impl BufferPool {
    /// Keeps at most `keep` free buffers; more are given back to the system.
    pub fn new(keep: usize) -> Self {
        Self { free: Rc::new(RefCell::new(Vec::with_capacity(keep))), keep }
    }

    /// An empty buffer.
    pub fn take(&self) -> Buffer {
        let block = self.free.borrow_mut().pop();
        Buffer::new(block.unwrap_or_else(|| vec![0; FRONT + ROOM].into_boxed_slice()))
    }

    /// Takes a buffer back.
    pub fn give(&self, buffer: Buffer) {
        let mut free = self.free.borrow_mut();
        if free.len() < self.keep {
            free.push(buffer.block);
        }
    }

    /// Buffers that are free.
    pub fn free(&self) -> usize {
        self.free.borrow().len()
    }
}

/// Small vectors for heads and chunk lines on their way out.
#[derive(Debug, Clone)]
pub struct ScratchPool {
    free: Rc<RefCell<Vec<Vec<u8>>>>,
    keep: usize,
}

impl ScratchPool {
    /// Keeps at most `keep` free ones.
    pub fn new(keep: usize) -> Self {
        Self { free: Rc::new(RefCell::new(Vec::with_capacity(keep))), keep }
    }

    /// An empty one.
    pub fn take(&self) -> Vec<u8> {
        self.free.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Takes one back. One that has grown large is not kept.
    pub fn give(&self, mut scratch: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if scratch.capacity() > 0 && scratch.capacity() <= 16 * 1024 && free.len() < self.keep {
            scratch.clear();
            free.push(scratch);
        }
    }
}

#[cfg(test)]
mod tests;
