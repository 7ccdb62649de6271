//! What fails by its page never costs another page a request: a service of which some pages are always bad, each in its own
//! way and as often asked for as the seed says, while its instances die and come back.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

use crate::proxy::{PORT, Setup, network, proxy};
use crate::seeds;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const PAGES: [&str; 4] = ["/", "/bad", "/worse", "/worst"];
const SEEDS: u64 = 20;
const LAST: Duration = Duration::from_secs(10);
/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a page fails.
#[derive(Debug, Clone, Copy)]
enum Way {
    Unavailable,
    Error,
    TooLarge,
    Nonsense,
    HangsUp,
}

const WAYS: [Way; 5] = [Way::Unavailable, Way::Error, Way::TooLarge, Way::Nonsense, Way::HangsUp];

/// What is so of the instances.
#[derive(Default)]
struct State {
    /// All answer 503 to everything.
    dead: Cell<bool>,
    /// How each page but the first fails.
    ways: RefCell<Vec<Way>>,
}

/// A request for the good page: when, and its status; 0 for none.
type Good = Rc<RefCell<Vec<(Duration, u16)>>>;

fn instance(sim: &mut Sim<'static>, name: &'static str, state: &Rc<State>) {
    let state = Rc::clone(state);
    sim.host(name, move || {
        let state = Rc::clone(&state);
        async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::task::spawn_local(converse(stream, Rc::clone(&state)));
            }
        }
    });
}

async fn converse(mut stream: TcpStream, state: Rc<State>) -> io::Result<()> {
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = held.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut held).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&held[..end]).into_owned();
        held.drain(..end);
        sleep(Duration::from_millis(fastrand::u64(1..5))).await;
        let page = PAGES.iter().position(|page| head.split(' ').nth(1) == Some(page)).expect("a page");
        let way = page.checked_sub(1).map(|bad| state.ways.borrow()[bad]);
        let answer = match way {
            _ if state.dead.get() => "HTTP/1.1 503 Dead\r\nContent-Length: 0\r\n\r\n".to_owned(),
            None => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
            Some(Way::Unavailable) => "HTTP/1.1 503 Bad\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Some(Way::Error) => "HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Some(Way::TooLarge) => format!("HTTP/1.1 200 OK\r\nx: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(40_000)),
            Some(Way::Nonsense) => "HTTP/1.1 nonsense\r\n\r\n".to_owned(),
            Some(Way::HangsUp) => return Ok(()),
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn ask(page: &'static str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(("proxy", PORT)).await?;
    stream.write_all(format!("GET {page} HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(status.unwrap_or_default())
}

/// Asks for a page so many times a second, at moments that have nothing to do with each other.
fn client(sim: &mut Sim<'static>, name: &'static str, page: &'static str, rate: f64, good: &Good) {
    let good = Rc::clone(good);
    sim.client(name, async move {
        let mut open = Vec::new();
        while turmoil::sim_elapsed().unwrap() < LAST {
            sleep(Duration::from_secs_f64(-fastrand::f64().max(1e-9).ln() / rate)).await;
            let good = Rc::clone(&good);
            open.push(tokio::task::spawn_local(async move {
                let at = turmoil::sim_elapsed().unwrap();
                let status = timeout(PATIENCE, ask(page)).await;
                if page == PAGES[0] {
                    good.borrow_mut().push((at, status.ok().and_then(Result::ok).unwrap_or_default()));
                }
            }));
        }
        for request in open {
            request.await?;
        }
        Ok(())
    });
}

/// What may happen to the instances.
#[derive(Clone, Copy, PartialEq)]
enum Event {
    Nothing,
    /// One of them dies at three seconds, and comes back at six.
    OneDies,
    /// All answer 503 to everything from three seconds to six.
    AllDie,
}

/// The requests for the good page, under a seed.
fn run(seed: u64, event: Event) -> Vec<(Duration, u16)> {
    let state = Rc::new(State::default());
    let bad = fastrand::usize(1..PAGES.len());
    state.ways.replace((0..PAGES.len()).map(|_| WAYS[fastrand::usize(..WAYS.len())]).collect());
    let mut sim = network(seed).max_message_latency(Duration::from_millis(3)).tcp_capacity(4_096).build();
    NAMES.iter().for_each(|name| instance(&mut sim, name, &state));
    let text = move |instances: &str| format!("services: {{ orders: {{ instances: [{instances}] }} }}");
    proxy(&mut sim, Setup { origins: &NAMES, workers: fastrand::usize(1..3), text: Rc::new(text) });
    let good = Good::default();
    client(&mut sim, "good", PAGES[0], [2.0, 10.0, 50.0][fastrand::usize(..3)], &good);
    for (name, page) in ["bad", "worse", "worst"].into_iter().zip(&PAGES[1..]).take(bad) {
        client(&mut sim, name, page, [20.0, 80.0, 150.0][fastrand::usize(..3)], &good);
    }
    let (from, until) = (Duration::from_secs(3), Duration::from_secs(6));
    let victim = NAMES[fastrand::usize(..NAMES.len())];
    let (mut begun, mut ended) = (false, false);
    loop {
        let over = sim.step().unwrap_or_else(|error| panic!("OUTRIGGER_SEED={seed}: {error}"));
        if !begun && sim.elapsed() >= from {
            begun = true;
            match event {
                Event::Nothing => {}
                Event::OneDies => sim.crash(victim),
                Event::AllDie => state.dead.set(true),
            }
        }
        if !ended && sim.elapsed() >= until {
            ended = true;
            match event {
                Event::Nothing => {}
                Event::OneDies => sim.bounce(victim),
                Event::AllDie => state.dead.set(false),
            }
        }
        if over {
            return good.take();
        }
    }
}

/// The requests for the good page that it has cost.
fn lost(good: &[(Duration, u16)], counts: impl Fn(Duration) -> bool) -> Vec<&(Duration, u16)> {
    good.iter().filter(|(at, status)| *status != 200 && counts(*at)).collect()
}

fn nobody_pays(event: Event, counts: impl Fn(Duration) -> bool) {
    for seed in seeds::part(0, 1, SEEDS) {
        let good = seeds::under(seed, || run(seed, event));
        let lost = lost(&good, &counts);
        assert!(lost.is_empty(), "OUTRIGGER_SEED={seed}: {} of {} lost: {lost:?}", lost.len(), good.len());
    }
}

#[test]
fn pages_that_always_fail_cost_another_page_nothing() {
    nobody_pays(Event::Nothing, |_| true);
}

#[test]
fn nor_while_an_instance_dies_and_comes_back() {
    nobody_pays(Event::OneDies, |_| true);
}

#[test]
fn nor_do_they_keep_a_service_from_the_others_that_was_dead_and_is_back() {
    // Its trickle goes round among all pages: two seconds at most, where one alone is back within one.
    let outage = Duration::from_secs(3) - PATIENCE..Duration::from_secs(8);
    nobody_pays(Event::AllDie, |at| !outage.contains(&at));
}
