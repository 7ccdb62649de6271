use std::net::SocketAddr;
use std::task::Waker;

use super::*;
use crate::http::framed::Framed;
use crate::request::fields::Client;
use crate::testing::{Stage, paused};
use crate::timer::Timer;

/// A client's connection that has sent so much.
fn connection(stage: &Stage, bytes: &[u8]) -> Rc<Conn> {
    let mut first = stage.worker.pools.buffers.take().unwrap();
    first.spare()[..bytes.len()].copy_from_slice(bytes);
    first.filled(bytes.len());
    let peer = SocketAddr::from(([192, 0, 2, 7], 4000));
    let client = Rc::new(Client { peer, text: "192.0.2.7".into(), trusted: false });
    let timer = Timer::new(timer::now());
    Rc::new(Conn::new(
        Io::nowhere(),
        first,
        timer,
        client,
        None,
        stage.worker.register().presence(),
        Rc::clone(&stage.worker),
    ))
}

#[test]
fn whoever_still_sends_a_body_when_its_exchange_is_over_gets_an_error_and_nothing_of_the_next_request() {
    paused(async {
        let stage = Stage::new("services: { a: { instances: ['127.0.0.1:1'] } }", 1);
        let mut cx = Context::from_waker(Waker::noop());
        let next = b"GET /next HTTP/1.1\r\n\r\n";
        for (came, whole) in [("hello world", true), ("hello", false)] {
            let bytes = if whole { [came.as_bytes(), next].concat() } else { came.into() };
            let conn = connection(&stage, &bytes);
            let upload = Upload::h1(Rc::clone(&conn), Length::Exact(11), timer::now()).unwrap();
            let piece = upload.poll_piece(&mut cx, 0);
            assert_eq!(piece, Poll::Ready(Ok(Piece::Data(came.len()))));

            assert_eq!(upload.finish(), whole);
            // Announced before, not sent yet.
            let (end, mut peer) = tokio::io::duplex(1024);
            let mut framed = Framed::new(Vec::new(), Length::Exact(11));
            framed.offer(came.len() - 2).unwrap();
            let sent = framed.poll_write(|room| upload.poll_send(&mut cx, &mut Io::pipe(end), 2, room));
            assert!(matches!(sent, Poll::Ready(Err(_))), "{came}: {sent:?}");
            let mut leaked = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut peer, &mut leaked).await.unwrap();
            assert_eq!(leaked, b"", "{came}");
            // What has gone out whole ends well, anything else does not.
            for cursor in 0..=11 {
                let expected = if whole && cursor == 11 { Ok(Piece::End) } else { Err(Reason::ClientGone) };
                assert_eq!(upload.poll_piece(&mut cx, cursor), Poll::Ready(expected), "{came} at {cursor}");
            }
        }
    });
}

#[test]
fn what_came_of_a_body_is_counted_whoever_has_taken_it() {
    paused(async {
        let stage = Stage::new("services: { a: { instances: ['127.0.0.1:1'] } }", 1);
        let mut cx = Context::from_waker(Waker::noop());
        let chunked = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
        for (bytes, length) in [(&b"hello world"[..], Length::Exact(11)), (chunked, Length::Chunked)] {
            let upload = Upload::h1(connection(&stage, bytes), length, timer::now()).unwrap();
            assert_eq!(upload.taken(), 11, "kept");
            assert_eq!(upload.poll_piece(&mut cx, 0), Poll::Ready(Ok(Piece::Data(11))));
            assert!(upload.finish());
            assert_eq!(upload.taken(), 11, "let go at the end: {length:?}");
            let upload = Upload::h1(connection(&stage, bytes), length, timer::now()).unwrap();
            assert_eq!(upload.poll_discard(&mut cx), Poll::Ready(true));
            assert_eq!(upload.taken(), 11, "never wanted: {length:?}");
        }
    });
}
