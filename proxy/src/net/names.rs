//! Host names that plain TCP leads to, looked up off the workers and few at a time.
//!
//! `getaddrinfo` blocks a thread (`docs/adr/0008-getaddrinfo.md`), and a name that hangs does so for many seconds. Each
//! connection would take such a thread of its own, hundreds of them; so there are few for all, and what was found is kept.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock::Instant;

/// Look-ups that run at the same time.
const AT_ONCE: usize = 8;
/// How long what was found is used, unless none of it can be connected to.
const KEPT: Duration = Duration::from_secs(30);

static SLOTS: Semaphore = Semaphore::const_new(AT_ONCE);

/// What one name stands for, kept between look-ups. A name that hangs holds one thread and not all of them.
#[derive(Debug)]
pub struct Names {
    found: RefCell<Option<Found>>,
    one: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
struct Found {
    written: String,
    addresses: Vec<SocketAddr>,
    /// Until when it is used without another look.
    until: Instant,
}

impl Default for Names {
    fn default() -> Self {
        Self { found: RefCell::default(), one: Arc::new(Semaphore::new(1)) }
    }
}

impl Names {
    /// The addresses of `host:port`: as they were found lately, or looked up. Where that fails, or takes longer than half
    /// of `patience`, those that were found last: an error empties nothing.
    ///
    /// # Errors
    ///
    /// What the system says, or that there is no address, where none was ever found.
    pub async fn addresses(&self, written: &str, patience: Duration, now: Instant) -> io::Result<Vec<SocketAddr>> {
        self.resolved(written, patience, now, |name| Ok(name.to_socket_addrs()?.collect())).await
    }

    async fn resolved(
        &self,
        written: &str,
        patience: Duration,
        now: Instant,
        resolve: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Some(known) = self.known(written, Some(now)) {
            return Ok(known);
        }
        let look = self.look_up(written, now, resolve);
        match self.known(written, None) {
            None => look.await,
            Some(last) => match tokio::time::timeout(patience / 2, look).await {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(_)) | Err(_) => Ok(last),
            },
        }
    }

    /// Nothing that it stood for could be connected to: the name may mean something else by now.
    pub fn outdate(&self, now: Instant) {
        if let Some(found) = &mut *self.found.borrow_mut() {
            found.until = now;
        }
    }

    /// What was found, where it is of this name and not too old at `fresh`.
    fn known(&self, written: &str, fresh: Option<Instant>) -> Option<Vec<SocketAddr>> {
        let found = self.found.borrow();
        let found = found.as_ref().filter(|found| found.written == written);
        found.filter(|found| fresh.is_none_or(|now| now < found.until)).map(|found| found.addresses.clone())
    }

    /// Looks it up, on a thread for it. Its places are given back when the call ends, not when nobody waits any more.
    async fn look_up(
        &self,
        written: &str,
        now: Instant,
        resolve: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let own = Arc::clone(&self.one).acquire_owned().await.map_err(io::Error::other)?;
        // Whoever waited before may have found it.
        if let Some(known) = self.known(written, Some(now)) {
            return Ok(known);
        }
        let slot = SLOTS.acquire().await.map_err(io::Error::other)?;
        let name = written.to_owned();
        let looked_up = tokio::task::spawn_blocking(move || {
            let (_own, _slot) = (own, slot);
            resolve(&name)
        });
        let addresses = looked_up.await.map_err(io::Error::other)??;
        if addresses.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let found = Found { written: written.to_owned(), addresses: addresses.clone(), until: now + KEPT };
        self.found.replace(Some(found));
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn some() -> Vec<SocketAddr> {
        vec![SocketAddr::from(([127, 0, 0, 1], 80))]
    }

    #[tokio::test]
    async fn what_was_found_is_used_for_its_own_name_and_for_a_while() {
        let (names, now) = (Names::default(), Instant::now());
        let found = names.addresses("localhost:80", PATIENCE, now).await.unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 80));
        assert_eq!(names.known("localhost:80", Some(now)), Some(found.clone()));
        assert_eq!(names.known("localhost:81", None), None);
        assert_eq!(names.known("localhost:80", Some(now + KEPT)), None);
        names.outdate(now);
        assert_eq!(names.known("localhost:80", Some(now)), None);
        assert_eq!(names.known("localhost:80", None), Some(found));
        assert!(names.addresses("no such name:1", PATIENCE, now).await.is_err());
    }

    #[tokio::test]
    async fn a_resolver_that_fails_or_hangs_empties_nothing() {
        let (names, now) = (Names::default(), Instant::now());
        names.resolved("a:80", PATIENCE, now, |_| Ok(some())).await.unwrap();
        names.outdate(now);
        let failed = names.resolved("a:80", PATIENCE, now, |_| Err(io::ErrorKind::NotFound.into())).await;
        assert_eq!(failed.unwrap(), some());
        let (go, gate) = mpsc::channel::<()>();
        let hung = names.resolved("a:80", Duration::from_millis(20), now, move |_| {
            gate.recv().ok();
            Err(io::ErrorKind::NotFound.into())
        });
        assert_eq!(hung.await.unwrap(), some());
        drop(go);
    }

    #[tokio::test]
    async fn a_name_that_hangs_takes_one_thread() {
        let (names, now) = (Names::default(), Instant::now());
        let asked = Arc::new(AtomicUsize::new(0));
        let (go, gate) = mpsc::channel::<()>();
        let mut gate = Some(gate);
        for _ in 0..20 {
            let (asked, gate) = (Arc::clone(&asked), gate.take());
            let hung = names.resolved("a:80", PATIENCE, now, move |_| {
                asked.fetch_add(1, Ordering::SeqCst);
                // The first hangs, and there is to be no other.
                gate.map(|gate| gate.recv());
                Ok(some())
            });
            // As who dials does: it waits for its own time and leaves.
            assert!(tokio::time::timeout(Duration::from_millis(5), hung).await.is_err());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        drop(go);
        assert_eq!(names.addresses("localhost:80", PATIENCE, now).await.unwrap()[0].port(), 80);
    }
}
