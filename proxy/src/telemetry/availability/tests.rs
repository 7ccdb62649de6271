use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::clock::Instant;
use crate::control::first_snapshot;
use crate::control::testing::settings;
use crate::counts::{Account, Losses, Outcome, ServiceMetrics, ServiceTally};

fn ended(status: u16) -> Ended {
    let waited = Duration::from_millis(5);
    Ended { status, grpc: None, refused: None, broken: None, degraded: false, waited, first: First::Unknown, by: None }
}

fn refused(reason: Reason) -> Ended {
    Ended { refused: Some(reason), ..ended(reason.row().status) }
}

fn outcome(ended: &Ended) -> Option<Outcome> {
    fate(ended).outcome()
}

fn failure(reason: Reason) -> Option<Outcome> {
    Some(Outcome::Failure(reason))
}

#[test]
fn an_answer_that_was_passed_on_is_what_it_says() {
    for status in [200, 204, 301, 304, 501, 505, 101] {
        assert_eq!(outcome(&ended(status)), Some(Outcome::Success), "{status}");
    }
    for status in [502, 503, 504] {
        assert_eq!(outcome(&ended(status)), failure(Reason::UpstreamStatus), "{status}");
    }
    assert_eq!(outcome(&ended(500)), failure(Reason::UpstreamError));
}

#[test]
fn what_the_client_did_to_itself_is_in_no_account() {
    for status in [400, 404, 429, 499] {
        assert_eq!(outcome(&ended(status)), None, "{status}");
    }
    for reason in Reason::ALL.iter().filter(|reason| reason.row().blame == Blame::Client) {
        assert_eq!(outcome(&refused(*reason)), None, "{reason:?}");
    }
}

#[test]
fn whatever_else_the_proxy_refuses_is_lost() {
    for reason in Reason::ALL.iter().filter(|reason| reason.row().blame != Blame::Client) {
        assert_eq!(outcome(&refused(*reason)), failure(*reason));
        assert_eq!(outcome(&Ended { broken: Some(*reason), ..ended(200) }), failure(*reason), "in mid-body");
    }
}

#[test]
fn a_client_that_waited_and_left_is_lost_and_one_that_changed_its_mind_is_not() {
    let left = |waited| outcome(&Ended { waited, ..refused(Reason::ClientGone) });
    assert_eq!(left(Duration::from_millis(99)), None);
    assert_eq!(left(PATIENCE), failure(Reason::ClientGone));
    let broken = Ended { broken: Some(Reason::ClientGone), waited: Duration::from_secs(1), ..ended(200) };
    assert_eq!(outcome(&broken), Some(Outcome::Success), "it was answered, and had enough");
}

#[test]
fn a_fallback_is_degraded_whatever_its_status() {
    assert_eq!(outcome(&Ended { degraded: true, ..ended(200) }), Some(Outcome::Degraded));
    assert_eq!(outcome(&Ended { degraded: true, ..ended(503) }), Some(Outcome::Degraded));
    let broken = Ended { degraded: true, broken: Some(Reason::UpstreamClosed), ..ended(200) };
    assert_eq!(outcome(&broken), failure(Reason::UpstreamClosed));
}

#[test]
fn a_grpc_status_says_more_than_200() {
    let grpc = |code| outcome(&Ended { grpc: Some(code), ..ended(200) });
    assert_eq!(grpc(0), Some(Outcome::Success));
    assert_eq!(grpc(14), failure(Reason::UpstreamStatus));
    assert_eq!(grpc(4), failure(Reason::Timeout));
    assert_eq!(grpc(13), failure(Reason::UpstreamError));
    for clients in [1, 3, 5, 7, 8, 16] {
        assert_eq!(grpc(clients), None, "{clients}");
    }
}

