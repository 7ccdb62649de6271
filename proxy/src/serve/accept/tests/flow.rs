//! What one stream does not take holds up no other, and what comes in small pieces costs no more than what comes in large ones.

use futures_util::future::join_all;

use super::frames::{self, END_HEADERS, END_STREAM, Peer, frame};
use super::*;

const OVER_H2: &str = "
services: { orders: { protocol: http2, instances: ['127.0.0.1:1'], timeout: 60s, retries: { max: 0 } } }
";

/// Puts an HTTP/2 connection into the pool of the endpoint: requests are read off this end.
pub async fn instance(stage: &Stage) -> Peer {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    stage.upstream("orders").lend_h2(Io::pipe(ours)).await;
    Peer::server(theirs).await
}

fn answers(stream: u32) -> Vec<u8> {
    frame(frames::HEADERS, END_HEADERS, stream, &frames::block(&[(":status", "200")]))
}

#[test]
fn answers_that_nobody_reads_hold_up_no_other_from_the_same_instance() {
    paused(async {
        let stage = Stage::new(OVER_H2, 1);
        let mut instance = instance(&stage).await;
        let mut slow = Vec::new();
        for _ in 0..64 {
            let mut client = connect(&stage);
            client.write_all(GET).await.unwrap();
            let stream = instance.until(frames::HEADERS).await.stream;
            instance.send(&answers(stream)).await;
            assert!(instance.fill(stream).await > 0, "no window was left for stream {stream}");
            slow.push(client);
        }
        let mut client = connect(&stage);
        client.write_all(GET).await.unwrap();
        let stream = instance.until(frames::HEADERS).await.stream;
        instance.send(&answers(stream)).await;
        let sent = instance.fill(stream).await;
        assert!(sent > 100_000, "{sent} bytes could be sent");
        let mut got = Vec::new();
        while got.len() < 100_000 {
            assert_ne!(client.read_buf(&mut got).await.unwrap(), 0);
        }
    });
}

#[test]
fn uploads_that_their_instances_do_not_take_hold_up_no_other_of_the_same_client() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let endpoints: Vec<_> = (0..64).map(|_| stage.endpoint("orders")).collect();
        let mut client = Peer::client(connect(&stage), 65_535).await;
        client.settle().await;
        for stream in (1..129).step_by(2) {
            client.send(&frame(frames::HEADERS, END_HEADERS, stream, &frames::asks("POST"))).await;
            assert!(client.fill(stream).await > 0, "no window was left for stream {stream}");
            client.settle().await;
        }
        let mut last = stage.endpoint("orders");
        client.send(&frame(frames::HEADERS, END_HEADERS, 129, &frames::asks("POST"))).await;
        client.send(&frame(frames::DATA, END_STREAM, 129, b"small")).await;
        read_until(&mut last, "small\r\n0\r\n\r\n").await;
        drop(endpoints);
    });
}

