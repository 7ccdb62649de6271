//! What a listener under TLS promises its clients.

use std::process::Command;

use chaos_tests::fleet::{Fault, Origin, Scripted};
use chaos_tests::{foreign, pattern};
use serde_json::json;

use super::stage::{Authority, curl, listening, python, s_client, url, wait_handshakes};

const GET: &str = "GET /head HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[test]
fn curl_gets_the_protocol_and_the_version_that_it_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let proxy = listening(&[origin.address], &json!({ "certificates": [authority.issue("a", &["a.example"]).json()] }));
    for (options, http) in [
        (&["--http1.1", "--tls-max", "1.2"][..], "1.1"),
        (&["--http1.1", "--tlsv1.3"], "1.1"),
        (&["--http2", "--tls-max", "1.2"], "2"),
        (&["--http2", "--tlsv1.3"], "2"),
        // Without ALPN the first bytes say what is spoken, as they do in cleartext.
        (&["--no-alpn", "--http1.1"], "1.1"),
    ] {
        let Some(mut curl) = curl(&proxy, &authority.ca, "a.example") else { return };
        curl.args(options).args(["-w", "%{http_version} %{http_code}"]).arg(url(&proxy, "a.example", "/"));
        assert_eq!(foreign::finish(&mut curl), format!("a\n{http} 200"), "{options:?}");
    }
    wait_handshakes(&proxy, "full", 5.0);
}

#[test]
fn a_client_below_the_least_version_is_refused_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let certificates = json!([authority.issue("a", &["a.example"]).json()]);
    let proxy = listening(&[origin.address], &json!({ "certificates": certificates, "min_version": "1.3" }));
    let Some(mut old) = curl(&proxy, &authority.ca, "a.example") else { return };
    let output = foreign::output(old.args(["--tls-max", "1.2"]).arg(url(&proxy, "a.example", "/")));
    assert!(!output.status.success(), "{}", foreign::said(&output));
    wait_handshakes(&proxy, "incompatible", 1.0);
    let mut new = curl(&proxy, &authority.ca, "a.example").unwrap();
    assert_eq!(foreign::finish(new.arg(url(&proxy, "a.example", "/"))), "a\n");
}

#[test]
fn the_certificate_is_that_of_the_name_and_else_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let certificates = json!([
        authority.issue("first", &["first.example"]).json(),
        authority.issue("a", &["a.example", "*.a.example"]).json(),
    ]);
    let lenient = listening(&[origin.address], &json!({ "certificates": certificates }));
    let strict = listening(&[origin.address], &json!({ "certificates": certificates, "unknown_sni": "refuse" }));
    for (name, own) in [
        (Some("a.example"), Some("a.example")),
        (Some("A.Example"), Some("a.example")),
        (Some("deep.a.example"), Some("a.example")),
        (Some("too.deep.a.example"), None),
        (Some("first.example"), Some("first.example")),
        (Some("other.example"), None),
        (None, None),
    ] {
        for (proxy, refuses) in [(&lenient, false), (&strict, true)] {
            // Which one came is told only of a certificate that was verified; its name need not be the right one for that.
            let asked = json!({ "port": proxy.address.port(), "name": name, "send": [GET] });
            let Some(told) = python(&asked) else { return };
            assert_eq!(told["error"].is_string(), refuses && own.is_none(), "{name:?}: {told}");
        }
        let mut shown = Command::new(foreign::program("openssl").unwrap());
        shown.args(["s_client", "-connect", &lenient.address.to_string()]);
        match name {
            Some(name) => shown.args(["-servername", name]),
            None => shown.arg("-noservername"),
        };
        let said = foreign::said(&foreign::output(&mut shown));
        let subject = format!("subject=CN = {}", own.unwrap_or("first.example"));
        assert!(said.contains(&subject), "{name:?}: {said}");
    }
    wait_handshakes(&strict, "unknown_name", 3.0);
}

