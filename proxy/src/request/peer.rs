//! A client's HTTP/1.1 connection, as a request on it sees it.
//!
//! A request owns its body, and with it the buffer that the body lies in. It asks two things of its connection: more
//! bytes, and to send an interim answer. So a request knows nothing of sockets. Whoever needs its body can read it
//! for as long as it is needed, even when the connection already carries the next request.

use std::fmt::Debug;
use std::io;
use std::task::{Context, Poll};

use crate::http::{Buffer, Head};

/// The connection that a request came over.
pub trait Peer: Debug {
    /// Reads more into the buffer; where there is none, takes one from the worker's pool. Returns 0 at the client's
    /// end. It is also pending while the buffer is full.
    fn poll_fill(&self, cx: &mut Context<'_>, input: &mut Option<Buffer>) -> Poll<io::Result<usize>>;

    /// Whether more can be read into the buffer without letting go of what it holds. While memory is short, a small
    /// buffer is not exchanged for a large one just to keep the body replayable.
    fn has_room(&self, input: Option<&Buffer>) -> bool;

    /// The whole body has come, and behind it `beyond`, which belongs to the next request. An error where there is no
    /// memory for `beyond`.
    fn ended(&self, cx: Option<&Context<'_>>, beyond: &[u8]) -> io::Result<()>;

    /// Sends 100 to a client that waits for it before it sends its body (RFC 9110 section 10.1.1).
    fn continue_now(&self);

    /// Passes an interim answer on.
    fn interim(&self, head: &Head);
}
