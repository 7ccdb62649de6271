//! Counts the memory of answers that are held back until they are whole.

use std::cell::Cell;
use std::rc::Rc;

/// A reservation for bytes that are held back, until it is dropped.
#[derive(Debug)]
pub struct Holding {
    pub(crate) held: Rc<Cell<usize>>,
    pub(crate) bytes: usize,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.held.set(self.held.get() - self.bytes);
    }
}