#[test]
fn an_upload_goes_where_no_other_stands_still() {
    paused(async {
        let stage = Stage::new(OVER_H2, 1);
        let (mut first, mut second) = (instance(&stage).await, instance(&stage).await);
        let head = "POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 200000\r\n\r\n";
        let upload = [head.as_bytes(), &[b'x'; 200_000]].concat();
        let mut stalled = connect(&stage);
        let sending = tokio::task::spawn_local(async move {
            stalled.write_all(&upload).await.unwrap();
            stalled
        });
        first.until(frames::HEADERS).await;
        let mut took = 0;
        while took < 65_535 {
            took += first.until(frames::DATA).await.payload.len();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut small = connect(&stage);
        small.write_all(b"POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 5\r\n\r\nsmall").await.unwrap();
        second.until(frames::HEADERS).await;
        assert_eq!(second.until(frames::DATA).await.payload, b"small");
        // What sends no body needs no window.
        let mut get = connect(&stage);
        get.write_all(GET).await.unwrap();
        first.until(frames::HEADERS).await;
        drop(sending);
    });
}

const TINY: usize = 16_384;

fn tiny(stream: u32) -> Vec<u8> {
    let mut frames = frame(frames::DATA, 0, stream, b"x").repeat(TINY);
    frames.extend(frame(frames::DATA, END_STREAM, stream, b""));
    frames
}

/// How many chunks a body came in.
fn chunks(message: &str) -> usize {
    let body = message.split_once("\r\n\r\n").unwrap().1;
    let lines: Vec<_> = body.split("\r\n").collect();
    let sizes: Vec<_> = lines.iter().step_by(2).map(|size| usize::from_str_radix(size, 16).unwrap_or(0)).collect();
    assert_eq!(sizes.iter().sum::<usize>(), TINY);
    sizes.iter().filter(|size| **size > 0).count()
}

#[test]
fn a_body_of_one_byte_frames_goes_on_in_larger_pieces() {
    paused(async {
        let stage = Stage::new(ORDERS, 1);
        let mut endpoint = stage.endpoint("orders");
        let mut client = Peer::client(connect(&stage), 65_535).await;
        client.send(&frame(frames::HEADERS, END_HEADERS, 1, &frames::asks("POST"))).await;
        let body = tiny(1);
        let (_, sent) = tokio::join!(client.send(&body), read_until(&mut endpoint, "\r\n0\r\n\r\n"));
        let up = chunks(&sent);

        let stage = Stage::new(OVER_H2, 1);
        let mut instance = instance(&stage).await;
        let mut client = connect(&stage);
        client.write_all(GET).await.unwrap();
        let stream = instance.until(frames::HEADERS).await.stream;
        instance.send(&answers(stream)).await;
        let body = tiny(stream);
        let (_, came) = tokio::join!(instance.send(&body), read_until(&mut client, "\r\n0\r\n\r\n"));
        let down = chunks(&came);
        eprintln!("{TINY} frames became {up} chunks of a request and {down} of an answer");
        assert!(up < TINY / 64 && down < TINY / 64, "{up} up, {down} down");
    });
}

/// Runs something with real sockets.
pub fn real(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(test);
}

/// A stage of an HTTP/2 service at an address, of 1 s to connect, and forty requests at once: what each got, and how many
/// connections were opened.
async fn forty(address: SocketAddr) -> (Vec<Option<crate::error::Reason>>, usize) {
    let text = format!("services: {{ orders: {{ protocol: http2, connect_timeout: 1s, instances: ['{address}'] }} }}");
    let stage = Stage::new(&text, 1);
    let side = stage.side("orders");
    let (upstream, opened) = (stage.upstream("orders"), std::cell::Cell::new(0));
    let wanted = crate::upstream::http2::Wanted { uploads: false, replayable: true };
    let places = (0..40).map(|_| {
        upstream
            .h2(&side.cluster.policy, stage.worker.terms(&side.cluster.policy), wanted, || opened.set(opened.get() + 1))
    });
    let got = join_all(places).await;
    (got.into_iter().map(Result::err).collect(), opened.get())
}

#[test]
fn who_waits_for_a_dial_shares_it() {
    real(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (got, opened) = forty(listener.local_addr().unwrap()).await;
        assert!(got.iter().all(Option::is_none), "{got:?}");
        assert_eq!(opened, 1);
    });
}

#[test]
fn who_waits_for_a_dial_shares_its_failure() {
    real(async {
        // Linux answers no SYN while the queue of what nobody has accepted is full.
        let listener = tokio::net::TcpSocket::new_v4().unwrap();
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        let full = Duration::from_millis(500);
        while let Ok(stream) = tokio::time::timeout(full, tokio::net::TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
            assert!(queued.len() < 100, "the queue does not fill");
        }
        let start = crate::clock::Instant::now();
        let (got, _) = forty(address).await;
        assert!(got.iter().all(|got| *got == Some(crate::error::Reason::ConnectTimeout)), "{got:?}");
        // One after the other they take forty seconds.
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    });
}
