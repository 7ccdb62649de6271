//! Everything ends: each state that an instance over HTTP/2 can hold a request or its connection in. Those of clients are in
//! [`ends`](super::ends).

use super::ends::{State, walk};
use super::flow::instance;
use super::frames::{self, END_HEADERS, END_STREAM, Peer, frame};
use super::*;

const OVER_H2: &str = "
http: { stream_idle_timeout: 300s }
services: { orders: { protocol: http2, instances: ['127.0.0.1:1'], timeout: 60s, idle_timeout: 4s, retries: { max: 0 } } }
";

/// An instance that says nothing of itself.
async fn mute(stage: &Stage, room: usize) -> Peer {
    let (ours, theirs) = tokio::io::duplex(room);
    stage.upstream("orders").lend_h2(Io::pipe(ours)).await;
    let mut peer = Peer::new(theirs);
    peer.answers = false;
    peer
}

/// Looks after connections as a worker does, until none is open; how long that took.
async fn closed(stage: &Stage) -> Duration {
    let start = timer::now();
    while stage.upstream("orders").open_connections() > 0 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        stage.worker.view().reap(timer::now());
    }
    timer::now() - start
}

async fn status(client: &mut DuplexStream) -> String {
    let mut status = [0; 13];
    client.read_exact(&mut status).await.unwrap();
    String::from_utf8(status.to_vec()).unwrap()
}

fn large_post() -> Vec<u8> {
    let head = "POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 1000000\r\n\r\n";
    [head.as_bytes(), &[b'x'; 1_000_000]].concat()
}

/// An instance that answers behind the first window of an upload of which it takes no more. How long until it is reset.
async fn answered_early(stage: Stage, whole: u8) -> Duration {
    let mut instance = instance(&stage).await;
    let client = connect(&stage);
    let (mut reading, mut writing) = tokio::io::split(client);
    tokio::task::spawn_local(async move { drop(writing.write_all(&large_post()).await) });
    let stream = instance.until(frames::HEADERS).await.stream;
    let mut took = 0;
    while took < 65_535 {
        took += instance.until(frames::DATA).await.payload.len();
    }
    let start = timer::now();
    let head = frames::block(&[(":status", "200")]);
    instance.send(&frame(frames::HEADERS, END_HEADERS | whole, stream, &head)).await;
    tokio::task::spawn_local(async move { drop(reading.read_to_end(&mut Vec::new()).await) });
    instance.until(frames::RESET).await;
    timer::now() - start
}

const STATES: &[State] = &[
    State {
        name: "HTTP/2 instance: it answers PINGs only",
        text: OVER_H2,
        seconds: 60,
        held: |stage| {
            Box::pin(async move {
                let mut instance = instance(&stage).await;
                let mut client = connect(&stage);
                client.write_all(GET).await.unwrap();
                let start = timer::now();
                tokio::task::spawn_local(async move { instance.end().await });
                assert_eq!(status(&mut client).await, "HTTP/1.1 504 ");
                timer::now() - start
            })
        },
    },
    State {
        name: "HTTP/2 instance: it says nothing, not even SETTINGS",
        text: OVER_H2,
        seconds: 40,
        held: |stage| {
            Box::pin(async move {
                let instance = mute(&stage, 1 << 20).await;
                let mut client = connect(&stage);
                client.write_all(GET).await.unwrap();
                let start = timer::now();
                assert_eq!(status(&mut client).await, "HTTP/1.1 502 ");
                let taken = timer::now() - start;
                assert!(closed(&stage).await < Duration::from_secs(10));
                drop(instance);
                taken
            })
        },
    },
    State {
        name: "HTTP/2 instance: it reads nothing of a request, nor that it is given up",
        text: OVER_H2,
        seconds: 40,
        held: |stage| {
            Box::pin(async move {
                let instance = mute(&stage, 1_000).await;
                let client = connect(&stage);
                let start = timer::now();
                let (mut reading, mut writing) = tokio::io::split(client);
                tokio::task::spawn_local(async move { drop(writing.write_all(&large_post()).await) });
                let mut answer = [0; 13];
                reading.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"HTTP/1.1 502 ");
                let taken = timer::now() - start;
                assert!(closed(&stage).await < Duration::from_secs(10));
                drop(instance);
                taken
            })
        },
    },
    State {
        name: "HTTP/2 instance: it takes nothing of an upload",
        text: OVER_H2,
        seconds: 300,
        held: |stage| {
            Box::pin(async move {
                let mut instance = instance(&stage).await;
                let client = connect(&stage);
                let start = timer::now();
                let (mut reading, mut writing) = tokio::io::split(client);
                tokio::task::spawn_local(async move { drop(writing.write_all(&large_post()).await) });
                tokio::task::spawn_local(async move { instance.end().await });
                let mut answer = [0; 13];
                reading.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"HTTP/1.1 504 ");
                timer::now() - start
            })
        },
    },
    State {
        name: "HTTP/2 instance: it has begun to answer, and takes nothing more of the upload",
        text: OVER_H2,
        seconds: 300,
        held: |stage| Box::pin(answered_early(stage, 0)),
    },
    State {
        name: "HTTP/2 instance: it has answered, and takes nothing more of the upload",
        text: OVER_H2,
        seconds: 0,
        held: |stage| Box::pin(answered_early(stage, END_STREAM)),
    },
    State {
        name: "HTTP/2 instance: it is not used, and does not read that it is closed",
        text: OVER_H2,
        seconds: 9,
        held: |stage| {
            Box::pin(async move {
                // The preface is all that it reads.
                let instance = mute(&stage, 24).await;
                let taken = closed(&stage).await;
                drop(instance);
                // Looked after four times a second.
                Duration::from_secs(taken.as_secs())
            })
        },
    },
];

#[test]
fn everything_that_an_instance_can_hold_ends() {
    walk(STATES);
}
