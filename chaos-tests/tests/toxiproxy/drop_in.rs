//! `outrigger toxiproxy` in the place of `toxiproxy-server`: the same options, the same file, the same metrics.

use chaos_tests::proxy::{free_address, outrigger};
use chaos_tests::raw::Connection;
use chaos_tests::toxiproxy::{SERVER, Toxiproxy};
use chaos_tests::{SOON, wait_for};
use serde_json::json;

use crate::echo::Echo;
use crate::transcript::chosen;

/// The real one, where it is to be had, and the drop-in, each with a file of proxies of its own.
fn both(test: impl Fn(&Toxiproxy, &Echo) -> String) {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start();
    let said = |start: &dyn Fn(&[&str]) -> Option<Toxiproxy>| {
        let file = folder.path().join("toxiproxy.json");
        let proxies = json!([
            { "name": "one", "listen": free_address(), "upstream": echo.address },
            { "name": "two", "listen": "localhost:0", "upstream": echo.address, "enabled": false },
        ]);
        std::fs::write(&file, proxies.to_string()).unwrap();
        let server = start(&["-config", file.to_str().unwrap(), "-proxy-metrics"])?;
        Some(chosen(&test(&server, &echo), "127.0.0.1:"))
    };
    let ours = said(&|arguments| Some(Toxiproxy::drop_in(arguments))).unwrap();
    if let Some(real) = said(&Toxiproxy::real_with) {
        assert_eq!(ours, real);
    }
}

fn listens(server: &Toxiproxy, name: &str) -> std::net::SocketAddr {
    let answer = server.call("GET", &format!("/proxies/{name}"), "");
    let proxy: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    proxy["listen"].as_str().unwrap().parse().unwrap()
}

#[test]
fn the_file_of_proxies_is_the_same() {
    both(|server, _| {
        wait_for("the proxies", SOON, || server.call("GET", "/proxies", "").text() != "{}");
        let mut connection = Connection::open(listens(server, "one"));
        connection.send("ping");
        assert_eq!(connection.bytes(4).unwrap(), b"ping");
        server.call("GET", "/proxies", "").text()
    });
}

#[test]
fn the_metrics_are_the_same() {
    both(|server, _| {
        let samples = || {
            let page = server.call("GET", "/metrics", "");
            assert_eq!(
                page.field("content-type"),
                Some("text/plain; version=0.0.4; charset=utf-8; escaping=underscores")
            );
            let ours = |line: &&str| line.contains("toxiproxy_");
            page.text().lines().filter(ours).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(samples(), "");
        let mut connection = Connection::open(listens(server, "one"));
        connection.send("ping");
        assert_eq!(connection.bytes(4).unwrap(), b"ping");
        drop(connection);
        wait_for("all four of them", SOON, || samples().matches("} 4").count() == 4);
        samples()
    });
}

#[test]
fn options_are_read_as_go_reads_them() {
    for arguments in [
        &["-config=", "-runtime-metrics", "-seed", "-7"][..],
        &["--config=", "--proxy-metrics=true", "--runtime-metrics=false", "--seed=7"],
        &["-proxy-metrics", "-proxy-metrics=false", "-seed", "1", "-seed", "2"],
    ] {
        let servers = [Some(Toxiproxy::drop_in(arguments)), Toxiproxy::real_with(arguments)];
        let answers = servers.iter().flatten().map(|server| {
            let page = server.call("GET", "/metrics", "");
            let process = page.text().contains("process_open_fds ");
            (server.call("GET", "/version", "").text(), page.status(), process)
        });
        let answers: Vec<_> = answers.collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{arguments:?}: {answers:?}");
    }
}

#[test]
fn a_wrong_option_is_wrong_usage_and_a_version_needs_no_port() {
    let ours = |option| outrigger(&["toxiproxy", option]);
    for (option, code) in [("-version", 0), ("--version", 0), ("-h", 0), ("-help", 0), ("-nope", 2), ("-port", 2)] {
        assert_eq!(ours(option).status.code(), Some(code), "{option}");
        if let Some(program) = SERVER.path_or_skip().unwrap() {
            let real = std::process::Command::new(program).arg(option).output().unwrap();
            assert_eq!(real.status.code(), Some(code), "the real one: {option}");
        }
    }
    let said = String::from_utf8(ours("-version").stdout).unwrap();
    assert!(said.starts_with("toxiproxy-server version 2.12.0\noutrigger "), "{said}");
}

#[test]
fn a_file_that_cannot_be_used_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("toxiproxy.json");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let good = json!({ "name": "one", "listen": "127.0.0.1:0", "upstream": "x:1" });
    let busy = json!({ "name": "two", "listen": taken.local_addr().unwrap(), "upstream": "x:1" });
    for (text, said) in [
        ("[{]".to_owned(), "invalid character ']'"),
        (json!([{ "name": "one" }]).to_string(), "missing required field: upstream at proxy 1"),
        (json!([good, busy]).to_string(), "proxy 2: listen tcp 127.0.0.1:"),
    ] {
        std::fs::write(&file, text).unwrap();
        let port = free_address().port().to_string();
        let ended =
            outrigger(&["toxiproxy", "--host", "127.0.0.1", "--port", &port, "--config", file.to_str().unwrap()]);
        let told = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert!(told.contains(said) && told.contains("toxiproxy.json"), "{told}");
        assert_eq!(ended.status.code(), Some(1));
    }
}
