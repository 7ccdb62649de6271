//! What a TCP proxy does when nothing is injected.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use chaos_tests::proxy::free_address;
use chaos_tests::{SOON, pattern, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::stage::{Server, connect, exchange, rest, start, to};

#[test]
fn bytes_go_to_an_address_and_back_and_so_does_each_side_s_end() {
    let (server, bytes) = (Server::echo(), pattern(3 << 20));
    let (proxy, address) = to(&server);
    let mut client = connect(address);
    let mut writer = client.try_clone().unwrap();
    let sent = bytes.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let (back, error) = rest(&mut client);
    writing.join().unwrap();
    assert_eq!((back.len(), error), (bytes.len(), None));
    assert!(back == bytes);
    let length = bytes.len() as f64;
    for name in ["outrigger_tcp_received_bytes_total", "outrigger_tcp_sent_bytes_total"] {
        for direction in ["upstream", "downstream"] {
            let labels = ["proxy=\"db\"", direction];
            wait_for(name, SOON, || proxy.metric(name, &labels) == [length]);
        }
    }
}

#[test]
fn a_server_that_has_said_all_is_still_heard_by() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = Server::start(move |mut stream| {
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        let ended = stream.read_to_end(&mut all).map_err(|error| error.kind());
        tell.send((all, ended)).unwrap();
    });
    let (_proxy, address) = to(&server);
    let mut client = connect(address);
    assert_eq!(rest(&mut client), (b"hello".to_vec(), None));
    client.write_all(b"late").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(told.recv_timeout(SOON).unwrap(), (b"late".to_vec(), Ok(4)));
}

#[test]
fn a_service_s_connections_are_spread_over_its_instances() {
    let servers = [Server::echo(), Server::echo(), Server::echo()];
    let instances: Vec<_> = servers.iter().map(|server| server.address).collect();
    let (_proxy, address) = start(json!({ "service": "db", "services": { "db": { "instances": instances } } }));
    let mut open: Vec<TcpStream> = (0..60).map(|_| connect(address)).collect();
    for client in &mut open {
        exchange(client, b"hello");
    }
    let counts = servers.each_ref().map(Server::connections);
    assert_eq!(counts.iter().sum::<usize>(), 60);
    // Those that are open count as load.
    assert!(counts.iter().all(|count| (10..=30).contains(count)), "{counts:?}");
}

#[test]
fn an_instance_that_refuses_costs_a_client_nothing() {
    let server = Server::echo();
    let instances = [free_address(), server.address, free_address()];
    let (_proxy, address) = start(json!({ "service": "db", "services": { "db": { "instances": instances } } }));
    for _ in 0..30 {
        exchange(&mut connect(address), b"hello");
    }
    assert_eq!(server.connections(), 30);
}

#[test]
fn where_nobody_is_the_client_is_closed_on_and_counted() {
    for upstream in [json!({ "upstream": free_address() }), json!({ "upstream": "no.such.host.invalid:1" })] {
        let (proxy, address) = start(upstream);
        assert_eq!(rest(&mut connect(address)).0, b"");
        let name = "outrigger_tcp_connections_failed_total";
        wait_for(name, SOON, || proxy.metric(name, &["proxy=\"db\""]) == [1.0]);
    }
}

#[test]
fn a_connection_on_which_nothing_moves_is_closed_after_its_idle_time_and_no_other() {
    let server = Server::echo();
    let (_proxy, address) = start(json!({ "upstream": server.address, "idle_timeout": "600ms" }));
    let began = Instant::now();
    let (mut idle, mut busy) = (connect(address), connect(address));
    let reading = std::thread::spawn(move || (rest(&mut idle), began.elapsed()));
    while began.elapsed() < Duration::from_millis(1500) {
        exchange(&mut busy, b"still here");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (ended, after) = reading.join().unwrap();
    assert_eq!(ended, (Vec::new(), None));
    assert!(after >= Duration::from_millis(600), "{after:?}");
}

#[test]
fn a_server_s_reset_is_the_client_s() {
    let server = Server::start(|mut stream| {
        stream.read_exact(&mut [0; 5]).unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let (_proxy, address) = to(&server);
    let mut client = connect(address);
    client.write_all(b"hello").unwrap();
    assert_eq!(rest(&mut client), (Vec::new(), Some(ErrorKind::ConnectionReset)));
}

#[test]
fn no_connection_is_left_behind() {
    let server = Server::echo();
    let (proxy, address) = to(&server);
    for _ in 0..300 {
        exchange(&mut connect(address), b"hello");
    }
    let of = |name: &str| proxy.metric(name, &["proxy=\"db\""]);
    // Workers hand over what they have counted at their ticks, opened and closed together.
    wait_for("all to be counted", SOON, || of("outrigger_tcp_connections_accepted_total") == [300.0]);
    wait_for("no open connection", SOON, || of("outrigger_tcp_connections") == [0.0]);
}

#[test]
fn connections_that_are_open_are_waited_for_when_the_process_ends() {
    let server = Server::echo();
    let shutdown = json!({ "lame_duck": "500ms", "deadline": "15s" });
    let (mut proxy, address) = start(json!({ "upstream": server.address, "shutdown": shutdown }));
    let mut early = connect(address);
    exchange(&mut early, b"hello");
    proxy.signal(Signal::SIGTERM);
    wait_for("the lame duck", SOON, || !proxy.ready());
    let mut late = connect(address);
    exchange(&mut late, b"in time");
    wait_for("the listener to close", SOON, || TcpStream::connect(address).is_err());
    exchange(&mut early, b"still");
    exchange(&mut late, b"here");
    assert!(!proxy.has_ended());
    drop((early, late));
    assert!(proxy.wait_end(SOON).success(), "nothing was cut");
}

#[test]
fn at_the_deadline_connections_are_cut() {
    let server = Server::echo();
    let shutdown = json!({ "lame_duck": "100ms", "deadline": "1s" });
    let (mut proxy, address) = start(json!({ "upstream": server.address, "shutdown": shutdown }));
    let mut client = connect(address);
    exchange(&mut client, b"hello");
    proxy.signal(Signal::SIGTERM);
    assert!(!proxy.wait_end(SOON).success());
    assert_eq!(rest(&mut client).0, b"");
}
