//! The attempts of one request that are under way at the same time.
//!
//! Most requests have one from beginning to end, which lies here itself; the others are in a vector that is empty, and
//! unallocated, until there are any.

use std::task::{Context, Poll};

use super::attempt::{Attempt, Exchange, Landed, Tale};
use super::side::Probe;
use crate::clock::Instant;
use crate::upstream::Broken;

/// The live attempts.
#[derive(Debug, Default)]
pub struct Race<'r> {
    first: Option<Attempt<'r>>,
    others: Vec<Attempt<'r>>,
}

/// An attempt that is over, and what it came to.
#[derive(Debug)]
pub struct Ended<'r> {
    /// What is known of it.
    pub tale: Tale,
    /// Whether it tried an endpoint that is ejected.
    pub probe: Option<Probe<'r>>,
    /// Its answer, or what has broken it.
    pub landed: Result<Landed, Broken>,
}

impl<'r> Race<'r> {
    /// Adds one.
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

    /// Those under way, in the order in which they were started.
    pub fn live(&mut self) -> impl Iterator<Item = &mut Attempt<'r>> {
        self.first.iter_mut().chain(&mut self.others)
    }

    /// What is known of those under way.
    pub fn tales(&self) -> impl Iterator<Item = &Tale> {
        self.first.iter().chain(&self.others).map(|attempt| &attempt.tale)
    }

    /// When one of them has to be polled although nothing has come.
    pub fn wakes(&self) -> Option<Instant> {
        self.first.iter().chain(&self.others).filter_map(Attempt::wakes).min()
    }

    /// Ready with the first that has an answer or has broken; it is out of the race then.
    pub fn poll(&mut self, cx: &mut Context<'_>, x: Exchange<'r>) -> Poll<Ended<'r>> {
        if let Some(first) = &mut self.first
            && let Poll::Ready(landed) = first.poll(cx, x)
            && let Some(first) = self.first.take()
        {
            return Poll::Ready(Ended { tale: first.tale, probe: first.probe, landed });
        }
        for at in 0..self.others.len() {
            if let Poll::Ready(landed) = self.others[at].poll(cx, x) {
                let Attempt { tale, probe, .. } = self.others.remove(at);
                return Poll::Ready(Ended { tale, probe, landed });
            }
        }
        Poll::Pending
    }

    /// Takes out all that are left.
    pub fn losers(&mut self) -> impl Iterator<Item = Attempt<'r>> {
        self.first.take().into_iter().chain(std::mem::take(&mut self.others))
    }
}
