//! What breaks off over HTTP/2 never looks whole, whatever its sender says of it, and what is over holds nothing.
//!
//! A reset that says NO_ERROR means that the rest is not wanted (RFC 9113 section 8.1), and is what some programs send when
//! they give up. It is the end of the stream, and not of the message.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use chaos_tests::SOON;
use chaos_tests::fleet::Scripted;
use chaos_tests::frames::{self, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, RST_STREAM};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::Connection;
use serde_json::json;

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;
const HALF: &[u8] = b"half a body";

fn over(instance: SocketAddr, protocol: &str) -> Proxy {
    let mut config = proxy::to(&[instance]);
    config["services"]["app"]["protocol"] = json!(protocol);
    config["services"]["app"]["retries"] = json!({ "max": 0 });
    Proxy::start(&config)
}

fn ask(client: &mut Frames, method: &str, stream: u32, flags: u8) {
    let head = [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    client.send(HEADERS, END_HEADERS | flags, stream, &frames::fields(&head));
}

/// How an instance breaks off.
#[derive(Debug, Clone, Copy)]
enum How {
    Reset(u32),
    /// GOAWAY and the end; whether it says that it has seen the stream.
    Goes(u32, bool),
}

/// An instance that sends half a body, once the head is understood, and breaks off.
fn breaking(how: How, stated: bool) -> SocketAddr {
    frames::serve(&[], move |frames| {
        while let Some(asked) = frames.receive() {
            if asked.kind != HEADERS {
                continue;
            }
            let mut head = frames::field(":status", "200");
            if stated {
                head.extend(frames::field("content-length", "100000"));
            }
            frames.send(HEADERS, END_HEADERS, asked.stream, &head);
            frames.send(DATA, 0, asked.stream, HALF);
            // It has looked at all that was sent: the half is on its way to the client.
            frames.ping();
            match how {
                How::Reset(code) => frames.send(RST_STREAM, 0, asked.stream, &code.to_be_bytes()),
                How::Goes(code, seen) => {
                    let last = if seen { asked.stream } else { 0 };
                    frames.send(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
                    return;
                }
            }
        }
    })
}

#[test]
fn an_answer_that_breaks_off_over_http2_never_looks_whole() {
    let codes = [NO_ERROR, INTERNAL_ERROR, CANCEL];
    let hows = codes.iter().flat_map(|code| {
        [How::Reset(*code), How::Goes(*code, true), How::Goes(*code, false)]
            .map(|how| (how, false))
            .into_iter()
            .chain([(How::Reset(*code), true), (How::Goes(*code, true), true)])
    });
    for (how, stated) in hows {
        let proxy = over(breaking(how, stated), "http2");
        let mut client = Connection::open(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let whole = client.try_answer("GET").is_ok_and(|answer| answer.status() == 200);
        assert!(!whole, "{how:?}, length stated {stated}: whole over HTTP/1.1");

        let mut client = Frames::open(proxy.address);
        ask(&mut client, "GET", 1, END_STREAM);
        let end = std::iter::from_fn(|| client.receive()).find(|frame| frame.kind == RST_STREAM || frame.ends());
        // A refusal in place of an answer whose half nobody has seen is as good.
        let whole = end.is_some_and(|frame| frame.kind == DATA && (frame.payload == HALF || frame.payload.is_empty()));
        assert!(!whole, "{how:?}, length stated {stated}: whole over HTTP/2");
    }
}

#[test]
fn an_upload_that_breaks_off_over_http2_never_looks_whole() {
    for code in [NO_ERROR, INTERNAL_ERROR, CANCEL] {
        for more in [true, false] {
            let (tell, told) = channel();
            let tell = std::sync::Mutex::new(tell);
            let one = Scripted::start(move |peer| {
                let Some(head) = peer.head() else { return };
                tell.lock().unwrap().send("asked").unwrap();
                let whole = peer.body(head).is_some();
                tell.lock().unwrap().send(if whole { "whole" } else { "cut" }).unwrap();
            });
            upload_breaks_off(&over(one.address, "http1"), &told, code, more);

            let (tell, told) = channel();
            let tell = std::sync::Mutex::new(tell);
            let two = frames::serve(&[], move |frames| {
                while let Some(frame) = frames.receive() {
                    let said = match frame {
                        Frame { kind: HEADERS, .. } => "asked",
                        Frame { kind: RST_STREAM, .. } => "cut",
                        frame if frame.ends() => "whole",
                        _ => continue,
                    };
                    tell.lock().unwrap().send(said).unwrap();
                }
            });
            upload_breaks_off(&over(two, "http2"), &told, code, more);
        }
    }
}

fn upload_breaks_off(proxy: &Proxy, told: &Receiver<&str>, code: u32, more: bool) {
    let mut client = Frames::open(proxy.address);
    ask(&mut client, "POST", 1, 0);
    client.send(DATA, 0, 1, HALF);
    assert_eq!(told.recv_timeout(SOON), Ok("asked"));
    client.ping();
    if more {
        client.send(DATA, 0, 1, b"more");
    }
    client.send(RST_STREAM, 0, 1, &code.to_be_bytes());
    assert_eq!(told.recv_timeout(SOON), Ok("cut"), "code {code}, more before it {more}");
}

/// An instance that answers each head at once, whole, and goes on reading. What becomes of the streams is told.
fn hasty(tell: std::sync::mpsc::Sender<u8>) -> SocketAddr {
    let tell = std::sync::Mutex::new(tell);
    frames::serve(&[], move |frames| {
        while let Some(frame) = frames.receive() {
            match frame.kind {
                HEADERS => {
                    frames.send(HEADERS, END_HEADERS | END_STREAM, frame.stream, &frames::field(":status", "204"));
                }
                kind if kind == RST_STREAM || frame.ends() => tell.lock().unwrap().send(kind).unwrap(),
                _ => {}
            }
        }
    })
}

#[test]
fn a_stream_whose_answer_came_early_is_over_on_both_sides_although_its_upload_goes_on() {
    let (tell, told) = channel();
    let proxy = over(hasty(tell), "http2");
    let mut client = Frames::open(proxy.address);
    // More than the instance may have at a time, one after the other.
    for stream in (1..=401).step_by(2) {
        ask(&mut client, "POST", stream, 0);
        client.send(DATA, 0, stream, HALF);
        let answer = client.find(HEADERS).expect("an answer");
        assert_eq!((answer.stream, answer.flags & END_STREAM), (stream, END_STREAM));
        assert_eq!(told.recv_timeout(SOON), Ok(RST_STREAM), "stream {stream} goes on at the instance");
        // NO_ERROR: what was answered was answered, and the rest is not wanted.
        let end = client.find(RST_STREAM).expect("the end of the upload");
        assert_eq!((end.stream, end.payload), (stream, vec![0; 4]));
    }
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
}
