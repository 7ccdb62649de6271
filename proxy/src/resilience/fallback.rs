//! What is answered when the service could not be made to answer.
//!
//! Retries and hedges help where another instance can. When the whole service is gone nothing below this can, and what
//! is left is to say something else: an earlier answer, another service's, or a fixed one. That is a decision about
//! meaning, not about transport, so it is off until the operator writes it, and each such answer is *marked*: a reader
//! who is told `Outrigger-Degraded` can show what it got as old; one who is not told has been lied to.
//!
//! **Which failures.** An answer of 500, 502, 503 or 504 that is left after everything else: the list of RFC 5861
//! section 4. A 500 is one of them, unlike for retries, where it is doubtful whether another instance would do better:
//! here nobody asks the service again, and to the reader it is as much a failure as the others. No other 5xx is: 501 and
//! 505 speak of the request. Failures of our own go by the same line, the status they would be answered with, with two
//! exceptions that [`calls`] gives reasons for. What the client did wrong never does.
//!
//! **In which order.** Stale, then the other service, then the fixed answer: from what is most like the real answer to
//! what is least. An old answer of the service itself comes before a new one of another, because that is what its reader
//! asked for, and it costs nothing in the middle of an outage.
//!
//! **One level.** The other service is asked under its own policies, its retries and its breaker included, but its own
//! fallback is not used: if it fails too, the next of *this* list is taken, and after the last the first failure goes to
//! the client. A chain would be a loop in waiting, and its mark would say nothing of what had failed.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::config::settings::{Fallback, FallbackAnswer};
use crate::error::Reason;

/// Whether a failure calls for a fallback.
pub const fn calls(reason: Reason) -> bool {
    // Every reason has to be decided here, so none is left to a wildcard.
    match reason {
        Reason::NoEndpoint
        | Reason::BareSubset
        | Reason::ConnectionLimit
        | Reason::OutOfResources
        | Reason::ConnectFailed
        | Reason::ConnectTimeout
        | Reason::TlsCertificate
        | Reason::TlsAlert
        | Reason::TlsProtocol
        | Reason::UpstreamClosed
        | Reason::UpstreamProtocol
        | Reason::UpstreamHeadTooLarge
        | Reason::Timeout
        | Reason::UpstreamStatus
        | Reason::UpstreamError
        | Reason::BreakerOpen
        | Reason::LimitReached
        | Reason::QueueTimeout
        | Reason::BulkheadFull
        | Reason::RegistryTimeout
        | Reason::TooManyNames
        | Reason::MemoryShort
        | Reason::Internal => true,
        // Answered as 404, but a proxy that starts during an outage cannot tell a service that never was from one that
        // is not there now; the operator has written what to say instead.
        Reason::UnknownService => true,
        // The connection is about to close, and a client that comes back to another proxy gets the real answer.
        Reason::Draining => false,
        // It strikes above the fallback.
        Reason::FaultReset => false,
        Reason::BadRequest
        | Reason::AccessDenied
        | Reason::UnsupportedCoding
        | Reason::HeadTooLarge
        | Reason::HeadTimeout
        | Reason::BodyTimeout
        | Reason::TooSlow
        | Reason::ConnectMethod
        | Reason::Loop
        | Reason::MaxForwards
        | Reason::Misdirected
        | Reason::NoRoute
        | Reason::NameNotAllowed
        | Reason::ClientGone => false,
    }
}

/// The failure that an endpoint's last answer is, if it calls for a fallback.
pub const fn failure_of(status: u16) -> Option<Reason> {
    match status {
        500 => Some(Reason::UpstreamError),
        502..=504 => Some(Reason::UpstreamStatus),
        _ => None,
    }
}

/// What there is to know of the request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// Whether it is GET or HEAD: only those have an earlier answer.
    pub reads: bool,
    /// Whether it may be sent once more: its body is whole, and either nothing of it was processed or processing it twice
    /// does no harm, as for a retry. That the other service is another one does not change that a plain POST may have
    /// been carried out. Nor may a caller's own deadline have passed.
    pub sendable: bool,
}

/// One thing to answer instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way<'a> {
    /// An earlier answer, at most this long past its freshness unless it says more itself.
    Stale(Duration),
    /// This service's.
    Service(&'a Arc<str>),
    /// A fixed one.
    Fixed(&'a FallbackAnswer),
}

/// What to try, in order, until one of them gives an answer.
pub fn ways(fallback: &Fallback, failed: Failed) -> impl Iterator<Item = Way<'_>> {
    let stale = fallback.stale.filter(|_| failed.reads).map(Way::Stale);
    let service = fallback.service.as_ref().filter(|_| failed.sendable).map(Way::Service);
    let fixed = fallback.answer.as_ref().map(Way::Fixed);
    [stale, service, fixed].into_iter().flatten()
}

/// An answer that is not the service's own, and why. What the log, the metrics and the client are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Degraded {
    /// Whose it is.
    pub by: By,
    /// What had failed.
    pub reason: Reason,
}

