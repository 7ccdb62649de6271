use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU64;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn counted() -> (Lost, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    (Lost::new("test", metrics::Counter::from_arc(Arc::clone(&count))), count)
}

#[test]
fn a_full_disk_loses_lines_and_nothing_else() {
    let (lost, count) = counted();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let outlet = Outlet::start("t", full, lost).unwrap();
    for _ in 0..100 {
        outlet.put(b"line\n".to_vec());
    }
    assert!(outlet.flush(PATIENCE));
    assert_eq!(count.load(Relaxed), 100);
}

#[test]
fn a_reader_that_stops_blocks_nobody_and_one_that_is_gone_ends_nothing() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (lost, count) = counted();
    let outlet = Outlet::start("t", ours, lost).unwrap();
    // More than the queue and the socket hold, in lines and in bytes.
    for _ in 0..3 * WAITING {
        outlet.put(vec![b'x'; 2048]);
    }
    let stopped = count.load(Relaxed);
    assert!(stopped > 0 && !outlet.flush(Duration::from_millis(20)));
    drop(theirs);
    assert!(outlet.flush(PATIENCE), "the writer is stuck");
    assert!(count.load(Relaxed) > stopped, "what could not be written was not counted");
}

/// Takes a few bytes, then fails once.
struct Failing(Vec<u8>, bool);

impl Write for &mut Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.1, false) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let n = bytes.len().min(3);
        self.0.extend(&bytes[..n]);
        self.1 = self.0.len() == 3;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn after_half_a_line_the_next_begins_on_its_own() {
    let mut failing = Failing(Vec::new(), false);
    let mut sink = Sink::new(&mut failing);
    assert!(sink.write(b"first\n").is_err());
    assert!(sink.write(b"second\n").is_ok());
    assert_eq!(failing.0, b"fir\nsecond\n");
}

#[test]
fn losses_are_told_even_where_no_further_line_is_lost() {
    let mut untold = Untold::default();
    assert_eq!(untold.due(1), Some(1), "the first at once");
    assert_eq!(untold.due(4), None, "no flood");
    assert_eq!(untold.due(0), None);
    untold.told = Instant::now().checked_sub(TELL_EVERY);
    assert_eq!(untold.due(0), Some(4), "by whoever looks after the interval");
    untold.told = Instant::now().checked_sub(TELL_EVERY);
    assert_eq!(untold.due(0), None, "nothing is told twice");
}
