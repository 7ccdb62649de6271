//! Attempts over HTTP/2. The protocol is hyper's, the pool of connections is ours.

mod pool;
pub mod pulse;
mod tunnel;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::http1::upstream_reason;
use super::{Broken, Lease, Tunnelled};
use crate::error::Reason;
use crate::http::framed::Room;
use crate::http::framing::{self, Rest};
use crate::http::gather::{SMALL, gather};
use crate::http::{Head, Length, Pools};
use crate::http2::{head_from, trailers_from};
use crate::net::Io;
use crate::request::body::{Piece, Upload};
use crate::request::fields::AttemptFields;
use crate::request::trailers::Passing;
use crate::request::{Hop, Request};
use crate::upstream::held::Holding;
use crate::upstream::http2::pulse::{PIECE, Pulse, Watch};

#[cfg(test)]
pub(super) use pool::handshake;
pub use pool::{Connection, Dial, Stream, Wanted};

/// What has come behind an answer's head.
#[derive(Debug)]
pub enum Came {
    /// A body.
    Answer(Box<Answer>),
    /// A tunnel.
    Tunnel(Tunnelled),
}

impl Stream {
    /// Sends a request and waits for the answer's head. A request for a WebSocket opens a tunnel, if the endpoint
    /// `tunnels`.
    pub async fn send(
        self,
        hop: Hop<'_>,
        request: &Request,
        lease: Lease,
        onward: AttemptFields<'_>,
        tunnels: bool,
    ) -> Result<(Rc<Head>, Came), Broken> {
        let this = Rc::new(self);
        let body = this.outbound(hop, request);
        let sending = body.watched.as_ref().map(|(pulse, _)| Rc::clone(pulse));
        let scheme = if lease.in_flight.upstream().is_secure() { "https" } else { "http" };
        let mut message = message(hop, request, onward, body, scheme).map_err(Broken::unwritten)?;
        if tunnels {
            tunnel::ask(&mut message);
        }
        let mut sender = this.connection.sender.borrow().clone();
        let response = match sender.send_request(message).await {
            Ok(response) => response,
            Err(error) => {
                let broken = this.broken(&error, &request.body);
                if broken.reason == Reason::UpstreamClosed && this.connection.sender.borrow().is_closed() {
                    this.learn(lease.in_flight.upstream(), false);
                }
                return Err(broken);
            }
        };
        this.learn(lease.in_flight.upstream(), true);
        if tunnels && response.status() == http::StatusCode::OK {
            return tunnel::open(this, response, hop, request, lease).await;
        }
        let (parts, incoming) = response.into_parts();
        let mut head = hop.pools.heads.take();
        let understood = match Rc::get_mut(&mut head) {
            Some(empty) => empty
                .set_status(parts.status.as_u16(), b"", crate::http::Version::Http2)
                .and_then(|()| head_from(&parts.headers, empty)),
            None => Ok(()),
        };
        let understood = understood.and_then(|()| hop.pools.limits.admit(&head));
        understood.map_err(|bad| Broken { reason: upstream_reason(bad), written: true, stale: false })?;
        let length = framing::of_response(&head, request.to()).map_err(|bad| Broken {
            reason: upstream_reason(bad),
            written: true,
            stale: false,
        })?;
        // DATA after a head that ends the answer belongs to nobody. Dropping the stream resets it, if it has not
        // ended.
        let incoming = (!framing::ends_at_head(head.status(), request.to())).then_some(incoming);
        let ended = incoming.as_ref().is_none_or(Incoming::is_end_stream);
        let answer = Answer {
            incoming,
            upload: Rc::clone(&request.body),
            sending,
            pools: Rc::clone(hop.pools),
            ready: Bytes::new(),
            length,
            trailers: None,
            ended,
            broken: None,
            held: None,
            _lease: lease,
            stream: this,
        };
        Ok((head, Came::Answer(Box::new(answer))))
    }

    fn outbound(self: &Rc<Self>, hop: Hop<'_>, request: &Request) -> Outbound {
        let ended = request.body.is_empty();
        let watched = (!ended).then(|| {
            let (pulse, watch) = self.connection.watch_upload(hop.http.stream_idle_timeout);
            (pulse, Some(watch))
        });
        let rest = Rest::of(request.body.length());
        Outbound {
            body: Rc::clone(&request.body),
            passing: request.passing(hop.http),
            cursor: 0,
            rest,
            ended,
            watched,
            _stream: Rc::clone(self),
        }
    }

