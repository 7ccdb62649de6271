//! An admin port answers, whoever crowds it or the process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use chaos_tests::fleet::Origin;
use chaos_tests::proxy::{self, Proxy, free_address};
use chaos_tests::raw::{Connection, get};
use chaos_tests::{SOON, wait_for};
use serde_json::json;

/// What may hold a place of an admin port for as long as it likes, if it is let.
const STALLS: [(&str, &str); 6] = [
    ("nothing", ""),
    ("half a head", "GET /livez HTTP/1.1\r\nHost: loc"),
    (
        "a slow body",
        "POST /api/v1/faults HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{",
    ),
    ("a slow chunk", "POST /proxies HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"),
    ("a connection kept", "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("answers that nobody reads", ""),
];

fn status(at: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(SOON)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

#[test]
fn clients_that_stall_do_not_silence_an_admin_port() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    let toxiproxy = free_address();
    config["faults"] = json!({ "enabled": true, "toxiproxy": { "enabled": true, "address": toxiproxy } });
    let proxy = Proxy::start(&config);
    for (port, pages) in [(proxy.admin, &["/livez", "/readyz", "/metrics"][..]), (toxiproxy, &["/version", "/proxies"])]
    {
        for (what, sent) in STALLS {
            let held: Vec<TcpStream> = (0..200)
                .map(|_| {
                    let mut stream = TcpStream::connect(port).unwrap();
                    // One that was sent away already may refuse it.
                    let _ = stream.write_all(sent.as_bytes());
                    if what == "answers that nobody reads" {
                        stream.set_nonblocking(true).unwrap();
                        let many = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500);
                        let _ = stream.write(many.as_bytes());
                    }
                    stream
                })
                .collect();
            for page in pages {
                assert_eq!(status(port, page), Some(200), "{page} at {port}, beside {what}");
            }
            drop(held);
        }
    }
}

#[test]
fn a_body_that_does_not_come_is_answered_and_its_connection_closed() {
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    let mut client = Connection::open(proxy.admin);
    client.send("POST /api/v1/faults HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{");
    client.patience(SOON);
    assert_eq!(client.answer().status(), 408);
    assert!(client.ended());
}

#[test]
fn at_the_limit_of_descriptors_the_admin_ports_answer_and_good_requests_go_on() {
    let origin = Origin::named("a");
    let mut config = proxy::to(&[origin.address]);
    let toxiproxy = free_address();
    config["faults"] = json!({ "enabled": true, "toxiproxy": { "enabled": true, "address": toxiproxy } });
    let proxy = Proxy::start_with(&config, |command| few_descriptors(command, 200));
    proxy.wait_ready();
    let mut kept = Connection::open(proxy.address);
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(kept.answer().status(), 200);
    let crowd: Vec<TcpStream> = (0..400).filter_map(|_| TcpStream::connect(proxy.address).ok()).collect();
    wait_for("the limit", SOON, || proxy.log().contains("accepting failed"));
    for (port, page) in [(proxy.admin, "/livez"), (proxy.admin, "/metrics"), (toxiproxy, "/proxies")] {
        for _ in 0..5 {
            assert_eq!(status(port, page), Some(200), "{page}");
        }
    }
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(kept.answer().status(), 200);
    drop(crowd);
    wait_for("room again", SOON, || {
        let Ok(mut client) = Connection::try_open(proxy.address) else { return false };
        client.patience(Duration::from_secs(2));
        client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok() && client.try_answer("GET").is_ok()
    });
    assert_eq!(get(proxy.address, "a", "/").status(), 200);
    let said = proxy.log().lines().filter(|line| line.contains("accepting failed")).count();
    assert!(said <= 1 + SOON.as_secs() as usize / 10, "said {said} times");
}

/// Has a command run with no more descriptors than these.
pub fn few_descriptors(command: &mut Command, most: u32) {
    let (program, given) = (command.get_program().to_owned(), command.get_args().map(Into::into));
    let given: Vec<std::ffi::OsString> = given.collect();
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]).arg(program).args(given);
    limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    *command = limited;
}
