//! A process of the demo's: it ends with whoever started it.
//!
//! The standard library's, and not tokio's: where that is compiled in, every runtime of the program looks for children that
//! have ended each time it wakes, a worker's too, twice for every request.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus};

use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{SignalKind, signal};

/// A child process, killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Child(std::process::Child);

impl Child {
    /// Starts it.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// What it reads from its input ends when this is dropped.
    pub fn stdin(&mut self) -> Option<OwnedFd> {
        self.0.stdin.take().map(OwnedFd::from)
    }

    /// What it says. Once.
    pub fn stdout(&mut self) -> io::Result<Receiver> {
        receiver(self.0.stdout.take().map(OwnedFd::from))
    }

    /// What it complains of. Once.
    pub fn stderr(&mut self) -> io::Result<Receiver> {
        receiver(self.0.stderr.take().map(OwnedFd::from))
    }

    /// Whether it has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        // Listened to before it is asked, or its end could fall between.
        let mut ended = signal(SignalKind::child())?;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            ended.recv().await;
        }
    }

    /// Ends it at once.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.0.kill()?;
        self.wait().await.map(|_| ())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that has ended has nothing to be killed; one that has not is waited for no longer than the system needs.
        if matches!(self.0.try_wait(), Ok(None)) && self.0.kill().is_ok() {
            let _ = self.0.wait();
        }
    }
}

fn receiver(pipe: Option<OwnedFd>) -> io::Result<Receiver> {
    Receiver::from_owned_fd(pipe.ok_or_else(|| io::Error::other("it was given no pipe"))?)
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;

    fn cat() -> Child {
        Child::start(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped())).unwrap()
    }

    #[tokio::test]
    async fn a_process_ends_with_its_input_and_is_waited_for() {
        let mut cat = cat();
        let (stdin, mut stdout) = (cat.stdin(), cat.stdout().unwrap());
        assert_eq!(cat.try_wait().unwrap(), None);
        drop(stdin);
        assert!(timeout(Duration::from_secs(30), cat.wait()).await.unwrap().unwrap().success());
        assert_eq!(stdout.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_process_is_killed_when_it_is_told_to_be_and_when_nobody_holds_it() {
        let mut one = cat();
        timeout(Duration::from_secs(30), one.kill()).await.unwrap().unwrap();
        assert!(!one.try_wait().unwrap().unwrap().success());
        let mut other = cat();
        let (_stdin, mut stdout) = (other.stdin(), other.stdout().unwrap());
        drop(other);
        assert_eq!(stdout.read(&mut [0]).await.unwrap(), 0);
    }
}
