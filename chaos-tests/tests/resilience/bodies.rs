//! Answers that break off or take their time: small ones are whole before they are promised, and nothing else is held up.

use std::time::Duration;

use chaos_tests::fleet::{Fault, Scripted};
use chaos_tests::pattern;
use chaos_tests::proxy::Proxy;
use chaos_tests::raw::{Connection, ask, get};
use serde_json::json;

use crate::stage::{POST, Word, error, get_with, one_by_one};

#[test]
fn a_small_answer_that_is_reset_in_its_body_is_asked_for_again_whole() {
    let whole = pattern(1000);
    let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec(), whole.clone()].concat();
    for fault in [Fault::ResetInBody(1000), Fault::CutBody(1000), Fault::CutChunks] {
        let (bad, good) = (Scripted::faulty(fault.clone()), Scripted::answering(&answer));
        let proxy = Proxy::start(&one_by_one(&[bad.address, good.address]));
        for _ in 0..4 {
            let answer = get(proxy.address, "a", "/");
            assert_eq!((answer.status(), &answer.body), (200, &whole), "{fault:?}");
        }
        assert!(bad.requests() > 0, "the bad one was never asked");
        // A POST's answer that is lost is told as lost: nobody knows what was done.
        let (one, two) = (Scripted::faulty(fault.clone()), Scripted::faulty(fault.clone()));
        let proxy = Proxy::start(&one_by_one(&[one.address, two.address]));
        let lost = ask(proxy.address, POST);
        assert_eq!((lost.status(), one.requests() + two.requests()), (502, 1), "{fault:?}");
        assert!(error(&lost).contains("error="), "{fault:?}");
    }
}

/// An origin that sends a part, and the rest when the word is given.
fn in_two(part: Vec<u8>, rest: Vec<u8>, go: &Word) -> Scripted {
    let go = go.clone();
    Scripted::start(move |peer| {
        if peer.request().is_some() && peer.connection.try_send(&part).is_ok() {
            go.wait();
            peer.connection.try_send(&rest).ok();
        }
    })
}

/// Reads the head and the first bytes of the body, while the origin waits for us to have them.
fn first_bytes(proxy: &Proxy, count: usize) -> (Connection, Vec<u8>) {
    let mut client = Connection::open(proxy.address);
    client.patience(Duration::from_secs(8));
    client.send(get_with("/", &[]));
    let head = client.head().expect("a head while the rest is still to come");
    assert_eq!(head.status(), 200);
    let bytes = client.bytes(count).expect("what was sent of the body");
    (client, bytes)
}

#[test]
fn a_large_answer_passes_as_it_comes() {
    let (go, body) = (Word::default(), pattern(1 << 20));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let origin = in_two([head.as_bytes(), &body[..100]].concat(), body[100..].to_vec(), &go);
    let proxy = Proxy::start(&one_by_one(&[origin.address]));
    let (mut client, first) = first_bytes(&proxy, 100);
    assert!(first == body[..100], "other bytes than were sent");
    go.say(true);
    assert!(client.bytes(body.len() - 100).expect("the rest") == body[100..], "other bytes than were sent");
}

#[test]
fn events_are_never_held_however_long_others_may_be() {
    let go = Word::default();
    let event =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
    let origin = in_two(event.into(), b"0\r\n\r\n".to_vec(), &go);
    let mut config = one_by_one(&[origin.address]);
    // Longer than the client has patience.
    config["services"]["app"]["hold"] = json!({ "unknown_for": "10s" });
    let proxy = Proxy::start(&config);
    let (mut client, first) = first_bytes(&proxy, 12);
    assert!(first.ends_with(b"data: 1\n\n"), "{}", String::from_utf8_lossy(&first));
    go.say(true);
    assert_eq!(client.bytes(7).expect("the end"), b"\r\n0\r\n\r\n");
}

#[test]
fn an_answer_of_unknown_length_is_held_for_a_moment_only() {
    let go = Word::default();
    let piece = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let origin = in_two(piece.into(), b"0\r\n\r\n".to_vec(), &go);
    let proxy = Proxy::start(&one_by_one(&[origin.address]));
    let (mut client, first) = first_bytes(&proxy, 8);
    assert!(first.ends_with(b"hello"), "{}", String::from_utf8_lossy(&first));
    go.say(true);
    assert_eq!(client.bytes(7).expect("the end"), b"\r\n0\r\n\r\n");
}

#[test]
fn who_answered_early_gets_no_more_of_a_body_that_another_attempt_sends() {
    use chaos_tests::frames::{self, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM};
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    // The first that is asked refuses at the head, and takes whatever comes after; the second reads it all.
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let play = move |frames: &mut Frames| {
        let tell = tell.lock().unwrap().clone();
        let (mut refused, mut came) = (0, Vec::new());
        while let Some(frame) = frames.receive() {
            match frame.kind {
                HEADERS if asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 => {
                    refused = frame.stream;
                    frames.send(HEADERS, END_HEADERS, frame.stream, &frames::field(":status", "503"));
                    tell.send(("refused", Vec::new())).unwrap();
                }
                HEADERS => tell.send(("asked again", Vec::new())).unwrap(),
                RST_STREAM => tell.send(("given up", std::mem::take(&mut came))).unwrap(),
                DATA => {
                    came.extend_from_slice(&frame.payload);
                    if frame.ends() {
                        tell.send((if frame.stream == refused { "too much" } else { "whole" }, came.clone())).unwrap();
                        frames.send(HEADERS, END_HEADERS | END_STREAM, frame.stream, &frames::field(":status", "200"));
                    }
                }
                _ => {}
            }
        }
    };
    let play = std::sync::Arc::new(play);
    let instances: Vec<_> = (0..2)
        .map(|_| {
            let play = std::sync::Arc::clone(&play);
            frames::serve(&[], move |frames| play(frames))
        })
        .collect();
    let mut config = one_by_one(&instances);
    config["services"]["app"]["protocol"] = json!("http2");
    let proxy = Proxy::start(&config);
    let next = || told.recv_timeout(chaos_tests::SOON).expect("something of an instance");
    let mut client = Frames::open(proxy.address);
    let head = [(":method", "PUT"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    client.send(HEADERS, END_HEADERS, 1, &frames::fields(&head));
    assert_eq!(next().0, "refused");
    assert_eq!(next().0, "asked again");
    let body = pattern(12_000);
    for piece in body.chunks(1_000) {
        client.send(DATA, 0, 1, piece);
        // Each is read before the next comes: two who wait for one would take turns.
        client.ping();
    }
    client.send(DATA, END_STREAM, 1, b"");
    let ends = [next(), next()];
    assert!(ends.contains(&("whole", body)), "{:?}", ends.each_ref().map(|(what, came)| (what, came.len())));
    assert!(ends.contains(&("given up", Vec::new())), "{:?}", ends.each_ref().map(|(what, came)| (what, came.len())));
    // The first of the static table with 200 (RFC 7541 appendix A).
    assert_eq!(client.find(HEADERS).and_then(|head| head.payload.first().copied()), Some(0x88));
}
