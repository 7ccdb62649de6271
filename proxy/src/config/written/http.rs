//! `http`: what peers may send, and how long it may take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::text::{Cidr, FieldName};
use crate::units::{Interval, Patience, Size};

/// Bounds on what a peer may send, and on how long it may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// The largest head (start line and header lines) that is read, from clients and from instances. From 1KiB to
    /// 60KiB: a head has to fit the connection's buffer. 32KiB leaves room for the largest cookies and tokens in use
    /// (most servers stop at 8KiB to 32KiB).
    pub max_head_size: Size,
    /// The most header lines of a head. 1 to 256.
    pub max_headers: u32,
    /// From the first byte of a head to its last. A client that dribbles is cut here.
    pub header_timeout: Interval,
    /// How long a client's connection may rest with no request on it. Longer than common clients keep theirs (90 s
    /// in Go and in many libraries), so that it is the client that closes and no request meets a closing connection.
    pub idle_timeout: Interval,
    /// How long a body may stand still before it is cut: nothing comes of it, or its receiver takes nothing of it. Streams
    /// that rest longer need a heartbeat of their own (gRPC's and HTTP/2's PINGs are none). `off`: for ever, and a peer that
    /// stops in the middle holds what it has.
    pub stream_idle_timeout: Patience,
    /// How long a tunnel (a WebSocket, any upgrade) may rest with nothing moving in either direction, and how long one of
    /// its sides may take nothing of what is ready for it. `off`: for ever.
    pub tunnel_idle_timeout: Patience,
    /// Clients' connections, for the whole process.
    pub max_connections: u32,
    /// Addresses whose `X-Forwarded-*`, `Forwarded`, `X-Request-Id` and control fields are believed, beside loopback.
    /// Everyone else's control fields (deadlines, priorities, caller names, the wish for an explanation) are removed.
    pub trusted_cidrs: Vec<Cidr>,
    /// Whether a client that has closed its sending side still gets its answer. Otherwise it counts as gone, and its
    /// request is cancelled.
    pub half_close: bool,
    /// The control field in which a caller says how many milliseconds it still waits, and in which instances are told.
    pub deadline_header: FieldName,
    /// The control field in which a caller says what a request is worth: `critical`, `default` or `sheddable`.
    pub priority_header: FieldName,
    /// The control field in which a caller says who it is, for bulkheads.
    pub caller_header: FieldName,
    /// Bytes of small answers that are held back until they are whole, for the process. Beyond that they stream.
    pub max_held: Size,
    /// Bytes of answers that are kept for `fallback: { stale: … }`, for the process.
    pub max_stale: Size,
    /// Bytes of memory for what is read and not sent on yet, for the process. At its edge new connections and requests are
    /// refused with 503 `memory_short`; from three quarters of it on, those that are slow to send a head are ended, those
    /// below `min_rate`, and tunnels and TCP connections one side of which takes nothing. From half of it on what may stand still
    /// gets small buffers. At least 1MiB. Left out: a quarter of the control group's memory limit, 256MiB at most; 256MiB where there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_buffered: Option<Size>,
    /// Bytes in a second that a client has to send of a body, or read of an answer, while more than three quarters of an
    /// instance's `max_connections` are taken: those below it are ended, the slowest first, with 408 `too_slow`, until no
    /// more than three quarters are. gRPC and streams in both directions are exempt as long as they hold no more than
    /// that; whoever waits for the instance is not slow. 0B: no minimum.
    pub min_rate: Size,
}
