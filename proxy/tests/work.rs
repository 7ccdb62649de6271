//! What a byte costs is bounded, whatever the bytes are: each reader of what comes from outside is fed the worst that 64 KiB can
//! be, and an eighth of it, and the larger must not take more than in proportion.
//!
//! What is compared is the time of the fastest of many short runs, which nobody else on the machine has interrupted. Eight times the input may take 40 times as long; what is quadratic takes 64 times.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by ending")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use outrigger::http::{Buffer, BufferPool, Content, Head, HeadPool, Length, Limits, Scan, framing, parse};
use outrigger::request;
use outrigger::request::fields::{AttemptFields, ControlNames, Identity, Outgoing, RequestId};
use outrigger::request::target::Target;

const LIMITS: Limits = Limits { bytes: 60 << 10, lines: parse::MAX_LINES };
const MOST: usize = 58 << 10;

/// The time of the fastest of many runs, in microseconds, each made of as many as can be told from nothing.
fn cost(mut run: impl FnMut()) -> f64 {
    let mut timed = |times: u32| {
        let before = Instant::now();
        (0..times).for_each(|_| run());
        before.elapsed().as_secs_f64() * 1e6 / f64::from(times)
    };
    let mut times = 1;
    while timed(times) * f64::from(times) < 300.0 && times < 1 << 20 {
        times *= 2;
    }
    (0..40).map(|_| timed(times)).fold(f64::INFINITY, f64::min)
}

/// Runs what `make` makes of `most` bytes, and of an eighth of them.
fn in_proportion<R: FnMut()>(what: &str, most: usize, make: impl Fn(usize) -> R) {
    let (few, many) = (cost(make(most / 8)), cost(make(most)));
    assert!(many <= few * 40.0, "{what}: {many:.0} us for {most} bytes, and {few:.0} us for an eighth of them");
}

