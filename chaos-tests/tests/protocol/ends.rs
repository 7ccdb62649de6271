//! An answer ends where its status and its request say, whoever gave it and whatever its fields and frames say.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chaos_tests::fleet::Scripted;
use chaos_tests::frames::{self, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS};
use chaos_tests::h2;
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::{Connection, Fault, get};
use http::HeaderMap;
use serde_json::json;

/// What would be taken for the next answer if it got through.
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nX-Poison: 1\r\n\r\npoisoned";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What an instance answers, by the path that it is asked for.
struct Case {
    path: &'static str,
    method: &'static str,
    status: u16,
    fields: &'static str,
    /// Whether its instance's connection may carry another request.
    reused: bool,
    /// The `Content-Length` that the client is told.
    told: Option<&'static str>,
}

const fn case(
    path: &'static str,
    (method, status): (&'static str, u16),
    fields: &'static str,
    reused: bool,
    told: Option<&'static str>,
) -> Case {
    Case { path, method, status, fields, reused, told }
}

const CASES: [Case; 14] = [
    case("/a", ("DELETE", 204), "", true, None),
    case("/b", ("DELETE", 204), "content-length: 0\r\n", true, None),
    case("/c", ("DELETE", 204), "content-length: 70\r\n", false, None),
    case("/d", ("DELETE", 204), "transfer-encoding: chunked\r\n", false, None),
    case("/e", ("DELETE", 204), "content-length: 1\r\ntransfer-encoding: chunked\r\n", false, None),
    case("/f", ("DELETE", 204), "content-length: 1\r\ncontent-length: 2\r\n", false, None),
    case("/g", ("DELETE", 204), "transfer-encoding: gzip\r\n", false, None),
    case("/h", ("GET", 304), "", true, None),
    case("/i", ("GET", 304), "content-length: 70\r\n", true, Some("70")),
    case("/j", ("GET", 304), "transfer-encoding: chunked\r\n", true, None),
    case("/k", ("HEAD", 200), "", true, None),
    case("/l", ("HEAD", 200), "content-length: 70\r\n", true, Some("70")),
    case("/m", ("HEAD", 200), "transfer-encoding: chunked\r\n", true, None),
    case("/n", ("HEAD", 404), "content-length: 70\r\n", true, Some("70")),
];

fn over(instance: std::net::SocketAddr, protocol: &str) -> Proxy {
    let mut config = proxy::to(&[instance]);
    config["services"]["app"]["protocol"] = json!(protocol);
    Proxy::start(&config)
}

/// Asks for each of them, over HTTP/1.1 and HTTP/2, and after each for something else.
fn ask_for_all(proxy: &Proxy, cases: &[&Case]) {
    let mut client = Connection::open(proxy.address);
    let mut modern = h2::Client::open(proxy.address, "a");
    for case in cases {
        let Case { path, method, status, told, .. } = case;
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.try_answer(method).unwrap_or_else(|broken| panic!("{method} {path}: {broken}"));
        assert_eq!((answer.status(), answer.field("content-length")), (*status, *told), "{method} {path}");
        assert_eq!(answer.field("transfer-encoding"), None, "{method} {path}");
        let next = client.try_answer("GET").unwrap_or_else(|broken| panic!("after {method} {path}: {broken}"));
        assert_eq!(next.text(), "ok", "after {method} {path}");

        let answer = modern.ask(method, path, &[], vec![], HeaderMap::new());
        assert_eq!((answer.status(), answer.field("content-length")), (*status, *told), "{method} {path} over HTTP/2");
        assert_eq!((answer.body.len(), answer.trailers.len()), (0, 0), "{method} {path} over HTTP/2");
        assert_eq!(modern.get("/").body, b"ok", "after {method} {path} over HTTP/2");
    }
}

#[test]
fn an_answer_of_an_http1_instance_ends_at_its_head_and_what_belies_that_ends_its_connection() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let origin = Scripted::start(move |peer| {
        let mut distrusted = None;
        while let Some(request) = peer.request() {
            let path = request.head.target().to_owned();
            assert_eq!(distrusted, None, "the connection was used again, for {path}");
            let Some(case) = CASES.iter().find(|case| case.path == path) else {
                if peer.connection.try_send(OK).is_err() {
                    return;
                }
                continue;
            };
            seen.lock().unwrap().push(path);
            let Case { status, fields, .. } = case;
            distrusted = (!case.reused).then_some(case.path);
            if peer.connection.try_send(format!("HTTP/1.1 {status} X\r\n{fields}\r\n")).is_err() {
                return;
            }
        }
    });
    let proxy = over(origin.address, "http1");
    ask_for_all(&proxy, &CASES.each_ref());
    // Each was carried out once for each of the two clients: nothing of it was taken for a failure.
    let twice: Vec<_> = CASES.iter().flat_map(|case| [case.path, case.path]).collect();
    assert_eq!(*asked.lock().unwrap(), twice);
}