/// Whose answer it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The service's, of this long ago.
    Stale(Duration),
    /// Another service's.
    Service(Arc<str>),
    /// The configuration's.
    Fixed,
}

impl By {
    /// Its name in the mark and in metrics: `stale`, `service`, `static`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Stale(_) => "stale",
            Self::Service(_) => "service",
            Self::Fixed => "static",
        }
    }
}

impl Degraded {
    /// The field of an answer that says so. Its value is a list (RFC 9651), so that the mark of a proxy farther in stands
    /// before ours and both can be read.
    pub const FIELD: &'static str = "Outrigger-Degraded";

    /// A member of that list: `stale;reason=http_response_timeout;age=12`, `service;reason=no_endpoint;name="search-lite"`,
    /// `static;reason=breaker_open`.
    pub fn value(&self) -> String {
        let mut value = format!("{};reason={}", self.by.name(), self.reason.token());
        match &self.by {
            // RFC 9651 has integers of fifteen digits; this is less than a century.
            By::Stale(age) => _ = write!(value, ";age={}", age.as_secs().min(u64::from(u32::MAX))),
            By::Service(name) => _ = write!(value, ";name=\"{}\"", Quoted(name)),
            By::Fixed => {}
        }
        value
    }

    /// Whether nobody but this proxy has ever sent such an answer, so that there is nothing it came *via*.
    pub const fn is_made_here(&self) -> bool {
        matches!(self.by, By::Fixed)
    }
}

/// The inside of a string of RFC 9651.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                ' '..='~' => f.write_char(c)?,
                _ => f.write_char('?')?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Blame;

    fn all() -> Fallback {
        let answer = FallbackAnswer { status: 200, headers: Vec::new(), body: Arc::from(&b"[]"[..]) };
        Fallback { stale: Some(Duration::from_secs(60)), service: Some("lite".into()), answer: Some(answer) }
    }

    fn names(fallback: &Fallback, reads: bool, sendable: bool) -> Vec<&'static str> {
        let name = |way: Way<'_>| match way {
            Way::Stale(bound) => {
                assert_eq!(Some(bound), fallback.stale);
                "stale"
            }
            Way::Service(_) => "service",
            Way::Fixed(_) => "static",
        };
        ways(fallback, Failed { reads, sendable }).map(name).collect()
    }

    #[test]
    fn the_most_like_the_real_answer_comes_first() {
        assert_eq!(names(&all(), true, true), ["stale", "service", "static"]);
        assert_eq!(names(&Fallback { service: None, ..all() }, true, true), ["stale", "static"]);
        assert_eq!(names(&Fallback { stale: None, answer: None, ..all() }, true, true), ["service"]);
        assert_eq!(names(&Fallback { stale: None, service: None, answer: None }, true, true), Vec::<&str>::new());
    }

    #[test]
    fn a_request_that_may_have_been_carried_out_goes_to_no_other_service() {
        assert_eq!(names(&all(), false, false), ["static"]);
        assert_eq!(names(&all(), false, true), ["service", "static"]);
        assert_eq!(names(&all(), true, false), ["stale", "static"]);
    }

    #[test]
    fn what_would_be_a_5xx_of_rfc_5861_calls_for_a_fallback_and_what_the_client_did_does_not() {
        for &reason in Reason::ALL {
            let row = reason.row();
            let expected = match reason {
                Reason::Draining | Reason::FaultReset => false,
                Reason::UnknownService => true,
                _ => row.blame != Blame::Client && matches!(row.status, 500 | 502..=504),
            };
            assert_eq!(calls(reason), expected, "{reason:?}");
        }
    }

    #[test]
    fn an_answer_that_is_no_failure_of_the_service_stays_as_it_is() {
        for status in 100..=999 {
            let failure = failure_of(status);
            assert_eq!(failure.is_some(), matches!(status, 500 | 502 | 503 | 504), "{status}");
            assert!(failure.is_none_or(calls), "{status}");
        }
    }

    #[test]
    fn the_mark_is_a_structured_field() {
        let mark = |by, reason| Degraded { by, reason }.value();
        assert_eq!(
            mark(By::Stale(Duration::from_millis(12_900)), Reason::Timeout),
            "stale;reason=http_response_timeout;age=12"
        );
        assert_eq!(mark(By::Fixed, Reason::BreakerOpen), "static;reason=breaker_open");
        assert_eq!(
            mark(By::Service("a\"b\\c\u{e9}\r\n".into()), Reason::NoEndpoint),
            r#"service;reason=no_endpoint;name="a\"b\\c???""#
        );
        assert_eq!(
            mark(By::Stale(Duration::MAX), Reason::Timeout),
            "stale;reason=http_response_timeout;age=4294967295"
        );
        for &reason in Reason::ALL {
            // A token: begins with a letter, and is made of what a token may have.
            let name = reason.token();
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()), "{name}");
        }
    }
}
