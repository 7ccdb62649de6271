//! Whether an answer is made whole before it is promised.
//!
//! Once a head has gone to the client there is no way back: an instance that then resets its connection, or sends its
//! body a drop at a time, has spoilt the request, however many others could have answered it. Most answers are small, and
//! a small answer costs next to nothing to wait for: it lies in a buffer that it has to pass through anyway. So a small
//! answer's head is kept back until its body is there, and until then the attempt is *not done*: what breaks it is retried
//! like any other failure, and what delays it is raced like any other slowness.
//!
//! What must not wait: an answer larger than the cap streams as ever, because waiting would delay it and hold much; one
//! whose length nobody stated may never end, so it gets a short time to prove itself small; a stream of events is made of
//! pauses; and gRPC's messages are the application's to pace, but its status may come right behind an empty head, in
//! trailers, so its head waits that short time for whatever comes first.

use std::time::Duration;

use crate::config::settings::Hold;
use crate::http::head::Name;
use crate::http::{Head, Length};

/// What an answer is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffering {
    /// Not at all.
    Not,
    /// Until it is whole.
    Whole,
    /// Until it is whole, or so long.
    WholeWithin(Duration),
    /// Until anything of it has come, or so long.
    FirstWithin(Duration),
}

/// What an answer of this head and length is held for.
pub fn buffering(head: &Head, length: Length, rules: &Hold) -> Buffering {
    match length {
        Length::Exact(n) if n <= rules.max_bytes as u64 => Buffering::Whole,
        Length::Exact(_) => Buffering::Not,
        Length::Chunked | Length::UntilClose if rules.max_bytes == 0 || rules.unknown_for.is_zero() => Buffering::Not,
        Length::Chunked | Length::UntilClose => match head.first(Name::ContentType) {
            Some(kind) if is(kind, b"text/event-stream") => Buffering::Not,
            Some(kind) if is(kind, b"application/grpc") => Buffering::FirstWithin(rules.unknown_for),
            _ => Buffering::WholeWithin(rules.unknown_for),
        },
    }
}

fn is(kind: &[u8], wanted: &[u8]) -> bool {
    kind.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: &str) -> Head {
        let mut head = Head::default();
        head.push(b"content-type", kind.as_bytes()).unwrap();
        head
    }

    #[test]
    fn small_answers_are_held_whole_and_large_ones_not_at_all() {
        let rules = Hold::default();
        let html = head("text/html");
        assert_eq!(buffering(&html, Length::Exact(0), &rules), Buffering::Whole);
        assert_eq!(buffering(&html, Length::Exact(64 << 10), &rules), Buffering::Whole);
        assert_eq!(buffering(&html, Length::Exact((64 << 10) + 1), &rules), Buffering::Not);
    }

    #[test]
    fn what_does_not_say_how_long_it_is_gets_a_short_time() {
        let rules = Hold::default();
        for length in [Length::Chunked, Length::UntilClose] {
            assert_eq!(buffering(&head("text/html"), length, &rules), Buffering::WholeWithin(rules.unknown_for));
            assert_eq!(buffering(&Head::default(), length, &rules), Buffering::WholeWithin(rules.unknown_for));
            assert_eq!(
                buffering(&head("application/grpc+proto"), length, &rules),
                Buffering::FirstWithin(rules.unknown_for)
            );
        }
    }

    #[test]
    fn events_are_never_held_and_nothing_is_where_it_is_off() {
        for kind in ["text/event-stream", "Text/Event-Stream; charset=utf-8"] {
            assert_eq!(buffering(&head(kind), Length::Chunked, &Hold::default()), Buffering::Not);
        }
        let off = Hold { max_bytes: 0, ..Hold::default() };
        assert_eq!(buffering(&head("text/html"), Length::Chunked, &off), Buffering::Not);
        assert_eq!(buffering(&head("text/html"), Length::Exact(1), &off), Buffering::Not);
    }
}
