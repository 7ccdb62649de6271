//! A client's HTTP/1.1 connection, as a request on it sees it.
//!
//! A request owns its body, and with it the buffer that this lies in; what it asks of its connection is more bytes, and a word
//! to the client before the answer. So a request knows nothing of sockets, and its body can be read by whoever needs it for
//! as long as it is needed, whatever the connection carries by then.

use std::fmt::Debug;
use std::io;
use std::task::{Context, Poll};

use crate::http::{Buffer, Head};

/// Where a request came from.
pub trait Peer: Debug {
    /// Reads more into the buffer, which is taken from the worker's pool where there is none; 0 at the client's end. Pending also
    /// while the buffer is full.
    fn poll_fill(&self, cx: &mut Context<'_>, input: &mut Option<Buffer>) -> Poll<io::Result<usize>>;

    /// Whether more can be read into it without letting go of anything. Where memory is short, a body has a large buffer no
    /// longer for the sake of being sent again.
    fn has_room(&self, input: Option<&Buffer>) -> bool;

    /// All of the body has come, and `beyond` behind it, which is the next request's. An error where there is no memory for
    /// that.
    fn ended(&self, cx: Option<&Context<'_>>, beyond: &[u8]) -> io::Result<()>;

    /// Tells a client that waits for it to send its body (RFC 9110 section 10.1.1).
    fn continue_now(&self);

    /// Passes an interim answer on.
    fn interim(&self, head: &Head);
}
