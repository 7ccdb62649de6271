use std::collections::VecDeque;

use futures_util::StreamExt;

use super::*;
use crate::{Health, Instance, InstanceId};

const SECOND: Duration = Duration::from_secs(1);

/// Plays what it is given, then hangs for ever, and notes when it was asked.
struct Played {
    steps: VecDeque<Result<Polled, String>>,
    asked: tokio::sync::mpsc::UnboundedSender<Instant>,
}

impl Source for Played {
    async fn poll(&mut self, _last: Option<&Arc<InstanceSet>>) -> Result<Polled, String> {
        self.asked.send(Instant::now()).unwrap();
        match self.steps.pop_front() {
            Some(step) => step,
            None => std::future::pending().await,
        }
    }

    fn deadline(&self) -> Duration {
        60 * SECOND
    }
}

fn play(
    steps: impl IntoIterator<Item = Result<Polled, String>>,
    seed: u64,
) -> (Watch, tokio::sync::mpsc::UnboundedReceiver<Instant>) {
    let (asked, times) = tokio::sync::mpsc::unbounded_channel();
    let source = Played { steps: steps.into_iter().collect(), asked };
    let subject = Subject { registry: "a play".to_owned(), service: "orders".into() };
    (follow(source, subject, Backoff::NETWORK, fastrand::Rng::with_seed(seed)), times)
}

fn set(ports: &[u16]) -> InstanceSet {
    let instance = |port: &u16| Instance {
        id: InstanceId(format!("i{port}").into()),
        host: "127.0.0.1".into(),
        port: *port,
        weight: 1,
        health: Health::Passing,
        tags: Vec::new(),
        meta: Default::default(),
        datacenter: None,
        zone: None,
    };
    InstanceSet::new(ports.iter().map(instance).collect(), Vec::new())
}

fn failures(update: &Update) -> u32 {
    match update {
        Update::Failed(error) => error.failures,
        Update::Set(set) => panic!("a failure was expected, came {set:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_arrives_as_failed_and_never_as_an_empty_set() {
    let steps = [Ok(Polled::Set(set(&[1, 2]), Duration::ZERO)), Err("refused".to_owned()), Err("refused".to_owned())];
    let (mut watch, _times) = play(steps, 1);
    assert!(matches!(watch.next().await.unwrap(), Update::Set(s) if s.instances().len() == 2));
    let failed = watch.next().await.unwrap();
    assert_eq!(failures(&failed), 1);
    assert!(matches!(failed, Update::Failed(error) if error.to_string() == "a play: orders: refused"));
    assert_eq!(failures(&watch.next().await.unwrap()), 2);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_are_counted_from_one_again_after_an_answer() {
    let steps = [Err("x".to_owned()), Ok(Polled::Set(set(&[1]), Duration::ZERO)), Err("y".to_owned())];
    let (mut watch, _times) = play(steps, 1);
    assert_eq!(failures(&watch.next().await.unwrap()), 1);
    assert!(matches!(watch.next().await.unwrap(), Update::Set(_)));
    assert_eq!(failures(&watch.next().await.unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn delays_follow_the_backoff_and_its_draws() {
    let (mut watch, mut times) = play((0..20).map(|_| Err("refused".to_owned())), 7);
    for _ in 0..20 {
        watch.next().await.unwrap();
    }
    let mut draws = fastrand::Rng::with_seed(7);
    let mut before = times.recv().await.unwrap();
    for failures in 1..20 {
        let at = times.recv().await.unwrap();
        let delay = Backoff::NETWORK.delay(failures, draws.f64());
        let late = (at - before).saturating_sub(delay);
        assert!(
            at - before >= delay && late <= Duration::from_millis(2),
            "{failures}: {:?}, not {delay:?}",
            at - before
        );
        before = at;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_stream_is_noticed_at_its_deadline_and_asked_again() {
    let (mut watch, mut times) = play([], 1);
    let start = Instant::now();
    let update = watch.next().await.unwrap();
    assert!(matches!(&update, Update::Failed(error) if error.reason == "no answer within 60s"));
    assert!(start.elapsed() >= 60 * SECOND && start.elapsed() < 61 * SECOND);
    watch.next().await.unwrap();
    times.recv().await.unwrap();
    assert!(times.recv().await.unwrap() - start <= 61 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_set_is_confirmed_with_the_same_allocation() {
    let steps = [&[1][..], &[1], &[1, 2]].map(|ports| Ok(Polled::Set(set(ports), SECOND)));
    let (mut watch, _times) = play(steps, 1);
    let mut sets = Vec::new();
    for _ in 0..3 {
        match watch.next().await.unwrap() {
            Update::Set(set) => sets.push(set),
            Update::Failed(error) => panic!("{error}"),
        }
    }
    assert!(Arc::ptr_eq(&sets[0], &sets[1]));
    assert!(!sets[1].same_instances(&sets[2]));
}

#[tokio::test(start_paused = true)]
async fn a_back_end_rests_for_as_long_as_it_asked() {
    let steps =
        [Ok(Polled::Set(set(&[1]), 3 * SECOND)), Ok(Polled::Again(2 * SECOND)), Ok(Polled::Set(set(&[1]), SECOND))];
    let (mut watch, _times) = play(steps, 1);
    let start = Instant::now();
    watch.next().await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    watch.next().await.unwrap();
    assert!(start.elapsed() >= 5 * SECOND && start.elapsed() < 6 * SECOND);
}
