//! Sockets that listen: bound once for all workers, one for each.

use std::io;
use std::net::SocketAddr;
#[cfg(not(sim))]
use std::task::{Context, Poll, Waker};

use nix::{setsockopt_impl, sockopt_impl};
#[cfg(not(sim))]
use tokio::net::TcpListener as Listening;
#[cfg(sim)]
use turmoil::net::TcpListener as Listening;

use super::Io;
#[cfg(not(sim))]
use super::descriptors;

/// A listening socket on its way to its worker's thread.
#[derive(Debug)]
pub struct Bound(std::net::TcpListener);

impl Bound {
    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A worker's own listening socket.
pub struct Listener {
    pub(super) inner: Listening,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A simulated socket has nothing to show.
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

impl Listener {
    /// Registers a bound socket with this thread's runtime.
    pub fn register(socket: Bound) -> io::Result<Self> {
        #[cfg(not(sim))]
        return Ok(Self { inner: Listening::from_std(socket.0)? });
        #[cfg(sim)]
        {
            let _ = socket;
            // A simulation binds its own: `simulated`.
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Listens inside a simulation.
    #[cfg(sim)]
    pub async fn simulated(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { inner: Listening::bind(address).await? })
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<(Io, SocketAddr)> {
        let (stream, peer) = self.inner.accept().await?;
        #[cfg(not(sim))]
        descriptors::within_reach(&stream)?;
        #[cfg(sim)]
        stream.set_nodelay(true)?;
        Ok((Io::tcp(stream), peer))
    }

    /// The next connection if one waits already.
    pub fn accept_now(&self) -> Option<(Io, SocketAddr)> {
        #[cfg(not(sim))]
        {
            let mut cx = Context::from_waker(Waker::noop());
            match self.inner.poll_accept(&mut cx) {
                Poll::Ready(Ok((stream, peer))) if descriptors::within_reach(&stream).is_ok() => {
                    Some((Io::tcp(stream), peer))
                }
                _ => None,
            }
        }
        #[cfg(sim)]
        None
    }
}

/// Says that nothing can be accepted, once in a while.
pub fn tell_failing(error: &io::Error) {
    #[cfg(not(sim))]
    descriptors::tell(error);
    #[cfg(sim)]
    tracing::warn!(%error, "accepting failed; trying again");
}

/// Binds one listening socket per worker to an address, all of one `SO_REUSEPORT` group.
///
/// Such a group has two traps. A second process of the same user would join it silently and take half of the
/// traffic, so the address is first probed without the option: "in use" is an error. And without `SO_REUSEADDR` on
/// the probe and on the sockets, connections in TIME_WAIT would keep a restarted process from its port.
pub fn bind_group(address: SocketAddr, workers: usize, defer_accept: bool) -> io::Result<Vec<Bound>> {
    use socket2::{Domain, Protocol, Socket, Type};

    let open = |address: SocketAddr, group: bool| -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(group)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_nonblocking(true)?;
        // What it accepts inherits this, and a system call for each connection is saved.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    let probe = open(address, false)?;
    probe.listen(1)?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    (0..workers)
        .map(|_| {
            let socket = open(address, true)?;
            if defer_accept {
                nix::sys::socket::setsockopt(&socket, DeferAccept, &DEFER_ACCEPT_SECONDS).map_err(io::Error::from)?;
            }
            socket.listen(BACKLOG)?;
            Ok(Bound(socket.into()))
        })
        .collect()
}

/// Keeps an address without listening on it: connections are refused, and no other process gets it meanwhile.
pub fn hold(address: SocketAddr) -> io::Result<Bound> {
    use socket2::{Domain, Protocol, Socket, Type};

    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Beside the group that listens until now; and without SO_REUSEADDR, by which anybody could listen beside it.
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    Ok(Bound(socket.into()))
}

sockopt_impl!(
    /// Wakes a listener only when a connection's first bytes are there.
    DeferAccept,
    SetOnly,
    nix::libc::IPPROTO_TCP,
    nix::libc::TCP_DEFER_ACCEPT,
    i32
);

/// How long the kernel keeps a silent connection to itself; it rounds to its retransmission times.
const DEFER_ACCEPT_SECONDS: i32 = 5;
/// The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
