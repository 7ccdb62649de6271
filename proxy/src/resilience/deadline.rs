//! How long a request may take.
//!
//! A single number from the first byte to the last would cut every large upload, download and event stream, or be so
//! long that it protects nobody. So there are two, one after the other. While the request's body is still coming,
//! what counts is that something moves. From its last byte on, the total runs, every attempt and every pause between
//! attempts inside it, until the answer's head is there (its end, where it is held). After that, again, what counts is that
//! something moves.
//!
//! **The total is the least of what anybody says.** The route has one; and a caller that waits for a second only has no use
//! for an answer after two. A trusted caller says so in `grpc-timeout`, in Envoy's `x-envoy-upstream-rq-timeout-ms` or in
//! `x-request-deadline`, and what *remains* is passed on with every attempt, so that a chain of services gives up
//! together. A gRPC call may be a stream of hours whose first message comes after minutes, and nothing in its head tells:
//! it obeys what its caller says, and no route.
//!
//! What cannot be understood is taken for absent, and counted: a timeout that was misread is worse than none.

use std::time::Duration;

use crate::clock::Instant;

/// The limits of a request.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// From the end of the request's body to the answer's head; none where nobody limits it.
    pub total: Option<Duration>,
    /// Without a byte in either direction.
    pub stream_idle: Duration,
}

impl Deadline {
    /// When the request is over, as things stand: `ended` is when its body had come, `moved` when something last did.
    pub fn at(&self, ended: Option<Instant>, moved: Instant) -> Instant {
        match (ended, self.total) {
            (Some(ended), Some(total)) => ended + total,
            (Some(ended), None) => ended + self.stream_idle,
            (None, _) => moved + self.stream_idle,
        }
    }

    /// What is left of the total; all of it while the body comes, none where there is no total.
    pub fn remaining(&self, ended: Option<Instant>, now: Instant) -> Option<Duration> {
        let total = self.total?;
        Some(ended.map_or(total, |ended| (ended + total).saturating_duration_since(now)))
    }
}

/// The longest time that is believed: what is longer is a mistake, or as good as no limit.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Milliseconds in digits, at most ten of them: `x-request-deadline`, `x-envoy-upstream-rq-timeout-ms`.
pub fn millis(value: &[u8]) -> Option<Duration> {
    digits(value, 10).map(|n| Duration::from_millis(n).min(LONGEST))
}

/// A `grpc-timeout`: one to eight digits and a unit (grpc/doc/PROTOCOL-HTTP2.md).
pub fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, number) = value.split_last()?;
    let n = digits(number, 8)?;
    let time = match unit {
        b'H' => Duration::from_secs(n * 3600),
        b'M' => Duration::from_secs(n * 60),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    };
    Some(time.min(LONGEST))
}

fn digits(value: &[u8], most: usize) -> Option<u64> {
    if value.is_empty() || value.len() > most || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

/// A time as a `grpc-timeout`, in the finest unit that eight digits are enough for; never more than it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcTimeout {
    text: [u8; 9],
    start: usize,
}

impl GrpcTimeout {
    /// As text.
    pub fn of(time: Duration) -> Self {
        const MOST: u128 = 99_999_999;
        let choices = [
            (time.as_micros(), b'u'),
            (time.as_millis(), b'm'),
            (u128::from(time.as_secs()), b'S'),
            (u128::from(time.as_secs() / 60), b'M'),
            (u128::from(time.as_secs() / 3600), b'H'),
        ];
        let (mut n, unit) = choices.into_iter().find(|(n, _)| *n <= MOST).unwrap_or((MOST, b'H'));
        let mut text = [b'0'; 9];
        text[8] = unit;
        let mut start = 8;
        loop {
            start -= 1;
            text[start] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                return Self { text, start };
            }
        }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_total_runs_from_the_end_of_the_body() {
        let deadline = Deadline { total: Some(Duration::from_secs(15)), stream_idle: Duration::from_secs(60) };
        let start = Instant::now();
        let moved = start + Duration::from_secs(100);
        assert_eq!(deadline.at(None, moved), start + Duration::from_secs(160));
        assert_eq!(deadline.at(Some(moved), start), start + Duration::from_secs(115));
        assert_eq!(deadline.remaining(None, moved), Some(Duration::from_secs(15)));
        assert_eq!(deadline.remaining(Some(start), start + Duration::from_secs(5)), Some(Duration::from_secs(10)));
        assert_eq!(deadline.remaining(Some(start), moved), Some(Duration::ZERO));
    }

    #[test]
    fn without_a_total_what_counts_is_that_something_moves() {
        let deadline = Deadline { total: None, stream_idle: Duration::from_secs(60) };
        let start = Instant::now();
        assert_eq!(deadline.at(Some(start), start), start + Duration::from_secs(60));
        assert_eq!(deadline.remaining(Some(start), start), None);
    }

    #[test]
    fn timeouts_are_read_by_the_book() {
        for (text, expected) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3_000)),
            ("4m", Some(4)),
            ("5000u", Some(5)),
            ("6000000n", Some(6)),
            ("0m", Some(0)),
            ("99999999S", Some(31_536_000_000)),
            ("999999999S", None),
            ("1", None),
            ("m", None),
            ("", None),
            ("1s", None),
            ("-1m", None),
            ("+1m", None),
            ("1.5S", None),
            (" 1m", None),
            ("1 m", None),
        ] {
            assert_eq!(grpc_timeout(text.as_bytes()), expected.map(Duration::from_millis), "{text:?}");
        }
        assert_eq!(millis(b"250"), Some(Duration::from_millis(250)));
        assert_eq!(millis(b"9999999999"), Some(Duration::from_millis(9_999_999_999)));
        for text in ["", "-1", "1.5", "99999999999", "1s", "0x10"] {
            assert_eq!(millis(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_never_more_and_nearly_as_much(micros in 0u64..100_000_000_000_000) {
            let time = Duration::from_micros(micros);
            let text = GrpcTimeout::of(time);
            prop_assert!(text.as_bytes().len() <= 9);
            let read = grpc_timeout(text.as_bytes()).unwrap();
            prop_assert!(read <= time);
            prop_assert!(time.min(LONGEST) - read.min(time.min(LONGEST)) <= time / 1_000 + Duration::from_micros(1));
        }

        #[test]
        fn nothing_that_is_sent_panics(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = (grpc_timeout(&bytes), millis(&bytes));
        }
    }
}
