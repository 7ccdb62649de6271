//! Bytes as they arrive, with room in front.
//!
//! A large buffer has 67 KiB for what is read, so that 64 KiB and their head come in one read, and 1 KiB before it, which
//! is more than is ever added to a head. A message's new head is written so that it *ends*
//! where the body begins: head and body leave in one send, and the body is never copied. 64 KiB is the least that
//! moves large bodies cheaply (half of it costs a sixth more CPU per request, a quarter costs twice as much), so a
//! buffer is taken from a pool when bytes are about to be read and given back when none are left in it: an idle
//! connection holds none.
//!
//! What a client sends is read into a small one at first, which nearly every head fits, and which is given for a large one when
//! it is full. All of them count against one budget of the process: without it ten thousand clients that each send a part of a
//! head would have the process killed. Each is a mapping of its own, and goes back to the system when it is let go of: the
//! allocator would keep what a flood had needed until the process ends.
//!
//! Whoever may hold one for as long as somebody does not read takes a large one only while less than half of the budget is
//! taken: so all of those together never take what everybody else needs.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::MmapMut;

/// Room before the first byte read.
pub const FRONT: usize = 1024;
/// Room for what is read.
pub const ROOM: usize = 67 * 1024;
/// Room in a small buffer. With what is before it, two pages.
pub const LITTLE: usize = 7 * 1024;

/// Bytes read and not yet consumed: `start..end` of a block that has room on both sides.
#[derive(Debug)]
pub struct Buffer {
    block: Block,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Memory that a small one takes.
    pub const SMALL: usize = FRONT + LITTLE;

