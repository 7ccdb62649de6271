//! HTTP/1.1 from a client: one connection, one task, one request after the other.
//!
//! An idle connection is a few hundred bytes: its task waits for readability and holds no buffer and no request. When
//! something comes, the task takes a pooled future ([`exchange`]). It reads one request, has it forwarded, writes the
//! answer, and is given back.
//!
//! While a request is in flight, the connection listens to its client. Bytes that the client sends early are kept as
//! far as a small buffer holds them. The client's end means that nobody waits for the answer any more.

mod send;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use crate::downstream::connection::{Conn, LINGER};
use crate::downstream::upgrade;
use crate::drain::Phase;
use crate::error::Reason;
use crate::forward::answer::Answer;
use crate::forward::forward;
use crate::forward::local_answer::Refusal;
use crate::forward::record::RequestRecord;
use crate::forward::response_body::Download;
use crate::http::framed::Framed;
use crate::http::framing::To;
use crate::http::head::{Name, Version};
use crate::http::{Buffer, Head, Length, Scan, framing};
use crate::net::Io;
use crate::request::body::Upload;
use crate::request::fields::{Reply, RequestId};
use crate::request::peer::Peer;
use crate::request::{self, Request};
use crate::resilience::fallback::Degraded;
use crate::timer;
use crate::worker::presence::Does;
use send::send;

/// One request and its answer. Returns true when the connection can carry another.
pub async fn exchange(conn: Rc<Conn>) -> bool {
    let worker = Rc::clone(&conn.worker);
    let mut head = worker.pools.heads.take();
    let sound = match read_head(&conn, &mut head).await {
        Ok(Some(length)) => {
            request::screen(&head, &worker.identity).and_then(|()| conn.client.may_ask(&head)).map(|()| length)
        }
        Ok(None) => {
            worker.pools.heads.give(head);
            return true;
        }
        Err(None) => return false,
        Err(Some(reason)) => {
            // Where the head was parsed and only its framing is wrong, the answer can say what is wrong.
            let understood = (!head.method().is_empty()).then_some(&head);
            refuse(&conn, reason, understood).await;
            return false;
        }
    };
    let started = timer::now();
    conn.continued.set(!(head.version() == Version::Http11 && request::expects_continue(&head)));
    let length = match sound {
        Ok(length) => length,
        Err(reason) => {
            refuse(&conn, reason, Some(&head)).await;
            return false;
        }
    };
    let body = match length {
        Length::NONE => Ok(worker.empties.take(started)),
        _ => {
            let (peer, input) = (Rc::<Conn>::clone(&conn), conn.input.borrow_mut().take());
            Upload::h1(peer, input, length, Rc::clone(&worker.pools), started).map(Rc::new)
        }
    };
    let body = match body {
        Ok(body) => body,
        Err(reason) => {
            refuse(&conn, reason, Some(&head)).await;
            return false;
        }
    };
    let request = Request {
        id: RequestId::of(&head, &conn.client, || worker.random_id()),
        upgrade: request::asks_upgrade(&head, length),
        interim: (head.version() == Version::Http11).then(|| Rc::<Conn>::clone(&conn) as Rc<dyn Peer>),
        client: Rc::clone(&conn.client),
        entrance: conn.entrance.clone(),
        asked: None,
        body,
        head,
    };
    let mut record = RequestRecord::new(started);
    let result = wait(&conn, &request, &mut record).await;
    let keep = match result {
        Ok(Answer::Response(head, download)) => {
            record.answered(head.status());
            let keep = respond(&conn, &request, &head, download, &mut record).await;
            worker.pools.heads.give(head);
            keep
        }
        Ok(Answer::Tunnel(head, tunnelled)) => {
            record.answered(101);
            run_tunnel(&conn, &request, &head, tunnelled, &mut record).await;
            false
        }
        Err(Reason::ClientGone) => {
            record.refused(Reason::ClientGone);
            false
        }
        Err(Reason::FaultReset) => {
            record.refused(Reason::FaultReset);
            conn.abort();
            false
        }
        Err(reason) => {
            record.refused(reason);
            let refusal = Refusal { reason, service: record.service(), id: Some(&request.id) };
            let (head, download) = refusal.answer(Some(&request.head));
            respond(&conn, &request, &head, download, &mut record).await && reason != Reason::BadRequest
        }
    };
    // The idle timeout begins when the client has got the whole answer.
    conn.last.set(record.heard.filter(|_| !record.has_waited()).unwrap_or_else(timer::now));
    record.finish(&worker, &request);
    let Request { head, body, .. } = request;
    body.close();
    worker.pools.heads.give(head);
    worker.empties.give(body);
    keep
}