#[test]
fn a_request_is_rescued_only_if_its_first_attempt_is_known_to_have_failed() {
    let by = |first, by| fate(&Ended { first, by, ..ended(200) });
    for rescue in Rescue::ALL {
        assert_eq!(by(First::Failed, Some(rescue)), Fate::Rescued(rescue));
        assert_eq!(by(First::Unknown, Some(rescue)), Fate::Unknown);
        assert_eq!(by(First::Good, Some(rescue)), Fate::FirstGood, "it would have been answered without it");
    }
    assert_eq!(by(First::Unknown, None), Fate::FirstGood, "the first attempt's own answer");
}

#[test]
fn what_a_limit_refuses_is_refused_and_what_had_failed_before_is_lost() {
    let limits = Reason::ALL.iter().filter(|reason| reason.is_limit());
    for reason in limits.clone() {
        assert_eq!(fate(&refused(*reason)), Fate::Refused(*reason));
        assert_eq!(fate(&Ended { first: First::Failed, ..refused(*reason) }), Fate::Lost(*reason));
    }
    assert_eq!(limits.count(), 8);
    assert_eq!(fate(&refused(Reason::NoEndpoint)), Fate::Lost(Reason::NoEndpoint), "that is no limit of ours");
}

#[test]
fn who_leaves_is_told_apart_from_who_breaks_the_rules() {
    assert_eq!(fate(&refused(Reason::ClientGone)), Fate::Abandoned);
    assert_eq!(fate(&refused(Reason::BadRequest)), Fate::ClientError);
    assert_eq!(fate(&ended(404)), Fate::ClientError);
}

#[test]
fn unknown_is_good_before_and_a_refusal_is_neither() {
    let mut losses = Losses { lost: [0; Reason::ALL.len()], refused: [0; Reason::ALL.len()] };
    losses.refused[Reason::BreakerOpen as usize] = 1;
    let totals =
        Totals { first_good: 96, unknown: 1, rescued: [2, 0, 0, 0], losses: Arc::new(losses), ..Totals::default() };
    assert_eq!((totals.before(), totals.after()), (Some(0.97), Some(0.99)));
    assert_eq!((Totals::default().before(), Totals::default().after()), (None, None));
}

fn sums(success: u64, timeouts: u64) -> Totals {
    let mut losses = Losses { lost: [0; Reason::ALL.len()], refused: [0; Reason::ALL.len()] };
    losses.lost[Reason::Timeout as usize] = timeouts;
    Totals { started: success + timeouts, first_good: success, losses: Arc::new(losses), ..Totals::default() }
}

#[test]
fn a_window_reconciles_with_what_was_carried_into_it() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut ring = Ring::new(start);
    // Five begin before the window, of which three are over in it; one begins in it and is not over.
    let before = Totals { started: 12, in_flight: 5, ..sums(6, 1) };
    ring.push(at(10), before);
    ring.push(at(100), Totals { started: 13, in_flight: 3, ..sums(9, 1) });
    let (window, _) = ring.window(Window::Minute.length());
    assert_eq!((window.carried, window.started, window.first_good, window.in_flight), (5, 1, 3, 3));
    assert!(window.reconciles() && ring.all().0.reconciles());
}

#[test]
fn a_window_forgets_what_was_before_it() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut ring = Ring::new(start);
    ring.push(at(10), sums(100, 7));
    ring.push(at(69), sums(150, 7));
    let minute = |ring: &Ring| ring.window(Window::Minute.length());
    assert_eq!(
        minute(&ring),
        (sums(150, 7), Duration::from_secs(60)),
        "of the last minute is all since the 9th second"
    );
    ring.push(at(70), sums(150, 7));
    assert_eq!(minute(&ring).0, sums(150, 7), "a second too much, because a second is the step");
    ring.push(at(71), sums(150, 7));
    assert_eq!(minute(&ring).0, sums(50, 0));
    ring.push(at(500), sums(150, 7));
    assert_eq!(minute(&ring).0.requests(), 0);
    assert_eq!(ring.window(Window::Hour.length()), (sums(150, 7), Duration::from_secs(500)));
    ring.push(at(86_400 + 1_800), sums(151, 7));
    assert_eq!(ring.window(Window::Day.length()).0, sums(1, 0));
}

