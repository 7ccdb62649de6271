//! WebSockets over a stream of an endpoint's connection, by extended CONNECT (RFC 8441).
//!
//! The client's side knows tunnels over connections only: an answer of 101, and an [`Io`]. So the answer to the CONNECT
//! becomes such a 101, and a pipe stands for the connection. A task carries what goes through it, and keeps the
//! stream's place on the connection.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{join, select};
use http::Response;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::{Came, Outbound, Stream};
use crate::error::Reason;
use crate::http::Head;
use crate::http::head::Version;
use crate::http2::{head_from, websocket};
use crate::net::Io;
use crate::request::{Hop, Request};
use crate::upstream::http1::upstream_reason;
use crate::upstream::{Broken, Kept, Lease, Tunnelled};

/// Makes a request for a WebSocket of one that would be for a page.
pub fn ask(message: &mut http::Request<Outbound>) {
    *message.method_mut() = http::Method::CONNECT;
    message.extensions_mut().insert(hyper::ext::Protocol::from_static(websocket::PROTOCOL));
    message.headers_mut().remove(http::header::SEC_WEBSOCKET_KEY);
}

/// The endpoint has said yes.
pub async fn open(
    stream: Rc<Stream>,
    mut response: Response<Incoming>,
    hop: Hop<'_>,
    request: &Request,
    lease: Lease,
) -> Result<(Rc<Head>, Came), Broken> {
    let failed = |reason| Broken { reason, written: true, stale: false };
    let upgraded = hyper::upgrade::on(&mut response).await.map_err(|_| failed(Reason::UpstreamClosed))?;
    let mut head = hop.pools.heads.take();
    if let Some(empty) = Rc::get_mut(&mut head) {
        let said = empty
            .set_status(101, b"Switching Protocols", Version::Http2)
            .and_then(|()| head_from(response.headers(), empty))
            .and_then(|()| empty.push(b"upgrade", websocket::PROTOCOL.as_bytes()))
            .and_then(|()| match request.head.named(websocket::KEY) {
                Some(key) => empty.push(websocket::ACCEPT, &websocket::accept(key)),
                None => Ok(()),
            })
            .and_then(|()| hop.pools.limits.admit(empty));
        said.map_err(|bad| failed(upstream_reason(bad)))?;
    }
    let (near, far) = tokio::io::duplex(PIPE);
    let (kept, let_go) = tokio::sync::oneshot::channel::<()>();
    tokio::task::spawn_local(async move {
        let _place = stream;
        let (mut come, mut go) = tokio::io::split(TokioIo::new(upgraded));
        let (mut taken, mut given) = tokio::io::split(far);
        // Where one direction fails, what the other one holds still arrives.
        let down = async {
            _ = tokio::io::copy(&mut come, &mut given).await;
            _ = given.shutdown().await;
        };
        let up = async {
            _ = tokio::io::copy(&mut taken, &mut go).await;
            _ = go.shutdown().await;
        };
        // The tunnel's end may still have to reach the endpoint when the client's side is over.
        let over = async {
            _ = let_go.await;
            tokio::time::sleep(GRACE).await;
        };
        _ = select(pin!(join(down, up)), pin!(over)).await;
    });
    Ok((head, Came::Tunnel(Tunnelled { io: Io::pipe(near), lease, input: None, kept: Kept::Stream(kept) })))
}

/// How much the pipe holds in each direction.
const PIPE: usize = 16 * 1024;
/// How long the end of a tunnel may take to reach the endpoint.
const GRACE: Duration = Duration::from_secs(5);
