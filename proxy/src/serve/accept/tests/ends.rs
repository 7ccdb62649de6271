//! Everything ends: each state that a peer can hold a connection or a stream in, and when that is over. The same table is in
//! `docs/deadlines.md`.

use futures_util::future::LocalBoxFuture;

use super::frames::{self, Peer, frame};
use super::*;
use crate::config::settings::Shutdown;

/// A peer that holds something, and how long it could.
pub struct State {
    pub name: &'static str,
    pub text: &'static str,
    pub seconds: u64,
    pub held: fn(Stage) -> LocalBoxFuture<'static, Duration>,
}

/// Far more than a window, or a pipe, or a buffer of ours takes.
const LARGE: usize = 4_000_000;

fn large() -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes(), &vec![b'x'; LARGE]].concat()
}

/// Says something that is no progress, every ten seconds, for as long as the connection lives.
async fn fidget(mut peer: Peer, end: impl AsyncFn(&mut Peer)) {
    let (mut reading, mut writing) = tokio::io::split(peer.stream);
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    peer.stream = ours;
    let (mut from, mut to) = tokio::io::split(theirs);
    let noise = async {
        let mut buffer = [0; 4096];
        let mut rest = tokio::time::interval(Duration::from_secs(10));
        loop {
            tokio::select! {
                read = from.read(&mut buffer) => {
                    let n = read.unwrap_or(0);
                    if n == 0 || writing.write_all(&buffer[..n]).await.is_err() { break }
                }
                _ = rest.tick() => {
                    let noise = [frame(frames::PING, 0, 0, b"a noise."), frame(frames::WINDOW, 0, 0, &[0, 0, 0, 1])];
                    if writing.write_all(&noise.concat()).await.is_err() { break }
                }
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = tokio::io::copy(&mut reading, &mut to) => { drop(to); drop(from) }
        () = noise => {}
        () = end(&mut peer) => return,
    }
    end(&mut peer).await;
}

async fn free(stage: &Stage) {
    while stage.worker.balancer().connections(0) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

const STATES: &[State] = &[
    State {
        name: "HTTP/2 client: the preface, and nothing more",
        text: ORDERS,
        seconds: 120,
        held: |stage| {
            Box::pin(async move {
                let mut peer = Peer::new(connect(&stage));
                peer.send(PREFACE).await;
                let start = timer::now();
                peer.end().await;
                timer::now() - start
            })
        },
    },
    State {
        name: "HTTP/2 client: no stream, only PINGs and WINDOW_UPDATEs",
        text: ORDERS,
        seconds: 120,
        held: |stage| {
            Box::pin(async move {
                let peer = Peer::client(connect(&stage), 65_535).await;
                let start = timer::now();
                fidget(peer, async |peer| peer.end().await).await;
                timer::now() - start
            })
        },
    },
    State {
        name: "HTTP/2 client: no stream, and GOAWAY is not heeded",
        text: ORDERS,
        seconds: 125,
        held: |stage| {
            Box::pin(async move {
                let mut peer = Peer::client(connect(&stage), 65_535).await;
                let start = timer::now();
                peer.until(frames::GOAWAY).await;
                assert_about(timer::now() - start, 120);
                peer.answers = false;
                peer.end().await;
                timer::now() - start
            })
        },
    },
    State {
        name: "HTTP/2 client: a head that does not go on",
        text: ORDERS,
        seconds: 10,
        held: |stage| {
            Box::pin(async move {
                let mut peer = Peer::client(connect(&stage), 65_535).await;
                tokio::time::sleep(Duration::from_secs(7)).await;
                peer.answers = false;
                let start = timer::now();
                peer.send(&frame(frames::HEADERS, 0, 1, &frames::asks("GET"))).await;
                peer.end().await;
                timer::now() - start
            })
        },
    },
    State {
        name: "HTTP/2 client: a head that drips",
        text: ORDERS,
        seconds: 10,
        held: |stage| {
            Box::pin(async move {
                let mut peer = Peer::client(connect(&stage), 65_535).await;
                let start = timer::now();
                peer.send(&frame(frames::HEADERS, 0, 1, &frames::asks("GET"))).await;
                let (mut reading, mut writing) = tokio::io::split(peer.stream);
                let drip = async {
                    while writing.write_all(&frame(frames::CONTINUATION, 0, 1, b"")).await.is_ok() {
                        tokio::time::sleep(Duration::from_secs(3)).await;
                    }
                    std::future::pending::<()>().await;
                };
                let mut all = Vec::new();
                tokio::select! { _ = reading.read_to_end(&mut all) => {}, () = drip => {} }
                timer::now() - start
            })
        },
    },
    State {
        name: "HTTP/2 client: half a frame that is no body",
        text: ORDERS,
        seconds: 10,
        held: |stage| {
            Box::pin(async move {
                let mut peer = Peer::client(connect(&stage), 65_535).await;
                peer.answers = false;
                let start = timer::now();
                peer.send(&frame(frames::PING, 0, 0, b"ping.")[..11]).await;
                peer.end().await;
                timer::now() - start
            })
        },
    },
    State {
        name: "HTTP/2 client: a body that stops",
        text: ORDERS,
        seconds: 300,
        held: |stage| {
            Box::pin(async move {
                let _endpoint = stage.endpoint("orders");
                let mut peer = Peer::client(connect(&stage), 65_535).await;
                peer.send(&frame(frames::HEADERS, frames::END_HEADERS, 1, &frames::asks("POST"))).await;
                peer.send(&frame(frames::DATA, 0, 1, b"some")).await;
                let start = timer::now();
                peer.until(frames::HEADERS).await;
                timer::now() - start
            })
        },
    },
    State {
        name: "HTTP/2 client: a window that never opens",
        text: ORDERS,
        seconds: 300,
        held: |stage| {
            Box::pin(async move {
                let mut endpoint = stage.endpoint("orders");
                let mut peer = Peer::client(connect(&stage), 1_000).await;
                let ask = frames::asks("GET");
                peer.send(&frame(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, 1, &ask)).await;
                read_until(&mut endpoint, "\r\n\r\n").await;
                let start = timer::now();
                let sending = tokio::task::spawn_local(async move { endpoint.write_all(&large()).await });
                let upstream = stage.upstream("orders");
                fidget(peer, async |peer| {
                    peer.until(frames::RESET).await;
                })
                .await;
                assert!(sending.await.unwrap().is_err(), "the endpoint could send all of it");
                assert_eq!(upstream.in_flight(), 0);
                timer::now() - start
            })
        },
    },
    State {
        name: "HTTP/2 client: a window that never opens for a small answer, and then its connection",
        text: ORDERS,
        seconds: 420,
        held: |stage| {
            Box::pin(async move {
                let mut endpoint = stage.endpoint("orders");
                let mut peer = Peer::client(connect(&stage), 0).await;
                let ask = frames::asks("GET");
                peer.send(&frame(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, 1, &ask)).await;
                read_until(&mut endpoint, "\r\n\r\n").await;
                endpoint.write_all(OK).await.unwrap();
                let start = timer::now();
                fidget(peer, async |peer| peer.end().await).await;
                timer::now() - start
            })
        },
    },
    State {
        name: "HTTP/2 client: it reads nothing, so that it answers no PING",
        text: ORDERS,
        seconds: 40,
        held: |stage| {
            Box::pin(async move {
                let mut endpoint = stage.endpoint("orders");
                let mut peer = Peer::client(connect(&stage), 1 << 30).await;
                peer.send(&frame(frames::WINDOW, 0, 0, &(1u32 << 30).to_be_bytes())).await;
                let ask = frames::asks("GET");
                peer.send(&frame(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, 1, &ask)).await;
                read_until(&mut endpoint, "\r\n\r\n").await;
                let start = timer::now();
                assert!(endpoint.write_all(&large()).await.is_err(), "the endpoint could send all of it");
                let held = timer::now() - start;
                free(&stage).await;
                assert!(timer::now() - start < Duration::from_secs(426), "{:?}", timer::now() - start);
                drop(peer);
                held
            })
        },
    },
    State {
        name: "HTTP/2 client: it does not heed the drain",
        text: ORDERS,
        seconds: 5,
        held: |stage| {
            Box::pin(async move {
                let mut peer = Peer::client(connect(&stage), 65_535).await;
                peer.answers = false;
                tokio::time::sleep(Duration::from_secs(1)).await;
                let start = timer::now();
                let times = Shutdown { lame_duck: Duration::ZERO, deadline: Duration::from_secs(30) };
                stage.drain.run(&times, std::future::pending()).await;
                peer.end().await;
                timer::now() - start
            })
        },
    },
];

/// Sees each of them end in time.
pub fn walk(states: &[State]) {
    for state in states {
        eprintln!("{}", state.name);
        let taken = paused(async { (state.held)(Stage::new(state.text, 1)).await });
        assert_about(taken, state.seconds);
    }
}

#[test]
fn everything_that_a_client_can_hold_ends() {
    walk(STATES);
}