    fn broken(&self, error: &hyper::Error, body: &Upload) -> Broken {
        if self.connection.sender.borrow().is_closed() {
            self.connection.end();
        }
        if let Some(reason) = body.failure() {
            return Broken { reason, written: true, stale: false };
        }
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut unprocessed = error.is_canceled();
        while let Some(cause) = source {
            if let Some(cause) = cause.downcast_ref::<h2::Error>() {
                // RFC 9113 sections 6.8 and 8.7: the endpoint says that it has not looked at the request. GOAWAY, whatever its
                // code, breaks those streams alone that come after the last one that it names.
                unprocessed |=
                    cause.reason() == Some(h2::Reason::REFUSED_STREAM) || cause.is_go_away() && cause.is_remote();
            }
            source = cause.source();
        }
        Broken { reason: self.reason(error), written: !unprocessed, stale: !self.fresh && unprocessed }
    }

    /// Why a stream broke: what came, or that nothing more came in time.
    fn reason(&self, error: &hyper::Error) -> Reason {
        if self.connection.too_large.get() {
            return Reason::UpstreamHeadTooLarge;
        }
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(cause) = source {
            // The library ended the stream itself, because the endpoint broke a rule.
            if cause.downcast_ref::<h2::Error>().is_some_and(|cause| {
                cause.is_library() && !matches!(cause.reason(), None | Some(h2::Reason::NO_ERROR | h2::Reason::CANCEL))
            }) {
                return Reason::UpstreamProtocol;
            }
            source = cause.source();
        }
        Reason::UpstreamClosed
    }
}

fn message(
    hop: Hop<'_>,
    request: &Request,
    onward: AttemptFields<'_>,
    body: Outbound,
    scheme: &str,
) -> Result<http::Request<Outbound>, Reason> {
    let outgoing = request.outgoing(hop.identity, onward, true);
    let target = &outgoing.target;
    let build = |path: &[u8]| http::Uri::builder().scheme(scheme).authority(target.host).path_and_query(path).build();
    let uri = build(&target.origin).or_else(|_| build(&spelled_out(&target.origin)));
    let mut message = http::Request::new(body);
    *message.uri_mut() = uri.map_err(|_| Reason::BadRequest)?;
    *message.method_mut() = http::Method::from_bytes(request.head.method()).map_err(|_| Reason::BadRequest)?;
    *message.version_mut() = http::Version::HTTP_2;
    *message.headers_mut() = outgoing.fields().fields_h2();
    Ok(message)
}

/// A target in which what `http::Uri` does not take is percent-encoded: characters that no target should have (RFC 3986
/// section 2), that are understood all the same, and that HTTP/1.1 carries as they are.
fn spelled_out(target: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(target.len() + 16);
    for byte in target {
        match byte {
            b'"' => out.extend_from_slice(b"%22"),
            b'<' => out.extend_from_slice(b"%3C"),
            b'>' => out.extend_from_slice(b"%3E"),
            b'`' => out.extend_from_slice(b"%60"),
            other => out.push(*other),
        }
    }
    out
}

/// A request's body on its way out.
#[derive(Debug)]
struct Outbound {
    body: Rc<Upload>,
    passing: Passing,
    cursor: u64,
    rest: Rest,
    ended: bool,
    /// The pulse that ends this body where the endpoint takes nothing, and the watch that is told of it at the first
    /// poll.
    watched: Option<(Rc<Pulse>, Option<Watch>)>,
    /// Its place on the connection is taken until the body is gone, too.
    _stream: Rc<Stream>,
}

impl Drop for Outbound {
    fn drop(&mut self) {
        // The body is gone, so nothing of it waits any more.
        if let Some((pulse, _)) = &self.watched {
            pulse.asked();
            pulse.finish();
        }
    }
}

