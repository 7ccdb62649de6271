//! The committed corpora, run once through their checks without libFuzzer: `cargo test` here is quick and needs no
//! more than a toolchain. And hyper, as it is driven here, has to understand ordinary messages: a peer that refuses
//! everything would agree with anything.

use std::path::Path;

use http::Method;
use outrigger_fuzz::checks;
use outrigger_fuzz::peer::Peer;

/// Runs a check over every file of a corpus; at least one has to be there.
fn run(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        println!("{}", path.display());
        check(&input);
        // Cut anywhere, it has to hold as well: this meets every kind of message that is not whole yet.
        for end in (0..input.len()).step_by(7) {
            check(&input[..end]);
        }
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", directory.display());
}

#[test]
fn request_heads_hold() {
    run("request_head", checks::request_head);
}

#[test]
fn response_heads_hold() {
    run("response_head", checks::response_head);
}

#[test]
fn framing_holds() {
    run("framing", checks::framing);
}

#[test]
fn chunks_hold() {
    run("chunks", checks::chunks);
}

#[test]
fn strict_output_holds() {
    run("strict_output", checks::strict_output);
}

#[test]
fn hyper_as_a_server_takes_ordinary_requests() {
    let input = b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n\
        GET /b HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut peer = Peer::server(input, true);
    let second = input.len() - b"GET /b HTTP/1.1\r\nhost: a\r\n\r\n".len();
    for (mark, whole) in [(second - 1, 0), (second, 1), (input.len() - 1, 1), (input.len(), 2)] {
        peer.advance(mark);
        assert_eq!((peer.shared.whole(), peer.shared.refused.get()), (whole, false), "at {mark}");
    }
    let seen = peer.shared.seen.borrow();
    assert_eq!((&seen[0].body[..], seen[0].trailers.len(), &seen[1].target[..]), (&b"abc"[..], 1, "/b"));
}

#[test]
fn hyper_as_a_client_takes_ordinary_responses() {
    for (input, method, closes, body) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"[..], Method::GET, false, &b"abc"[..]),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Method::GET, false, b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n", Method::GET, false, b""),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Method::HEAD, false, b""),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", Method::GET, true, b"abc"),
    ] {
        let name = input.escape_ascii().to_string();
        let mut peer = Peer::client(input, method, true);
        peer.advance(input.len() - 1);
        assert_eq!((peer.shared.whole(), peer.shared.refused.get()), (0, false), "{name}");
        peer.advance(input.len());
        assert_eq!((peer.shared.whole(), peer.shared.refused.get()), (usize::from(!closes), false), "{name}");
        if closes {
            peer.close();
        }
        assert_eq!((peer.shared.whole(), peer.shared.refused.get()), (1, false), "{name}");
        assert_eq!(peer.shared.seen.borrow()[0].body, body, "{name}");
    }
}
