//! A service in good health: how quick it is, and how much it was given while it was.
//!
//! Everything that is too slow or too much is so in comparison with this. It is learned slowly upwards and quickly
//! downwards, from cohorts that are judged healthy only, and what came in the last two seconds is not believed yet: it may
//! be what is too much.

use std::time::Duration;

use super::super::cohort::{Counts, Spread};
use crate::clock::Instant;

/// Arrivals over which their rate is smoothed: its error is a tenth.
const SMOOTH: f64 = 64.0;
/// How long good health has to last before its load is believed; an overload needs less to show.
const EPOCH: Duration = Duration::from_secs(1);

/// How far from the least to the most a limit begins: below what it will be, because a queue is there already.
const FIRST: f64 = 0.15;

/// The service in good health.
#[derive(Debug, Default)]
pub struct Usual {
    /// Lower quartile of latency, seconds; zero until something is known.
    pub latency: f64,
    /// Requests a second that it carried; zero until that is known.
    pub rate: f64,
    /// How many requests that is known from.
    pub counted: f64,
    /// Seconds that requests took, and how many they were: what a request takes where nothing waits. From answers, not
    /// from what is in flight: polls that are being opened are in flight, too.
    carried: (f64, f64),
    /// Smoothed arrivals a second.
    arrivals: f64,
    /// Arrivals so far.
    seen: f64,
    /// How long answers take.
    pub spread: Spread,
    /// Requests that set out, and those of them that are known to have been answered soon.
    sent: (f64, f64),
    /// The last two cohorts: arrivals, and in how many seconds.
    last: ((f64, f64), (f64, f64)),
    epoch: Option<Instant>,
    /// The highest arrivals of this epoch, and of the one before.
    highest: [f64; 2],
    /// Cohorts of this epoch, and those of them that were too slow.
    cohorts: (u32, u32),
}

impl Usual {
    pub fn arrived(&mut self, count: u32, length: f64) {
        let count = f64::from(count);
        let rate = count / length.max(1e-4);
        self.last = (self.last.1, (count, length));
        self.seen += count;
        let weight = (count / SMOOTH).max(count / self.seen.max(1.0)).min(1.0);
        self.arrivals += weight * (rate - self.arrivals);
    }

    pub fn is_surge(&self) -> bool {
        if self.rate == 0.0 {
            // At the very beginning anything may be too much, if it is much. What is not known after that is not known.
            let age = self.seen / self.arrivals.max(1e-6);
            return self.seen >= 1.5 * SMOOTH && age < 4.0;
        }
        // Five times the error of what was counted; the one sees what lasts, the other what is sudden.
        let lasts = self.arrivals > self.rate * (1.0 + 5.0 / self.counted.min(2.0 * SMOOTH).sqrt());
        let count = self.last.0.0 + self.last.1.0;
        let expected = self.rate * (self.last.0.1 + self.last.1.1);
        lasts || count > 1.3 * expected + 5.0 * expected.sqrt()
    }

    /// What is too slow, seconds, when there is more to do than ever.
    pub fn surge_threshold(&self) -> f64 {
        let usual = self.latency;
        (6.0 * usual).min(usual + 0.1).max(0.1).max(1.3 * usual)
    }

    /// What is too slow, seconds, when there is not.
    pub fn climb_threshold(&self) -> f64 {
        (8.0 * self.latency).max(0.2)
    }

    /// The latency that a limit aims at: enough of a queue that no endpoint is ever idle.
    pub fn target(&self) -> f64 {
        self.latency + (0.6 * self.latency).max(0.5 * self.service()).max(0.02)
    }

    /// What a request takes on average, where nothing waits. Kept near the quartile: long polls are not service.
    pub fn service(&self) -> f64 {
        (self.carried.0 / self.carried.1.max(1.0)).clamp(self.latency, 10.0 * self.latency)
    }

    /// The limit to begin with at this throughput.
    pub fn first(&self, throughput: f64) -> f64 {
        let (least, most) = self.range(throughput);
        least + (most - least) * FIRST
    }

    /// Where a limit lies for this throughput: at the least, nobody waits and no slot is idle; at the most, all wait for
    /// three times what is aimed at. Never below what was carried in good health.
    pub fn range(&self, throughput: f64) -> (f64, f64) {
        let service = self.service();
        let least = throughput.max(0.75 * self.rate) * service;
        let wait = throughput * (self.target() - self.latency);
        (least.max(1.0), least.max(1.0) + 3.0 * wait + 1.0)
    }

    /// So many requests were answered, after so many seconds together.
    pub fn carried(&mut self, seconds: f64, count: f64) {
        self.carried.0 += seconds;
        self.carried.1 += count;
    }

    /// Whether nearly all that sets out is answered soon: there are no long polls.
    pub fn is_answered(&self) -> bool {
        self.sent.1 >= 0.95 * self.sent.0
    }

    /// A cohort of good health, some time later.
    pub fn outcome(&mut self, counts: &Counts) {
        self.spread.learn(0.95, counts);
        self.sent.0 = 0.95 * self.sent.0 + f64::from(counts.sent);
        self.sent.1 = 0.95 * self.sent.1 + f64::from(counts.known());
    }

    /// A cohort of good health, while so many a second were answered.
    pub fn learn(&mut self, latency: f64, length: f64, throughput: f64, at: Instant) {
        let kept = (-length / 10.0).exp();
        self.carried = (kept * self.carried.0, kept * self.carried.1);
        // Down within a few cohorts, up within half a minute.
        let slowly = 1.0 - (-length / 30.0).exp();
        let weight = match latency / self.latency.max(1e-6) {
            ..0.5 => 0.1,
            ..2.0 => slowly.max(0.05),
            _ => slowly,
        };
        self.latency += weight * (latency - self.latency);
        let epoch = *self.epoch.get_or_insert(at);
        self.cohorts.0 += 1;
        self.cohorts.1 += u32::from(latency > self.surge_threshold());
        // Polls that are being opened come, and are no load.
        self.highest[0] = self.highest[0].max(self.arrivals.min(throughput));
        let since = at.saturating_duration_since(epoch);
        if since < EPOCH || self.cohorts.0 < 2 {
            return;
        }
        // What came in the last two seconds may be what is too much.
        if self.cohorts.1 * 2 > self.cohorts.0 {
            self.highest = [0.0; 2];
        } else {
            self.rate = (self.rate * (-since.as_secs_f64() / 120.0).exp()).max(self.highest[1]);
            self.counted = self.seen;
            self.highest = [0.0, self.highest[0]];
        }
        self.cohorts = (0, 0);
        self.epoch = Some(at);
    }
}
