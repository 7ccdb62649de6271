//! A process that is measured from outside, and that ends with its owner.

use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

/// What a process holds in memory, in KiB. The kernel's share (sockets and their buffers) is not in it.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// The most there ever was.
    pub peak: u64,
}

/// CPU time, to the nanosecond.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    /// Running, in user and in kernel mode.
    pub used: Duration,
    /// Ready to run, while something else had the core.
    pub waited: Duration,
}

impl Cpu {
    /// That of the calling thread.
    ///
    /// # Errors
    /// The kernel keeps no such statistics.
    pub fn of_this_thread() -> io::Result<Self> {
        Self::read(Path::new("/proc/thread-self/schedstat"))
    }

    /// What has come on since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        let (used, waited) = (self.used.saturating_sub(earlier.used), self.waited.saturating_sub(earlier.waited));
        Self { used, waited }
    }

    fn read(file: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(file)?;
        let mut numbers = text.split_whitespace().map(|n| n.parse().map(Duration::from_nanos).ok());
        let both = numbers.next().flatten().zip(numbers.next().flatten());
        let (used, waited) = both.ok_or_else(|| io::Error::other(format!("schedstat: {text}")))?;
        Ok(Self { used, waited })
    }
}

impl Process {
    /// Starts `command`, on one core only where one is given.
    ///
    /// # Errors
    /// What the system says, and no such core.
    pub fn start(mut command: Command, core: Option<usize>) -> io::Result<Self> {
        // A child inherits the affinity of the thread that forks it: one that lives just for that needs no
        // helper program and no code between fork and exec.
        let spawn = move || {
            if let Some(core) = core {
                pin(core)?;
            }
            command.spawn()
        };
        let joined = std::thread::spawn(spawn).join().map_err(|_| io::Error::other("the starting thread died"))?;
        Ok(Self { child: joined? })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// What the system says.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// What its threads that are alive took of their cores so far.
    ///
    /// # Errors
    /// The process is gone, or the kernel keeps no such statistics.
    pub fn cpu(&self) -> io::Result<Cpu> {
        let mut all = Cpu::default();
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let one = Cpu::read(&thread?.path().join("schedstat"))?;
            all = Cpu { used: all.used + one.used, waited: all.waited + one.waited };
        }
        Ok(all)
    }

    /// What it holds in memory.
    ///
    /// # Errors
    /// The process is gone.
    pub fn memory(&self) -> io::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            let number = line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok());
            number.ok_or_else(|| io::Error::other(format!("{name} is not in the process's status")))
        };
        Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It did not end within `patience`; it is killed then.
    pub fn terminate(mut self, patience: Duration) -> io::Result<ExitStatus> {
        kill(Pid::from_raw(self.id().cast_signed()), Signal::SIGTERM)?;
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and nothing to say.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the calling thread, and what it starts, on one core.
///
/// # Errors
/// No such core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
