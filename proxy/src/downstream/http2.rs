//! HTTP/2 from a client: hyper's server, with each stream put through the same [`forward`].

mod ends;
mod wire;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use self::blocks::Blocks;
use crate::clock::Instant;
use crate::drain::Phase;
use crate::error::Reason;
use crate::forward::finished::Finished;
use crate::forward::local_answer::Refusal;
use crate::forward::response_body::Download;
use crate::forward::{Answer, Trail, forward};
use crate::http::framing::Rest;
use crate::http::head::{Version, trim_blanks};
use crate::http::{Bad, Head, Length, Pools, framing, parse};
use crate::net::Io;
use crate::request::body::Upload;
use crate::request::fields::{Client, Reply, RequestId};
use crate::request::grpc::Dialect;
use crate::request::trailers::Trailers;
use crate::request::{self, Request};
use crate::timer;
use crate::worker::Worker;
use ends::{Due, Ends, Keeps, Streams};
pub use ends::{PIECE, Pulse, Watch};
use wire::Wire;

pub mod blocks;

/// Serves a connection that has opened with HTTP/2's preface, until it ends.
pub async fn serve(io: Io, client: Rc<Client>, service: Option<Arc<str>>, worker: Rc<Worker>) {
    let called = Rc::new(Cell::new(false));
    let (streams, watch) = (Streams::new(), Watch::default());
    let (wire, seen) = Wire::new(io);
    let calls = {
        let (worker, called, streams, watch) =
            (Rc::clone(&worker), Rc::clone(&called), Rc::clone(&streams), watch.clone());
        service_fn(move |message| {
            called.set(true);
            let pulse = Pulse::new(worker.http.stream_idle_timeout, Some(&streams));
            watch.next(&pulse);
            call(message, Rc::clone(&client), service.clone(), Rc::clone(&worker), pulse)
        })
    };
    let connection = hyper::server::conn::http2::Builder::new(watch)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(Blocks::<Wire>::list(worker.pools.limits))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(Blocks::of_client(wire, worker.pools.limits)), calls);
    let mut connection = pin!(connection);
    let (mut first, mut second) = (worker.drained.clone(), worker.drained.clone());
    let mut lame = pin!(first.reached(Phase::LameDuck));
    let mut closing = pin!(second.reached(Phase::Closing));
    let mut phase = Phase::Serving;
    let mut ends = Ends::new(streams, seen, worker.http.idle_timeout, worker.http.header_timeout);
    let mut told = false;
    let ended = poll_fn(|cx| {
        loop {
            if phase < Phase::LameDuck && lame.as_mut().poll(cx).is_ready() {
                phase = Phase::LameDuck;
            }
            if phase == Phase::LameDuck && closing.as_mut().poll(cx).is_ready() {
                phase = Phase::Closing;
            }
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            // GOAWAY before the first request would turn away a client that has only just come.
            let mut tell = phase >= Phase::Closing || phase == Phase::LameDuck && called.get();
            if told || !tell {
                match ready!(ends.poll(cx)) {
                    Due::Tell => tell = true,
                    Due::Cut => return Poll::Ready(Ok(())),
                }
            }
            if tell && !told {
                told = true;
                ends.told();
                connection.as_mut().graceful_shutdown();
            }
        }
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "an HTTP/2 connection from a client broke");
    }
}

