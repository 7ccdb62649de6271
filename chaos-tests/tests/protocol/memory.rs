//! Memory for buffers: who holds a connection for long holds little of it, so that there is some for everybody else.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use chaos_tests::fleet::{Origin, Peer, Scripted, Speaks};
use chaos_tests::proxy::{self, Proxy, free_address};
use chaos_tests::raw::Connection;
use chaos_tests::{SOON, pattern, wait_for};
use serde_json::{Value, json};

/// Clients that hold something. With a large buffer each they would hold 10 MiB.
const HOLDERS: usize = 150;
/// Requests of others.
const OTHERS: usize = 30;

/// An instance with what takes long: a stream of events, a tunnel that says more than anybody reads, an answer that does not
/// come before the client has left, one that comes when it is told, and one that is large.
fn instance() -> Scripted {
    Scripted::start(|peer| {
        while let Some(request) = peer.request() {
            match request.head.target() {
                "/events" => {
                    peer.connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n");
                    return until_gone(peer);
                }
                "/tunnel" => {
                    peer.connection.send("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
                    return flood(peer);
                }
                "/never" => return until_gone(peer),
                "/large" => {
                    peer.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n");
                    return flood(peer);
                }
                "/echo" => {
                    let length = request.body.len();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                    peer.connection.send([head.as_bytes(), &request.body].concat());
                }
                _ => peer.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            }
        }
    })
}

fn flood(peer: &mut Peer) {
    let bytes = vec![b'x'; 64 << 10];
    // Until nobody takes more, or nobody is there.
    while peer.connection.try_send(&bytes).is_ok() {}
}

fn until_gone(peer: &mut Peer) {
    let mut stream = peer.connection.stream();
    stream.set_read_timeout(None).unwrap();
    while stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {}
}

fn config(instance: &Scripted) -> Value {
    within("8MiB", instance.address)
}

/// Nobody is ended for being slow.
fn within(budget: &str, instance: SocketAddr) -> Value {
    let mut config = proxy::to(&[instance]);
    config["http"] = json!({ "max_buffered": budget, "min_rate": "0B" });
    config
}

fn refused(proxy: &Proxy) -> f64 {
    proxy.metric("outrigger_refused_total", &["memory_short"]).iter().sum()
}

/// Whether a request is answered. A new connection may be refused, by a reset, while memory is short.
fn good(proxy: &Proxy) -> bool {
    let answer = || {
        let mut client = Connection::try_open(proxy.address).ok()?;
        client.try_send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
        client.try_answer("GET").ok()
    };
    answer().is_some_and(|answer| answer.status() == 200)
}

/// Clients that have begun something, and everybody else is served all the while.
fn all_are_served_beside(proxy: &Proxy, mut begin: impl FnMut() -> Connection) -> Vec<Connection> {
    let holders: Vec<_> = (0..HOLDERS).map(|_| begin()).collect();
    let served = (0..OTHERS).filter(|_| good(proxy)).count();
    assert_eq!(served, OTHERS, "requests that were served beside {HOLDERS} clients");
    holders
}

/// Sends as much as is taken within a moment: what is not stays behind.
fn press(client: &mut Connection, bytes: &[u8]) {
    client.stream().set_write_timeout(Some(Duration::from_millis(20))).unwrap();
    let _as_far_as_it_goes = client.try_send(bytes);
}

fn events(proxy: &Proxy, request: &[u8]) -> Connection {
    let mut client = Connection::open(proxy.address);
    client.send(request);
    assert_eq!(client.head().unwrap().status(), 200);
    client
}

#[test]
fn uploads_that_are_on_their_way_hold_nothing_while_their_answers_go_on() {
    for (speaks, protocol) in [(Speaks::Http1, "http1"), (Speaks::Http2, "http2")] {
        let instance = Origin::start("one", speaks);
        // Even of small buffers there are fewer than clients.
        let mut config = within("1MiB", instance.address);
        config["services"]["app"]["protocol"] = json!(protocol);
        let proxy = Proxy::start(&config);
        let head = b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n";
        let post = [head, &pattern(20_000)[..]].concat();
        all_are_served_beside(&proxy, || events(&proxy, &post));
        // Nobody waits for what was short at the time.
        assert_eq!(refused(&proxy), 0.0, "{protocol}");
    }
}

#[test]
fn what_is_pipelined_behind_a_stream_takes_little() {
    let instance = instance();
    // Even of small buffers there are fewer than clients.
    let proxy = Proxy::start(&within("1MiB", instance.address));
    let junk = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2500);
    all_are_served_beside(&proxy, || {
        let mut client = events(&proxy, b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
        press(&mut client, &junk);
        client
    });
}

#[test]
fn what_is_pipelined_behind_an_upload_takes_no_more_than_a_part() {
    let instance = instance();
    let proxy = Proxy::start(&config(&instance));
    let post = b"POST /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let junk = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1500);
    let all = [&post[..], b"4e20\r\n", &pattern(20_000), b"\r\n0\r\n\r\n", &junk].concat();
    all_are_served_beside(&proxy, || {
        let mut client = Connection::open(proxy.address);
        press(&mut client, &all);
        assert_eq!(client.head().unwrap().status(), 200);
        client
    });
}

#[test]
fn what_is_pipelined_behind_an_answer_that_is_waited_for_takes_little() {
    let instance = instance();
    let proxy = Proxy::start(&config(&instance));
    let all = b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2500);
    all_are_served_beside(&proxy, || {
        let mut client = Connection::open(proxy.address);
        press(&mut client, &all);
        client
    });
}

