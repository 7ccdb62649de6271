//! An answer on its way to a client over HTTP/1.1, and who has to go because nothing moves.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock::Instant;
use crate::downstream::connection::Conn;
use crate::error::Reason;
use crate::forward::record::RequestRecord;
use crate::forward::response_body::Download;
use crate::http::Head;
use crate::http::framed::Framed;
use crate::request::Request;
use crate::request::trailers::{self, Trailers};
use crate::timer;
use crate::upstream::slow::Held;

/// Sends the head in `framed` and the body. `head` is the head that came from the endpoint. Returns false when the
/// client did not get all of the answer, or must not believe that it did.
pub(super) async fn send(
    conn: &Conn,
    request: &Request,
    head: &Head,
    download: &mut Download,
    framed: &mut Framed,
    record: &mut RequestRecord,
) -> bool {
    let idle = conn.worker.http.stream_idle_timeout;
    let mut pause = Pause::default();
    let mut held = None;
    poll_fn(|cx| {
        loop {
            if !framed.has_begun() && !conn.interim.borrow().is_empty() {
                match conn.poll_interim(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => {
                        record.broken(Reason::ClientGone);
                        return Poll::Ready(false);
                    }
                    // A client that does not read has the same idle time here as for the answer.
                    Poll::Pending => {
                        record.waited();
                        return pause.poll(conn, cx, request, idle).map(|_| {
                            record.broken(Reason::ClientGone);
                            false
                        });
                    }
                }
            }
            let mut starved = false;
            if framed.wants() {
                let fits = match download.poll_piece(cx) {
                    Poll::Ready(Ok(0)) => {
                        let came = download.trailers();
                        let names = conn.worker.http.control_names();
                        if let Some(fields) = &came {
                            record.trailed(fields);
                        }
                        let these = came.as_deref().map(|fields| Trailers { fields, of: head, names });
                        framed.end(|out, first| trailers::write_last_chunk(out, first, these))
                    }
                    Poll::Ready(Ok(len)) => framed.offer(len),
                    // An answer that breaks off must be seen to break off: the connection closes without the answer's
                    // end.
                    Poll::Ready(Err(reason)) => {
                        record.broken(reason);
                        return Poll::Ready(false);
                    }
                    Poll::Pending => {
                        starved = true;
                        framed.end_chunk();
                        Ok(())
                    }
                };
                if fits.is_err() {
                    record.broken(Reason::UpstreamProtocol);
                    return Poll::Ready(false);
                }
            }
            if framed.is_over() {
                return Poll::Ready(true);
            }
            if framed.is_written() {
                if !starved {
                    continue;
                }
                keep_little(conn, request, download);
                if request.body.ended().is_some() && !conn.gone.get() && conn.poll_gone(cx, &mut pause.look).is_ready()
                {
                    record.broken(Reason::ClientGone);
                    return Poll::Ready(false);
                }
                record.waited();
                return pause.poll(conn, cx, request, idle).map(|left| {
                    record.broken(if left { Reason::ClientGone } else { Reason::Timeout });
                    false
                });
            }
            // The borrow of the socket must end before the match: the rest of the upload is read from the same
            // socket.
            let polled = framed.poll_write(|room| download.poll_send(cx, &mut conn.io.borrow_mut(), room));
            match polled {
                Poll::Ready(Ok(n)) => {
                    download.consume(n);
                    record.sent(n);
                    pause.until = None;
                    if let Some(held) = &held {
                        Held::progress(held, record.bytes(), false);
                    }
                }
                Poll::Ready(Err(_)) => {
                    record.broken(Reason::ClientGone);
                    return Poll::Ready(false);
                }
                Poll::Pending => {
                    download.poll_upload(cx);
                    download.take_off(cx);
                    keep_little(conn, request, download);
                    record.waited();
                    if is_too_slow(&mut held, cx, request, download, record.bytes()) {
                        record.broken(Reason::TooSlow);
                        // A reset frees the bytes that the client has not read.
                        conn.abort();
                        return Poll::Ready(false);
                    }
                    return pause.poll(conn, cx, request, idle).map(|_| {
                        record.broken(Reason::ClientGone);
                        false
                    });
                }
            }
        }
    })
    .await
}

/// An answer that has to wait may wait for ever. So the memory that was kept for the request's sake is released.
fn keep_little(conn: &Conn, request: &Request, download: &Download) {
    if download.has_sent() && request.body.ended().is_some() {
        request.body.let_go();
        conn.keep_little();
    }
}

/// Whether a client that reads too slowly has to make room for others. `moved` is how many bytes of the answer it has
/// taken.
fn is_too_slow(held: &mut Option<Held>, cx: &Context<'_>, request: &Request, download: &Download, moved: u64) -> bool {
    let Some(upstream) = download.occupies() else {
        *held = None;
        return false;
    };
    let held = held.get_or_insert_with(|| {
        // A stream in both directions may be quiet by its nature. (gRPC is HTTP/2 and never comes here.)
        let exempt = request.body.ended().is_none();
        Held::reading(upstream, moved, request.origin(), exempt, timer::now())
    });
    held.progress(moved, true);
    held.has_to_go(cx)
}

/// The deadline of an answer of which nothing goes out at the moment.
#[derive(Default)]
struct Pause {
    until: Option<Instant>,
    look: Option<Instant>,
}

impl Pause {
    /// Ready when nothing has moved in either direction for the idle time, or, with true, when the client has left in the
    /// middle of its upload.
    fn poll(&mut self, conn: &Conn, cx: &mut Context<'_>, request: &Request, idle: Duration) -> Poll<bool> {
        let own = *self.until.get_or_insert_with(|| timer::now() + idle);
        let mut latest = own;
        if request.body.ended().is_none() {
            if conn.poll_left(cx, &mut self.look).is_ready() {
                return Poll::Ready(true);
            }
            latest = own.max(request.body.moved() + idle);
        }
        conn.timer.poll(cx, latest).map(|()| false)
    }
}