/// One request and its answer; an error resets the stream.
async fn call(
    message: http::Request<Incoming>,
    client: Rc<Client>,
    service: Option<Arc<str>>,
    worker: Rc<Worker>,
    pulse: Rc<Pulse>,
) -> Result<http::Response<Outbound>, Reason> {
    let started = timer::now();
    let (parts, incoming) = message.into_parts();
    let mut head = worker.pools.heads.take();
    let read = match Rc::get_mut(&mut head) {
        Some(empty) => request_head(&parts, empty)
            .and_then(|()| worker.pools.limits.admit(empty).map_err(crate::downstream::http1::client_reason)),
        None => Err(Reason::Internal),
    };
    let length = read.and_then(|()| {
        request::screen(&head, &worker.identity)?;
        framing::content_length(&head).map_err(|_| Reason::BadRequest)
    });
    let id = RequestId::of(&head, &client, || worker.random_id());
    let body = match length {
        Ok(length) => Upload::h2(incoming, length, Rc::clone(&worker.pools), started),
        Err(_) => Upload::empty(started),
    };
    let request = Request { head, body: Rc::new(body), client, id, service, interim: None, upgrade: false };
    let mut trail = Trail::default();
    let result = match length {
        Ok(_) => forward(&worker, &pulse.timer, &request, &mut trail, started).await,
        Err(reason) => Err(reason),
    };
    let mut finished = Finished::new(started);
    let (head, download) = match result {
        Ok(Answer::Response(head, download)) => {
            finished.answered(head.status());
            (head, download)
        }
        // No upgrade was asked for, so none can come.
        Ok(Answer::Tunnel(..)) => refusal(Reason::UpstreamProtocol, &request, &trail, &mut finished),
        Err(reason @ Reason::FaultReset) => {
            finished.refused(reason);
            finished.finish(&worker, &request, &mut trail);
            // hyper resets the stream.
            return Err(reason);
        }
        Err(reason) => refusal(reason, &request, &trail, &mut finished),
    };
    let reply = Reply {
        version: Version::Http2,
        close: false,
        to: request.to(),
        length: download.length(),
        identity: crate::downstream::http1::came_via(&download, trail.degraded.as_deref()).then_some(&worker.identity),
        id: &request.id,
        degraded: trail.degraded.as_deref(),
    };
    let fields = reply.fields_h2(&head);
    // hyper would say of a body that ends without a byte that its length is 0, which is not so, or must not be said.
    let ended = framing::ends_at_head(head.status(), reply.to);
    let idle = worker.http.stream_idle_timeout;
    let status = head.status();
    let rest = Rest::of(reply.body(&head));
    let outbound =
        Outbound { head, download, request, trail, finished, worker, pulse, idle, deadline: None, rest, ended };
    let mut response = http::Response::new(outbound);
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    *response.headers_mut() = fields;
    Ok(response)
}

fn refusal(reason: Reason, request: &Request, trail: &Trail, finished: &mut Finished) -> (Rc<Head>, Download) {
    finished.refused(reason);
    Refusal { reason, service: trail.service(), id: Some(&request.id) }.answer(Some(&request.head))
}

/// RFC 9113 section 8.3.1: `:authority` is what `Host` would be; where both are there they have to agree.
pub fn request_head(parts: &http::request::Parts, head: &mut Head) -> Result<(), Reason> {
    let reason = crate::downstream::http1::client_reason;
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let host = parts.headers.get(http::header::HOST).map(http::HeaderValue::as_bytes);
    if let (Some(authority), Some(host)) = (authority, host)
        && !authority.as_bytes().eq_ignore_ascii_case(host)
    {
        return Err(Reason::BadRequest);
    }
    if parts.method == http::Method::CONNECT {
        head.set_request(b"CONNECT", b"*", Version::Http2).map_err(reason)?;
        return Err(Reason::ConnectMethod);
    }
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    // hyper takes UTF-8 too; HTTP/1.1 has no such targets, and none are taken over it.
    if !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Reason::BadRequest);
    }
    head.set_request(parts.method.as_str().as_bytes(), target.as_bytes(), Version::Http2).map_err(reason)?;
    if let (Some(authority), None) = (authority, host) {
        head.push(b"host", authority.as_bytes()).map_err(reason)?;
    }
    head_from(&parts.headers, head).map_err(reason)
}

/// Adds a map's fields to a head, as if they had come over HTTP/1.1: without blanks around values, which RFC 9113 section
/// 8.2.1 forbids and hyper lets pass. A name with a quotation mark, which it lets pass too, is no name.
pub fn head_from(map: &http::HeaderMap, head: &mut Head) -> Result<(), Bad> {
    map.iter().try_for_each(|(name, value)| {
        let name = name.as_str().as_bytes();
        if name.contains(&b'"') {
            return Err(Bad::Grammar);
        }
        head.push(name, trim_blanks(value.as_bytes()))
    })
}

