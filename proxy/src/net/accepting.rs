//! What an error of accepting means: for one connection, or for all that are to come.

use std::io;
use std::time::Duration;

/// How long a process that is out of file descriptors waits before it accepts again.
pub const OUT_OF_FILES: Duration = Duration::from_millis(100);

/// Errors of the connection that was accepted, not of accepting (accept(2)).
pub fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