#[test]
fn what_goes_to_an_instance_says_https_and_a_large_body_passes_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let proxy = listening(&[origin.address], &json!({ "certificates": [authority.issue("a", &["a.example"]).json()] }));
    for version in ["--http1.1", "--http2"] {
        let Some(mut command) = curl(&proxy, &authority.ca, "a.example") else { return };
        let forwarded = ["-H", "Forwarded: for=192.0.2.1"];
        let said = foreign::finish(command.arg(version).args(forwarded).arg(url(&proxy, "a.example", "/head")));
        let said = said.to_lowercase();
        assert!(said.contains("x-forwarded-proto") && said.contains("https") && !said.contains("\"http\""), "{said}");
        assert!(said.contains("for=192.0.2.1, for=127.0.0.1;proto=https"), "{said}");
    }
    let (up, down) = (folder.path().join("up"), folder.path().join("down"));
    let body = pattern(5_000_000);
    std::fs::write(&up, &body).unwrap();
    for options in [&["--http1.1"][..], &["--http1.1", "-H", "Transfer-Encoding: chunked"], &["--http2"]] {
        // Slower than the proxy, so that its writes meet a full socket.
        for rate in ["1G", "4M"] {
            let mut command = curl(&proxy, &authority.ca, "a.example").unwrap();
            command.args(options).args(["--limit-rate", rate, "-X", "POST", "-T"]).arg(&up).arg("-o").arg(&down);
            foreign::finish(command.arg(url(&proxy, "a.example", "/echo")));
            assert!(std::fs::read(&down).unwrap() == body, "{options:?} {rate}");
        }
    }
}

#[test]
fn a_session_is_resumed_whichever_worker_meets_it_and_early_data_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let tls = json!({ "certificates": [authority.issue("a", &["a.example"]).json()] });
    let mut config = super::stage::over_tls(&[origin.address], &tls);
    config["workers"] = 3.into();
    let proxy = chaos_tests::proxy::Proxy::start(&config);
    for version in ["1.2", "1.3"] {
        let asked = json!({
            "port": proxy.address.port(), "name": "a.example", "ca": authority.ca, "least": version, "most": version,
            "send": [GET], "times": 12,
        });
        let Some(told) = python(&asked) else { return };
        let all = told.as_array().unwrap_or_else(|| panic!("{told}"));
        let reused = all.iter().filter(|one| one["reused"] == true).count();
        assert_eq!((reused, all.len()), (11, 12), "{version}: {told}");
    }
    wait_handshakes(&proxy, "resumed", 22.0);
    let said = s_client(proxy.address, "-tls1_3").unwrap();
    assert!(said.contains("Max Early Data: 0"), "{said}");
}

#[test]
fn a_session_is_not_resumed_at_another_listener() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let files = authority.issue("a", &["a.example"]).json();
    let open = listening(&[origin.address], &json!({ "certificates": [files] }));
    let mut config = super::stage::over_tls(&[origin.address], &json!({ "certificates": [files] }));
    let second = chaos_tests::proxy::free_address();
    let strict = json!({ "certificates": [files], "client_auth": "require", "client_ca": authority.ca });
    config["listeners"].as_array_mut().unwrap().push(json!({ "address": second, "tls": strict }));
    let proxy = chaos_tests::proxy::Proxy::start(&config);
    let session = folder.path().join("session");
    let ask = |address, way: &str| s_client(address, &format!("{way} {}", session.display()));
    let Some(first) = ask(proxy.address, "-sess_out") else { return };
    assert!(first.contains("200 OK"), "{first}");
    assert!(ask(proxy.address, "-sess_in").unwrap().contains("Reused, "), "it was good where it came from");
    let other = ask(second, "-sess_in").unwrap();
    assert!(!other.contains("Reused, ") && !other.contains("200 OK"), "{other}");
    let elsewhere = ask(open.address, "-sess_in").unwrap();
    assert!(elsewhere.contains("New, ") && elsewhere.contains("200 OK"), "{elsewhere}");
}

