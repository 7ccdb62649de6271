//! A client's stream that has become a tunnel, by extended CONNECT (RFC 8441): what comes in DATA goes into a pipe, and
//! what comes out of the pipe goes into DATA. At the pipe's other end is the [relay](crate::relay) that carries any
//! tunnel.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select, try_join};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::stream::Caller;
use crate::downstream::upgrade;
use crate::error::Reason;
use crate::forward::record::RequestRecord;
use crate::http::head::Version;
use crate::http::{Head, Length};
use crate::http2::websocket;
use crate::net::Io;
use crate::request::fields::Reply;
use crate::request::{self, Request};
use crate::upstream::Tunnelled;

/// Adds what a client over HTTP/1.1 says to open a WebSocket.
pub fn ask(head: &mut Head, random: u128) -> Result<(), Reason> {
    let fields = [
        (&b"connection"[..], &b"upgrade"[..]),
        (b"upgrade", websocket::PROTOCOL.as_bytes()),
        (websocket::KEY, &websocket::key(random)),
    ];
    // A key of the client's own would be as good, and is not to be there twice.
    for (name, value) in fields {
        if head.named(name).is_none() {
            head.push(name, value).map_err(request::reason_of)?;
        }
    }
    Ok(())
}

/// Joins a stream and the endpoint's end of a tunnel, until the tunnel ends.
pub async fn run(
    caller: &Caller,
    request: &Request,
    (head, tunnelled): (&Head, Tunnelled),
    record: &mut RequestRecord,
    (incoming, mut respond): (RecvStream, SendResponse<Bytes>),
) {
    let worker = &caller.worker;
    let reply = Reply {
        version: Version::Http2,
        close: false,
        to: request.to(),
        length: Length::NONE,
        identity: Some(&worker.identity),
        id: &request.id,
        degraded: None,
    };
    let mut response = http::Response::new(());
    *response.headers_mut() = reply.fields_h2(head);
    for name in [CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT] {
        response.headers_mut().remove(name);
    }
    let Ok(stream) = respond.send_response(response, false) else { return };
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let Tunnelled { mut io, lease: _lease, input, kept: _kept } = tunnelled;
    let idle = worker.http.tunnel_idle_timeout;
    let yields = worker.http.min_rate > 0;
    let moved = async {
        let mut near = Io::pipe(theirs);
        upgrade::join(&mut near, None, &mut io, input, &worker.pools.buffers, idle, yields).await
    };
    // The stream's end may be on its way yet when the relay is over.
    let carried = carry(incoming, stream, ours);
    let (moved, carried) = (pin!(moved), pin!(carried));
    let (_, down) = match select(moved, carried).await {
        Either::Left((moved, carried)) => {
            _ = tokio::time::timeout(GRACE, carried).await;
            moved
        }
        Either::Right(((), moved)) => moved.await,
    };
    record.sent(usize::try_from(down).unwrap_or(usize::MAX));
}

/// Carries bytes until both directions have ended. Where one breaks off, the stream is reset, and the pipe ends.
async fn carry(from: RecvStream, to: SendStream<Bytes>, pipe: DuplexStream) {
    let (read, write) = tokio::io::split(pipe);
    // Who has broken off is told by what is dropped here.
    _ = try_join(up(from, write), down(read, to)).await;
}

async fn up(mut from: RecvStream, mut pipe: impl AsyncWrite + Unpin) -> io::Result<()> {
    while let Some(data) = from.data().await {
        let data = data.map_err(|_| io::ErrorKind::ConnectionReset)?;
        if pipe.write_all(&data).await.is_err() {
            // The endpoint takes nothing more. What it has sent may still be on its way to the client.
            return Ok(());
        }
        from.flow_control().release_capacity(data.len()).map_err(|_| io::ErrorKind::ConnectionReset)?;
    }
    _ = pipe.shutdown().await;
    Ok(())
}

async fn down(mut pipe: impl AsyncRead + Unpin, mut to: SendStream<Bytes>) -> io::Result<()> {
    let mut piece = vec![0; PIPE];
    loop {
        let n = poll_fn(|cx| poll_read(cx, &mut pipe, &mut piece, &mut to)).await?;
        let mut data = Bytes::copy_from_slice(&piece[..n]);
        if data.is_empty() {
            return to.send_data(data, true).map_err(|_| io::ErrorKind::ConnectionReset.into());
        }
        while !data.is_empty() {
            to.reserve_capacity(data.len());
            let room = poll_fn(|cx| to.poll_capacity(cx)).await;
            let Some(Ok(room)) = room else { return Err(io::ErrorKind::ConnectionReset.into()) };
            let now = data.split_to(room.min(data.len()));
            to.send_data(now, false).map_err(|_| io::ErrorKind::ConnectionReset)?;
        }
    }
}

/// The next bytes of the pipe; an error when the client has reset the stream.
fn poll_read(
    cx: &mut Context<'_>,
    pipe: &mut (impl AsyncRead + Unpin),
    piece: &mut [u8],
    to: &mut SendStream<Bytes>,
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(piece);
    if Pin::new(pipe).poll_read(cx, &mut buffer)?.is_ready() {
        return Poll::Ready(Ok(buffer.filled().len()));
    }
    ready!(to.poll_reset(cx)).ok();
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

/// How much the pipe holds in each direction.
const PIPE: usize = 16 * 1024;
/// How long the end of a tunnel may take to reach the client.
const GRACE: Duration = Duration::from_secs(5);
