//! A tunnel: the client's connection and the endpoint's, joined after an upgrade.
//!
//! A tunnel ends when nothing has moved in either direction for the idle time. It also ends when one side has taken
//! nothing of what is ready for it for the idle time, or for a second while memory is short (if the tunnel `yields`).

use std::time::Duration;

use crate::http::{Buffer, BufferPool};
use crate::net::Io;
use crate::relay::Relay;

/// Carries bytes until both sides have ended, one fails, or nothing moves. Says how many went each way.
pub async fn join(
    client: &mut Io,
    from_client: Option<Buffer>,
    upstream: &mut Io,
    from_upstream: Option<Buffer>,
    pool: &BufferPool,
    idle: Duration,
    yields: bool,
) -> (u64, u64) {
    let mut relay = Relay::new(Some(idle)).yielding(yields).with(from_client, from_upstream);
    std::future::poll_fn(|cx| relay.poll(cx, client, upstream, pool)).await;
    let moved = relay.moved();
    (moved.sent_up, moved.sent_down)
}