#[test]
fn an_end_is_told_by_close_notify_and_a_cut_answer_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let files = authority.issue("a", &["a.example"]).json();
    let origin = Origin::named("a");
    let proxy = listening(&[origin.address], &json!({ "certificates": [files] }));
    let last = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    for version in ["1.2", "1.3"] {
        let asked = json!({
            "port": proxy.address.port(), "name": "a.example", "ca": authority.ca, "most": version, "send": [last],
            "until_end": true,
        });
        let Some(told) = python(&asked) else { return };
        assert_eq!(told["clean"], true, "{told}");
    }
    // To a client of HTTP/1.0 a body without a length ends with its connection.
    for (fault, clean) in [(None, true), (Some(Fault::CutChunks), false)] {
        let scripted = match fault {
            Some(fault) => Scripted::faulty(fault),
            None => Scripted::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        };
        let mut config = super::stage::over_tls(&[scripted.address], &json!({ "certificates": [files] }));
        config["defaults"] = json!({ "hold": "off", "retries": { "max": 0 } });
        let proxy = chaos_tests::proxy::Proxy::start(&config);
        let asked = json!({
            "port": proxy.address.port(), "name": "a.example", "ca": authority.ca,
            "send": ["GET / HTTP/1.0\r\nHost: a.example\r\n\r\n"], "until_end": true,
        });
        let told = python(&asked).unwrap();
        assert_eq!(told["clean"] == true, clean, "{told}");
    }
}

#[test]
fn a_request_for_another_certificates_host_is_sent_to_a_connection_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let certificates = json!([
        authority.issue("a", &["a.example", "www.a.example"]).json(),
        authority.issue("b", &["b.example"]).json(),
    ]);
    let proxy = listening(&[origin.address], &json!({ "certificates": certificates }));
    let port = proxy.address.port();
    for (host, status) in [
        ("a.example", "200"),
        ("a.example:8443", "200"),
        ("WWW.a.example.", "200"),
        // In no certificate: a service's own name.
        ("orders", "200"),
        ("b.example", "421"),
        ("B.example:443", "421"),
    ] {
        // Behind a first request that was good: the connection is a kept one.
        let second = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let asked = json!({ "port": port, "name": "a.example", "ca": authority.ca, "send": [GET, second] });
        let Some(told) = python(&asked) else { return };
        let answer = told["answers"][1].as_str().unwrap_or_else(|| panic!("{told}"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
        let mut command = curl(&proxy, &authority.ca, "a.example").unwrap();
        command.args([
            "--http2",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version} %{http_code}",
            "-H",
            &format!("Host: {host}"),
        ]);
        let said = foreign::finish(command.arg(url(&proxy, "a.example", "/")));
        assert_eq!(said, format!("2 {status}"), "{host}");
    }
    chaos_tests::wait_for("the count", chaos_tests::SOON, || {
        proxy.metric("outrigger_refused_total", &["misdirected_request"]).iter().sum::<f64>() == 4.0
    });
}

#[test]
fn a_client_that_offers_other_protocols_only_is_refused_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let files = authority.issue("a", &["a.example"]).json();
    let both = listening(&[origin.address], &json!({ "certificates": [files] }));
    let only_1 = listening(&[origin.address], &json!({ "certificates": [files], "alpn": ["http/1.1"] }));
    let ask = |proxy: &chaos_tests::proxy::Proxy, alpn: &[&str]| {
        let asked = json!({ "port": proxy.address.port(), "name": "a.example", "alpn": alpn, "send": [] });
        python(&asked)
    };
    let Some(told) = ask(&both, &["imap", "spdy/3"]) else { return };
    assert!(told["error"].is_string(), "{told}");
    wait_handshakes(&both, "alpn", 1.0);
    assert_eq!(ask(&both, &["http/1.1", "h2"]).unwrap()["alpn"], "h2");
    assert_eq!(ask(&only_1, &["h2", "http/1.1"]).unwrap()["alpn"], "http/1.1");
    assert!(ask(&only_1, &["h2"]).unwrap()["error"].is_string());
}
