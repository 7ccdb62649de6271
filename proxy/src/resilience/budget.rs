//! What a service may be asked beyond what its clients ask.
//!
//! Why a budget, and not only a number of retries? Because "two retries" means nothing while little fails, and three
//! times the load when everything does: at the very moment at which a service needs rest. What has to be bounded is not
//! the request but the *sum*. So a service has an account. Each request pays a fifth of a token into it; each attempt that
//! is not a request's first and may reach an endpoint a second time (a retry, a hedge, a second try beside a slow one)
//! takes a whole one out. While one call in a hundred fails, nobody notices that there is an
//! account. When all fail, the service gets 1.2 times its load and no more. What no endpoint has seen is no load: a move
//! after a refused connection and the replay of a stale connection are free ([`super::retry`]).
//!
//! **The reserve.** Failures come in heaps: an instance dies, and every request to it fails within the same moment. The
//! account may therefore hold ten seconds of income. **The floor.** A service with one request in a while would never have
//! a token: below fifteen requests a second, time pays instead (three tokens a second, with the defaults; at fifteen
//! both pay the same).
//!
//! **What fails alone leaves half of it.** A page that fails whatever is tried would otherwise spend what the others need when an
//! instance dies ([`super::shape`]).
//!
//! **One account per service and process**, not per route and not per worker: the service does not care which of them
//! overloads it. Paying in happens with every request, so each worker counts for itself and hands over the sum now and
//! then; taking out happens when something is wrong, and is one atomic operation. (Finagle's `RetryBudget`, later
//! tower's and linkerd's, has the idea; what is new here is that hedges draw on the same account.)

use super::sync::{AtomicI64, AtomicU64, Ordering};
use crate::config::settings::{Hedge, Retries};

/// A token, in the unit that accounts are kept in.
const TOKEN: i64 = 1_000;
/// Income of so many seconds is kept.
const RESERVE_S: f64 = 10.0;
/// The income of the time since the last settling is reckoned at most this often, in milliseconds.
const SETTLE_EVERY: u64 = 100;
/// How far back a service's rate of requests is remembered, in seconds.
const RATE_MEMORY_S: f64 = 5.0;

/// What a service's account is kept by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Tokens for each request.
    pub budget: f64,
    /// Tokens a second where requests bring less.
    pub min_per_second: f64,
    /// The part of a token for each request that may go into hedges.
    pub hedge_share: f64,
}

impl Terms {
    /// From a service's policies.
    pub fn of(retries: &Retries, hedge: &Hedge) -> Self {
        Self { budget: retries.budget, min_per_second: retries.min_per_second, hedge_share: hedge.share }
    }
}

/// A service's account. Times are milliseconds on the joint's clock.
#[derive(Debug)]
pub struct RetryBudget {
    /// Thousandths of tokens.
    tokens: AtomicI64,
    /// Thousandths of tokens that hedges may take, of those above.
    hedges: AtomicI64,
    /// Requests since the last settling.
    requests: AtomicU64,
    settled: AtomicU64,
    /// Requests in a thousand seconds, lately.
    rate: AtomicU64,
    refused: AtomicU64,
}

/// An account as it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// Tokens that are left.
    pub tokens: f64,
    /// Of these, for hedges.
    pub hedges: f64,
    /// Attempts that were not made for want of a token, since the start.
    pub refused: u64,
}