#[test]
fn an_interim_answer_that_states_a_length_is_passed_on_without_it_and_ends_its_connection() {
    for fields in ["content-length: 3\r\n", "transfer-encoding: chunked\r\n", "content-length: 0\r\n", ""] {
        let reused = !fields.contains('3') && !fields.contains("chunked");
        let origin = Scripted::start(move |peer| {
            while peer.request().is_some() {
                let early = format!("HTTP/1.1 103 Early Hints\r\n{fields}Link: </a>\r\n\r\n{OK}");
                if peer.connection.try_send(early).is_err() {
                    return;
                }
            }
        });
        let proxy = Proxy::before(&[origin.address]);
        let mut client = Connection::open(proxy.address);
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let answer = client.answer();
            assert_eq!(answer.text(), "ok", "{fields}");
            let early = &answer.interim[0];
            assert_eq!(early.field("link"), Some("</a>"));
            assert_eq!((early.field("content-length"), early.field("transfer-encoding")), (None, None), "{fields}");
        }
        assert_eq!(origin.connections(), if reused { 1 } else { 3 }, "{fields}");
    }
}

/// Answers each request by its case, and sends DATA that nobody may have behind it.
fn spoiled(frames: &mut Frames, asked: &AtomicUsize) {
    while let Some(frame) = frames.find(HEADERS) {
        // Each client asks for the case, then for something else. Reading paths would take a decoder of HPACK.
        let nth = asked.fetch_add(1, Ordering::SeqCst);
        let case = &MODERN[nth / 4];
        let mut head;
        if nth.is_multiple_of(2) {
            head = frames::field(":status", &case.status.to_string());
            for line in case.fields.lines() {
                let (name, value) = line.split_once(": ").unwrap();
                head.extend(frames::field(name, value));
            }
            frames.send(HEADERS, END_HEADERS, frame.stream, &head);
            frames.send(DATA, END_STREAM, frame.stream, POISON.as_bytes());
        } else {
            head = frames::fields(&[(":status", "200"), ("content-length", "2")]);
            frames.send(HEADERS, END_HEADERS, frame.stream, &head);
            frames.send(DATA, END_STREAM, frame.stream, b"ok");
        }
    }
}

/// Those that HTTP/2 can bring.
const MODERN: [&Case; 9] =
    [&CASES[0], &CASES[1], &CASES[2], &CASES[7], &CASES[8], &CASES[10], &CASES[11], &CASES[13], &CASES[0]];

#[test]
fn data_after_a_head_that_ends_the_answer_is_nobody_s() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let proxy = over(frames::serve(&[], move |frames| spoiled(frames, &count)), "http2");
    ask_for_all(&proxy, &MODERN);
    assert_eq!(asked.load(Ordering::SeqCst), MODERN.len() * 4, "each was carried out once for each of the two clients");
}

#[test]
fn a_body_from_http2_that_is_not_as_long_as_it_was_said_to_be_ends_the_client_s_connection() {
    for body in ["abc", "abcdefg"] {
        let instance = frames::serve(&[], move |frames| {
            while let Some(frame) = frames.find(HEADERS) {
                let head = frames::fields(&[(":status", "200"), ("content-length", "5")]);
                frames.send(HEADERS, END_HEADERS, frame.stream, &head);
                frames.send(DATA, 0, frame.stream, &body.as_bytes()[..2]);
                frames.send(DATA, END_STREAM, frame.stream, &body.as_bytes()[2..]);
            }
        });
        let mut config = proxy::to(&[instance]);
        config["services"]["app"]["protocol"] = json!("http2");
        // Passed on as it comes, or it would be found out before.
        config["services"]["app"]["hold"] = json!("off");
        let proxy = Proxy::start(&config);
        let mut client = Connection::open(proxy.address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.try_answer("POST") {
            Ok(answer) => assert_eq!(answer.status(), 502, "{body}: {:?}", answer.head),
            Err(broken) => {
                assert!(matches!(broken.fault, Fault::Cut | Fault::Closed), "{body}: {broken}");
                assert!(
                    broken.part.body.len() < 5 && body.as_bytes().starts_with(&broken.part.body),
                    "{body}: {broken}"
                );
            }
        }
    }
}

#[test]
fn an_http2_instance_that_ends_each_connection_at_once_is_not_dialled_without_end() {
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dialled);
    // SETTINGS, so that the connection is one, and the end of it: NO_ERROR, and no stream was looked at.
    let instance = frames::serve(&[], move |frames| {
        count.fetch_add(1, Ordering::SeqCst);
        frames.send(GOAWAY, 0, 0, &[0; 8]);
        while frames.receive().is_some() {}
    });
    let proxy = over(instance, "http2");
    for request in 1..=3 {
        let answer = get(proxy.address, "a", "/");
        assert!((502..=503).contains(&answer.status()), "{}", answer.status());
        let most = request * 3 * (1 + 3);
        assert!(dialled.load(Ordering::SeqCst) <= most, "{} dials for {request}", dialled.load(Ordering::SeqCst));
    }
}
