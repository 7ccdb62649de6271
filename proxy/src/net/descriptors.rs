//! File descriptors: how many there are, and for whom some are kept back.
//!
//! At the limit the process must still answer its probes, render its metrics and be told to stop injecting faults. So
//! the data plane stops short of the limit. The kernel gives out the lowest number that is free, so a connection whose
//! number is high says that all below are taken: that is the whole bookkeeping, and costs no system call.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::AtomicI32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use nix::libc::EMFILE;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Kept back: two admin ports full of connections, and some files.
const KEPT: u64 = 160;
/// From one line about it to the next, in seconds.
const TELL_EVERY: u64 = 10;

/// The first number that the data plane leaves to others.
static CEILING: AtomicI32 = AtomicI32::new(i32::MAX);
static TOLD: AtomicU64 = AtomicU64::new(0);
static UNTOLD: AtomicU64 = AtomicU64::new(0);

/// Raises the limit as far as it may be raised, and keeps some back from then on: of few a quarter.
pub fn prepare() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    let ceiling = limit - KEPT.min(limit / 4);
    CEILING.store(i32::try_from(ceiling).unwrap_or(i32::MAX), Relaxed);
    tracing::debug!(limit, ceiling, "file descriptors");
}

/// An error where the descriptor is one of those that are kept back.
///
/// # Errors
///
/// As if there were none left.
pub(super) fn within_reach(descriptor: &impl AsRawFd) -> io::Result<()> {
    check(descriptor.as_raw_fd(), CEILING.load(Relaxed))
}

fn check(number: RawFd, ceiling: RawFd) -> io::Result<()> {
    if number < ceiling { Ok(()) } else { Err(io::Error::from_raw_os_error(EMFILE)) }
}

/// Says that nothing can be accepted, once in a while: it is tried again ten times a second, by every worker.
pub fn tell(error: &io::Error) {
    let times = UNTOLD.fetch_add(1, Relaxed) + 1;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let told = TOLD.load(Relaxed);
    if now.abs_diff(told) < TELL_EVERY || TOLD.compare_exchange(told, now, Relaxed, Relaxed).is_err() {
        return;
    }
    UNTOLD.fetch_sub(times, Relaxed);
    tracing::warn!(%error, times, "accepting failed; trying again");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_kept_back_is_as_none_left() {
        assert!(check(3, 100).is_ok() && check(99, 100).is_ok());
        assert_eq!(check(100, 100).unwrap_err().raw_os_error(), Some(EMFILE));
    }
}
