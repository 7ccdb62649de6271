//! Which endpoints a request with one try may go to, at this moment.
//!
//! [`safest`] marks endpoints as doubtful by what has happened in the last seconds. That is worked out a few times a
//! second. The last milliseconds matter as much: an endpoint that has just begun to hang has failed at nothing yet.
//! So this module narrows the safest endpoints further. First it leaves out those whose last news is bad, and those
//! that owe an answer and are silent. Then, while requests that may be repeated keep the news coming, it leaves out
//! those with the oldest news. Half of the pool remains at every step, and a step whose remainder has become slow is not
//! taken.

use std::time::Duration;

use super::{Member, WorkerCluster};
use crate::clock::Instant;
use crate::resilience::outlier::Members;
use crate::resilience::single_try::{self, Doubts, FRESH_FOR, TROUBLE_FOR};

/// How long the doubts are valid after they were worked out, in milliseconds.
const SAFE_FOR: u64 = 250;
/// In a larger pool the last step is left out: one endpoint that hangs is a small share of it, and looking at all is
/// expensive.
const MOST_ASKED: usize = 64;

/// The endpoints that are not doubtful, as last worked out.
#[derive(Debug, Default)]
pub(super) struct Safe {
    generation: Option<u32>,
    reckoned: u64,
    left: Option<Vec<bool>>,
    /// Which endpoints' answers take far longer than their pool's.
    slow: Vec<bool>,
    /// After what time without an answer an endpoint is silent.
    silence: Duration,
    /// What the pool's answers typically take, in microseconds; 0 for not known.
    typical: u64,
}

impl WorkerCluster {
    /// Which endpoints a request with one try may go to; none where it may go to all.
    pub(crate) fn safest(&self, ms: u64, now: Instant) -> Option<Vec<bool>> {
        let safe = self.doubts(ms, now);
        let members = self.upstreams.iter().zip(self.cluster.endpoints.iter()).enumerate();
        let of_safest = |at: usize| safe.left.as_ref().is_none_or(|left| left.get(at).is_some_and(|left| *left));
        let (mut all, mut safe_ones, mut answering, mut carrying) = (0, 0, 0, 0);
        let mut left = Vec::with_capacity(self.upstreams.len());
        for (at, (member, endpoint)) in members {
            let is_in = !endpoint.shared.outlier.is_out();
            let is_safe = is_in && of_safest(at);
            let bad_news = endpoint.shared.outlier.is_failing(ms, TROUBLE_FOR);
            let answers = is_safe && !bad_news && !member.upstream.is_silent(safe.silence, now);
            all += usize::from(is_in);
            safe_ones += usize::from(is_safe);
            answering += usize::from(answers);
            carrying += usize::from(answers && !safe.slow.get(at).is_some_and(|slow| *slow));
            left.push((is_safe, answers));
        }
        // Where all who answer have become slow, leaving the others out is what made them so.
        let use_news = single_try::is_enough(answering, all) && carrying > 0;
        let mut left: Vec<bool> =
            left.into_iter().map(|(safe, answers)| if use_news { answers } else { safe }).collect();
        let mut count = if use_news { answering } else { safe_ones };
        let [repeatable, once] = self.counts.picks.get();
        if use_news && repeatable >= once && left.len() <= MOST_ASKED && self.is_even() {
            count = self.with_fresh_news(&mut left, all.div_ceil(2));
        }
        (count > 0 && count < all).then_some(left)
    }

    /// Which endpoints nothing bad is known of at this moment: a further attempt is there to succeed. Unlike the safest they
    /// may be few, or none.
    pub(super) fn sound(&self, ms: u64, now: Instant) -> Vec<bool> {
        let (silence, typical) = {
            let safe = self.doubts(ms, now);
            (safe.silence, safe.typical)
        };
        let endpoints = &*self.cluster.endpoints;
        let is_sound = |(index, member): (usize, &Member)| {
            let state = &endpoints.state(index);
            let latency = (member.upstream.latency().value(now) as u64).max(endpoints.median_us(index));
            !state.is_failing(ms, TROUBLE_FOR)
                && !member.upstream.is_silent(silence, now)
                && !single_try::is_slow(latency, typical)
        };
        self.upstreams.iter().enumerate().take(endpoints.len()).map(is_sound).collect()
    }

    /// Keeps the `keep` endpoints with the freshest news, and any whose news is as fresh. Returns how many that is.
    fn with_fresh_news(&self, left: &mut [bool], keep: usize) -> usize {
        let news = |at: usize| self.upstreams[at].upstream.answered_at();
        let mut times: Vec<Instant> = (0..left.len()).filter(|at| left[*at]).map(news).collect();
        if times.len() > keep && keep > 0 {
            let (_, oldest, _) = times.select_nth_unstable_by(keep - 1, |a, b| b.cmp(a));
            let oldest = *oldest;
            for (at, left) in left.iter_mut().enumerate() {
                *left &= news(at) >= oldest;
            }
        }
        left.iter().filter(|left| **left).count()
    }

    /// Whether all endpoints are to get the same share. Where not, who gets little is seldom heard of, and must not get less for
    /// that.
    fn is_even(&self) -> bool {
        self.upstreams.iter().all(|member| member.relative_weight == 1.0)
    }

    fn doubts(&self, ms: u64, now: Instant) -> std::cell::Ref<'_, Safe> {
        let generation = self.cluster.shared.pool.generation();
        let stale = {
            let safe = self.safe.borrow();
            safe.generation != Some(generation) || ms >= safe.reckoned + SAFE_FOR
        };
        if stale {
            self.safe.replace(self.reckon(generation, ms, now));
        }
        self.safe.borrow()
    }

    fn reckon(&self, generation: u32, reckoned: u64, now: Instant) -> Safe {
        let endpoints = &*self.cluster.endpoints;
        let mut medians: Vec<u64> = (0..endpoints.len()).map(|i| endpoints.median_us(i)).filter(|m| *m > 0).collect();
        // Of two the lower one: the other may have become slow by carrying what the first was spared.
        let middle = medians.len().saturating_sub(1) / 2;
        let typical = if medians.is_empty() { 0 } else { *medians.select_nth_unstable(middle).1 };
        let lately = |at: u64, within: u64| at != 0 && reckoned.saturating_sub(at) < within;
        let doubts = endpoints.iter().zip(&self.upstreams).enumerate().map(|(index, (endpoint, member))| {
            let state = &endpoint.shared.outlier;
            let latency = (member.upstream.latency().value(now) as u64).max(endpoints.median_us(index));
            let doubts = Doubts {
                trouble: lately(state.trouble(), TROUBLE_FOR),
                fresh: lately(state.returned(), FRESH_FOR),
                slow: single_try::is_slow(latency, typical),
            };
            (doubts, state.is_out())
        });
        let doubts: Vec<_> = doubts.collect();
        let slow = doubts.iter().map(|(doubts, _)| doubts.slow).collect();
        let of_those_in: Vec<_> = doubts.into_iter().map(|(doubts, is_out)| (!is_out).then_some(doubts)).collect();
        let left = single_try::safest(&of_those_in);
        Safe { generation: Some(generation), reckoned, left, slow, silence: single_try::silence(typical), typical }
    }
}