impl Outbound {
    /// Takes the next piece out; none at the end. An error where the body is not as long as its head says.
    fn take(&mut self, piece: Piece, most: usize) -> Result<Option<Bytes>, Reason> {
        let Piece::Data(len) = piece else { return self.rest.end().map(|()| None).map_err(|_| Reason::BadRequest) };
        let data = self.body.copy(self.cursor, len.min(most));
        self.rest.take(data.len()).map_err(|_| Reason::BadRequest)?;
        self.cursor += data.len() as u64;
        Ok(Some(data))
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = Reason;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reason>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut most = PIECE;
        if let Some((pulse, watch)) = &mut self.watched {
            most = pulse.asked();
            if let Some(watch) = watch.take() {
                watch.next(pulse);
            }
        }
        let polled = self.body.poll_piece(cx, self.cursor);
        if polled.is_pending() {
            // That hyper asks for the body is the only way to learn that the endpoint is ready for it.
            self.body.continue_now();
            self.body.remember(cx);
        }
        match ready!(polled).and_then(|piece| self.take(piece, most)) {
            Ok(Some(data)) => {
                if let Some((pulse, _)) = &self.watched {
                    pulse.handed();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Ok(None) => {
                self.ended = true;
                let came = self.body.trailers();
                Poll::Ready(came.map(|came| Ok(Frame::trailers(self.passing.these(&came).fields_h2()))))
            }
            Err(reason) => {
                self.ended = true;
                self.body.fail(reason);
                Poll::Ready(Some(Err(reason)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.body.length() {
            Length::Exact(n) => SizeHint::with_exact(n),
            _ => SizeHint::default(),
        }
    }
}

/// An answer's body on its way in.
#[derive(Debug)]
pub struct Answer {
    /// None where the answer ended at its head.
    incoming: Option<Incoming>,
    upload: Rc<Upload>,
    /// The pulse of the task that sends the request's body; none where there is no body.
    sending: Option<Rc<Pulse>>,
    pools: Rc<Pools>,
    ready: Bytes,
    length: Length,
    trailers: Option<Rc<Head>>,
    ended: bool,
    /// What comes behind the bytes that are here: an error, or the end.
    broken: Option<Reason>,
    held: Option<Holding>,
    _lease: Lease,
    stream: Rc<Stream>,
}

impl Answer {
    /// How its end is known.
    pub fn length(&self) -> Length {
        self.length
    }

    /// Whether nothing more of the request is sent.
    pub fn has_sent(&self) -> bool {
        self.sending.as_ref().is_none_or(|sending| sending.is_finished())
    }

    /// Sends no more of the request's body: another attempt sends it, or none does.
    pub fn stop_upload(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.give_up();
        }
    }

    /// How many bytes there are; 0 at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Reason>> {
        while self.ready.is_empty() && !self.ended {
            ready!(self.poll_more(cx))?;
        }
        // A small frame takes along the frames behind it that are already here.
        while self.ready.len() < SMALL && !self.ended && self.broken.is_none() {
            match self.poll_more(cx) {
                Poll::Ready(Err(reason)) => self.broken = Some(reason),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(self.ready.len()))
    }

    /// Takes in one frame, or learns that there is none.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        if let Some(reason) = self.broken {
            return Poll::Ready(Err(reason));
        }
        let frame = match &mut self.incoming {
            Some(incoming) => ready!(Pin::new(incoming).poll_frame(cx)),
            None => None,
        };
        match frame {
            None if self.incoming.as_ref().is_none_or(Incoming::is_end_stream) => self.ended = true,
            // hyper takes a reset or a GOAWAY with NO_ERROR for the end of the body.
            None => {
                self.broken = Some(Reason::UpstreamClosed);
                return Poll::Ready(Err(Reason::UpstreamClosed));
            }
            // A stream that was given up because of the request's body says nothing about the endpoint.
            Some(Err(error)) => {
                let reason = self.upload.failure().unwrap_or_else(|| self.stream.reason(&error));
                return Poll::Ready(Err(reason));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if self.ready.is_empty() => self.ready = data,
                Ok(data) => gather(&mut self.ready, &data),
                Err(frame) => {
                    if let Ok(map) = frame.into_trailers() {
                        match trailers_from(&map, &self.pools) {
                            Ok(trailers) => self.trailers = Some(trailers),
                            Err(bad) => {
                                // Without its trailers the answer is not whole, however often it is polled.
                                let reason = upstream_reason(bad);
                                self.broken = Some(reason);
                                return Poll::Ready(Err(reason));
                            }
                        }
                    }
                }
            },
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the whole body is here.
    pub fn is_whole(&self) -> bool {
        self.ended
    }

    /// The whole body, where it is here and has no trailers.
    pub fn whole(&self) -> Option<&[u8]> {
        (self.ended && self.trailers.is_none()).then_some(&*self.ready)
    }

    /// Ready when the whole body is here, or as much of it as is kept; with `first`, when anything of it is.
    pub fn poll_hold(&mut self, cx: &mut Context<'_>, first: bool) -> Poll<Result<(), Reason>> {
        while !self.ended && self.ready.len() < PIECE {
            if first && (!self.ready.is_empty() || self.trailers.is_some()) {
                break;
            }
            ready!(self.poll_more(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps the reservation for held bytes until the body is gone.
    pub fn keep(&mut self, held: Holding) {
        self.held = Some(held);
    }

    /// Sends the lead of `room` and then bytes of the body, as many as `room` allows.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, io: &mut Io, room: Room<'_>) -> Poll<std::io::Result<usize>> {
        io.poll_write_both(cx, room.lead(), room.of(&self.ready))
    }

    /// Takes up to `len` bytes out.
    pub fn take(&mut self, len: usize) -> Bytes {
        self.ready.split_to(len.min(self.ready.len()))
    }

    /// Lets go of the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.ready.advance(n.min(self.ready.len()));
    }

    /// Whether nothing more comes: neither a byte nor trailers.
    pub fn is_over(&self) -> bool {
        self.ended && self.ready.is_empty() && self.trailers.is_none()
    }

    /// The trailers, once they have come.
    pub fn trailers(&self) -> Option<Rc<Head>> {
        self.trailers.clone()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // The endpoint has answered whole. An upload that has come whole still goes on to it. One that has not is
        // ended, since nothing would bound how long it takes.
        if !self.ended || self.upload.ended().is_none() {
            self.stop_upload();
        }
    }
}
