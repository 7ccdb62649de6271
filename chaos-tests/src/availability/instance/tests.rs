//! Every fault, as a client sees it that talks to the instance without a proxy.

use std::collections::BTreeSet;

use super::super::client::{Client, End};
use super::super::fault::{
    Capacity, FailFast, Flap, Gray, Hang, RandomStatus, Refuse, ResetMidBody, Slow, Trickle, Vanish,
};
use super::*;
use crate::proxies::origin::local_runtime;
use crate::proxy::free_address;

struct Scene {
    address: SocketAddr,
    client: Client,
    instance: Rc<Instance>,
    executed: Rc<RefCell<Vec<String>>>,
}

impl Scene {
    async fn get(&self, id: &str) -> End {
        self.client.call(0, id, false).await
    }

    /// Over a connection of its own.
    async fn anew(&self, id: &str) -> End {
        Client::new(self.address).call(0, id, false).await
    }

    async fn set(&self, fault: Fault) {
        self.instance.set(&fault);
        pause(20).await;
    }
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// An instance that works, with a client that has a connection to it; then the test.
fn play(test: impl AsyncFnOnce(Scene)) {
    local_runtime().unwrap().block_on(async {
        let address = free_address();
        let executed = Rc::new(RefCell::new(Vec::new()));
        let notes = Rc::clone(&executed);
        let instance = Instance::new("s0/0".into(), 3, Box::new(move |id| notes.borrow_mut().push(id.into())));
        tokio::task::spawn_local(Rc::clone(&instance).serve(address));
        pause(20).await;
        let scene = Scene { address, client: Client::new(address), instance, executed };
        assert_eq!(scene.get("first").await, End::Good);
        test(scene).await;
    });
}

#[test]
fn without_a_fault_it_answers_and_notes_its_posts() {
    play(async |scene| {
        assert_eq!(scene.client.call(0, "p1", true).await, End::Good);
        assert_eq!(scene.get("healthz").await, End::Good);
        assert_eq!((scene.instance.requests.get(), scene.instance.connections.get()), (2, 1));
        assert_eq!(*scene.executed.borrow(), ["p1"]);
    });
}

#[test]
fn random_errors_come_as_often_as_said() {
    play(async |scene| {
        scene.set(Fault::RandomStatus(RandomStatus { share: 1.0, status: 503 })).await;
        assert_eq!(scene.client.call(0, "p1", true).await, End::Status(503));
        assert_eq!(*scene.executed.borrow(), ["p1"], "an error does not say that nothing was done");
    });
    let mut rng = fastrand::Rng::with_seed(1);
    let mut model = RandomStatus { share: 0.01, status: 503 };
    let ordinary = Deed::ordinary(&mut rng);
    let failed = (0..100_000).filter(|_| model.deed(ordinary, &mut rng, Instant::now()) != ordinary).count();
    assert!((900..1100).contains(&failed), "{failed} of 100,000");
}

#[test]
fn who_refuses_resets_what_there_was_and_lets_nobody_in() {
    play(async |scene| {
        scene.set(Fault::Refuse(Refuse {})).await;
        assert_eq!(scene.instance.connections.get(), 0);
        let error = TcpStream::connect(scene.address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        scene.set(Fault::None).await;
        assert_eq!(scene.get("again").await, End::Good);
    });
}

#[test]
fn who_flaps_is_there_and_not_there_until_it_is_over() {
    play(async |scene| {
        scene.set(Fault::Flap(Flap { half_ms: 150 })).await;
        let mut turns = Vec::new();
        for n in 0..30 {
            turns.push(scene.anew(&format!("f{n}")).await);
            pause(20).await;
        }
        assert_eq!(turns.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([End::Good, End::Broken]));
        turns.dedup();
        assert!(turns.len() >= 3, "once is no flapping: {turns:?}");
        scene.set(Fault::None).await;
        for n in 0..20 {
            assert_eq!(scene.anew(&format!("g{n}")).await, End::Good);
            pause(20).await;
        }
    });
}

#[test]
fn who_hangs_reads_and_says_nothing() {
    play(async |scene| {
        scene.set(Fault::Hang(Hang {})).await;
        assert_eq!(scene.client.call(0, "p1", true).await, End::Late);
        assert_eq!(*scene.executed.borrow(), ["p1"]);
        scene.set(Fault::None).await;
        assert_eq!(scene.anew("again").await, End::Good);
    });
}

#[test]
fn who_vanishes_answers_no_syn_and_nothing_on_what_there_was() {
    play(async |scene| {
        let mut old = TcpStream::connect(scene.address).await.unwrap();
        pause(20).await;
        scene.set(Fault::Vanish(Vanish {})).await;
        let bound = Duration::from_millis(500);
        let knock = tokio::time::timeout(bound, TcpStream::connect(scene.address)).await;
        assert!(knock.is_err(), "a SYN was answered: {knock:?}");
        old.write_all(b"GET /x HTTP/1.1\r\nHost: s0\r\n\r\n").await.unwrap();
        let answer = tokio::time::timeout(bound, old.read_u8()).await;
        assert!(answer.is_err(), "it was answered: {answer:?}");
        scene.set(Fault::None).await;
        assert_eq!(old.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(scene.anew("again").await, End::Good);
    });
}

#[test]
fn who_is_slow_takes_two_seconds_for_half_of_what_it_does() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut model = Slow { median_ms: 2000 };
    let ordinary = Deed::ordinary(&mut rng);
    let mut times = (0..1001).map(|_| model.deed(ordinary, &mut rng, Instant::now()).after).collect::<Vec<_>>();
    times.sort();
    assert!((1.8..2.2).contains(&times[500].as_secs_f64()), "{:?}", times[500]);
    assert!((5.0..8.0).contains(&times[990].as_secs_f64()), "{:?}", times[990]);
    play(async |scene| {
        scene.set(Fault::Slow(Slow { median_ms: 200 })).await;
        let begun = Instant::now();
        assert_eq!(scene.get("slow").await, End::Good);
        assert!(begun.elapsed() > Duration::from_millis(40), "{:?}", begun.elapsed());
    });
}

#[test]
fn who_fails_fast_answers_every_request_with_an_error() {
    play(async |scene| {
        scene.set(Fault::FailFast(FailFast { status: 500 })).await;
        for n in 0..10 {
            assert_eq!(scene.get(&format!("{n}")).await, End::Status(500));
        }
    });
}

#[test]
fn who_is_gray_fails_in_two_ways_and_is_slower() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut model = Gray { share: 0.3, slower: 3.0 };
    let ordinary = Deed::ordinary(&mut rng);
    let deeds = (0..10_000).map(|_| model.deed(ordinary, &mut rng, Instant::now())).collect::<Vec<_>>();
    assert!(deeds.iter().all(|d| d.after == ordinary.after.mul_f64(3.0)));
    let share = |what: fn(&What) -> bool| deeds.iter().filter(|d| what(&d.what)).count();
    let (resets, errors) = (share(|w| *w == What::Reset), share(|w| matches!(w, What::Answer { status: 503, .. })));
    assert!((1350..1650).contains(&resets) && (1350..1650).contains(&errors), "{resets} {errors}");
    play(async |scene| {
        scene.set(Fault::Gray(Gray { share: 1.0, slower: 1.0 })).await;
        let mut ends = BTreeSet::new();
        for n in 0..30 {
            ends.insert(scene.anew(&format!("{n}")).await);
        }
        assert_eq!(ends, BTreeSet::from([End::Status(503), End::Broken]));
    });
}

#[test]
fn a_reset_in_mid_body_comes_after_the_head_and_a_part() {
    play(async |scene| {
        scene.set(Fault::ResetMidBody(ResetMidBody { share: 1.0 })).await;
        assert_eq!(scene.get("cut").await, End::Broken);
        let mut stream = TcpStream::connect(scene.address).await.unwrap();
        stream.write_all(b"GET /cut HTTP/1.1\r\nHost: s0\r\n\r\n").await.unwrap();
        let mut seen = Vec::new();
        let end = loop {
            match stream.read_buf(&mut seen).await {
                Ok(0) => panic!("closed, not reset"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
        let head = seen.windows(4).position(|w| w == b"\r\n\r\n").expect("the head") + 4;
        let promised = content_length(&seen[..head]).unwrap();
        assert!(seen.len() > head && seen.len() < head + promised, "{} of {promised}", seen.len() - head);
        scene.set(Fault::ResetMidBody(ResetMidBody { share: 0.0 })).await;
        assert_eq!(scene.anew("whole").await, End::Good);
    });
}

#[test]
fn a_trickled_body_comes_in_pieces_and_is_whole() {
    play(async |scene| {
        scene.set(Fault::Trickle(Trickle { pieces: 4, gap_ms: 50 })).await;
        let begun = Instant::now();
        assert_eq!(scene.get("drops").await, End::Good);
        assert!(begun.elapsed() >= Duration::from_millis(190), "{:?}", begun.elapsed());
        scene.set(Fault::Trickle(Trickle { pieces: 16, gap_ms: 100 })).await;
        assert_eq!(scene.get("drops").await, End::Late);
    });
}

#[test]
fn a_queue_does_not_notice_who_left_and_checks_pass_it_by() {
    play(async |scene| {
        scene.set(Fault::Capacity(Capacity::new(1, 400))).await;
        // Nobody waits for these six.
        for n in 0..6 {
            let mut stream = TcpStream::connect(scene.address).await.unwrap();
            stream.write_all(format!("GET /{n} HTTP/1.1\r\nHost: s0\r\n\r\n").as_bytes()).await.unwrap();
        }
        pause(50).await;
        assert_eq!(scene.anew("healthz").await, End::Good);
        assert_eq!(scene.anew("behind").await, End::Late, "what was left behind is worked off");
    });
}

#[test]
fn who_drains_finishes_what_it_has_and_closes_what_rests() {
    play(async |scene| {
        scene.set(Fault::Slow(Slow { median_ms: 300 })).await;
        let busy = Rc::new(Client::new(scene.address));
        let waiting = Rc::clone(&busy);
        let call = tokio::task::spawn_local(async move { waiting.call(0, "last", true).await });
        pause(30).await;
        assert_eq!(scene.instance.connections.get(), 2);
        scene.instance.drain();
        pause(20).await;
        assert_eq!(scene.instance.connections.get(), 1, "the idle one is closed");
        assert!(TcpStream::connect(scene.address).await.is_err());
        assert_eq!(call.await.unwrap(), End::Good);
        pause(20).await;
        assert_eq!(scene.instance.connections.get(), 0);
    });
}
