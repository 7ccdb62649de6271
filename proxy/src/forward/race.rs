//! The attempts of one request that are under way at the same time.
//!
//! Most requests never have more than one, so the first lies in this struct itself. The others are in a vector, which
//! is not allocated until there are any.

use std::task::{Context, Poll};

use crate::clock::Instant;
use crate::forward::answer::Response;
use crate::forward::attempt::{Attempt, AttemptContext};
use crate::upstream::Broken;
use crate::worker::attempt_info::AttemptInfo;
use crate::worker::cluster::Probe;

/// A request's live attempts.
#[derive(Debug, Default)]
pub struct Race<'r> {
    first: Option<Attempt<'r>>,
    others: Vec<Attempt<'r>>,
}

/// An attempt that is over, and its result.
#[derive(Debug)]
pub struct AttemptOutcome<'r> {
    /// What is known of it.
    pub info: AttemptInfo,
    /// The probe, if it tried an endpoint that is ejected.
    pub probe: Option<Probe<'r>>,
    /// Its answer, or what broke it.
    pub response: Result<Response, Broken>,
}

impl<'r> Race<'r> {
    /// Adds an attempt.
    pub fn add(&mut self, attempt: Attempt<'r>) {
        if self.first.is_none() && self.others.is_empty() {
            self.first = Some(attempt);
        } else {
            self.others.push(attempt);
        }
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.is_empty()
    }

    /// The live attempts, in the order in which they were started.
    pub fn live(&mut self) -> impl Iterator<Item = &mut Attempt<'r>> {
        self.first.iter_mut().chain(&mut self.others)
    }

    /// What is known of the live attempts.
    pub fn infos(&self) -> impl Iterator<Item = &AttemptInfo> {
        self.first.iter().chain(&self.others).map(|attempt| &attempt.info)
    }

    /// When one of them has to be polled although nothing has come from its endpoint.
    pub fn wakes(&self) -> Option<Instant> {
        self.first.iter().chain(&self.others).filter_map(Attempt::wakes).min()
    }

    /// Ready with the first attempt that has an answer or has broken. That attempt has left the race then.
    pub fn poll(&mut self, cx: &mut Context<'_>, x: AttemptContext<'r>) -> Poll<AttemptOutcome<'r>> {
        if let Some(first) = &mut self.first
            && let Poll::Ready(response) = first.poll(cx, x)
            && let Some(first) = self.first.take()
        {
            return Poll::Ready(AttemptOutcome { info: first.info, probe: first.probe, response });
        }
        for at in 0..self.others.len() {
            if let Poll::Ready(response) = self.others[at].poll(cx, x) {
                let Attempt { info, probe, .. } = self.others.remove(at);
                return Poll::Ready(AttemptOutcome { info, probe, response });
            }
        }
        Poll::Pending
    }

    /// Takes out all attempts that are left.
    pub fn losers(&mut self) -> impl Iterator<Item = Attempt<'r>> {
        self.first.take().into_iter().chain(std::mem::take(&mut self.others))
    }
}
