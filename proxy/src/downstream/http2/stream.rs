//! One HTTP/2 stream of a client: a request and its answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, DATE};

use super::guard::Abuse;
use super::slots::Start;
use super::{is_tunnel, request_head, tunnel};
use crate::clock::Instant;
use crate::downstream::http1;
use crate::error::Reason;
use crate::forward::answer::Answer;
use crate::forward::forward;
use crate::forward::local_answer::Refusal;
use crate::forward::record::RequestRecord;
use crate::forward::response_body::Download;
use crate::http::framing::Rest;
use crate::http::head::Version;
use crate::http::{Head, Length, framing};
use crate::request::body::Upload;
use crate::request::fields::{Client, Reply, RequestId};
use crate::request::grpc::Dialect;
use crate::request::trailers::Trailers;
use crate::request::{self, Entrance, Request};
use crate::timer;
use crate::upstream::http2::pulse::{Keeps, Pulse};
use crate::worker::Worker;

/// What all streams of a connection share.
#[derive(Debug)]
pub struct Caller {
    /// The client.
    pub client: Rc<Client>,
    /// What its listener says of all its requests, if it says anything.
    pub entrance: Option<Rc<Entrance>>,
    /// The worker that has the connection.
    pub worker: Rc<Worker>,
    /// The value of `Date`, and the second for which it was made.
    date: RefCell<Option<(u64, HeaderValue)>>,
}

impl Caller {
    /// For the connection of this client.
    pub fn new(client: Rc<Client>, entrance: Option<Rc<Entrance>>, worker: Rc<Worker>) -> Self {
        Self { client, entrance, worker, date: RefCell::default() }
    }

    /// The connection was ended for what the client sent.
    pub fn ended_for(&self, abuse: Abuse) {
        self.worker.ended_for(abuse.name(), self.client.peer);
    }

    /// The `Date` for an answer that came without one (RFC 9110 section 6.6.1).
    fn date(&self) -> Option<HeaderValue> {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let mut date = self.date.borrow_mut();
        if !matches!(&*date, Some((made, _)) if *made == second) {
            *date = Some((second, HeaderValue::try_from(httpdate::fmt_http_date(now)).ok()?));
        }
        date.as_ref().map(|(_, date)| date.clone())
    }
}

