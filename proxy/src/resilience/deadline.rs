//! How long a request may take.
//!
//! A single number from the first byte to the last would cut every large upload, download and event stream, or be so
//! long that it protects nobody. So there are two, one after the other. While the request's body is still coming,
//! what counts is that something moves. From its last byte on, the total runs, every attempt and every pause between
//! attempts inside it, until the answer's head is there. After that, again, what counts is that something moves.

use std::time::{Duration, Instant};

/// The two limits of a request.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// From the end of the request's body to the answer's head.
    pub total: Duration,
    /// Without a byte in either direction.
    pub stream_idle: Duration,
}

impl Deadline {
    /// When the request is over, as things stand: `ended` is when its body had come, `moved` when something last did.
    pub fn at(&self, ended: Option<Instant>, moved: Instant) -> Instant {
        match ended {
            Some(ended) => ended + self.total,
            None => moved + self.stream_idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_runs_from_the_end_of_the_body() {
        let deadline = Deadline { total: Duration::from_secs(15), stream_idle: Duration::from_secs(60) };
        let start = Instant::now();
        let moved = start + Duration::from_secs(100);
        assert_eq!(deadline.at(None, moved), start + Duration::from_secs(160));
        assert_eq!(deadline.at(Some(moved), start), start + Duration::from_secs(115));
    }
}
