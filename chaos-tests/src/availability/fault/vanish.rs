//! The host is gone: no SYN is answered, and nothing on the connections there were.
//!
//! Without a firewall of one's own this can be had on Linux's loopback by a listener whose accept queue is full:
//! the kernel drops the SYNs that come then, as a host would that is not there. (The backlog is set to 0, a connection
//! of our own fills it, and nobody accepts.) What is different from a real vanished host: the kernel still acknowledges
//! what is sent on established connections, so `TCP_USER_TIMEOUT` and keep-alive probes see nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Door, Model};

/// SYNs are dropped; what is sent on connections that there were is not read. They are reset when the host is back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vanish {}

impl Model for Vanish {
    fn door(&self, _: Duration) -> (Door, Option<Duration>) {
        (Door::Deaf, None)
    }
}
