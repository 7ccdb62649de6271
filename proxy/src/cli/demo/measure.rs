//! Counting: what user requests see that need many services at once.

use std::ops::Range;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use serde::Serialize;

use super::Stage;
use super::client::Failure;
use super::fleet::Fleet;

/// User requests under way at a time. Each makes its calls at once.
pub(crate) const LANES: usize = 4;

/// How services are called.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way<'a> {
    /// An instance is taken at random, and that is that.
    Direct(&'a Fleet),
    /// Everything goes to the proxy.
    Proxy,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// User requests.
    pub requests: u64,
    /// User requests of which every call succeeded.
    pub ok: u64,
    /// Calls of services.
    pub calls: u64,
    /// Calls that succeeded.
    pub calls_ok: u64,
    /// Calls that failed, by what the client saw.
    pub failed: Failed,
}

/// Failed calls, by what the client saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Failed {
    /// An answer that is not 200.
    pub status: u64,
    /// The connection was refused, closed or reset.
    pub connection: u64,
    /// No answer in time.
    pub timeout: u64,
    /// An answer of another service.
    pub wrong: u64,
}

impl Tally {
    /// Counts one user request by the results of its calls.
    fn request(results: &[Result<(), Failure>]) -> Self {
        let mut tally = Self { requests: 1, calls: results.len() as u64, ..Self::default() };
        for result in results {
            match result {
                Ok(()) => tally.calls_ok += 1,
                Err(Failure::Status) => tally.failed.status += 1,
                Err(Failure::Connection) => tally.failed.connection += 1,
                Err(Failure::Timeout) => tally.failed.timeout += 1,
                Err(Failure::Wrong) => tally.failed.wrong += 1,
            }
        }
        tally.ok = u64::from(tally.calls == tally.calls_ok);
        tally
    }

    /// Adds what another counted.
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.ok += other.ok;
        self.calls += other.calls;
        self.calls_ok += other.calls_ok;
        self.failed.status += other.failed.status;
        self.failed.connection += other.failed.connection;
        self.failed.timeout += other.failed.timeout;
        self.failed.wrong += other.failed.wrong;
    }

    /// The share of user requests that succeeded whole.
    pub(crate) fn availability(&self) -> f64 {
        share(self.ok, self.requests)
    }

    /// The share of calls that succeeded.
    pub(crate) fn per_call(&self) -> f64 {
        share(self.calls_ok, self.calls)
    }

    /// The 95 % interval of [`Tally::availability`].
    pub(crate) fn interval(&self) -> (f64, f64) {
        wilson(self.ok, self.requests)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// E. B. Wilson's score interval for a share (1927), at 95 %. Unlike the usual one it is right near 100 %.
fn wilson(part: u64, whole: u64) -> (f64, f64) {
    const Z: f64 = 1.96;
    if whole == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (whole as f64, share(part, whole));
    let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// Makes the numbered user requests, each of which calls the first `count` services at once, and counts. `progress`
/// hears how many are done.
pub(crate) async fn run(
    stage: &Stage,
    way: Way<'_>,
    count: usize,
    numbers: Range<u64>,
    mut progress: impl FnMut(u64),
) -> Tally {
    let mut total = Tally::default();
    let mut requests =
        stream::iter(numbers).map(|number| user_request(stage, way, count, number)).buffer_unordered(LANES);
    while let Some(tally) = requests.next().await {
        total.add(tally);
        progress(total.requests);
    }
    total
}

async fn user_request(stage: &Stage, way: Way<'_>, count: usize, number: u64) -> Tally {
    let calls = stage.services.iter().take(count).enumerate().map(|(index, service)| async move {
        let to = match way {
            Way::Proxy => Some(stage.listen),
            Way::Direct(fleet) => {
                let choice = stage.model.direct_choice(service, number);
                fleet.listed(index, choice).map(|member| member.address)
            }
        };
        stage.client.call(to.ok_or(Failure::Connection)?, service, Some(number)).await
    });
    Tally::request(&join_all(calls).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_request_fails_with_any_of_its_calls() {
        let mut total = Tally::request(&[Ok(()), Err(Failure::Status), Ok(())]);
        total.add(Tally::request(&[Ok(()), Ok(()), Ok(())]));
        assert_eq!((total.requests, total.ok, total.calls, total.calls_ok), (2, 1, 6, 5));
        assert_eq!(total.failed, Failed { status: 1, ..Failed::default() });
    }

    #[test]
    fn an_interval_holds_the_share_and_narrows() {
        let (low, high) = wilson(904, 1_000);
        assert!(low > 0.883 && low < 0.885 && high > 0.920 && high < 0.922, "{low} {high}");
        let (low, high) = wilson(1_000, 1_000);
        assert!(low > 0.995 && low < 0.997 && (high - 1.0).abs() < 1e-9, "{low} {high}");
        assert!(wilson(100_000, 100_000).0 > low);
    }
}
