//! What the measured proxies stand in front of: a server that does as little as it can.
//!
//! It shares its core with the load generator, so its answers are made once and written whole. It reads what the
//! proxies here send and no more: heads of a few hundred bytes, and bodies with a `Content-Length`.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// `GET /1k`, `GET /64k` and `POST` to anywhere are answered with 1 KiB, 64 KiB and 2 bytes; any other path with
/// the head of the request as it came.
#[derive(Debug)]
pub struct Origin {
    addresses: Vec<SocketAddr>,
    connections: Rc<Cell<u64>>,
}

impl Origin {
    /// Listens on `count` ports of loopback; serves as tasks of the local runtime that this is called on.
    ///
    /// # Errors
    /// No ports or no file descriptors are left.
    pub async fn listen(count: usize) -> io::Result<Self> {
        let answers = Rc::new(Answers::new());
        let connections = Rc::new(Cell::new(0));
        let mut addresses = Vec::with_capacity(count);
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            addresses.push(listener.local_addr()?);
            let (answers, connections) = (Rc::clone(&answers), Rc::clone(&connections));
            tokio::task::spawn_local(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.set(connections.get() + 1);
                    // A connection's errors are the proxy's affair, and show on its client's side.
                    tokio::task::spawn_local(serve(stream, Rc::clone(&answers)));
                }
            });
        }
        Ok(Self { addresses, connections })
    }

    /// Listens for plain TCP on a port of loopback, and serves as [`Origin::listen`] does: a first byte of [`ENDLESS`] is
    /// answered for as long as somebody reads; 1 KiB that begins otherwise is given back, and that was all.
    ///
    /// # Errors
    /// No ports or no file descriptors are left.
    pub async fn listen_plainly() -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let block: Rc<[u8]> = vec![b'x'; 128 * 1024].into();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(serve_plainly(stream, Rc::clone(&block)));
            }
        });
        Ok(address)
    }

    /// Listens and serves on a thread of its own, which stays until the process ends.
    ///
    /// # Errors
    /// As [`Origin::listen`].
    pub fn in_background(count: usize) -> io::Result<Vec<SocketAddr>> {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = match local_runtime() {
                Ok(runtime) => runtime,
                Err(error) => return tell.send(Err(error)).unwrap_or_default(),
            };
            runtime.block_on(async {
                // Without a receiver nobody waits for this origin any more.
                let _ = tell.send(Self::listen(count).await.map(|o| o.addresses));
                std::future::pending::<()>().await;
            });
        });
        told.recv().map_err(io::Error::other)?
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Connections that it has accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.get()
    }
}

/// A runtime whose tasks stay on the thread that made it.
///
/// # Errors
/// No file descriptors are left.
pub fn local_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    posted: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        Self { small: answer(&[b'x'; 1024]), large: answer(&[b'x'; 65536]), posted: answer(b"ok") }
    }
}

fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 02 Nov 2026 10:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn serve(mut stream: TcpStream, answers: Rc<Answers>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 32 * 1024];
    let mut held = 0;
    loop {
        let read = stream.read(&mut buffer[held..]).await?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        let Some(head) = buffer[..held].windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else { continue };
        let mut expected = head;
        if buffer.starts_with(b"POST ") {
            expected += content_length(&buffer[..head]).ok_or(io::ErrorKind::InvalidData)?;
        }
        if held < expected {
            continue;
        }
        if buffer.starts_with(b"GET /1k ") {
            stream.write_all(&answers.small).await?;
        } else if buffer.starts_with(b"GET /64k ") {
            stream.write_all(&answers.large).await?;
        } else if buffer.starts_with(b"POST ") {
            stream.write_all(&answers.posted).await?;
        } else {
            stream.write_all(&answer(&buffer[..head])).await?;
        }
        buffer.copy_within(expected..held, 0);
        held -= expected;
    }
}

/// Asks for bytes without an end.
pub const ENDLESS: u8 = b'e';
/// Asks for the same 1 KiB back, and the end.
pub const ONCE: u8 = b'1';

async fn serve_plainly(mut stream: TcpStream, block: Rc<[u8]>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 1024];
    let mut held = stream.read(&mut buffer).await?;
    if held > 0 && buffer[0] == ENDLESS {
        loop {
            stream.write_all(&block).await?;
        }
    }
    while held < buffer.len() {
        match stream.read(&mut buffer[held..]).await? {
            0 => return Ok(()),
            read => held += read,
        }
    }
    stream.write_all(&buffer).await
}

/// The length that a head gives its body.
#[must_use]
pub fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let mut lines = head.split(|b| *b == b'\n');
    let line = lines.find(|l| l.get(..NAME.len()).is_some_and(|n| n.eq_ignore_ascii_case(NAME)))?;
    std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()
}
