use std::net::SocketAddr;
use std::task::Waker;

use super::*;
use crate::downstream::connection::Conn;
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
    let client = Rc::new(Client { peer, text: "192.0.2.7".into(), trusted: false, tls: None });
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

fn body_of(stage: &Stage, conn: &Rc<Conn>, length: Length) -> Upload {
    let input = conn.input.borrow_mut().take();
    let pools = Rc::clone(&stage.worker.pools);
    Upload::h1(Rc::<Conn>::clone(conn), input, length, pools, timer::now()).unwrap()
}

/// What goes out of two bytes that were announced before the exchange was over.
async fn sent_on(upload: &Upload, cursor: u64) -> Result<Vec<u8>, io::ErrorKind> {
    let mut cx = Context::from_waker(Waker::noop());
    let (end, mut peer) = tokio::io::duplex(1024);
    let mut framed = Framed::new(Vec::new(), Length::Exact(2));
    framed.offer(2).unwrap();
    let sent = framed.poll_write(|room| upload.poll_send(&mut cx, &mut Io::pipe(end), cursor, room));
    let mut out = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut peer, &mut out).await.unwrap();
    match sent {
        Poll::Ready(Ok(_)) => Ok(out),
        Poll::Ready(Err(error)) => Err(error.kind()),
        Poll::Pending => Err(io::ErrorKind::WouldBlock),
    }
}

#[test]
fn whoever_still_sends_a_body_when_its_exchange_is_over_sends_that_body_and_nothing_of_the_next_request() {
    paused(async {
        let stage = Stage::new("services: { a: { instances: ['127.0.0.1:1'] } }", 1);
        let mut cx = Context::from_waker(Waker::noop());
        let next = b"GET /next HTTP/1.1\r\n\r\n";
        for (came, whole) in [("hello world", true), ("hello", false)] {
            let bytes = if whole { [came.as_bytes(), next].concat() } else { came.into() };
            let conn = connection(&stage, &bytes);
            let upload = body_of(&stage, &conn, Length::Exact(11));
            assert_eq!(upload.finish(), whole);
            let behind = conn.input.borrow().as_ref().map(|input| input.bytes().to_vec());
            assert_eq!(behind.as_deref(), whole.then_some(&next[..]), "the next request is the connection's");

            for cursor in 0..=11 {
                let left = (came.len() as u64).checked_sub(cursor);
                let expected = match left {
                    Some(0) | None if !whole && cursor > 5 => break,
                    Some(0) if whole => Ok(Piece::End),
                    Some(0) | None => Err(Reason::ClientGone),
                    Some(left) => Ok(Piece::Data(left as usize)),
                };
                assert_eq!(upload.poll_piece(&mut cx, cursor), Poll::Ready(expected), "{came} at {cursor}");
            }
            assert_eq!(sent_on(&upload, 3).await, Ok(came.as_bytes()[3..5].to_vec()));
        }
    });
}

#[test]
fn a_body_that_was_let_go_of_ends_in_an_error_for_whoever_had_not_sent_all_of_it() {
    paused(async {
        let stage = Stage::new("services: { a: { instances: ['127.0.0.1:1'] } }", 1);
        let mut cx = Context::from_waker(Waker::noop());
        let chunked = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
        for (bytes, length) in [(&b"hello world"[..], Length::Exact(11)), (chunked, Length::Chunked)] {
            let upload = body_of(&stage, &connection(&stage, bytes), length);
            upload.let_go();
            for cursor in 0..=11 {
                let expected = if cursor == 11 { Ok(Piece::End) } else { Err(Reason::ClientGone) };
                assert_eq!(upload.poll_piece(&mut cx, cursor), Poll::Ready(expected), "{length:?} at {cursor}");
            }
            assert_eq!(sent_on(&upload, 3).await, Err(io::ErrorKind::BrokenPipe));
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
            let upload = body_of(&stage, &connection(&stage, bytes), length);
            assert_eq!(upload.taken(), 11, "kept");
            assert_eq!(upload.poll_piece(&mut cx, 0), Poll::Ready(Ok(Piece::Data(11))));
            assert!(upload.finish());
            upload.let_go();
            assert_eq!(upload.taken(), 11, "let go at the end: {length:?}");
            let upload = body_of(&stage, &connection(&stage, bytes), length);
            assert_eq!(upload.poll_discard(&mut cx), Poll::Ready(true));
            assert_eq!(upload.taken(), 11, "never wanted: {length:?}");
        }
    });
}
