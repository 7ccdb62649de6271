//! Whether a failed attempt is followed by another.
//!
//! Trying again is safe in two cases: when it is certain that nothing was processed (the connection was never made, or
//! not a byte was written), or when processing twice does no harm (the method is idempotent, RFC 9110 section 9.2.2)
//! and the whole request can still be sent. Everything else is the client's to decide, and it is told.
//!
//! Two cases are special. A request that was never written (no connection was to be had) *moves* to another endpoint at
//! once, and free: no endpoint has seen it, so a move is no load that a budget would have to bound. A burst that meets an
//! endpoint which takes no connections may be any number of such requests. Once every endpoint was tried, or so many that
//! more would be a search of a large pool ([`MOVES`]), another attempt is a retry like any other. And a connection that
//! had been idle was closed by the endpoint at the moment it was taken: that is no failure of the endpoint, only bad
//! luck, so the request is *replayed*, to the same endpoint if need be, and free; once, because a second time it is
//! something else.
//!
//! What endpoints wish is honoured within the deadline. `Retry-After` speaks for the one that sent it: another that has not
//! been tried need not wait. A gRPC pushback speaks for the service.

use std::time::{Duration, SystemTime};

use crate::error::{Blame, Reason, Retry};

/// An attempt that failed, and what is known for the decision to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// What happened.
    pub reason: Reason,
    /// Whether any byte was written, so that the endpoint may have seen the request.
    pub written: bool,
    /// Whether the connection had carried a request before and said nothing since: it may have been closing.
    pub stale: bool,
}

impl Broken {
    /// A failure before anything was written.
    pub fn unwritten(reason: Reason) -> Self {
        Self { reason, written: false, stale: false }
    }
}

/// What a request has left to be tried again with. A retry also costs its service's [budget](super::budget) a token; a
/// replay and a move are free.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Further attempts.
    pub retries: u32,
    /// Moves of a request that was never written.
    pub moves: u32,
    /// Whether the free replay is still there.
    pub replay: bool,
    /// Whether an answer of 500, or one that breaks a rule, may still be asked for elsewhere.
    pub second_opinion: bool,
    /// Whether the request may be processed twice.
    pub repeatable: bool,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The same again, at no cost.
    Replay,
    /// Another endpoint, at once and at no cost: nobody has seen the request.
    Move,
    /// Another endpoint, after a pause.
    Retry,
    /// The failure goes to the client.
    GiveUp,
}

/// Moves of one request. That is every endpoint of nearly any pool. In a large pool that is gone altogether each request
/// would otherwise knock at thousands of doors.
pub const MOVES: u32 = 16;

impl Allowance {
    /// What a request begins with.
    pub fn new(retries: u32, repeatable: bool) -> Self {
        Self { retries, moves: MOVES, replay: true, second_opinion: true, repeatable }
    }

    /// What follows, and what it costs. `replayable`: the request can still be sent from its beginning.
    pub fn after(&mut self, broken: &Broken, replayable: bool) -> Next {
        if !replayable {
            return Next::GiveUp;
        }
        if broken.stale && self.replay && (self.repeatable || !broken.written) {
            self.replay = false;
            return Next::Replay;
        }
        let row = broken.reason.row();
        let may = match row.retry {
            // One other is asked, as after a 500, and no third: where the rule is broken by the page, nobody does better.
            Retry::Replayable if row.blame == Blame::Answer => {
                self.repeatable && std::mem::take(&mut self.second_opinion)
            }
            Retry::Never => false,
            Retry::Safe => true,
            Retry::Replayable => self.repeatable || !broken.written,
        };
        if may && !broken.written && self.moves > 0 {
            self.moves -= 1;
            return Next::Move;
        }
        self.spend(may)
    }

    /// Whether endpoints that were tried may be tried again: that is a retry, and the end of moves.
    pub fn another_round(&mut self) -> bool {
        self.moves = 0;
        self.spend(true) == Next::Retry
    }

    /// What follows an answer that is no good.
    pub fn after_answer(&mut self, verdict: Verdict, replayable: bool) -> Next {
        match verdict {
            Verdict::Good => Next::GiveUp,
            Verdict::Unavailable => self.spend(replayable && self.repeatable),
            Verdict::Error => {
                let may = std::mem::take(&mut self.second_opinion);
                self.spend(replayable && self.repeatable && may)
            }
        }
    }