/// Carries a stream from its request's head to its answer's last byte. Where this future ends earlier, the stream is
/// reset.
pub async fn run(start: Start) {
    let Start { caller, pulse, message, mut respond } = start;
    let worker = Rc::clone(&caller.worker);
    let started = timer::now();
    let (parts, incoming) = message.into_parts();
    let mut head = worker.pools.heads.take();
    let upgrade = is_tunnel(&parts);
    let read = match Rc::get_mut(&mut head) {
        Some(empty) => request_head(&parts, empty)
            .and_then(|()| if upgrade { tunnel::ask(empty, worker.random_id()) } else { Ok(()) })
            .and_then(|()| worker.pools.limits.admit(empty).map_err(crate::request::reason_of)),
        None => Err(Reason::Internal),
    };
    drop(parts);
    let length = read.and_then(|()| {
        request::screen(&head, &worker.identity)?;
        caller.client.may_ask(&head)?;
        framing::content_length(&head).map_err(|_| Reason::BadRequest)
    });
    let (body, incoming) = match length {
        Ok(length) if !upgrade && !incoming.is_end_stream() => {
            (Rc::new(Upload::h2(incoming, length, Rc::clone(&worker.pools), started)), None)
        }
        _ => (worker.empties.take(started), upgrade.then_some(incoming)),
    };
    let request = Request {
        id: RequestId::of(&head, &caller.client, || worker.random_id()),
        head,
        body,
        client: Rc::clone(&caller.client),
        entrance: caller.entrance.clone(),
        asked: None,
        interim: None,
        upgrade,
    };
    let asked = Some((request, RequestRecord::new(started)));
    let mut unanswered = Unanswered { worker: &worker, pulse: &pulse, asked };
    let Some((request, record)) = &mut unanswered.asked else { return };
    let result = match length {
        Ok(_) => {
            let mut work = pin!(forward(&worker, &pulse.timer, request, record));
            let mut begun = false;
            poll_fn(|cx| {
                // Where the client has reset the stream, nobody waits for the answer any more. A request that was
                // reset before it was seen is not begun.
                if !std::mem::replace(&mut begun, true) && respond.poll_reset(cx).is_ready() {
                    return Poll::Ready(Err(Reason::ClientGone));
                }
                match work.as_mut().poll(cx) {
                    Poll::Pending => respond.poll_reset(cx).map(|_| Err(Reason::ClientGone)),
                    done => done,
                }
            })
            .await
        }
        Err(reason) => Err(reason),
    };
    let Some((request, mut record)) = unanswered.asked.take() else { return };
    drop(unanswered);
    let (head, download) = match result {
        // To a CONNECT that would say that there is a tunnel now.
        Ok(Answer::Response(head, _)) if upgrade && (200..300).contains(&head.status()) => {
            refusal(Reason::UpstreamProtocol, &request, &mut record)
        }
        Ok(Answer::Response(head, download)) => {
            record.answered(head.status());
            (head, download)
        }
        Ok(Answer::Tunnel(head, tunnelled)) => {
            if let Some(incoming) = incoming {
                record.answered(200);
                Box::pin(tunnel::run(&caller, &request, (&head, tunnelled), &mut record, (incoming, respond))).await;
            }
            record.finish(&worker, &request);
            return;
        }
        Err(reason @ (Reason::FaultReset | Reason::ClientGone)) => {
            record.refused(reason);
            record.finish(&worker, &request);
            if reason == Reason::FaultReset {
                respond.send_reset(h2::Reason::INTERNAL_ERROR);
            }
            return;
        }
        Err(reason) => refusal(reason, &request, &mut record),
    };
    let outbound = Outbound {
        // An answer that ends with its head has no body, whatever its endpoint sends.
        ended: framing::ends_at_head(head.status(), request.to()),
        rest: Rest::of(Length::NONE),
        idle: worker.http.stream_idle_timeout,
        deadline: None,
        waiting: None,
        broken: None,
        head,
        download,
        request,
        record,
        worker,
        pulse,
    };
    let mut sending = Sending(Some(outbound));
    let Some(outbound) = &mut sending.0 else { return };
    let Some(mut stream) = outbound.begin(&caller, &mut respond) else { return };
    poll_fn(|cx| outbound.poll_sent(cx, &mut stream)).await;
}

/// A request without an answer. It may end with its connection, and is counted and logged then, too.
struct Unanswered<'c> {
    worker: &'c Rc<Worker>,
    pulse: &'c Pulse,
    asked: Option<(Request, RequestRecord)>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some((request, mut record)) = self.asked.take() {
            record.refused(self.pulse.ended().unwrap_or(Reason::ClientGone));
            record.finish(self.worker, &request);
        }
    }
}

fn refusal(reason: Reason, request: &Request, record: &mut RequestRecord) -> (Rc<Head>, Download) {
    record.refused(reason);
    Refusal { reason, service: record.service(), id: Some(&request.id) }.answer(Some(&request.head))
}

/// An answer on its way to the client. It is dropped early when the stream is reset or the connection ends.
struct Sending(Option<Outbound>);

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(outbound) = self.0.take() {
            outbound.finish();
        }
    }
}

struct Outbound {
    head: Rc<Head>,
    download: Download,
    request: Request,
    record: RequestRecord,
    worker: Rc<Worker>,
    pulse: Rc<Pulse>,
    idle: Duration,
    deadline: Option<Instant>,
    rest: Rest,
    /// The piece that waits for the client's window, and whether it is the last.
    waiting: Option<(Bytes, bool)>,
    /// The error that comes behind that piece.
    broken: Option<Reason>,
    /// Whether nothing more is taken from the body.
    ended: bool,
}

