//! Plain TCP: a stream that never ends, or a connection for each exchange of 1 KiB.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use chaos_tests::proxies::origin::{ENDLESS, ONCE};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

use crate::load::{Scratch, Shared, scratch};
use crate::workload::Workload;

const STREAMS: usize = 4;
const CONNECTIONS: usize = 32;
const MEBIBYTE: usize = 1 << 20;

/// As [`crate::load::run`]. A request is a MiB, or a connection.
pub async fn run(workload: Workload, to: SocketAddr, shared: &Rc<Shared>) -> io::Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    if workload == Workload::TcpBulk {
        let (scratch, bytes) = (scratch(), Rc::new(Cell::new(0)));
        for _ in 0..STREAMS {
            tasks.spawn_local(stream(to, Rc::clone(shared), Rc::clone(&scratch), Rc::clone(&bytes)));
        }
    } else {
        for n in 0..CONNECTIONS {
            tasks.spawn_local(connections(n, to, Rc::clone(shared)));
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn stream(to: SocketAddr, shared: Rc<Shared>, scratch: Scratch, bytes: Rc<Cell<usize>>) -> io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(&[ENDLESS]).await?;
    while !shared.stop.get() {
        let read = poll_fn(|cx| {
            let scratch = &mut *scratch.borrow_mut();
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut stream).poll_read(cx, &mut buffer))?;
            Poll::Ready(io::Result::Ok(buffer.filled().len()))
        });
        let read = read.await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.set(bytes.get() + read);
        while bytes.get() >= MEBIBYTE {
            bytes.set(bytes.get() - MEBIBYTE);
            shared.count();
        }
    }
    Ok(())
}

async fn connections(n: usize, to: SocketAddr, shared: Rc<Shared>) -> io::Result<()> {
    // A source address for each, or the ports that wait out their last minute would run short.
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 2, n as u8 + 1), 0));
    let mut buffer = [ONCE; 1024];
    while !shared.stop.get() {
        let socket = TcpSocket::new_v4()?;
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(from)?;
        let mut stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&buffer).await?;
        stream.read_exact(&mut buffer).await?;
        if stream.read(&mut [0; 1]).await? != 0 {
            return Err(io::Error::other("more than was asked for"));
        }
        shared.count();
    }
    Ok(())
}