    /// Whether another attempt may be started beside one that is slow.
    pub fn has_one_beside(&self, replayable: bool) -> bool {
        replayable && self.repeatable && self.retries > 0
    }

    /// One was.
    pub fn spend_beside(&mut self) {
        self.retries = self.retries.saturating_sub(1);
    }

    fn spend(&mut self, may: bool) -> Next {
        if !may || self.retries == 0 {
            return Next::GiveUp;
        }
        self.retries -= 1;
        Next::Retry
    }
}

/// What an answer says of the endpoint that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It did its work, whatever the answer is.
    Good,
    /// It cannot: another one may.
    Unavailable,
    /// It could not, and it may be the request's fault: one other is asked.
    Error,
}

/// 14 is gRPC's UNAVAILABLE.
const UNAVAILABLE: &[u8] = b"14";

/// What an answer says. `grpc` is its `grpc-status`, from its head or its trailers. A 500 says something only of GET and
/// HEAD (`safe`), which ask for nothing to be done.
pub fn verdict(status: u16, grpc: Option<&[u8]>, safe: bool) -> Verdict {
    match (status, grpc) {
        (200, Some(UNAVAILABLE)) | (502..=504, _) => Verdict::Unavailable,
        (500, None) if safe => Verdict::Error,
        _ => Verdict::Good,
    }
}

/// Whether a method may be processed twice (RFC 9110 section 9.2.2).
pub fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

/// Whether a method asks for nothing to be done but to answer, so that two of them at a time do no harm.
pub fn is_safe(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD")
}

/// The pause before a further attempt: full jitter, doubling from 25 ms up to 250 ms. `random` is in `0.0..1.0`. (M. Brooker,
/// "Exponential Backoff And Jitter", 2015.)
pub fn pause(round: u32, random: f64) -> Duration {
    Duration::from_millis(25).saturating_mul(1 << round.min(8)).min(Duration::from_millis(250)).mul_f64(random)
}

/// Whether an attempt that begins after `pause` can be expected to end in what remains of the request's time. An endpoint
/// of which nothing is known is given the benefit.
pub fn fits(remaining: Option<Duration>, pause: Duration, expected: Option<Duration>) -> bool {
    remaining.is_none_or(|remaining| pause + expected.unwrap_or_default() < remaining)
}

/// When an endpoint that cannot wishes to be asked again: `Retry-After` (RFC 9110 section 10.2.3) in seconds or as a date.
pub fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    if !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    httpdate::parse_http_date(text).ok().map(|date| date.duration_since(now).unwrap_or_default())
}

/// What a gRPC endpoint says of retries: `grpc-retry-pushback-ms` (gRFC A6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushback {
    /// None, please.
    Never,
    /// After so long.
    After(Duration),
}