/// The next part of an answer.
enum Next {
    /// A piece of the body, and whether it is the last.
    Data(Bytes, bool),
    Trailers(http::HeaderMap),
    End,
    /// The answer breaks off.
    Broken,
}

impl Outbound {
    /// Sends the head. None where the answer ends with it.
    fn begin(&mut self, caller: &Caller, respond: &mut SendResponse<Bytes>) -> Option<SendStream<Bytes>> {
        let degraded = self.record.degraded.as_deref();
        let reply = Reply {
            version: Version::Http2,
            close: false,
            to: self.request.to(),
            length: self.download.length(),
            identity: http1::came_via(&self.download, degraded).then_some(&self.worker.identity),
            id: &self.request.id,
            degraded,
        };
        self.rest = Rest::of(reply.body(&self.head));
        let mut fields = reply.fields_h2(&self.head);
        if !fields.contains_key(DATE)
            && let Some(date) = caller.date()
        {
            fields.insert(DATE, date);
        }
        let ends = self.is_over();
        // No length is stated for a body that ends without a byte: it may be another length than 0, or must not be
        // stated.
        if !ends
            && let Length::Exact(n) = self.download.length()
            && !matches!(self.download, Download::Empty)
        {
            fields.entry(CONTENT_LENGTH).or_insert_with(|| n.into());
        }
        let mut response = http::Response::new(());
        *response.status_mut() =
            http::StatusCode::from_u16(self.head.status()).unwrap_or(http::StatusCode::BAD_GATEWAY);
        *response.headers_mut() = fields;
        match respond.send_response(response, ends) {
            Ok(stream) => (!ends).then_some(stream),
            Err(error) => {
                tracing::debug!(%error, "an answer's head could not be sent");
                respond.send_reset(h2::Reason::INTERNAL_ERROR);
                None
            }
        }
    }