proptest! {
    /// Against a list of everything: no window misses what is in it, or holds more than one step too much.
    #[test]
    fn a_window_is_what_happened_in_it(
        steps in prop::collection::vec((1_u64..400, 0_u64..5, 0_u64..2), 1..600),
    ) {
        let start = Instant::now();
        let mut ring = Ring::new(start);
        let (mut now, mut success, mut lost) = (0, 0, 0);
        let mut all = vec![(0, 0, 0)];
        for (pause, more, failed) in steps {
            now += pause;
            success += more;
            lost += failed;
            all.push((now, success, lost));
            ring.push(start + Duration::from_secs(now), sums(success, lost));
            for (window, step) in [(60, 1), (300, 1), (3_600, 60), (86_400, 900)] {
                let (got, _) = ring.window(Duration::from_secs(window));
                let then = |second: u64| all.iter().rev().find(|(at, ..)| *at <= second).copied().unwrap_or_default();
                let exact = then(now.saturating_sub(window));
                let longest = then(now.saturating_sub(window).saturating_sub(step));
                prop_assert!(got.success() >= success - exact.1, "{window} s: {} < {}", got.success(), success - exact.1);
                prop_assert!(got.success() <= success - longest.1);
                prop_assert!(got.failure() >= lost - exact.2 && got.failure() <= lost - longest.2);
                prop_assert_eq!(got.losses.lost[Reason::Timeout as usize], got.failure());
                prop_assert!(got.reconciles(), "{:?}", got);
            }
        }
    }
}

#[test]
fn a_past_is_bounded_and_an_idle_one_is_nothing() {
    let start = Instant::now();
    let mut busy = Ring::new(start);
    let mut idle = Ring::new(start);
    for second in 0..100_000 {
        let now = start + Duration::from_secs(second);
        busy.push(now, sums(second, second / 7));
        idle.push(now, sums(3, 0));
    }
    assert!(busy.len() <= 464, "{}", busy.len());
    assert!(idle.len() <= 6, "{}", idle.len());
    assert!(std::mem::size_of::<(u32, Totals)>() == 120);
}

#[test]
fn a_service_that_is_followed_again_begins_anew_and_a_name_that_may_be_none_has_no_past() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let answered = |requests| {
        let snapshot = first_snapshot(&settings(&["orders"]));
        let mut tally = ServiceTally::default();
        (0..requests).for_each(|_| tally.finished(&Account::GOOD));
        snapshot.clusters["orders"].shared.metrics.absorb(&mut tally);
        snapshot
    };
    let requests = |ledger: &Ledger| ledger.window("orders", Window::Minute).map(|(totals, _)| totals.requests());
    let mut ledger = Ledger::default();
    let before = answered(10);
    ledger.look(&before, at(0));
    ledger.look(&before, at(100));
    assert_eq!(requests(&ledger), Some(0));
    ledger.look(&answered(4), at(200));
    assert_eq!(requests(&ledger), Some(4));
    ledger.look(&first_snapshot(&settings(&[])), at(201));
    assert_eq!((requests(&ledger), ledger.services().count()), (None, 0));

    let mut unknown = answered(0);
    let metrics = ServiceMetrics::provisional("orders");
    let cluster = Arc::clone(&unknown.clusters["orders"]);
    let shared =
        crate::snapshot::ClusterShared::new("orders", metrics, &Default::default(), unknown.clock, Instant::now());
    let shared = Arc::new(shared);
    let (name, policy, endpoints) =
        (Arc::clone(&cluster.name), Arc::clone(&cluster.policy), Arc::clone(&cluster.endpoints));
    let standing = cluster.standing;
    let cluster = crate::snapshot::Cluster { name: Arc::clone(&name), policy, standing, endpoints, shared };
    unknown.clusters.insert(name, Arc::new(cluster));
    ledger.look(&unknown, at(202));
    assert_eq!(requests(&ledger), None);
}
