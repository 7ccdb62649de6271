//! Whether a failed attempt is followed by another.
//!
//! Trying again is safe in two cases: when it is certain that nothing was processed (the connection was never made, or
//! not a byte was written), or when processing twice does no harm (the method is idempotent, RFC 9110 section 9.2.2)
//! and the whole request can still be sent. Everything else is the client's to decide, and it is told.
//!
//! Two cases are free. A request that was never written (no connection was to be had) moves to another endpoint and
//! leaves the retries to those that need them, a few times, so that a pool of which half is gone still serves; once
//! every endpoint has been tried it costs a retry like any other. And a connection that had been idle was closed by the endpoint at the moment it was taken. That is no
//! failure of the endpoint, only bad luck, so it may go to the same endpoint; once, because a second time it is
//! something else.

use std::time::Duration;

use crate::error::{Reason, Retry};

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

/// What a request has left to be tried again with.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Further attempts.
    pub retries: u32,
    /// Free moves of a request that was never written.
    pub moves: u32,
    /// Whether the free replay is still there.
    pub replay: bool,
    /// Whether the method may be processed twice.
    pub idempotent: bool,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The same again, at no cost.
    Replay,
    /// Another endpoint.
    Retry,
    /// The failure goes to the client.
    GiveUp,
}

/// Free moves of one request: with [`Allowance::retries`] fewer attempts than a view of its past has room for.
const MOVES: u32 = 4;

impl Allowance {
    /// What a request begins with.
    pub fn new(retries: u32, idempotent: bool) -> Self {
        Self { retries, moves: MOVES, replay: true, idempotent }
    }

    /// What follows, and what it costs. `replayable`: the request can still be sent from its beginning.
    pub fn after(&mut self, broken: &Broken, replayable: bool) -> Next {
        if !replayable {
            return Next::GiveUp;
        }
        if broken.stale && self.replay && (self.idempotent || !broken.written) {
            self.replay = false;
            return Next::Replay;
        }
        let may = match broken.reason.row().retry {
            Retry::Never => false,
            Retry::Safe => true,
            Retry::Replayable => self.idempotent || !broken.written,
        };
        if may && !broken.written && self.moves > 0 {
            self.moves -= 1;
            return Next::Retry;
        }
        self.spend(may)
    }

    /// Whether endpoints that were tried may be tried again: that is a retry, and the end of free moves.
    pub fn another_round(&mut self) -> bool {
        self.moves = 0;
        self.spend(true) == Next::Retry
    }

    /// What follows an answer of 502, 503 or 504.
    pub fn after_status(&mut self, replayable: bool) -> Next {
        self.spend(replayable && self.idempotent)
    }

    fn spend(&mut self, may: bool) -> Next {
        if !may || self.retries == 0 {
            return Next::GiveUp;
        }
        self.retries -= 1;
        Next::Retry
    }
}

/// Whether a method may be processed twice (RFC 9110 section 9.2.2).
pub fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

/// Whether a status says that another endpoint may do better.
pub fn is_retryable_status(status: u16) -> bool {
    matches!(status, 502..=504)
}

/// The pause before an endpoint is tried that was tried already: full jitter, doubling from 25 ms up to 250 ms.
/// `random` is in `0.0..1.0`.
pub fn pause(round: u32, random: f64) -> Duration {
    Duration::from_millis(25).saturating_mul(1 << round.min(8)).min(Duration::from_millis(250)).mul_f64(random)
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
        Allowance { idempotent: true, ..post() }
    }

    #[test]
    fn a_post_that_was_written_is_never_sent_twice() {
        for stale in [false, true] {
            assert_eq!(post().after(&broken(Reason::UpstreamClosed, true, stale), true), Next::GiveUp);
        }
        assert_eq!(post().after_status(true), Next::GiveUp);
    }

    #[test]
    fn a_connect_failure_moves_on_for_any_method() {
        assert_eq!(post().after(&broken(Reason::ConnectFailed, false, false), true), Next::Retry);
        assert_eq!(get().after(&broken(Reason::ConnectTimeout, false, false), true), Next::Retry);
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
            assert_eq!(allowance.after(&refused, true), Next::Retry);
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
        assert_eq!(allowance.after_status(true), Next::Retry);
        assert_eq!(allowance.after(&closed, true), Next::GiveUp);
    }

    #[test]
    fn what_cannot_be_sent_again_is_not() {
        assert_eq!(get().after(&broken(Reason::UpstreamClosed, true, true), false), Next::GiveUp);
        assert_eq!(get().after_status(false), Next::GiveUp);
        assert_eq!(get().after(&broken(Reason::Timeout, true, false), true), Next::GiveUp);
    }
}