/// Reads a pushback; none where it is no number, which means no retry, as gRFC A6 has it.
pub fn pushback(value: &[u8]) -> Option<Pushback> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i32>().ok())?;
    Some(u64::try_from(number).map_or(Pushback::Never, |ms| Pushback::After(Duration::from_millis(ms))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(reason: Reason, written: bool, stale: bool) -> Broken {
        Broken { reason, written, stale }
    }

    fn post() -> Allowance {
        Allowance::new(2, false)
    }

    fn get() -> Allowance {
        Allowance { repeatable: true, ..post() }
    }

    #[test]
    fn a_post_that_was_written_is_never_sent_twice() {
        for stale in [false, true] {
            assert_eq!(post().after(&broken(Reason::UpstreamClosed, true, stale), true), Next::GiveUp);
        }
        assert_eq!(post().after_answer(Verdict::Unavailable, true), Next::GiveUp);
    }

    #[test]
    fn a_connect_failure_moves_on_for_any_method() {
        assert_eq!(post().after(&broken(Reason::ConnectFailed, false, false), true), Next::Move);
        assert_eq!(get().after(&broken(Reason::ConnectTimeout, false, false), true), Next::Move);
    }

    #[test]
    fn a_stale_connection_costs_nothing_once() {
        let mut allowance = get();
        let stale = broken(Reason::UpstreamClosed, true, true);
        assert_eq!(allowance.after(&stale, true), Next::Replay);
        assert_eq!(allowance.retries, 2);
        assert_eq!(allowance.after(&stale, true), Next::Retry);
        assert_eq!(post().after(&broken(Reason::UpstreamClosed, false, true), true), Next::Replay);
    }

    #[test]
    fn a_request_that_was_never_written_moves_for_free_until_every_endpoint_was_tried() {
        let mut allowance = post();
        let refused = broken(Reason::ConnectFailed, false, false);
        for _ in 0..MOVES {
            assert_eq!(allowance.after(&refused, true), Next::Move);
        }
        assert_eq!(allowance.retries, 2);
        assert!(allowance.another_round());
        assert_eq!(allowance.after(&refused, true), Next::Retry);
        assert_eq!((allowance.after(&refused, true), allowance.another_round()), (Next::GiveUp, false));
    }

    #[test]
    fn retries_end() {
        let mut allowance = get();
        let closed = broken(Reason::UpstreamClosed, true, false);
        assert_eq!(allowance.after(&closed, true), Next::Retry);
        assert_eq!(allowance.after_answer(Verdict::Unavailable, true), Next::Retry);
        assert_eq!(allowance.after(&closed, true), Next::GiveUp);
    }

    #[test]
    fn what_cannot_be_sent_again_is_not() {
        assert_eq!(get().after(&broken(Reason::UpstreamClosed, true, true), false), Next::GiveUp);
        assert_eq!(get().after_answer(Verdict::Unavailable, false), Next::GiveUp);
        assert_eq!(get().after(&broken(Reason::Timeout, true, false), true), Next::GiveUp);
    }

    #[test]
    fn what_is_a_failure_is_one_table() {
        for (status, grpc, safe, expected) in [
            (200, None, true, Verdict::Good),
            (200, Some("0"), false, Verdict::Good),
            (200, Some("14"), false, Verdict::Unavailable),
            (200, Some("13"), false, Verdict::Good),
            (404, None, true, Verdict::Good),
            (429, None, true, Verdict::Good),
            (500, None, true, Verdict::Error),
            (500, None, false, Verdict::Good),
            (501, None, true, Verdict::Good),
            (502, None, false, Verdict::Unavailable),
            (503, None, true, Verdict::Unavailable),
            (504, None, true, Verdict::Unavailable),
        ] {
            assert_eq!(verdict(status, grpc.map(str::as_bytes), safe), expected, "{status} {grpc:?}");
        }
    }

    #[test]
    fn a_500_is_asked_for_elsewhere_once() {
        let mut allowance = get();
        assert_eq!(allowance.after_answer(Verdict::Error, true), Next::Retry);
        assert_eq!(allowance.after_answer(Verdict::Error, true), Next::GiveUp);
        assert_eq!(allowance.after_answer(Verdict::Unavailable, true), Next::Retry);
        assert_eq!(post().after_answer(Verdict::Error, true), Next::GiveUp);
    }

    #[test]
    fn an_answer_that_breaks_a_rule_is_asked_for_elsewhere_once() {
        for reason in [Reason::UpstreamProtocol, Reason::UpstreamHeadTooLarge] {
            let mut allowance = get();
            assert_eq!(allowance.after(&broken(reason, true, false), true), Next::Retry);
            assert_eq!(allowance.after(&broken(reason, true, false), true), Next::GiveUp);
            assert_eq!(post().after(&broken(reason, true, false), true), Next::GiveUp);
        }
    }

    #[test]
    fn no_attempt_starts_that_cannot_finish() {
        let ms = Duration::from_millis;
        assert!(fits(Some(ms(100)), ms(20), Some(ms(50))));
        assert!(!fits(Some(ms(60)), ms(20), Some(ms(50))));
        assert!(fits(Some(ms(60)), ms(20), None));
        assert!(!fits(Some(ms(10)), ms(20), None));
        assert!(fits(None, ms(20), Some(ms(50_000))));
    }

    #[test]
    fn wishes_of_endpoints_are_read_by_the_book() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("9999999999", None),
        ] {
            assert_eq!(retry_after(text.as_bytes(), now), expected.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(pushback(b"25"), Some(Pushback::After(Duration::from_millis(25))));
        assert_eq!(pushback(b"-1"), Some(Pushback::Never));
        for text in ["", "soon", "99999999999"] {
            assert_eq!(pushback(text.as_bytes()), None, "{text:?}");
        }
    }
}