/// Waits for the answer or the client's end, and writes interim answers meanwhile.
async fn wait(conn: &Rc<Conn>, request: &Request, record: &mut RequestRecord) -> Result<Answer, Reason> {
    let mut work = pin!(forward(&conn.worker, &conn.timer, request, record));
    let mut look = None;
    conn.early.set(0);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        if !conn.interim.borrow().is_empty() && matches!(conn.poll_interim(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Err(Reason::ClientGone));
        }
        // Until the body has ended, the attempt that sends it reads from the socket, perhaps in another task. Only
        // one task may wait for the socket; the reader wakes this one at the body's end.
        if request.body.ended().is_none() {
            conn.presence.remember(cx);
            return conn.poll_left(cx, &mut look).map(|()| Err(Reason::ClientGone));
        }
        conn.poll_gone(cx, &mut look).map(|()| Err(Reason::ClientGone))
    })
    .await
}

/// Reads one head. None when only empty lines came. `Err(None)` when the client has gone before its head was whole.
async fn read_head(conn: &Conn, head: &mut Rc<Head>) -> Result<Option<Length>, Option<Reason>> {
    let mut scan = Scan::default();
    let mut skipped = 0;
    let limits = conn.worker.pools.limits;
    let mut deadline = None;
    poll_fn(|cx| {
        loop {
            if let Some(input) = &mut *conn.input.borrow_mut()
                && has_begun(input, &mut skipped)
            {
                let Some(empty) = Rc::get_mut(head) else { return Poll::Ready(Err(Some(Reason::Internal))) };
                let read = scan.request(input.bytes(), limits, empty).map_err(|bad| Some(request::reason_of(bad)))?;
                if let Some(end) = read {
                    if deadline.is_some() {
                        conn.presence.does(Does::Work);
                    }
                    input.consume(end);
                    return Poll::Ready(
                        framing::of_request(empty).map(Some).map_err(|bad| Some(request::reason_of(bad))),
                    );
                }
            }
            match conn.poll_fill(cx) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::OutOfMemory => {
                    return Poll::Ready(Err(Some(Reason::MemoryShort)));
                }
                // The client has gone in the middle of a head: there is no request, and nobody to answer.
                Poll::Ready(_) => return Poll::Ready(Err(None)),
                // An empty line is no request: the connection is idle as before.
                Poll::Pending if skipped > 0 && conn.input.borrow().as_ref().is_none_or(Buffer::is_empty) => {
                    return Poll::Ready(Ok(None));
                }
                Poll::Pending => {
                    if let Some(input) = &mut *conn.input.borrow_mut()
                        && !input.has_room()
                    {
                        // Pipelined requests before this one have left this head at the end of the buffer.
                        input.compact();
                        if !input.has_room() {
                            return Poll::Ready(Err(Some(Reason::HeadTooLarge)));
                        }
                        continue;
                    }
                    let presence = &conn.presence;
                    let deadline = *deadline.get_or_insert_with(|| {
                        let now = timer::now();
                        presence.does(Does::Begin(now));
                        now + conn.worker.http.header_timeout
                    });
                    presence.remember(cx);
                    if presence.is_told() {
                        return Poll::Ready(Err(Some(Reason::TooSlow)));
                    }
                    ready!(conn.timer.poll(cx, deadline));
                    return Poll::Ready(Err(Some(Reason::HeadTimeout)));
                }
            }
        }
    })
    .await
}

/// How many empty lines before a request line are skipped: some clients send one behind a body (RFC 9112 section
/// 2.2).
const EMPTY_LINES: u32 = 4;

/// Skips empty lines. Returns whether a head begins behind them, as far as the bytes that have come can tell.
fn has_begun(input: &mut Buffer, skipped: &mut u32) -> bool {
    while *skipped < EMPTY_LINES && input.bytes().starts_with(b"\r\n") {
        input.consume(2);
        *skipped += 1;
    }
    !input.is_empty() && (*skipped == EMPTY_LINES || input.bytes() != b"\r")
}

