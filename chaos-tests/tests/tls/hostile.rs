//! Clients that do not mean well, or do not speak TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use chaos_tests::fleet::Origin;
use chaos_tests::proxy::Proxy;
use chaos_tests::{SOON, foreign, pattern, wait_for};
use serde_json::json;

use super::stage::{Authority, curl, listening, over_tls, url, wait_handshakes};

/// Reads until the proxy closes.
fn until_closed(mut client: &TcpStream) -> Vec<u8> {
    client.set_read_timeout(Some(SOON)).unwrap();
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    loop {
        match client.read(&mut some) {
            Ok(0) => return all,
            Ok(n) => all.extend_from_slice(&some[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("it was not closed: {error}"),
        }
    }
}

#[test]
fn what_is_no_tls_is_closed_and_counted_and_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let proxy = listening(&[origin.address], &json!({ "certificates": [authority.issue("a", &["a.example"]).json()] }));
    let noise = pattern(70_000);
    // A record that is longer than there may be, and a handshake message without an end.
    let (long, endless) = ([&[22, 3, 1, 0xff, 0xff][..], &noise].concat(), [22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff]);
    let said: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", &noise, &long, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    for bytes in said {
        let mut client = TcpStream::connect(proxy.address).unwrap();
        // It may be closed in the middle of this.
        client.write_all(bytes).ok();
        until_closed(&client);
    }
    wait_handshakes(&proxy, "not_tls", 4.0);
    let mut client = TcpStream::connect(proxy.address).unwrap();
    client.write_all(&endless).unwrap();
    // It is closed for what it announces, not for its time.
    let begun = Instant::now();
    let _ = client.write_all(&noise[..16_384 - 4]);
    until_closed(&client);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let Some(mut good) = curl(&proxy, &authority.ca, "a.example") else { return };
    assert_eq!(foreign::finish(good.arg(url(&proxy, "a.example", "/"))), "a\n");
}

#[test]
fn a_handshake_that_stalls_ends_in_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let certificates = json!([authority.issue("a", &["a.example"]).json()]);
    let proxy = listening(&[origin.address], &json!({ "certificates": certificates, "handshake_timeout": "500ms" }));
    let silent = TcpStream::connect(proxy.address).unwrap();
    let mut halfway = TcpStream::connect(proxy.address).unwrap();
    halfway.write_all(&[22, 3, 1, 0, 200, 1, 0, 0, 196]).unwrap();
    until_closed(&silent);
    until_closed(&halfway);
    wait_handshakes(&proxy, "timeout", 2.0);
    let left = TcpStream::connect(proxy.address).unwrap();
    drop(left);
    wait_handshakes(&proxy, "closed", 1.0);
}

#[test]
fn handshakes_that_stall_make_room_when_connections_are_short() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let certificates = json!([authority.issue("a", &["a.example"]).json()]);
    let mut config = over_tls(&[origin.address], &json!({ "certificates": certificates, "handshake_timeout": "1h" }));
    config["http"] = json!({ "max_connections": 32 });
    let proxy = Proxy::start(&config);
    let _stalled: Vec<_> = (0..64).map(|_| TcpStream::connect(proxy.address).unwrap()).collect();
    wait_for("all permits to be taken", SOON, || {
        proxy.metric("outrigger_client_connections", &[]).iter().sum::<f64>() >= 30.0
    });
    let Some(mut good) = curl(&proxy, &authority.ca, "a.example") else { return };
    assert_eq!(foreign::finish(good.arg(url(&proxy, "a.example", "/"))), "a\n");
    wait_handshakes(&proxy, "made_room", 1.0);
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_ended_as_it_is_in_cleartext() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let mut config =
        over_tls(&[origin.address], &json!({ "certificates": [authority.issue("a", &["a.example"]).json()] }));
    config["http"] = json!({ "stream_idle_timeout": "1s" });
    let proxy = Proxy::start(&config);
    let Some(openssl) = foreign::program("openssl") else { return };
    let mut command = std::process::Command::new(openssl);
    command.args(["s_client", "-quiet", "-connect", &proxy.address.to_string(), "-servername", "a.example"]);
    // Nobody reads what it says, and it reads no more than it can say.
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let request = b"GET /bytes/50000000 HTTP/1.1\r\nHost: a.example\r\n\r\n";
    child.stdin.as_mut().unwrap().write_all(request).unwrap();
    let open = || proxy.metric("outrigger_client_connections", &[]).iter().sum::<f64>();
    wait_for("the connection", SOON, || open() >= 1.0);
    wait_for("its end", SOON, || open() < 1.0);
    child.kill().unwrap();
    child.wait().unwrap();
}
