//! The dialers that there are: one for each way to judge, however many services and reloads want it.

use std::fmt;
use std::sync::{Arc, Weak};
#[allow(
    clippy::disallowed_types,
    reason = "taken when a service comes or its settings change; no request waits for it"
)]
use std::sync::{Mutex, PoisonError};

use super::client::Dialer;
use super::load;
use crate::config::settings::Trust;

type Make = dyn Fn(&Trust) -> Arc<Dialer> + Send + Sync;

/// Hands dialers out. Cheap to clone; all are the same.
#[derive(Clone)]
pub struct Dialers {
    make: Arc<Make>,
    #[allow(clippy::disallowed_types, reason = "see above")]
    made: Arc<Mutex<Vec<Weak<Dialer>>>>,
}

impl fmt::Debug for Dialers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialers").finish_non_exhaustive()
    }
}

impl Default for Dialers {
    /// Dialers that go by what their files were at first.
    fn default() -> Self {
        Self::new(Arc::new(|trust| Arc::new(load::dialer(trust))))
    }
}

impl Dialers {
    /// Dialers that are made in this way.
    pub fn new(make: Arc<Make>) -> Self {
        Self { make, made: Arc::default() }
    }

    /// The dialer that judges so.
    pub fn get(&self, trust: &Trust) -> Arc<Dialer> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|dialer| dialer.strong_count() > 0);
        if let Some(known) = made.iter().filter_map(Weak::upgrade).find(|dialer| dialer.trust == *trust) {
            return known;
        }
        let dialer = (self.make)(trust);
        made.push(Arc::downgrade(&dialer));
        dialer
    }
}