/// Writes an answer. Returns true when the connection can carry another request after it.
async fn respond(
    conn: &Rc<Conn>,
    request: &Request,
    head: &Head,
    mut download: Download,
    record: &mut RequestRecord,
) -> bool {
    let worker = &conn.worker;
    let version = request.head.version();
    let early = request.body.ended().is_none();
    let degraded = record.degraded.as_deref();
    let mut reply = Reply {
        version,
        close: !wants_to_stay(&request.head) || worker.phase() != Phase::Serving || early && head.status() >= 400,
        to: request.to(),
        length: download.length(),
        identity: came_via(&download, degraded).then_some(&worker.identity),
        id: &request.id,
        degraded,
    };
    let body = reply.body(head);
    reply.close |= body == Length::UntilClose || expects_in_vain(conn, early);
    let mut out = worker.pools.scratch.take();
    reply.write_h1(head, &mut out);
    let close = reply.close;
    download.keep_within(body);
    // From here on nothing else may be written before the answer's end, not even a 100.
    conn.continued.set(true);
    request.body.commit();
    let mut framed = Framed::new(out, body);
    let whole = send(conn, request, head, &mut download, &mut framed, record).await;
    worker.pools.scratch.give(framed.take_lead());
    download.recycle(&worker.exchanges);
    if !whole && body == Length::UntilClose {
        // To this client the connection's end is the end of the body: only a reset tells it that something is
        // missing.
        conn.abort();
    }
    if !whole || close {
        return false;
    }
    if !request.body.finish() {
        // The answer came before the end of the request's body. What is left of that body stands before the next
        // request.
        record.waited();
        let deadline = timer::now() + LINGER;
        return poll_fn(|cx| match request.body.poll_discard(cx) {
            Poll::Pending => conn.timer.poll(cx, deadline).map(|()| false),
            done => done,
        })
        .await;
    }
    true
}

/// Whether an answer came from an endpoint and was not made here.
pub(crate) fn came_via(download: &Download, degraded: Option<&Degraded>) -> bool {
    match degraded {
        Some(degraded) => !degraded.is_made_here(),
        None => !matches!(download, Download::Held(_)),
    }
}

/// Whether the client waits for a 100 that it never got. It may send its body or not, and what follows cannot be told
/// apart.
fn expects_in_vain(conn: &Conn, early: bool) -> bool {
    early && !conn.continued.get()
}

fn wants_to_stay(head: &Head) -> bool {
    match head.version() {
        Version::Http10 => head.lists(Name::Connection, b"keep-alive"),
        _ => !head.lists(Name::Connection, b"close"),
    }
}

async fn run_tunnel(
    conn: &Conn,
    request: &Request,
    head: &Head,
    tunnelled: crate::upstream::Tunnelled,
    record: &mut RequestRecord,
) {
    let worker = &conn.worker;
    let reply = Reply {
        version: Version::Http11,
        close: false,
        to: To::Other,
        length: Length::NONE,
        identity: Some(&worker.identity),
        id: &request.id,
        degraded: None,
    };
    let mut out = worker.pools.scratch.take();
    reply.write_h1(head, &mut out);
    let mut framed = Framed::new(out, Length::NONE);
    let sent = send(conn, request, head, &mut Download::Empty, &mut framed, record).await;
    worker.pools.scratch.give(framed.take_lead());
    if !sent {
        return;
    }
    let crate::upstream::Tunnelled { io: mut far, lease: _lease, input, kept: _kept } = tunnelled;
    conn.keep_little();
    let from_client = conn.input.borrow_mut().take();
    // From here on this task alone uses the connection.
    let mut io = conn.io.replace(Io::nowhere());
    let idle = worker.http.tunnel_idle_timeout;
    let (yields, pool) = (worker.http.min_rate > 0, &worker.pools.buffers);
    let (_, down) = upgrade::join(&mut io, from_client, &mut far, input, pool, idle, yields).await;
    record.sent(usize::try_from(down).unwrap_or(usize::MAX));
    conn.gone.set(true);
}

/// Answers a request that is refused before it is forwarded. The connection closes after the answer.
async fn refuse(conn: &Rc<Conn>, reason: Reason, head: Option<&Rc<Head>>) {
    let worker = &conn.worker;
    let started = timer::now();
    let empty = Rc::new(Head::default());
    let request_head = head.unwrap_or(&empty);
    let id = RequestId::of(request_head, &conn.client, || worker.random_id());
    let mut record = RequestRecord::new(started);
    record.refused(reason);
    let refusal = Refusal { reason, service: None, id: Some(&id) };
    let (answer, mut download) = refusal.answer(head.map(Rc::as_ref));
    let request = Request {
        head: Rc::clone(request_head),
        body: Rc::new(Upload::empty(started)),
        client: Rc::clone(&conn.client),
        id,
        entrance: None,
        asked: None,
        interim: None,
        upgrade: false,
    };
    let reply = Reply {
        version: Version::Http11,
        close: true,
        to: request.to(),
        length: download.length(),
        identity: None,
        id: &request.id,
        degraded: None,
    };
    let mut out = Vec::with_capacity(512);
    reply.write_h1(&answer, &mut out);
    let body = reply.body(&answer);
    download.keep_within(body);
    send(conn, &request, &answer, &mut download, &mut Framed::new(out, body), &mut record).await;
    record.finish(worker, &request);
}