/// A map of trailers as a head. They are held to the rules and the limits of trailers over HTTP/1.1.
pub fn trailers_from(map: &http::HeaderMap, pools: &Pools) -> Result<Rc<Head>, Bad> {
    let mut head = pools.heads.take();
    head_from(map, Rc::get_mut(&mut head).ok_or(Bad::Grammar)?)?;
    if head.fields().any(|(known, _, _)| parse::only_in_heads(known)) {
        return Err(Bad::Grammar);
    }
    pools.limits.admit(&head)?;
    Ok(head)
}

/// An answer's body on its way to the client. Dropped early when the client resets the stream.
struct Outbound {
    head: Rc<Head>,
    download: Download,
    request: Request,
    trail: Trail,
    finished: Finished,
    worker: Rc<Worker>,
    pulse: Rc<Pulse>,
    idle: Duration,
    deadline: Option<Instant>,
    rest: Rest,
    ended: bool,
}

impl Outbound {
    /// Ends a body that is not as long as its head says, and the stream with it.
    fn misframed(&mut self) -> Poll<Option<Result<Frame<Bytes>, Reason>>> {
        self.ended = true;
        self.finished.broken(Reason::UpstreamProtocol);
        Poll::Ready(Some(Err(Reason::UpstreamProtocol)))
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = Reason;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reason>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let most = this.pulse.asked();
        let polled = this.download.poll_piece(cx);
        if polled.is_pending() {
            let own = *this.deadline.get_or_insert_with(|| timer::now() + this.idle);
            let upload = &this.request.body;
            let latest = if upload.ended().is_none() { own.max(upload.moved() + this.idle) } else { own };
            ready!(this.pulse.timer.poll(cx, latest));
            this.ended = true;
            this.finished.broken(Reason::Timeout);
            return Poll::Ready(Some(Err(Reason::Timeout)));
        }
        this.deadline = None;
        match ready!(polled) {
            Ok(0) if this.rest.end().is_err() => this.misframed(),
            Ok(0) => {
                this.ended = true;
                let names = this.worker.http.control_names();
                let came = this.download.trailers();
                Poll::Ready(
                    came.map(|fields| {
                        Ok(Frame::trailers(Trailers { fields: &fields, of: &this.head, names }.fields_h2()))
                    }),
                )
            }
            Ok(len) => {
                let len = len.min(most);
                // hyper waits for the window before a piece and not behind it: the last byte of a large one is the next, so
                // that an answer's task ends when all of it may go, and not with what the client never takes.
                let data = this.download.take(if len > TAIL { len - 1 } else { len });
                if this.rest.take(data.len()).is_err() {
                    return this.misframed();
                }
                this.finished.sent(data.len());
                this.pulse.handed_of(this.download.occupies().map(|upstream| Keeps {
                    upstream: Rc::clone(upstream),
                    who: this.request.origin(),
                    // A stream in both directions is quiet by its nature.
                    exempt: this.request.body.ended().is_none() || Dialect::of(&this.request.head) == Dialect::Grpc,
                    sent: this.finished.bytes(),
                }));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(reason) => {
                this.ended = true;
                this.finished.broken(reason);
                Poll::Ready(Some(Err(reason)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.download.is_over() && self.rest.end().is_ok()
    }

    fn size_hint(&self) -> SizeHint {
        match self.download.length() {
            Length::Exact(n) if !matches!(self.download, Download::Empty) => SizeHint::with_exact(n),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        if let Some(reason) = self.pulse.ended() {
            self.finished.broken(reason);
        } else if !self.is_end_stream() {
            let left = matches!(self.download.length(), Length::Exact(n) if n > self.finished.bytes())
                || !matches!(self.download.length(), Length::Exact(_));
            if left {
                self.finished.broken(Reason::ClientGone);
            }
        }
        self.finished.finish(&self.worker, &self.request, &mut self.trail);
        std::mem::replace(&mut self.download, Download::Empty).recycle(&self.worker.exchanges);
    }
}

/// A client's streams at a time on one connection.
const MAX_STREAMS: u32 = 256;
/// What a client may send on a stream before it is read on. With what is at hand of a request it is all that one can hold.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Enough for every stream to be full: what an instance does not read of one upload holds up no other
/// (`docs/adr/0014-windows.md`).
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The most of an answer that is left with hyper when its task has ended.
const TAIL: usize = 4 * 1024;
/// RFC 9113 section 3.4.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests;