    /// Ready when all of the answer was handed to the connection, or when the stream is over without that.
    fn poll_sent(&mut self, cx: &mut Context<'_>, stream: &mut SendStream<Bytes>) -> Poll<()> {
        loop {
            if let Some((data, last)) = self.waiting.take() {
                // An empty piece needs no window.
                if !data.is_empty() {
                    match poll_window(cx, stream) {
                        Poll::Ready(true) => {}
                        Poll::Ready(false) => {
                            self.waiting = Some((data, last));
                            return Poll::Ready(());
                        }
                        Poll::Pending => {
                            self.waiting = Some((data, last));
                            return poll_reset(cx, stream);
                        }
                    }
                }
                if stream.send_data(data, last).is_err() {
                    self.waiting = Some((Bytes::new(), last));
                    return Poll::Ready(());
                }
                if last {
                    return Poll::Ready(());
                }
            }
            let Poll::Ready(next) = self.poll_next(cx) else { return poll_reset(cx, stream) };
            match next {
                Next::Data(data, last) => {
                    // Only one byte of the window is claimed: a claim for the whole piece would keep the connection's
                    // window from streams that could use it.
                    stream.reserve_capacity(data.len().min(1));
                    self.waiting = Some((data, last));
                }
                Next::Trailers(fields) => {
                    stream.reserve_capacity(0);
                    _ = stream.send_trailers(fields);
                    return Poll::Ready(());
                }
                Next::End => {
                    _ = stream.send_data(Bytes::new(), true);
                    return Poll::Ready(());
                }
                Next::Broken => {
                    stream.send_reset(h2::Reason::INTERNAL_ERROR);
                    return Poll::Ready(());
                }
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let most = self.pulse.asked();
        if let Some(reason) = self.broken.take() {
            return self.breaks(reason);
        }
        let polled = self.download.poll_piece(cx);
        if polled.is_pending() {
            let own = *self.deadline.get_or_insert_with(|| timer::now() + self.idle);
            let upload = &self.request.body;
            let latest = if upload.ended().is_none() { own.max(upload.moved() + self.idle) } else { own };
            ready!(self.pulse.timer.poll(cx, latest));
            return self.breaks(Reason::Timeout);
        }
        self.deadline = None;
        match ready!(polled) {
            Ok(0) if self.rest.end().is_err() => self.breaks(Reason::UpstreamProtocol),
            Ok(0) => {
                self.ended = true;
                let names = self.worker.http.control_names();
                Poll::Ready(match self.download.trailers() {
                    Some(fields) => {
                        self.record.trailed(&fields);
                        Next::Trailers(Trailers { fields: &fields, of: &self.head, names }.fields_h2())
                    }
                    None => Next::End,
                })
            }
            Ok(len) => {
                let len = len.min(most);
                // A piece waits for the window before it is handed over. The last byte of a large piece becomes a
                // piece of its own. So the stream's work ends when the client's window has room for all of it, and
                // nothing is left over that the client never takes.
                let data = self.download.take(if len > TAIL { len - 1 } else { len });
                if self.rest.take(data.len()).is_err() {
                    return self.breaks(Reason::UpstreamProtocol);
                }
                self.record.sent(data.len());
                let last = self.is_last(cx);
                self.pulse.handed_of(self.download.occupies().map(|upstream| Keeps {
                    upstream: Rc::clone(upstream),
                    who: self.request.origin(),
                    // A stream in both directions may be quiet by its nature.
                    exempt: self.request.body.ended().is_none() || Dialect::of(&self.request.head) == Dialect::Grpc,
                    sent: self.record.bytes(),
                }));
                Poll::Ready(Next::Data(data, last))
            }
            Err(reason) => self.breaks(reason),
        }
    }

    /// Whether nothing follows the piece that was just taken. The end of the stream goes with it then.
    fn is_last(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_over() {
            self.ended = true;
        } else if self.rest == Rest::of(Length::NONE) {
            match self.download.poll_piece(cx) {
                Poll::Ready(Ok(0)) => self.ended = self.download.trailers().is_none(),
                Poll::Ready(Err(reason)) => self.broken = Some(reason),
                Poll::Ready(Ok(_)) | Poll::Pending => {}
            }
        }
        self.ended
    }

    /// Ends a body that broke off or is not as long as its head says, and the stream with it.
    fn breaks(&mut self, reason: Reason) -> Poll<Next> {
        self.ended = true;
        self.record.broken(reason);
        Poll::Ready(Next::Broken)
    }

    fn is_over(&self) -> bool {
        self.ended || self.download.is_over() && self.rest.end().is_ok()
    }

    /// Finishes the request's record, and keeps what the next stream can use.
    fn finish(mut self) {
        if let Some(reason) = self.pulse.ended() {
            self.record.broken(reason);
        } else if !self.is_over() || self.waiting.is_some() {
            let left = self.waiting.is_some()
                || matches!(self.download.length(), Length::Exact(n) if n > self.record.bytes())
                || !matches!(self.download.length(), Length::Exact(_));
            if left {
                self.record.broken(Reason::ClientGone);
            }
        }
        self.record.finish(&self.worker, &self.request);
        self.download.recycle(&self.worker.exchanges);
        self.worker.pools.heads.give(self.head);
        let Request { head, body, .. } = self.request;
        self.worker.pools.heads.give(head);
        self.worker.empties.give(body);
    }
}

/// Ready with true when this stream has some of the window, and with false when the stream is over.
fn poll_window(cx: &mut Context<'_>, stream: &mut SendStream<Bytes>) -> Poll<bool> {
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(false),
        }
    }
    Poll::Ready(true)
}

/// Ready when the client has reset the stream.
fn poll_reset(cx: &mut Context<'_>, stream: &mut SendStream<Bytes>) -> Poll<()> {
    stream.poll_reset(cx).map(|_| ())
}

/// How much of an answer may still be in the `h2` crate when the stream's work has ended.
const TAIL: usize = 4 * 1024;
