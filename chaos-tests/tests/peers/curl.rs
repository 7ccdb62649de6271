//! curl, which everybody has.

use std::net::SocketAddr;
use std::process::Command;

use chaos_tests::fleet::{Fault, Origin, Scripted};
use chaos_tests::proxy::Proxy;
use chaos_tests::{foreign, pattern};

fn curl() -> Option<Command> {
    let mut command = Command::new(foreign::program("curl")?);
    command.args(["--silent", "--show-error", "--max-time", "60"]);
    Some(command)
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}

#[test]
fn curl_keeps_its_connection() {
    let Some(mut curl) = curl() else { return };
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    curl.args(["-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null"]).arg(url(proxy.address, "/bytes/[1-20]"));
    // One line for each; curl has to dial for the first alone.
    let said = foreign::finish(&mut curl);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "200 1");
    assert!(lines[1..].iter().all(|line| *line == "200 0") && lines.len() == 20, "{said}");
}

#[test]
fn curl_speaks_http10_and_http2() {
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    for (option, version) in [("--http1.0", "1.1"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let Some(mut curl) = curl() else { return };
        curl.args([option, "-w", "%{http_version} %{http_code}"]).arg(url(proxy.address, "/"));
        // To an old client the answer may be of either version.
        let said = foreign::finish(&mut curl).replace("\n1 ", "\n1.1 ");
        assert_eq!(said, format!("a\n{version} 200"), "{option}");
    }
}

#[test]
fn curl_uploads_with_a_length_in_chunks_and_after_100_continue() {
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    let folder = tempfile::tempdir().unwrap();
    let (up, down) = (folder.path().join("up"), folder.path().join("down"));
    let body = pattern(5_000_000);
    std::fs::write(&up, &body).unwrap();
    let ways: [&[&str]; 4] =
        [&[], &["-H", "Transfer-Encoding: chunked"], &["-H", "Expect:"], &["--http2-prior-knowledge"]];
    for way in ways {
        let Some(mut curl) = curl() else { return };
        curl.args(way).args(["-X", "POST", "-T"]).arg(&up).arg("-o").arg(&down).arg(url(proxy.address, "/echo"));
        let output = foreign::output(&mut curl);
        assert!(output.status.success(), "{way:?}: {}", foreign::said(&output));
        assert!(std::fs::read(&down).unwrap() == body, "{way:?}");
    }
    let Some(mut curl) = curl() else { return };
    curl.args(["-v", "-H", "Expect: 100-continue", "-X", "POST", "-T"]).arg(&up).arg(url(proxy.address, "/drain"));
    let output = foreign::output(&mut curl);
    assert_eq!(output.stdout, b"5000000");
    assert!(foreign::said(&output).contains("HTTP/1.1 100 Continue"), "{}", foreign::said(&output));
}

#[test]
fn curl_is_given_trailers() {
    let origin = Scripted::answering(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 12345\r\n\r\n",
    );
    let proxy = Proxy::before(&[origin.address]);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let Some(mut curl) = curl() else { return };
        curl.args([version, "-H", "TE: trailers", "-H", "Connection: TE", "-D", "-"]).arg(url(proxy.address, "/"));
        if version == "--http2-prior-knowledge" {
            curl.args(["-H", "Connection;"]);
        }
        let said = foreign::finish(&mut curl).to_lowercase();
        assert!(said.contains("hello") && said.contains("x-sum: 12345"), "{version}: {said}");
    }
}

#[test]
fn curl_reaches_services_through_http_proxy_and_is_refused_connect() {
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    let Some(mut command) = curl() else { return };
    command.env("http_proxy", url(proxy.address, "/")).arg("http://orders.local/head?x=1");
    let said = foreign::finish(&mut command);
    assert!(said.contains("\"/head?x=1\"") && said.contains("orders.local"), "{said}");

    let mut command = curl().unwrap();
    command.args(["-x", &url(proxy.address, "/"), "-w", "%{http_connect}", "https://orders.local/"]);
    let output = foreign::output(&mut command);
    assert!(!output.status.success());
    assert!(foreign::said(&output).contains("405"), "{}", foreign::said(&output));
}

#[test]
fn curl_notices_a_body_that_breaks_off() {
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for fault in [Fault::ResetInBody(100_000), Fault::CutBody(100_000), Fault::CutChunks] {
            let origin = Scripted::faulty(fault.clone());
            let proxy = Proxy::before(&[origin.address]);
            let Some(mut curl) = curl() else { return };
            // A small answer is not promised before it is whole: curl is told of the failure by its status.
            curl.arg("--fail");
            curl.args([version, "-o", "/dev/null"]).arg(url(proxy.address, "/"));
            let output = foreign::output(&mut curl);
            assert!(!output.status.success(), "{version}, {fault:?}: a clean end");
        }
    }
}

#[test]
fn curl_resumes_compresses_and_heads() {
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    let Some(mut command) = curl() else { return };
    command.args(["--head", "-w", "%{http_code}"]).arg(url(proxy.address, "/bytes/1000"));
    let said = foreign::finish(&mut command).to_lowercase();
    assert!(said.contains("content-length: 1000") && said.ends_with("200"), "{said}");
    let mut command = curl().unwrap();
    command.args(["-X", "OPTIONS", "-w", "%{http_code}", "--path-as-is"]).arg(url(proxy.address, "//a/%2F"));
    assert_eq!(foreign::finish(&mut command), "a\n200");
    let mut command = curl().unwrap();
    command.args(["-w", "%{http_code}", "-o", "/dev/null", "--path-as-is"]).arg(url(proxy.address, "/a/../b"));
    assert_eq!(foreign::finish(&mut command), "400");
}