impl RetryBudget {
    /// A full account of a service that nobody has used yet.
    pub fn new(terms: &Terms, now: u64) -> Self {
        Self {
            tokens: AtomicI64::new(reserve(terms.budget, terms.min_per_second, 0.0)),
            hedges: AtomicI64::new(reserve(terms.hedge_share, HEDGE_FLOOR, 0.0)),
            requests: AtomicU64::new(0),
            settled: AtomicU64::new(now),
            rate: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// So many requests came.
    pub fn deposit(&self, requests: u32) {
        self.requests.fetch_add(u64::from(requests), Ordering::Relaxed);
    }

    /// Takes a token out, if there is one.
    pub fn withdraw(&self, terms: &Terms, now: u64) -> bool {
        self.settle(terms, now);
        self.counted(take(&self.tokens))
    }

    /// Takes a token out for what fails whatever is done about it: the second half of the account is left to others.
    pub fn withdraw_modestly(&self, terms: &Terms, now: u64) -> bool {
        self.settle(terms, now);
        let rate = self.rate.load(Ordering::Relaxed) as f64 / 1e3;
        let half = reserve(terms.budget, terms.min_per_second, rate) / 2;
        self.counted(self.tokens.load(Ordering::Relaxed) - TOKEN >= half && take(&self.tokens))
    }

    /// Takes one out for a hedge, if there is one and hedges have not had their share.
    pub fn withdraw_hedge(&self, terms: &Terms, now: u64) -> bool {
        self.settle(terms, now);
        if terms.hedge_share <= 0.0 || !take(&self.hedges) {
            return self.counted(false);
        }
        let taken = take(&self.tokens);
        if !taken {
            self.hedges.fetch_add(TOKEN, Ordering::Relaxed);
        }
        self.counted(taken)
    }

    /// Gives one back that was not used after all, to hedges too where it was one's.
    pub fn give_back(&self, hedge: bool) {
        self.tokens.fetch_add(TOKEN, Ordering::Relaxed);
        if hedge {
            self.hedges.fetch_add(TOKEN, Ordering::Relaxed);
        }
    }

    /// How it stands.
    pub fn balance(&self) -> Balance {
        let tokens = |account: &AtomicI64| account.load(Ordering::Relaxed) as f64 / TOKEN as f64;
        Balance {
            tokens: tokens(&self.tokens),
            hedges: tokens(&self.hedges),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Reckons the income since the last time. One of those who come does it, the others go on.
    pub fn settle(&self, terms: &Terms, now: u64) {
        let before = self.settled.load(Ordering::Relaxed);
        let elapsed = now.saturating_sub(before);
        if elapsed < SETTLE_EVERY
            || self.settled.compare_exchange(before, now, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return;
        }
        let requests = self.requests.swap(0, Ordering::AcqRel) as f64;
        let seconds = elapsed as f64 / 1e3;
        let known = self.rate.load(Ordering::Relaxed) as f64 / 1e3;
        let rate = requests / seconds + (known - requests / seconds) * (-seconds / RATE_MEMORY_S).exp();
        self.rate.store((rate * 1e3) as u64, Ordering::Relaxed);
        // Time pays for no more than the reserve can hold: a service that slept for an hour has not saved up.
        let paid_by_time = seconds.min(RESERVE_S);
        let income = |share: f64, floor: f64| {
            let by_time = if rate * share < floor { floor * paid_by_time } else { 0.0 };
            ((requests * share).max(by_time) * TOKEN as f64) as i64
        };
        let pay = |account: &AtomicI64, share: f64, floor: f64| {
            let (income, most) = (income(share, floor), reserve(share, floor, rate));
            let paid = |held: i64| Some((held + income).min(most));
            // Cannot fail: the closure always has an answer.
            let _ = account.fetch_update(Ordering::AcqRel, Ordering::Relaxed, paid);
        };
        pay(&self.tokens, terms.budget, terms.min_per_second);
        pay(&self.hedges, terms.hedge_share, if terms.hedge_share > 0.0 { HEDGE_FLOOR } else { 0.0 });
    }

    fn counted(&self, taken: bool) -> bool {
        if !taken {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

/// Hedges a second that a service with few requests may have.
const HEDGE_FLOOR: f64 = 0.5;

/// What an account may hold, in thousandths.
fn reserve(share: f64, floor: f64, rate: f64) -> i64 {
    ((share * rate).max(floor) * RESERVE_S * TOKEN as f64) as i64
}

fn take(account: &AtomicI64) -> bool {
    let one_less = |held: i64| (held >= TOKEN).then_some(held - TOKEN);
    account.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_less).is_ok()
}

#[cfg(all(test, not(outrigger_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_fails_alone_leaves_half_of_the_account_to_the_others() {
        let terms = Terms { budget: 0.2, min_per_second: 3.0, hedge_share: 0.05 };
        let budget = RetryBudget::new(&terms, 1_000);
        assert_eq!((0..100).filter(|_| budget.withdraw_modestly(&terms, 1_000)).count(), 15);
        assert_eq!((0..100).filter(|_| budget.withdraw(&terms, 1_000)).count(), 15);
    }

    const TERMS: Terms = Terms { budget: 0.2, min_per_second: 3.0, hedge_share: 0.05 };

    /// Takes out as many as there are.
    fn drain(budget: &RetryBudget, now: u64) -> u32 {
        std::iter::from_fn(|| budget.withdraw(&TERMS, now).then_some(())).count() as u32
    }

    #[test]
    fn a_new_account_holds_ten_seconds_of_the_floor() {
        assert_eq!(drain(&RetryBudget::new(&TERMS, 0), 0), 30);
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_repeated_and_no_more() {
        let budget = RetryBudget::new(&TERMS, 0);
        let mut taken = 0;
        for second in 1..=60 {
            for tenth in 0..10 {
                budget.deposit(100);
                taken += drain(&budget, second * 1_000 + tenth * 100);
            }
        }
        // 60,000 requests at 1,000 a second.
        assert!((12_000..=12_060).contains(&taken), "{taken}");
    }

    #[test]
    fn the_reserve_is_ten_seconds_of_income() {
        let budget = RetryBudget::new(&TERMS, 0);
        for tenth in 1..=600 {
            budget.deposit(100);
            budget.settle(&TERMS, tenth * 100);
        }
        let held = drain(&budget, 60_000);
        assert!((1_950..=2_001).contains(&held), "{held} for 1,000 requests a second");
    }

    #[test]
    fn a_service_with_few_requests_lives_on_the_floor() {
        let budget = RetryBudget::new(&TERMS, 0);
        drain(&budget, 0);
        let mut taken = 0;
        for second in 1..=60 {
            budget.deposit(1);
            taken += drain(&budget, second * 1_000);
        }
        assert!((175..=181).contains(&taken), "{taken}");
    }

    #[test]
    fn hedges_have_a_share_of_their_own_and_draw_on_the_same_account() {
        let budget = RetryBudget::new(&TERMS, 0);
        let mut hedges = 0;
        for tenth in 1..=600 {
            budget.deposit(100);
            while budget.withdraw_hedge(&TERMS, tenth * 100) {
                hedges += 1;
            }
        }
        assert!((2_990..=3_020).contains(&hedges), "{hedges} of 60,000 requests");
        drain(&budget, 60_000);
        budget.hedges.store(TOKEN, Ordering::Relaxed);
        assert!(!budget.withdraw_hedge(&TERMS, 60_000), "the account is empty");
        assert_eq!(budget.hedges.load(Ordering::Relaxed), TOKEN, "the share was charged for nothing");
        assert!(!budget.withdraw_hedge(&Terms { hedge_share: 0.0, ..TERMS }, 60_000));
    }

    proptest! {
        /// Over any stretch of time: no more than the reserve at its beginning and the income since.
        #[test]
        fn no_window_spends_more_than_its_income_and_the_reserve(
            steps in proptest::collection::vec((0u64..3_000, 0u32..2_000, 0u32..600), 1..80),
        ) {
            let budget = RetryBudget::new(&TERMS, 0);
            let mut now = 0;
            // Time, requests, tokens taken, all so far.
            let mut past = vec![(0u64, 0u64, 0u64, 30.0)];
            for (wait, requests, wanted) in steps {
                now += wait;
                budget.deposit(requests);
                let taken = (0..wanted).filter(|_| budget.withdraw(&TERMS, now)).count() as u64;
                let (_, all, spent, _) = past[past.len() - 1];
                past.push((now, all + u64::from(requests), spent + taken, budget.balance().tokens));
            }
            let (end, requests, spent, _) = past[past.len() - 1];
            for (began, before, had, held) in past {
                let seconds = (end - began) as f64 / 1e3;
                let income = 0.2 * (requests - before) as f64 + 3.0 * seconds;
                // What was paid in just before the window may be reckoned in it.
                let unsettled = 0.2 * 2_000.0 * 3.0 + 3.0 * 3.0;
                prop_assert!((spent - had) as f64 <= held + income + unsettled, "{} in {seconds} s", spent - had);
                prop_assert!(held >= 0.0);
            }
        }
    }
}
