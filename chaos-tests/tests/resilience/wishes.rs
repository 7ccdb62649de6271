//! What origins say of being asked again, and what clients say of being sent again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chaos_tests::fleet::{Fault, Scripted};
use chaos_tests::pattern;
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Connection, ask, get};

use crate::stage::{OK, POST, get_with, one_by_one};

/// When requests arrived, over several origins.
#[derive(Debug, Clone, Default)]
struct Arrivals(Arc<Mutex<Vec<Instant>>>);

impl Arrivals {
    /// An origin that gives the first request of all this answer, and every other one a good one.
    fn first(&self, answer: &str) -> Scripted {
        let (arrivals, answer) = (Arc::clone(&self.0), answer.to_owned());
        Scripted::start(move |peer| {
            while peer.request().is_some() {
                let nth = {
                    let mut arrivals = arrivals.lock().unwrap();
                    arrivals.push(Instant::now());
                    arrivals.len()
                };
                let answer = if nth == 1 { &answer } else { OK };
                if peer.connection.try_send(answer).is_err() {
                    return;
                }
            }
        })
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn apart(&self) -> Duration {
        let arrivals = self.0.lock().unwrap();
        arrivals[1] - arrivals[0]
    }
}

const LATER: &str = "HTTP/1.1 503 Later\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";

#[test]
fn an_instance_is_not_asked_again_before_its_retry_after() {
    let arrivals = Arrivals::default();
    let origin = arrivals.first(LATER);
    let proxy = Proxy::start(&one_by_one(&[origin.address]));
    assert_eq!(get(proxy.address, "a", "/").status(), 200);
    assert_eq!(arrivals.count(), 2);
    assert!(arrivals.apart() >= Duration::from_secs(1), "asked again after {:?}", arrivals.apart());
}

#[test]
fn a_retry_after_beyond_the_deadline_is_the_clients_answer_at_once() {
    let arrivals = Arrivals::default();
    let origin = arrivals.first(LATER);
    let proxy = Proxy::start(&one_by_one(&[origin.address]));
    let answer = ask(proxy.address, get_with("/", &[("x-request-deadline", "900")]));
    assert_eq!((answer.status(), answer.field("retry-after")), (503, Some("1")));
    assert_eq!(arrivals.count(), 1);
}

#[test]
fn another_instance_is_asked_whatever_the_first_ones_retry_after() {
    let arrivals = Arrivals::default();
    let later = LATER.replace("Retry-After: 1", "Retry-After: 600");
    let origins = [arrivals.first(&later), arrivals.first(&later)];
    let proxy = Proxy::start(&one_by_one(&origins.each_ref().map(|origin| origin.address)));
    assert_eq!(get(proxy.address, "a", "/").status(), 200);
    assert_eq!(origins.each_ref().map(Scripted::requests), [1, 1]);
}

fn pushed_back(ms: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 14\r\ngrpc-retry-pushback-ms: {ms}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn a_grpc_pushback_is_waited_for_and_one_that_says_never_is_obeyed() {
    let arrivals = Arrivals::default();
    let origins = [arrivals.first(&pushed_back("700")), arrivals.first(&pushed_back("700"))];
    let proxy = Proxy::start(&one_by_one(&origins.each_ref().map(|origin| origin.address)));
    let answer = get(proxy.address, "a", "/");
    assert_eq!((answer.status(), answer.field("grpc-status")), (200, None));
    assert!(arrivals.apart() >= Duration::from_millis(700), "asked again after {:?}", arrivals.apart());

    let arrivals = Arrivals::default();
    let origins = [arrivals.first(&pushed_back("-1")), arrivals.first(&pushed_back("-1"))];
    let proxy = Proxy::start(&one_by_one(&origins.each_ref().map(|origin| origin.address)));
    assert_eq!(get(proxy.address, "a", "/").field("grpc-status"), Some("14"));
    assert_eq!(arrivals.count(), 1, "it said never");

    let arrivals = Arrivals::default();
    let origins = [arrivals.first(&pushed_back("5000")), arrivals.first(&pushed_back("5000"))];
    let proxy = Proxy::start(&one_by_one(&origins.each_ref().map(|origin| origin.address)));
    let answer = ask(proxy.address, get_with("/", &[("x-request-deadline", "3000")]));
    assert_eq!((answer.field("grpc-status"), arrivals.count()), (Some("14"), 1), "not within its deadline");
}

#[test]
fn an_idempotency_key_makes_a_post_one_that_is_tried_again() {
    for fault in [Fault::Status(503), Fault::Reset, Fault::Close] {
        let (bad, good) = (Scripted::faulty(fault.clone()), Scripted::answering(OK));
        let proxy = Proxy::start(&one_by_one(&[bad.address, good.address]));
        let keyed = POST.replace("Host: a\r\n", "Host: a\r\nIdempotency-Key: \"8e03978e\"\r\n");
        for _ in 0..4 {
            assert_eq!(ask(proxy.address, &keyed).status(), 200, "{fault:?}");
        }
        assert!(bad.requests() > 0, "the bad one was never asked");
        let told = |request: &chaos_tests::raw::Message| request.field("idempotency-key") == Some("\"8e03978e\"");
        assert!(good.seen().iter().all(|request| told(request) && request.body == b"hello"), "{fault:?}");
    }
}

#[test]
fn a_body_that_is_larger_than_what_is_kept_of_it_is_sent_once_only() {
    // A multiple of what fits a request's buffer, and a fraction of it.
    for (size, status, tries) in [(1 << 20, 503, 1), (10_000, 200, 2)] {
        let (bad, good) = (Scripted::faulty(Fault::Status(503)), Scripted::answering(OK));
        let proxy = Proxy::start(&one_by_one(&[bad.address, good.address]));
        let body = pattern(size);
        // Until the bad one has had its turn.
        let mut answers = Vec::new();
        while bad.requests() == 0 && answers.len() < 4 {
            let before = bad.requests() + good.requests();
            let mut client = Connection::open(proxy.address);
            client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
            client.send(&body);
            answers.push((client.answer().status(), bad.requests() + good.requests() - before));
        }
        assert_eq!(answers.last(), Some(&(status, tries)), "{size} bytes: {answers:?}");
        assert!(bad.seen().iter().chain(&good.seen()).all(|request| request.body == body), "{size} bytes have changed");
    }
}
