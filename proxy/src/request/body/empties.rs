//! Bodies of requests that have none, kept for the next.

use std::cell::RefCell;
use std::rc::Rc;

use super::Upload;
use crate::clock::Instant;

/// A worker's free [`Upload`]s without a body. Most requests have none, and saying so is not worth an allocation for
/// each.
#[derive(Debug, Default)]
pub struct EmptyPool {
    free: RefCell<Vec<Rc<Upload>>>,
}

/// How many free ones are kept.
const EMPTIES: usize = 256;

impl EmptyPool {
    /// The body of a request that has none.
    pub fn take(&self, now: Instant) -> Rc<Upload> {
        let Some(upload) = self.free.borrow_mut().pop() else { return Rc::new(Upload::empty(now)) };
        upload.ended.set(Some(now));
        upload.moved.set(now);
        upload.starved.set(false);
        upload.failed.set(None);
        upload
    }

    /// Takes one back, unless it has a body or somebody still holds it.
    pub fn give(&self, mut upload: Rc<Upload>) {
        let mut free = self.free.borrow_mut();
        if upload.is_empty() && Rc::get_mut(&mut upload).is_some() && free.len() < EMPTIES {
            free.push(upload);
        }
    }
}
