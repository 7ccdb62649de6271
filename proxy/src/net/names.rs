//! Host names that plain TCP leads to, looked up off the workers and few at a time.
//!
//! `getaddrinfo` blocks a thread (`docs/adr/0008-getaddrinfo.md`), and a name that hangs does so for many seconds. Each
//! connection would take such a thread of its own, hundreds of them; so there are few for all, and what was found is kept.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Look-ups that run at the same time.
const AT_ONCE: usize = 8;
/// How long what was found is used, unless none of it can be connected to.
const KEPT: Duration = Duration::from_secs(30);

static SLOTS: Semaphore = Semaphore::const_new(AT_ONCE);

/// What was found last.
#[derive(Debug, Clone)]
pub struct Found {
    written: String,
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Found {
    /// The addresses, where they are of this name and not too old.
    pub fn of(&self, written: &str, now: Instant) -> Option<Vec<SocketAddr>> {
        self.ever(written).filter(|_| now.saturating_duration_since(self.at) < KEPT)
    }

    /// The addresses, where they are of this name.
    pub fn ever(&self, written: &str) -> Option<Vec<SocketAddr>> {
        (self.written == written).then(|| self.addresses.clone())
    }
}

/// One of the look-ups that may run. Waits for it.
///
/// # Errors
///
/// Never: there are always some.
pub async fn slot() -> io::Result<SemaphorePermit<'static>> {
    SLOTS.acquire().await.map_err(io::Error::other)
}

/// Looks `host:port` up, on a thread for it. The slot is given back when the call ends, not when nobody waits any more.
///
/// # Errors
///
/// What the system says, or that there is no address.
pub async fn look_up(written: &str, slot: SemaphorePermit<'static>, now: Instant) -> io::Result<Found> {
    let name = written.to_owned();
    let looked_up = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        Ok::<_, io::Error>(name.to_socket_addrs()?.collect::<Vec<_>>())
    });
    let addresses = looked_up.await.map_err(io::Error::other)??;
    if addresses.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(Found { written: written.to_owned(), addresses, at: now })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_found_is_used_for_its_own_name_and_for_a_while() {
        let now = Instant::now();
        let found = look_up("localhost:80", slot().await.unwrap(), now).await.unwrap();
        assert!(found.of("localhost:80", now).unwrap().iter().all(|a| a.ip().is_loopback() && a.port() == 80));
        assert_eq!(found.of("localhost:81", now), None);
        assert!(found.of("localhost:80", now + KEPT).is_none());
        assert!(look_up("no such name:1", slot().await.unwrap(), now).await.is_err());
    }
}
