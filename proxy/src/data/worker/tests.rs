use super::*;
use crate::data::testing::Stage;
use crate::telemetry::metrics;

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

#[test]
fn a_request_that_could_not_be_parsed_is_not_logged_as_one_for_the_root() {
    let now = timer::now();
    for (line, logged) in [("GET / HTTP/1.1", ("GET", "/")), ("GET / HTTP/9.9", ("-", "-")), ("\0", ("-", "-"))] {
        let mut head = crate::http::Head::default();
        let _refused = crate::http::parse::request(format!("{line}\r\nHost: a\r\n\r\n").as_bytes(), &mut head);
        let client = Rc::new(crate::data::request::client(([127, 0, 0, 1], 80).into(), &[]));
        let request = Request {
            id: crate::data::headers::RequestId::of(&head, &client, || 7),
            head: Rc::new(head),
            body: Rc::new(crate::data::body::Upload::empty(now)),
            client,
            service: None,
            interim: None,
            upgrade: false,
        };
        let entry = Finished::new(now).entry(&request, &Trail::default());
        assert_eq!((entry.method.as_str(), entry.path.as_str()), logged, "{line:?}");
    }
}
