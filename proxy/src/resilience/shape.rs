//! What fails by what is asked, and what by who is asked.
//!
//! A page with a defect answers 503 to everybody, whoever is asked for it; an instance that is dying answers it to whatever
//! it is asked. To a policy that only counts failures the two look the same, and the defect of one page costs all the others
//! their service. So failures are held apart by the *shape* of their request (its method, and its path without what looks
//! like an id), and what fails while other shapes are answered, *fails alone*: that is its own matter, and is evidence
//! against nobody.
//!
//! Shapes share sixty-four places. Two that meet in one are taken for the same: then less is known, and nothing is worse than
//! it was without. The whole of it is a few words, and while nothing fails, they are read and not written.

use super::sync::{AtomicU64, Ordering};

/// The shape of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape(u8);

const PLACES: u64 = 64;
/// A segment of a path that is so long, and has a digit, is an id: UUIDs, hashes, and what else is made by machines.
const LONG: usize = 8;
/// What has not failed for so many milliseconds is forgotten.
const FORGOTTEN: u64 = 10_000;

impl Shape {
    /// Of a request for this path, without its query.
    pub fn of(method: &[u8], path: &[u8]) -> Self {
        // FNV-1a: short, and good enough for sixty-four places.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let mut hash = method.iter().copied().fold(0xcbf2_9ce4_8422_2325, mix);
        for segment in path.split(|byte| *byte == b'/') {
            hash = mix(hash, b'/');
            let kept = if is_id(segment) { &b"*"[..] } else { segment };
            hash = kept.iter().copied().fold(hash, mix);
        }
        // The last bytes have only reached its low bits: they are spread once more (MurmurHash3's finalizer).
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        Self(((hash >> 33) % PLACES) as u8)
    }

    pub(super) fn bit(self) -> u64 {
        1 << self.0
    }
}

fn is_id(segment: &[u8]) -> bool {
    let digits = segment.iter().filter(|byte| byte.is_ascii_digit()).count();
    digits > 0 && (digits == segment.len() || segment.len() >= LONG)
}

/// Which shapes fail, and which of them alone. Times are milliseconds on the joint's clock, never 0.
#[derive(Debug)]
pub struct Record {
    /// Shapes that failed the last time.
    failing: AtomicU64,
    /// Those of them beside which others were answered.
    alone: AtomicU64,
    /// Since when nothing was answered, while anything fails.
    since: AtomicU64,
    /// When anything last failed.
    failed: AtomicU64,
}

impl Default for Record {
    fn default() -> Self {
        let [failing, alone, since, failed] = [(); 4].map(|()| AtomicU64::new(0));
        Self { failing, alone, since, failed }
    }
}

impl Record {
    /// Whether nothing fails: one load.
    pub fn is_clean(&self) -> bool {
        self.failing.load(Ordering::Relaxed) == 0
    }

    /// The shapes that fail, a bit each.
    pub(super) fn failing(&self) -> u64 {
        self.failing.load(Ordering::Relaxed)
    }

    /// The shapes that fail alone, a bit each.
    pub(super) fn alone(&self) -> u64 {
        self.alone.load(Ordering::Relaxed)
    }

    /// For how many milliseconds things have failed and nothing was answered.
    pub fn silent_for(&self, now: u64) -> u64 {
        now.saturating_sub(self.since.load(Ordering::Relaxed))
    }

    /// A request of this shape failed. Whether that is evidence: not where it fails alone, as long as anything at all was
    /// answered within `patience` milliseconds.
    pub fn failed(&self, shape: Shape, patience: u64, now: u64) -> bool {
        let before = self.failing.fetch_or(shape.bit(), Ordering::AcqRel);
        if before == 0 {
            self.since.store(now, Ordering::Relaxed);
        }
        self.failed.store(now, Ordering::Relaxed);
        if self.silent_for(now) >= patience {
            self.alone.store(0, Ordering::Relaxed);
            return true;
        }
        self.alone.load(Ordering::Relaxed) & shape.bit() == 0
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.failing.store(0, Ordering::Relaxed);
        self.alone.store(0, Ordering::Relaxed);
    }

    /// One was answered.
    pub fn succeeded(&self, shape: Shape, now: u64) {
        if now.saturating_sub(self.failed.load(Ordering::Relaxed)) >= FORGOTTEN {
            self.clear();
            return;
        }
        if self.since.load(Ordering::Relaxed) != now {
            self.since.store(now, Ordering::Relaxed);
        }
        let failing = self.failing.load(Ordering::Relaxed);
        if failing & shape.bit() != 0 {
            self.failing.fetch_and(!shape.bit(), Ordering::AcqRel);
            self.alone.fetch_and(!shape.bit(), Ordering::AcqRel);
        }
        let others = failing & !shape.bit();
        if others & !self.alone.load(Ordering::Relaxed) != 0 {
            self.alone.fetch_or(others, Ordering::AcqRel);
        }
    }
}

#[cfg(all(test, not(outrigger_loom)))]
mod tests {
    use super::*;

    fn get(path: &str) -> Shape {
        Shape::of(b"GET", path.as_bytes())
    }

    #[test]
    fn an_id_is_no_part_of_a_shape() {
        let id = "6d1f8d2e-93cb-4a7e-8f0b-7a4d3c1b2a09";
        assert_eq!(get("/users/17/orders"), get("/users/4711/orders"));
        assert_eq!(get(&format!("/users/{id}")), get("/users/0123456789abcdef"));
        for (one, other) in [("/users/17", "/items/17"), ("/v1/users", "/v2/users"), ("/", "/bad"), ("/17", "/17/17")] {
            assert_ne!(get(one), get(other), "{one} and {other}");
        }
        assert_ne!(get("/users"), Shape::of(b"POST", b"/users"));
    }

    #[test]
    fn what_fails_beside_what_is_answered_is_evidence_once_only() {
        let record = Record::default();
        assert!(record.failed(get("/bad"), 1_000, 100));
        record.succeeded(get("/"), 101);
        assert!(!record.failed(get("/bad"), 1_000, 102));
        assert!(record.failed(get("/"), 1_000, 103), "it was answered, and is no more");
        // Nobody else was answered, for long.
        assert!(!record.failed(get("/bad"), 1_000, 1_100));
        assert!(record.failed(get("/bad"), 1_000, 1_101));
    }

    #[test]
    fn who_is_answered_again_is_like_any_other() {
        let record = Record::default();
        record.failed(get("/bad"), 1_000, 100);
        record.succeeded(get("/"), 101);
        record.succeeded(get("/bad"), 102);
        assert!(record.is_clean());
        assert!(record.failed(get("/bad"), 1_000, 103));
    }

    #[test]
    fn what_has_not_failed_for_long_is_forgotten() {
        let record = Record::default();
        record.failed(get("/bad"), 1_000, 100);
        record.succeeded(get("/"), 100 + FORGOTTEN - 1);
        assert!(!record.is_clean());
        record.succeeded(get("/"), 100 + FORGOTTEN);
        assert!(record.is_clean());
    }
}
