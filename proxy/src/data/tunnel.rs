//! Two connections joined after an upgrade: bytes both ways, each direction on its own.
//!
//! One side may have said all it has to say while the other still talks, so the end of one direction is passed on as
//! such and the other goes on. A tunnel on which nothing moves in either direction for the idle time ends.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use super::timer::{self, Timer};
use crate::http::{Buffer, BufferPool};
use crate::net::Io;

/// One direction: what was read and not yet written.
#[derive(Debug, Default)]
struct Way {
    buffer: Option<Buffer>,
    ended: bool,
    passed_on: bool,
    moved: u64,
}

/// Carries bytes until both sides have ended, one fails, or nothing moves. Says how many went each way.
pub async fn join(
    client: &mut Io,
    from_client: Option<Buffer>,
    upstream: &mut Io,
    from_upstream: Option<Buffer>,
    pool: &BufferPool,
    idle: Duration,
) -> (u64, u64) {
    let timer = Timer::new(timer::now() + idle);
    let mut up = Way { buffer: from_client, ..Way::default() };
    let mut down = Way { buffer: from_upstream, ..Way::default() };
    let mut last = (0, timer::now());
    let mut aside = false;
    std::future::poll_fn(|cx| {
        loop {
            let first = up.poll(cx, client, upstream, pool);
            let second = down.poll(cx, upstream, client, pool);
            if first.is_err() || second.is_err() || up.passed_on && down.passed_on {
                return Poll::Ready(());
            }
            let moved = up.moved + down.moved;
            if moved == last.0 {
                return timer.poll(cx, last.1 + idle);
            }
            last = (moved, timer::now());
            aside = !aside;
            if aside {
                // Let the worker's other connections have their turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    })
    .await;
    (up.moved, down.moved)
}

impl Way {
    /// Moves what can be moved without waiting, one buffer at most.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Io, to: &mut Io, pool: &BufferPool) -> io::Result<()> {
        if self.passed_on {
            return Ok(());
        }
        if !self.ended
            && self.buffer.as_ref().is_none_or(Buffer::has_room)
            && (self.buffer.is_some() || from.poll_readable(cx).is_ready())
        {
            let buffer = self.buffer.get_or_insert_with(|| pool.take());
            match from.poll_read_into(cx, buffer.spare()) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(n)) => buffer.filled(n),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {}
            }
        }
        while let Some(buffer) = &mut self.buffer {
            if buffer.is_empty() {
                if let Some(buffer) = self.buffer.take() {
                    pool.give(buffer);
                }
                break;
            }
            match to.poll_write_from(cx, buffer.bytes()) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    buffer.consume(n);
                    self.moved += n as u64;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    buffer.compact();
                    return Ok(());
                }
            }
        }
        if self.ended && self.buffer.is_none() && to.poll_end(cx)?.is_ready() {
            self.passed_on = true;
        }
        Ok(())
    }
}