#[test]
fn uploads_whose_answer_is_waited_for_take_no_more_than_a_part() {
    let instance = instance();
    let proxy = Proxy::start(&config(&instance));
    let post = [b"POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n", &pattern(20_000)[..]].concat();
    let mut begun = 0;
    all_are_served_beside(&proxy, || {
        let mut client = Connection::open(proxy.address);
        client.send(&post);
        begun += 1;
        wait_for("it at the instance", SOON, || instance.seen().len() >= begun);
        client
    });
}

#[test]
fn tunnels_that_nobody_reads_take_little() {
    let instance = instance();
    let proxy = Proxy::start(&config(&instance));
    all_are_served_beside(&proxy, || {
        let mut client = Connection::open(proxy.address);
        client.send("GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        assert_eq!(client.answer().status(), 101);
        client
    });
}

#[test]
fn tunnels_that_nobody_reads_make_room_where_memory_is_short() {
    let instance = instance();
    let mut config = config(&instance);
    // Even of small buffers there are fewer than tunnels.
    config["http"] = json!({ "max_buffered": "1MiB" });
    let proxy = Proxy::start(&config);
    let tunnels = || {
        (0..HOLDERS).filter_map(|_| {
            let mut client = Connection::try_open(proxy.address).ok()?;
            client.try_send("GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").ok()?;
            client.try_answer("GET").is_ok().then_some(client)
        })
    };
    let _holders: Vec<_> = tunnels().collect();
    // While tunnels are still filling what they have, one request that is served does not mean that there is room for all.
    wait_for("room for others, and for all of them", SOON, || (0..OTHERS).all(|_| good(&proxy)));
}

#[test]
fn answers_that_nobody_reads_take_little() {
    let instance = instance();
    let proxy = Proxy::start(&config(&instance));
    all_are_served_beside(&proxy, || events(&proxy, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"));
}

/// A server whose connections say more than anybody reads, and a proxy that has it beside the instance.
fn with_tcp(instance: &Scripted) -> (Proxy, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (server, listen) = (listener.local_addr().unwrap(), free_address());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            std::thread::spawn(move || {
                let mut connection = Connection::from(stream);
                let bytes = pattern(64 << 10);
                while connection.try_send(&bytes).is_ok() {}
            });
        }
    });
    let mut config = config(instance);
    config["tcp"] = json!([{ "name": "db", "listen": listen, "upstream": server }]);
    (Proxy::start(&config), listen)
}

