use super::*;
use crate::telemetry::metrics;
use crate::testing::Stage;

#[test]
fn bytes_that_are_held_are_seen_in_the_metrics_and_gone_when_they_are_let_go() {
    let shown = metrics::install();
    let stage = Stage::new("{}", 1);
    // Other tests have a worker 0 of their own.
    let worker = Worker::new(4_711, &stage.plan);
    let held = || {
        worker.tick();
        let text = shown.render(&stage.plan.reader.snapshot(), 1, &|_| metrics::PoolFacts::default());
        let line = text.lines().find_map(|line| line.strip_prefix("outrigger_held_bytes{worker=\"4711\"} "));
        line.map(str::to_owned)
    };
    let holding = worker.hold(1_000);
    assert_eq!(held().as_deref(), Some("1000"));
    drop(holding);
    assert_eq!(held().as_deref(), Some("0"));
}
