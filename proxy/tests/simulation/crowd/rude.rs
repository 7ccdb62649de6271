//! The bad clients of a crowd: they take what they can and give nothing back, for as long as they are let.

use std::time::Duration;

use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;
use turmoil::Sim;
use turmoil::net::TcpStream;

use super::body::{MOST, body};
use super::server::Local;
use crate::proxy::PORT;

/// So many connections of each kind.
const EACH: u64 = 4;
/// Their requests' ids are nobody else's.
const IDS: u64 = 1 << 40;

/// Adds all of them to a simulation; none leaves before its end.
pub fn add(sim: &mut Sim<'static>, over: Duration, with_streams: bool) {
    sim.client("rude", async move {
        for nth in 0..EACH {
            sleep(Duration::from_millis(fastrand::u64(100..800))).await;
            if with_streams {
                tokio::task::spawn_local(streams(nth));
            }
            for said in half() {
                tokio::task::spawn_local(silent(said, over));
            }
            tokio::task::spawn_local(dribbles());
        }
        sleep(over).await;
        Ok(())
    });
}

/// What is said, and nothing after it; no answer is read either.
fn half() -> [String; 4] {
    [
        "GET /half HTTP/1.1\r\nHost: so".into(),
        "PUT /take/0/100000 HTTP/1.1\r\nHost: pair\r\nContent-Length: 100000\r\n\r\nonly a part".into(),
        format!("GET /bytes/0/{MOST} HTTP/1.1\r\nHost: framed\r\n\r\n"),
        format!("GET /bytes/0/{MOST} HTTP/1.1\r\nHost: pair\r\n\r\n"),
    ]
}

async fn silent(said: String, over: Duration) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("proxy", PORT)).await?;
    stream.write_all(said.as_bytes()).await?;
    sleep(over).await;
    drop(stream);
    Ok(())
}

/// Goes on with its upload, a byte at a time, until it is over.
async fn dribbles() -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("proxy", PORT)).await?;
    stream.write_all(b"POST /take/0/100000 HTTP/1.1\r\nHost: solo\r\nContent-Length: 100000\r\n\r\n").await?;
    while turmoil::sim_elapsed().unwrap() < super::LAST {
        sleep(Duration::from_millis(500)).await;
        stream.write_all(b"x").await?;
    }
    std::future::pending::<()>().await;
    Ok(())
}

/// Streams whose answers are large and whose windows stay as small as they were, on a connection that answers every PING.
async fn streams(nth: u64) -> Result<(), Box<dyn std::error::Error>> {
    let io = TokioIo::new(TcpStream::connect(("proxy", PORT)).await?);
    let mut builder = http2::Builder::new(Local);
    let (mut sender, connection) = builder.initial_stream_window_size(65_535).handshake(io).await?;
    tokio::task::spawn_local(connection);
    let mut held = Vec::new();
    for (at, service) in ["framed", "pair", "framed"].into_iter().enumerate() {
        let id = IDS + nth * 8 + at as u64;
        let request = Request::get(format!("http://{service}/bytes/{id}/{MOST}")).body(body(id, 0, || async {}))?;
        sender.ready().await?;
        held.push(sender.send_request(request).await?);
    }
    std::future::pending::<()>().await;
    drop(held);
    Ok(())
}
