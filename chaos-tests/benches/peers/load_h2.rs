//! HTTP/2 load with prior knowledge, by hyper's client: 4 connections of 8 streams each, in a closed loop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::load::Shared;

const CONNECTIONS: usize = 4;
const STREAMS: usize = 8;

/// As [`crate::load::run`].
pub async fn run(to: SocketAddr, shared: &Rc<Shared>) -> io::Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let handshake = hyper::client::conn::http2::handshake(Local, TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        // How a connection ends, its streams say.
        tokio::task::spawn_local(connection);
        for _ in 0..STREAMS {
            tasks.spawn_local(stream_loop(to, sender.clone(), Rc::clone(shared)));
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended?.map_err(io::Error::other)?;
    }
    Ok(())
}

async fn stream_loop(
    to: SocketAddr,
    mut sender: SendRequest<Empty<Bytes>>,
    shared: Rc<Shared>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let request = http::Request::get(format!("http://{to}/1k"))
        .header("user-agent", "outrigger-bench/1.0")
        .header("accept", "*/*")
        .header("accept-language", "en")
        .header("cookie", "session=0123456789abcdef0123456789abcdef")
        .body(Empty::new())?;
    while !shared.stop.get() {
        sender.ready().await?;
        let answer = sender.send_request(request.clone()).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        if status != 200 || length != 1024 {
            return Err(format!("a {status} of {length} bytes").into());
        }
        shared.count();
    }
    Ok(())
}

/// hyper's tasks stay on the thread.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
