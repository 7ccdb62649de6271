//! An attempt that has lost its race: for a moment it may still be answered.
//!
//! That saves its connection, and it tells what would have become of the request without the attempt that was faster.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::{Attempt, State};
use crate::counts::First;
use crate::forward::record::late_first::Witness;
use crate::forward::response_body::Download;
use crate::http::Head;
use crate::http::head::Name;
use crate::resilience::retry::{self, Verdict};
use crate::timer;
use crate::upstream;
use crate::upstream::http1::HeadEvent;

impl Attempt<'_> {
    /// The attempt has lost the race. If its request is sent, the rest of its answer may still come for a moment
    /// ([`LAST_CHANCE`]), so that its connection need not be closed. If it is still sending, it ends here. `witness` is told what
    /// comes of it.
    pub fn lose(mut self, witness: Option<Witness>, safe: bool) {
        let rest = match std::mem::replace(&mut self.state, State::Over) {
            State::Asking(asking) if asking.is_sent() => Rest::Asking(asking),
            State::Holding(head, Download::H1(answer), _) if answer.is_sent() => {
                Rest::Holding(worth(&head, safe), Download::H1(answer))
            }
            _ => return,
        };
        tokio::task::spawn_local(async move {
            let mut rest = rest;
            let finish = std::future::poll_fn(|cx| rest.poll(cx, safe));
            let first = match tokio::time::timeout(LAST_CHANCE, finish).await {
                Ok(first) => first,
                Err(_) => rest.so_far(),
            };
            if let Some(witness) = witness {
                witness.saw(first);
            }
        });
    }
}

/// How long the answer of a lost attempt is waited for. Closing a connection and dialling another costs more than
/// reading a few bytes. Waiting longer would keep load on an endpoint that is slow as it is.
const LAST_CHANCE: Duration = Duration::from_millis(50);

/// What is left of a lost attempt.
enum Rest {
    Asking(upstream::http1::Attempt),
    /// A head has come, and is worth this.
    Holding(First, Download),
    Over(First),
}

impl Rest {
    /// Ready when nothing more comes, with what would have become of the attempt.
    fn poll(&mut self, cx: &mut Context<'_>, safe: bool) -> Poll<First> {
        loop {
            match self {
                Self::Asking(asking) => match ready!(asking.poll_head(cx)) {
                    Ok(HeadEvent::Interim(_)) => {}
                    Ok(HeadEvent::Final(head)) if head.status() != 101 => {
                        let Self::Asking(asking) = std::mem::replace(self, Self::Over(First::Failed)) else { continue };
                        if let Ok(answer) = asking.into_answer(&head, timer::now()) {
                            *self = Self::Holding(worth(&head, safe), Download::H1(answer));
                        }
                    }
                    // A stale connection says nothing of its endpoint, and an upgrade is never raced.
                    Err(broken) if !broken.stale => return Poll::Ready(First::Failed),
                    _ => return Poll::Ready(First::Unknown),
                },
                // At the body's end the connection is given back by itself.
                Self::Holding(first, download) => {
                    let held = ready!(download.poll_hold(cx, false));
                    return Poll::Ready(if held.is_ok() { *first } else { First::Failed });
                }
                Self::Over(first) => return Poll::Ready(*first),
            }
        }
    }

    /// What is known where nobody listens any longer: a head that was good is an answer.
    fn so_far(&self) -> First {
        match self {
            Self::Asking(_) => First::Unknown,
            Self::Holding(first, _) | Self::Over(first) => *first,
        }
    }
}

/// What an answer's head says of an attempt.
fn worth(head: &Head, safe: bool) -> First {
    match retry::verdict(head.status(), head.first(Name::GrpcStatus), safe) {
        Verdict::Good => First::Good,
        Verdict::Unavailable | Verdict::Error => First::Failed,
    }
}