#[test]
fn tcp_connections_that_nobody_reads_take_little_and_those_that_are_read_go_on() {
    let instance = instance();
    let (proxy, listen) = with_tcp(&instance);
    let mut holders = all_are_served_beside(&proxy, || {
        let client = Connection::open(listen);
        wait_for("its first bytes", SOON, || client.stream().peek(&mut [0; 1]).is_ok_and(|n| n > 0));
        client
    });
    // The last one has small buffers; whatever its size, nothing is lost and nothing waits for ever.
    let mut last = holders.pop().unwrap();
    let expected = pattern(64 << 10).repeat(128);
    assert!(last.bytes(expected.len()).unwrap() == expected, "what came through is not what was sent");
}

/// Clients that hold more than half of the memory.
fn press_on(proxy: &Proxy) -> Vec<Connection> {
    (0..HOLDERS).map(|_| events(proxy, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")).collect()
}

#[test]
fn messages_that_are_larger_than_a_small_buffer_come_whole_while_memory_is_short() {
    let instance = instance();
    let proxy = Proxy::start(&config(&instance));
    let _holders = press_on(&proxy);
    let body = pattern(1 << 20);
    let mut client = Connection::open(proxy.address);
    for round in 0..3 {
        // A head that fits no small buffer, in both directions.
        let long = "x".repeat(20_000);
        client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nX: {long}\r\nContent-Length: {}\r\n\r\n", body.len()));
        let mut stream = client.stream();
        let sent = body.clone();
        let sender = std::thread::spawn(move || std::io::Write::write_all(&mut stream, &sent));
        let answer = client.answer();
        sender.join().unwrap().unwrap();
        assert_eq!((answer.status(), answer.body == body), (200, true), "round {round}");
    }
}

#[test]
fn an_answers_head_that_fits_no_small_buffer_is_understood_while_memory_is_short() {
    let instance = Scripted::start(|peer| {
        while let Some(request) = peer.request() {
            if request.head.target() == "/large" {
                peer.connection.send("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n");
                return flood(peer);
            }
            let long = "x".repeat(20_000);
            let trailer = "y".repeat(20_000);
            peer.connection.send(format!(
                "HTTP/1.1 200 OK\r\nX: {long}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-After: {trailer}\r\n\r\n"
            ));
        }
    });
    let proxy = Proxy::start(&config(&instance));
    let _holders = press_on(&proxy);
    let mut client = Connection::open(proxy.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.field("x").map(str::len), Some(20_000));
}

#[test]
fn requests_pipelined_beyond_a_small_buffer_are_all_answered_in_their_order() {
    let instance = Scripted::start(|peer| {
        while let Some(request) = peer.request() {
            let target = request.head.target().to_owned();
            let text = format!("{target} {}", request.body.len());
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
            peer.connection.send([head.as_bytes(), text.as_bytes()].concat());
        }
    });
    let proxy = Proxy::start(&config(&instance));
    let mut client = Connection::open(proxy.address);
    let lengths: Vec<usize> = (0..120).map(|n| if n % 10 == 9 { 30_000 } else { n * 10 }).collect();
    let all: Vec<u8> = lengths
        .iter()
        .enumerate()
        .flat_map(|(n, length)| {
            let head = format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            [head.as_bytes(), &pattern(*length)].concat()
        })
        .collect();
    let mut stream = client.stream();
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut stream, &all));
    for (n, length) in lengths.iter().enumerate() {
        assert_eq!(client.answer().text(), format!("/{n} {length}"));
    }
    sender.join().unwrap().unwrap();
}

#[test]
fn a_client_that_leaves_behind_more_than_is_read_ahead_is_seen_to_leave() {
    for request in ["GET /never HTTP/1.1\r\nHost: a\r\n\r\n", "GET /events HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let instance = instance();
        let proxy = Proxy::start(&config(&instance));
        let mut client = Connection::open(proxy.address);
        client.send(request);
        wait_for("the request at the instance", SOON, || instance.requests() == 1);
        press(&mut client, &request.as_bytes().repeat(2000));
        let active = || proxy.metric("outrigger_upstream_connections", &[]).iter().sum::<f64>();
        wait_for("its connection", SOON, || active() == 1.0);
        drop(client);
        wait_for("the end of its request", SOON, || active() == 0.0);
    }
}
