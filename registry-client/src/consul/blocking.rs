//! The rules of Consul's blocking queries, as a pure state machine.
//!
//! # Why so careful with one number?
//!
//! A blocking query says "answer when your index is past mine, or after `wait`". The index looks like a version, but
//! it may go *backwards* (another server answers, a snapshot was restored), be 0, be missing, or move while the
//! content stays as it was. A client that believes it misses updates for ever (it waits past an index that will
//! not come for hours), or asks in a busy loop (0 never blocks). Both have happened, in clients of note. So:
//!
//! * A read with index 0 does not block. It is the first read, the read after every failure (whoever answers next
//!   may be another server, or one that restarted with an index far below), and once per
//!   [`Rules::full_reread`] (whatever went wrong unseen is put right then).
//! * An answer with an index below the one asked for is not used: the index goes to 0, and the read is made again at once.
//! * An answer without an index, or with 0, counts as 1, which always blocks correctly.
//! * A return is not a change. The reader compares content, and tells this machine what it found.
//! * Two reads begin at least [`Rules::gap`] apart (only the read after a step back comes at once, and never two of those in a
//!   row). While answers come back *unchanged without having waited*, the gap doubles, up to [`Rules::gap_cap`];
//!   a change, or an answer that did wait, takes it back. So a rolling restart is followed closely, and an index that
//!   races costs little.
//! * The server adds up to `wait/16` of jitter to `wait`, and the answer has to travel: the socket gets a
//!   timeout of `wait × 17/16` and [`Rules::margin`] on top. A stream that is silent for longer is dead.
//!
//! Time is an argument; there is no clock here and no socket.

use std::time::{Duration, Instant};

/// The numbers of the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long the server may hold a read back. Consul's own bounds are 1 ms (0 would mean its default) and 10 min.
    pub wait: Duration,
    /// What the network and the server may take beyond the wait.
    pub margin: Duration,
    /// The least time between the beginnings of two reads.
    pub gap: Duration,
    /// The same, where answers come back at once and unchanged.
    pub gap_cap: Duration,
    /// How often a read is made without an index, whatever the index says.
    pub full_reread: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(60),
            margin: Duration::from_secs(10),
            gap: Duration::from_millis(50),
            gap_cap: Duration::from_secs(1),
            full_reread: Duration::from_secs(60),
        }
    }
}

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// 0: do not block.
    pub index: u64,
    /// How long the server may hold the read back; of no meaning where the index is 0.
    pub wait: Duration,
    /// When to give the answer up.
    pub timeout: Duration,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The index of the answer, where it had one that could be read.
    pub index: Option<u64>,
    /// Whether the content differs from what was accepted last.
    pub changed: bool,
}

/// What to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the content now; ask again after this long.
    Use(Duration),
    /// The index went back: do not use it, ask again after this long.
    ReadAgain(Duration),
}

/// The state of one followed query.
#[derive(Debug, Clone)]
pub struct Blocking {
    rules: Rules,
    index: u64,
    gap: Duration,
    last_full: Option<Instant>,
}

impl Blocking {
    /// Before the first read. Rules outside Consul's bounds are moved into them.
    pub fn new(mut rules: Rules) -> Self {
        rules.wait = rules.wait.clamp(Duration::from_millis(1), Duration::from_secs(600));
        rules.gap_cap = rules.gap_cap.max(rules.gap);
        Self { rules, index: 0, gap: rules.gap, last_full: None }
    }

    /// What to ask for now.
    pub fn ask(&mut self, now: Instant) -> Ask {
        let Rules { wait, margin, full_reread, .. } = self.rules;
        if self.last_full.is_none_or(|at| now.saturating_duration_since(at) >= full_reread) {
            self.index = 0;
        }
        let held = if self.index == 0 { Duration::ZERO } else { wait * 17 / 16 };
        Ask { index: self.index, wait, timeout: held + margin }
    }

    /// Takes the answer to `ask`, which was sent at `asked_at` and came back at `now`.
    pub fn answered(&mut self, ask: Ask, answer: Answer, asked_at: Instant, now: Instant) -> Verdict {
        let took = now.saturating_duration_since(asked_at);
        let index = answer.index.unwrap_or(0).max(1);
        if index < ask.index {
            self.index = 0;
            self.slow_down();
            return Verdict::ReadAgain(Duration::ZERO);
        }
        self.index = index;
        let waited = took >= self.rules.gap_cap.min(self.rules.wait);
        if ask.index == 0 {
            self.last_full = Some(now);
        }
        if answer.changed || waited {
            self.gap = self.rules.gap;
        } else if ask.index != 0 {
            self.slow_down();
        }
        Verdict::Use(self.gap.saturating_sub(took))
    }

    /// A blocking answer that cannot be believed without another look: the next read does not block.
    pub fn doubted(&mut self) {
        self.index = 0;
        self.slow_down();
    }

    /// The read failed: the next one does not block.
    pub fn failed(&mut self) {
        self.index = 0;
    }

    fn slow_down(&mut self) {
        self.gap = (self.gap * 2).min(self.rules.gap_cap);
    }
}

#[cfg(test)]
mod tests;