fn request(fields: &str) -> Vec<u8> {
    format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

/// All that is done with a head before it goes on, but for finding its service.
fn pass_on(bytes: &[u8], head: &mut Head, out: &mut Vec<u8>) {
    let identity = Identity::new(7);
    let client = request::client(SocketAddr::from(([127, 0, 0, 1], 1)), &[]);
    // It may be refused: what that takes is what counts.
    let Ok(end) = Scan::default().request(bytes, LIMITS, head) else { return };
    assert_eq!(end, Some(bytes.len()));
    let Ok(length) = framing::of_request(head) else { return };
    if request::screen(head, &identity).is_err() {
        return;
    }
    let id = RequestId::of(head, &client, || 7);
    let target = Target::again(head);
    let names = ControlNames { deadline: b"x-deadline", priority: b"x-priority", caller: b"x-caller" };
    let onward = AttemptFields { names, remaining: Some(Duration::from_secs(1)), attempt: 2 };
    let upgrade = request::asks_upgrade(head, length);
    let (client, identity, id) = (&client, &identity, &id);
    out.clear();
    Outgoing {
        head,
        target: &target.origin,
        host: target.host,
        asked_host: target.host,
        length,
        client,
        identity,
        id,
        upgrade,
        trailers: true,
        onward,
    }
    .write_h1(out);
}

#[test]
fn a_heads_cost_grows_with_its_bytes() {
    let others = "x: y\r\n".repeat(200);
    // The other lines are there in both, so they grow too.
    let others = move |n: usize| others[..6 * (200 * n / MOST).max(1)].to_owned();
    type Make<'m> = &'m dyn Fn(usize) -> Vec<u8>;
    let heads: [(&str, Make<'_>); 8] = [
        ("names in Connection", &|n| request(&format!("Connection: {}\r\n{}", "ab,".repeat(n / 3), others(n)))),
        ("empty names in Connection", &|n| request(&format!("Connection: {}\r\n{}", ",".repeat(n), others(n)))),
        ("entries in Via", &|n| request(&format!("Via: {}\r\n", "1 a,".repeat(n / 4)))),
        ("lengths", &|n| request(&format!("Content-Length: {}\r\n", "5,".repeat(n / 2)))),
        ("protocols in Upgrade", &|n| request(&format!("Connection: upgrade\r\nUpgrade: {}\r\n", "a,".repeat(n / 2)))),
        ("addresses in X-Forwarded-For", &|n| request(&format!("X-Forwarded-For: {}\r\n", "1,".repeat(n / 2)))),
        ("blanks around a value", &|n| request(&format!("x:{}a{}\r\n", " ".repeat(n / 2), " ".repeat(n / 2)))),
        ("segments of a path", &|n| {
            format!("GET {}/a HTTP/1.1\r\nHost: a\r\n\r\n", "/%2e.".repeat(n / 5)).into_bytes()
        }),
    ];
    for (what, make) in heads {
        in_proportion(what, MOST, |n| {
            let (bytes, mut head, mut out) = (make(n - n / 8), Head::default(), Vec::new());
            move || pass_on(black_box(&bytes), &mut head, &mut out)
        });
    }
}

#[test]
fn a_head_that_comes_by_the_byte_is_looked_through_once() {
    for (what, line) in [("short lines", "x:y\r\n"), ("one line", "xxxxx")] {
        in_proportion(what, MOST, |n| {
            let most = if line.ends_with('\n') { 250 * n / MOST } else { n / line.len() };
            let bytes = format!("GET / HTTP/1.1\r\n{}", line.repeat(most));
            let mut head = Head::default();
            move || {
                let mut scan = Scan::default();
                for end in 1..=bytes.len() {
                    assert_eq!(scan.request(black_box(&bytes.as_bytes()[..end]), LIMITS, &mut head).unwrap(), None);
                }
            }
        });
    }
}

/// Reads a body that comes so many bytes at a time, and is kept or let go of as it is read.
fn read(pool: &BufferPool, body: &[u8], at_a_time: usize, keeps: bool) {
    let (heads, mut buffer): (_, Buffer) = (HeadPool::new(1), pool.take().unwrap());
    let mut content = Content::new(Length::Chunked);
    for piece in body.chunks(at_a_time) {
        buffer.spare()[..piece.len()].copy_from_slice(piece);
        buffer.filled(piece.len());
        if content.advance(&mut buffer, LIMITS, &heads).is_err() {
            break;
        }
        if !keeps {
            let ready = content.ready();
            content.consume(&mut buffer, ready);
            buffer.compact();
        }
    }
    pool.give(buffer);
}

#[test]
fn a_chunked_bodys_cost_grows_with_its_bytes() {
    let bodies: [(&str, &dyn Fn(usize) -> String); 4] = [
        ("chunks of one byte", &|n| "1\r\nx\r\n".repeat(n / 6)),
        ("zeros before a size", &|n| format!("{}1\r\nx\r\n", "0".repeat(200)).repeat(n / 206)),
        ("extensions", &|n| format!("1;{}\r\nx\r\n", "e".repeat(60)).repeat(n / 4 / 67)),
        ("trailers", &|n| format!("0\r\n{}\r\n", "x: y\r\n".repeat(250 * n / MOST))),
    ];
    for (what, body) in bodies {
        for (at_a_time, keeps) in [(1, true), (1, false), (MOST, true), (MOST, false)] {
            in_proportion(&format!("{what}, {at_a_time} at a time, kept: {keeps}"), MOST, |n| {
                let (pool, body) = (BufferPool::new(1), body(n));
                move || read(&pool, black_box(body.as_bytes()), at_a_time, keeps)
            });
        }
    }
}

#[test]
fn a_configurations_cost_grows_with_its_bytes() {
    let list = |n: usize, item: &dyn Fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(",");
    type Make<'m> = &'m dyn Fn(usize) -> String;
    let texts: [(&str, usize, Make<'_>); 4] = [
        ("instances", 8 * MOST, &|n| {
            format!("services: {{a: {{instances: [{}]}}}}\n", list(n / 12, &|i| format!("'h{i}:1'")))
        }),
        ("instances that are no such", MOST, &|n| {
            format!("services: {{a: {{instances: [{}]}}}}\n", list(n / 12, &|i| format!("x{i}")))
        }),
        ("services", MOST, &|n| {
            format!("services: {{{}}}\n", list(n / 30, &|i| format!("s{i}: {{instances: ['h:1']}}")))
        }),
        ("routes", MOST, &|n| {
            let routes = list(n / 30, &|i| format!("{{service: a, path: /{i}}}"));
            format!("services: {{a: {{instances: ['h:1']}}}}\nroutes: [{routes}]\n")
        }),
    ];
    for (what, most, make) in texts {
        in_proportion(what, most, |n| {
            let text = make(n);
            move || drop(black_box(outrigger::config::parse("x", black_box(&text), &|_| None, |_| {})))
        });
    }
}