    fn new(block: Block) -> Self {
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

    /// Whether there is a larger kind.
    pub fn is_small(&self) -> bool {
        self.block.len() < FRONT + ROOM
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

/// Memory of a buffer, counted as long as it is there.
#[derive(Debug)]
struct Block {
    bytes: MmapMut,
    budget: Arc<Budget>,
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// How much memory the process's buffers may take.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    most: usize,
}

impl Budget {
    /// So many bytes, and a quarter more for what is under way already.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }

    /// Bytes that are taken.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes beyond three quarters.
    pub fn excess(&self) -> usize {
        self.used().saturating_sub(self.most - self.most / 4)
    }

    /// Whether more than half is taken.
    pub fn is_tight(&self) -> bool {
        self.used() > self.most / 2
    }

    /// With what is under way already.
    fn utmost(&self) -> usize {
        self.most.saturating_add(self.most / 4)
    }

    /// Whether nothing new may begin.
    pub fn is_spent(&self) -> bool {
        self.used() >= self.most
    }

    fn block(self: &Arc<Self>, size: usize, most: usize) -> Option<Block> {
        let after = |used: usize| used.checked_add(size).filter(|after| *after <= most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).ok()?;
        match MmapMut::map_anon(size) {
            Ok(bytes) => Some(Block { bytes, budget: Arc::clone(self) }),
            Err(_) => {
                self.used.fetch_sub(size, Ordering::Relaxed);
                None
            }
        }
    }
}

/// The buffers of a worker that nobody holds at the moment.
#[derive(Debug, Clone)]
pub struct BufferPool {
    small: Rc<Shelf>,
    large: Rc<Shelf>,
    budget: Arc<Budget>,
}

/// Free blocks of one size.
#[derive(Debug)]
struct Shelf {
    free: RefCell<Vec<Block>>,
    size: usize,
    keep: usize,
    /// How few were free at one time since the last look.
    least: Cell<usize>,
}

impl Shelf {
    fn new(size: usize, keep: usize) -> Rc<Self> {
        Rc::new(Self { free: RefCell::new(Vec::with_capacity(keep)), size, keep, least: Cell::new(0) })
    }

    fn take(&self) -> Option<Block> {
        let mut free = self.free.borrow_mut();
        let block = free.pop();
        self.least.set(self.least.get().min(free.len()));
        block
    }

    fn give(&self, block: Block) {
        let mut free = self.free.borrow_mut();
        if free.len() < self.keep {
            free.push(block);
        }
    }

    fn trim(&self) {
        let mut free = self.free.borrow_mut();
        let idle = self.least.get().min(free.len());
        let spare = idle.saturating_sub(KEPT).div_ceil(2);
        let left = free.len() - spare;
        free.truncate(left);
        self.least.set(left);
    }
}

/// Free ones that are kept however long nobody needs them.
const KEPT: usize = 4;
/// Small ones for each large one: they take an eighth of the memory.
const SMALL_ONES: usize = 4;

/// There is no memory for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent;

impl From<Spent> for std::io::Error {
    fn from(Spent: Spent) -> Self {
        std::io::ErrorKind::OutOfMemory.into()
    }
}

impl BufferPool {
    /// Keeps at most `keep` free large buffers; more are given back to the system.
    pub fn new(keep: usize) -> Self {
        Self::within(&Budget::new(usize::MAX / 2), keep)
    }

    /// The same, within a budget.
    pub fn within(budget: &Arc<Budget>, keep: usize) -> Self {
        Self {
            small: Shelf::new(FRONT + LITTLE, keep * SMALL_ONES),
            large: Shelf::new(FRONT + ROOM, keep),
            budget: Arc::clone(budget),
        }
    }

    /// The budget.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// An empty buffer, for what is under way: beyond the budget too, by a quarter.
    pub fn take(&self) -> Result<Buffer, Spent> {
        self.large_block(self.budget.utmost()).map(Buffer::new)
    }

    /// The same, for who may hold it for as long as somebody does not read: a small one where more than half is taken. What
    /// fits no small one is for [`grow_on`](Self::grow_on).
    pub fn take_lean(&self) -> Result<Buffer, Spent> {
        if !self.budget.is_tight() {
            return self.take();
        }
        self.small_block(self.budget.utmost()).or_else(|Spent| self.large.take().ok_or(Spent)).map(Buffer::new)
    }

    /// An empty buffer that is small, for what may be the beginning of something.
    pub fn take_small(&self) -> Result<Buffer, Spent> {
        self.small_block(self.budget.most).map(Buffer::new)
    }

    fn small_block(&self, most: usize) -> Result<Block, Spent> {
        self.small.take().or_else(|| self.budget.block(self.small.size, most)).ok_or(Spent)
    }

    fn large_block(&self, most: usize) -> Result<Block, Spent> {
        self.large.take().or_else(|| self.budget.block(self.large.size, most)).ok_or(Spent)
    }

    /// Gives a small buffer for a large one, with what is in it. False where it is large already.
    pub fn grow(&self, buffer: &mut Buffer) -> Result<bool, Spent> {
        self.enlarge(buffer, self.budget.most)
    }

    /// The same, for what is under way.
    pub fn grow_on(&self, buffer: &mut Buffer) -> Result<bool, Spent> {
        self.enlarge(buffer, self.budget.utmost())
    }

    fn enlarge(&self, buffer: &mut Buffer, most: usize) -> Result<bool, Spent> {
        if !buffer.is_small() {
            return Ok(false);
        }
        let large = Buffer::new(self.large_block(most)?);
        self.exchange(buffer, large);
        Ok(true)
    }

    /// Gives a large buffer for a small one, where what is in it fits and there is one.
    pub fn shrink(&self, buffer: &mut Buffer) {
        if !buffer.is_small()
            && buffer.len() <= LITTLE
            && let Ok(small) = self.take_small()
        {
            self.exchange(buffer, small);
        }
    }

    fn exchange(&self, buffer: &mut Buffer, mut other: Buffer) {
        other.spare()[..buffer.len()].copy_from_slice(buffer.bytes());
        other.filled(buffer.len());
        self.give(std::mem::replace(buffer, other));
    }

    /// Takes a buffer back.
    pub fn give(&self, buffer: Buffer) {
        if buffer.is_small() { self.small.give(buffer.block) } else { self.large.give(buffer.block) }
    }

    /// Buffers of the large kind that are free.
    pub fn free(&self) -> usize {
        self.large.free.borrow().len()
    }

    /// Gives half of what nobody has needed since the last time back to the system. To be called now and then.
    pub fn trim(&self) {
        self.small.trim();
        self.large.trim();
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
