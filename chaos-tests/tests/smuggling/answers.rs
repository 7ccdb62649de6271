//! The other direction: answers that readers disagree on, from an instance, through the proxy, to clients by other people.
//!
//! Each case is followed by a marker on the same connection. Whoever takes a byte too many or too few of the case's
//! answer reads a part of it as the marker's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use chaos_tests::fleet::Scripted;
use chaos_tests::foreign::{self, Process};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::tools::say;
use serde_json::{Value, json};

use super::corpus::latin1;
use super::servers::GO;

/// An answer that nobody is to read.
const HIDDEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden";

struct Case {
    what: String,
    method: &'static str,
    bytes: String,
    /// What has to be read. None where the proxy refuses, or breaks off what it has begun.
    read: Option<(u16, String)>,
}

fn case(what: &str, method: &'static str, bytes: impl Into<String>, read: Option<(u16, &str)>) -> Case {
    Case { what: what.into(), method, bytes: bytes.into(), read: read.map(|(status, body)| (status, body.into())) }
}

fn all() -> Vec<Case> {
    [ends(), codings(), chunks(), heads()].into_iter().flatten().collect()
}

fn with(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}")
}

/// Answers that end where their method or status says so, and what stands behind the end.
fn ends() -> Vec<Case> {
    let passed =
        |what: &str, method, bytes: String, status, body: &str| case(what, method, bytes, Some((status, body)));
    let long = format!("Content-Length: {}", HIDDEN.len());
    let chunk = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
    let mut cases = vec![
        passed("a length", "GET", with("Content-Length: 2", "ok"), 200, "ok"),
        passed("an answer as a body", "GET", with(&long, HIDDEN), 200, HIDDEN),
        passed("an answer as a chunk", "GET", with("Transfer-Encoding: chunked", &chunk), 200, HIDDEN),
        passed("an answer up to the end", "GET", with("Connection: close", HIDDEN), 200, HIDDEN),
        passed("an answer behind a length", "GET", with("Content-Length: 2", &format!("ok{HIDDEN}")), 200, "ok"),
        passed("an answer behind no body", "GET", with("Content-Length: 0", HIDDEN), 200, ""),
        passed(
            "an answer behind chunks",
            "GET",
            with("Transfer-Encoding: chunked", &format!("2\r\nok\r\n0\r\n\r\n{HIDDEN}")),
            200,
            "ok",
        ),
        passed("HEAD with a length", "HEAD", with(&long, ""), 200, ""),
        passed("HEAD with a body", "HEAD", with(&long, HIDDEN), 200, ""),
        passed("HEAD with chunks", "HEAD", with("Transfer-Encoding: chunked", &chunk), 200, ""),
        passed("HEAD with an answer behind", "HEAD", with("Content-Length: 0", HIDDEN), 200, ""),
    ];
    for status in [204, 304] {
        for (what, fields) in
            [("a length", long.as_str()), ("no length", "X: a"), ("a length of none", "Content-Length: 0")]
        {
            let bytes = format!("HTTP/1.1 {status} No\r\n{fields}\r\n\r\n{HIDDEN}");
            cases.push(passed(&format!("{status} with {what} and a body"), "GET", bytes, status, ""));
        }
        let bytes = format!("HTTP/1.1 {status} No\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
        cases.push(passed(&format!("{status} in chunks"), "GET", bytes, status, ""));
    }
    for interim in ["100 Continue", "103 Early Hints", "199 X"] {
        let bytes = format!("HTTP/1.1 {interim}\r\nX: a\r\n\r\n{}", with("Content-Length: 2", "ok"));
        cases.push(passed(&format!("{interim} before"), "GET", bytes, 200, "ok"));
    }
    cases.push(case("101 that nobody asked for", "GET", "HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n", None));
    cases.push(case("a body that breaks off", "GET", with("Connection: close\r\nContent-Length: 9", "ok"), None));
    cases
}

/// Codings and lengths that contradict each other, or themselves.
fn codings() -> Vec<Case> {
    let body = format!("0\r\n\r\n{HIDDEN}");
    let n = body.len();
    let mut cases = Vec::new();
    for fields in [
        format!("Content-Length: {n}\r\nTransfer-Encoding: chunked"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {n}"),
        format!("Content-Length: {n}\r\nContent-Length: 0"),
        format!("Content-Length: {n}\r\nContent-Length: {n}"),
        format!("Content-Length: {n}, {n}"),
        format!("Content-Length: +{n}"),
        format!("Content-Length: {n} 0"),
        format!("Content-Length: 0x{n:x}"),
        "Content-Length: -1".into(),
        "Content-Length:".into(),
        format!("Content-Length: {n}\u{b}"),
        format!("Content-Length : {n}"),
        format!(" Content-Length: {n}"),
        format!("X: a\r\n Content-Length: {n}"),
        format!("X: a\nContent-Length: {n}"),
        format!("X: a\rContent-Length: {n}"),
        format!("Content-Length: {}", (1_u128 << 64) + n as u128),
        format!("Content-Length: {n}\r\nTransfer-Encoding : chunked"),
        format!("Content-Length: {n}\r\nTransfer-Encoding: xchunked"),
        format!("Content-Length: {n}\r\nTransfer-Encoding:\r\n chunked"),
        "Transfer-Encoding: xchunked".into(),
        "Transfer-Encoding: chunked, identity".into(),
        "Transfer-Encoding: identity".into(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked".into(),
        "Transfer-Encoding: \u{b}chunked".into(),
        "Transfer-Encoding: chunked\0".into(),
        "Transfer-Encoding: \"chunked\"".into(),
    ] {
        cases.push(case(&fields, "GET", with(&fields, &body), None));
    }
    for line in [
        "Transfer_Encoding: chunked",
        "Content_Length: 0",
        "X-Transfer-Encoding: chunked",
        "TE: chunked",
        "Trailer: Content-Length",
        "Connection: Content-Length, Transfer-Encoding",
        "Content-Encoding: chunked",
        "X: a\tTransfer-Encoding: chunked",
        "X: \u{c4}\u{8d}\u{c4}\u{8a}Transfer-Encoding: chunked",
        "X: a\u{85}Content-Length: 0",
        "Upgrade: h2c\r\nConnection: upgrade",
        "Keep-Alive: timeout=0",
        "Proxy-Connection: close",
    ] {
        let fields = format!("{line}\r\nContent-Length: {n}");
        cases.push(case(&format!("beside a length: {line}"), "GET", with(&fields, &body), Some((200, &body))));
        let fields = format!("Transfer-Encoding: chunked\r\n{line}");
        let read = Some((200, "hello"));
        cases.push(case(&format!("beside a coding: {line}"), "GET", with(&fields, "5\r\nhello\r\n0\r\n\r\n"), read));
    }
    cases
}

fn chunks() -> Vec<Case> {
    let chunked = |body: &str| with("Transfer-Encoding: chunked", body);
    let mut cases = Vec::new();
    for line in ["05", "5;a", "5;a=\"b;c\"", "5;\ta", "5;\u{85}\u{ff}", "00000000000000000000005"] {
        let body = chunked(&format!("{line}\r\nhello\r\n0\r\n\r\n"));
        cases.push(case(&format!("size {line:?}"), "GET", body, Some((200, "hello"))));
    }
    for line in [
        "0x5",
        "+5",
        "-5",
        " 5",
        "5 ",
        "5\t",
        "5_",
        "5g",
        "",
        "5\n",
        "5\r",
        "5;a\nb",
        "5;a\r",
        "5;a=\"b",
        "5;a=\"\r\n\"",
        "ffffffffffffffff",
        "10000000000000005",
    ] {
        cases.push(case(&format!("size {line:?}"), "GET", chunked(&format!("{line}\r\nhello\r\n0\r\n\r\n")), None));
    }
    for body in [
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "3\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : a\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\n\r\n",
        "5\r\nhello\r\n0\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden",
    ] {
        cases.push(case(&format!("chunks {body:?}"), "GET", chunked(body), None));
    }
    for end in ["0\r\nX: a\r\n\r\n", "0;a\r\n\r\n", "000\r\n\r\n", "0\r\nHTTP: 1.1 200 OK\r\nSet-Cookie: a\r\n\r\n"] {
        let body = chunked(&format!("5\r\nhello\r\n{end}"));
        cases.push(case(&format!("end {end:?}"), "GET", body, Some((200, "hello"))));
    }
    cases
}

fn heads() -> Vec<Case> {
    let mut cases = Vec::new();
    for line in [
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/2 200 OK",
        "HTTP/1.2 200 OK",
        "http/1.1 200 OK",
        "HTTP/0.9 200 OK",
        "ICY 200 OK",
        "200 OK",
        "HTTP/1.1",
        "HTTP/1.1 200 O\rK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
        "\r\nHTTP/1.1 200 OK",
    ] {
        cases.push(case(&format!("line {line:?}"), "GET", format!("{line}\r\nContent-Length: 2\r\n\r\nok"), None));
    }
    for line in ["HTTP/1.1 200 ", "HTTP/1.0 200 OK", "HTTP/1.1 299 Of my own", "HTTP/1.1 404 HTTP/1.1 200 OK"] {
        let status = line[9..12].parse().expect("a status");
        let bytes = format!("{line}\r\nContent-Length: 2\r\n\r\nok");
        cases.push(case(&format!("line {line:?}"), "GET", bytes, Some((status, "ok"))));
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    cases.push(case("HTTP/1.0 in chunks", "GET", old, None));
    for field in [
        "X : a",
        "X",
        ": a",
        "X: a\r\n b",
        "X: a\nY: b",
        "X: a\rY: b",
        "X: a\0",
        "X(Y): a",
        "X\u{e4}: a",
        " X: a",
        "X: a\n\nHTTP/1.1 200 OK",
        "X: a\u{b}b",
    ] {
        let bytes = with(&format!("{field}\r\nContent-Length: 2"), "ok");
        cases.push(case(&format!("field {field:?}"), "GET", bytes, None));
    }
    cases
}

/// Plays the cases, each at its own path, and closes behind it.
fn instance() -> Scripted {
    Scripted::start(|peer| {
        let cases = all();
        while let Some(request) = peer.request() {
            let (nth, what) = place(request.head.target());
            let answer = match what {
                "marker" => latin1(&with("Content-Length: 10", &format!("marker {nth:03}"))),
                _ => latin1(&cases[nth].bytes),
            };
            if peer.connection.try_send(answer).is_err() || what == "case" && closes(&cases[nth]) {
                return;
            }
        }
    })
}

fn closes(case: &Case) -> bool {
    case.bytes.contains("Connection: close")
}

/// The number of the case, and whether it is the case itself or its marker.
fn place(path: &str) -> (usize, &str) {
    let mut parts = path.trim_start_matches('/').split('/');
    (parts.next().and_then(|nth| nth.parse().ok()).expect("a number"), parts.next().expect("a name"))
}

/// What a client says that it has read at each path; None where it has read no whole answer.
type Read = BTreeMap<String, Option<(u16, Vec<u8>)>>;

/// `but` are answers that the client does not read as they are meant, whoever gives them.
fn reads_what_was_meant(client: &str, but: &[&str], read: impl FnOnce(SocketAddr, &[String]) -> Option<Read>) {
    let instance = instance();
    let mut config = proxy::to(&[instance.address]);
    let app = &mut config["services"]["app"];
    (app["breaker"], app["outlier"], app["retries"]) = (json!("off"), json!("off"), json!({ "max": 0 }));
    let proxy = Proxy::start(&config);
    let cases: Vec<_> = all().into_iter().enumerate().filter(|(_, case)| !but.contains(&case.what.as_str())).collect();
    let both =
        |(nth, case): &(usize, Case)| [format!("{} /{nth:03}/case", case.method), format!("GET /{nth:03}/marker")];
    let questions: Vec<_> = cases.iter().flat_map(both).collect();
    let Some(read) = read(proxy.address, &questions) else { return };
    let passed = cases.iter().filter(|(_, case)| case.read.is_some()).count();
    say(&format!("{client}: {} answers, of which {passed} pass", cases.len()));
    let mut faults = Vec::new();
    for (nth, case) in cases {
        let at = |what: &str| read[&format!("/{nth:03}/{what}")].clone();
        let (seen, marker) = (at("case"), at("marker"));
        let as_meant = match (&case.read, &seen) {
            (Some((status, body)), Some(seen)) => *seen == (*status, latin1(body)),
            (None, Some((status, _))) => *status == 502,
            (None, None) => true,
            (Some(_), None) => false,
        };
        if !as_meant || marker != Some((200, format!("marker {nth:03}").into_bytes())) {
            faults.push(format!("{}: read as {seen:?}, the marker as {marker:?}", case.what));
        }
    }
    assert!(faults.is_empty(), "{client}: {} faults:\n{}", faults.len(), faults.join("\n"));
}

/// A client that is told on its standard input what to ask.
fn told(command: &mut Command, questions: &[String]) -> Read {
    let mut client = Process::start(command);
    let mut read = Read::new();
    for question in questions {
        client.tell(question);
        let said: Value = serde_json::from_str(&client.line()).expect("a line of JSON");
        let hex = said["body"].as_str().unwrap_or_default();
        let body = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits"));
        let status = said["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        let path = said["path"].as_str().expect("a path").to_owned();
        read.insert(path, status.map(|status| (status, body.collect())));
    }
    read
}

fn python(library: &str, address: SocketAddr, questions: &[String]) -> Option<Read> {
    let python = foreign::venv("smuggling/requirements.txt")?.join("python");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/foreign/smuggling/client.py");
    Some(told(Command::new(python).arg(script).args([library, &address.to_string()]), questions))
}

/// `http.client` of Python, on which urllib3 stands, takes every interim answer but 100 for the answer itself.
const PYTHON: &[&str] = &["103 Early Hints before", "199 X before"];

#[test]
fn http_client_of_python_reads_what_was_meant() {
    reads_what_was_meant("http.client", PYTHON, |address, questions| python("http.client", address, questions));
}

#[test]
fn urllib3_reads_what_was_meant() {
    reads_what_was_meant("urllib3", PYTHON, |address, questions| python("urllib3", address, questions));
}

#[test]
fn undici_reads_what_was_meant() {
    // It expects the body of which a 304 only says how long it would have been.
    reads_what_was_meant("undici", &["304 with a length and a body"], |address, questions| {
        let mut client = foreign::script("smuggling/client.mjs")?;
        Some(told(client.arg(address.to_string()), questions))
    });
}

#[test]
fn the_client_of_go_reads_what_was_meant() {
    // It takes no answer that announces such a trailer.
    reads_what_was_meant("Go", &["beside a coding: Trailer: Content-Length"], |address, questions| {
        let program = GO.path_or_skip().unwrap_or_else(|why| panic!("{why}"))?;
        Some(told(Command::new(program).arg(address.to_string()), questions))
    });
}

#[test]
fn curl_reads_what_was_meant() {
    reads_what_was_meant("curl", &[], |address, questions| {
        let curl = foreign::program("curl")?;
        let folder = tempfile::tempdir().expect("a folder");
        let mut sections = Vec::new();
        for (nth, question) in questions.iter().enumerate() {
            let (method, path) = question.split_once(' ').expect("two words");
            let head = if method == "HEAD" { "head\n" } else { "" };
            let file = folder.path().join(nth.to_string());
            sections.push(format!(
                "url = \"http://{address}{path}\"\n{head}silent\nmax-time = 20\noutput = \"{}\"\n\
                 write-out = \"%{{http_code}} %{{exitcode}} {path}\\n\"\n",
                file.display()
            ));
        }
        let config = folder.path().join("config");
        std::fs::write(&config, sections.join("next\n")).expect("a file");
        let output = foreign::output(Command::new(curl).arg("--disable").arg("--config").arg(&config));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = |(nth, line): (usize, &str)| {
            let mut words = line.split(' ');
            let mut word = || words.next().expect("a word").to_owned();
            let (status, ended, path) = (word(), word(), word());
            // Of an answer to HEAD curl writes the head.
            let body = match questions[nth].starts_with("HEAD") {
                true => Vec::new(),
                false => std::fs::read(folder.path().join(nth.to_string())).unwrap_or_default(),
            };
            (path, (ended == "0").then(|| (status.parse().expect("a status"), body)))
        };
        Some(said.lines().enumerate().map(line).collect())
    });
}
