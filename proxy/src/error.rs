//! The one table of everything that can go wrong with a request.
//!
//! A [`Reason`] is the only way a request fails. Whatever has to be known of a failure (the status the client
//! sees, the word in `Proxy-Status`, the flag in the access log, the gRPC code, whether another attempt may
//! help, whether the endpoint is to blame) is a column here, so that no two places can disagree.

/// Why a request, or one attempt of it, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The client's message breaks the grammar or the framing rules.
    BadRequest,
    /// A `Transfer-Encoding` that is not exactly `chunked`.
    UnsupportedCoding,
    /// The head is larger, or has more lines, than is allowed.
    HeadTooLarge,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The body stopped arriving.
    BodyTimeout,
    /// The client kept a connection waiting that others needed.
    TooSlow,
    /// Buffers take all the memory that they may.
    MemoryShort,
    /// CONNECT.
    ConnectMethod,
    /// The request has been here too often.
    Loop,
    /// `Max-Forwards` ran out on a TRACE or OPTIONS.
    MaxForwards,
    /// No route, and the host is no service's name.
    NoRoute,
    /// The name is outside the allow-pattern.
    NameNotAllowed,
    /// The registry has never seen an instance of the service.
    UnknownService,
    /// The registry did not answer within the second that a first request waits.
    RegistryTimeout,
    /// Too many names are watched or asked for.
    TooManyNames,
    /// The service is known, and has no endpoint.
    NoEndpoint,
    /// Every endpoint is at its connection cap.
    ConnectionLimit,
    /// The proxy has no descriptor, memory or local port left for another connection.
    OutOfResources,
    /// The connection to the endpoint was refused or reset while it was being made.
    ConnectFailed,
    /// The connection to the endpoint was not made in time.
    ConnectTimeout,
    /// The endpoint closed or reset the connection before a whole head.
    UpstreamClosed,
    /// The endpoint's answer breaks the grammar or the framing rules.
    UpstreamProtocol,
    /// The endpoint's head is larger, or has more lines, than is allowed.
    UpstreamHeadTooLarge,
    /// No answer in time.
    Timeout,
    /// The endpoint answered 502, 503 or 504: only an attempt's reason, the answer itself goes to the client
    /// when no other is had.
    UpstreamStatus,
    /// The endpoint answered 500, and another one may not have.
    UpstreamError,
    /// The service's circuit breaker is open: it has lately answered nobody.
    BreakerOpen,
    /// As many requests are at the service as its limit lets in.
    LimitReached,
    /// The request waited for its turn as long as it may.
    QueueTimeout,
    /// The caller or the route has as many requests in flight as it may.
    BulkheadFull,
    /// The client went away; nobody sees the answer.
    ClientGone,
    /// The process is going away.
    Draining,
    /// An injected fault has reset the client's connection.
    FaultReset,
    /// A fault of the proxy.
    Internal,
}

impl Reason {
    /// Every reason.
    pub const ALL: &'static [Reason] = &[
        Reason::BadRequest,
        Reason::UnsupportedCoding,
        Reason::HeadTooLarge,
        Reason::HeadTimeout,
        Reason::BodyTimeout,
        Reason::TooSlow,
        Reason::MemoryShort,
        Reason::ConnectMethod,
        Reason::Loop,
        Reason::MaxForwards,
        Reason::NoRoute,
        Reason::NameNotAllowed,
        Reason::UnknownService,
        Reason::RegistryTimeout,
        Reason::TooManyNames,
        Reason::NoEndpoint,
        Reason::ConnectionLimit,
        Reason::OutOfResources,
        Reason::ConnectFailed,
        Reason::ConnectTimeout,
        Reason::UpstreamClosed,
        Reason::UpstreamProtocol,
        Reason::UpstreamHeadTooLarge,
        Reason::Timeout,
        Reason::UpstreamStatus,
        Reason::UpstreamError,
        Reason::BreakerOpen,
        Reason::LimitReached,
        Reason::QueueTimeout,
        Reason::BulkheadFull,
        Reason::ClientGone,
        Reason::Draining,
        Reason::FaultReset,
        Reason::Internal,
    ];

    /// Its name in answers and logs: `no_endpoint`.
    pub fn name(self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    }

    /// Whether one of our own limits refuses the request, whatever its endpoints would answer.
    pub const fn is_limit(self) -> bool {
        matches!(
            self,
            Self::BreakerOpen
                | Self::LimitReached
                | Self::QueueTimeout
                | Self::BulkheadFull
                | Self::ConnectionLimit
                | Self::MemoryShort
                | Self::TooManyNames
                | Self::Draining
        )
    }

    /// Everything that is known of it.
    pub const fn row(self) -> Row {
        use Blame::{Answer, Client, Endpoint, Proxy};
        use Retry::{Never, Replayable, Safe};
        const fn row(
            status: u16,
            token: &'static str,
            flag: &'static str,
            grpc: u8,
            blame: Blame,
            retry: Retry,
            advice: &'static str,
        ) -> Row {
            Row { status, token, flag, grpc, blame, retry, advice }
        }
        match self {
            // gRPC codes: the mapping of HTTP statuses in grpc/doc/http-grpc-status-mapping.md, and 4 for deadlines.
            Self::BadRequest => row(
                400,
                "http_request_error",
                "BAD",
                13,
                Client,
                Never,
                "the request breaks HTTP's grammar or its framing rules",
            ),
            Self::UnsupportedCoding => row(
                501,
                "http_request_error",
                "BAD",
                13,
                Client,
                Never,
                "only `Transfer-Encoding: chunked` is understood",
            ),
            Self::HeadTooLarge => row(
                431,
                "http_request_error",
                "BIG",
                13,
                Client,
                Never,
                "the head, or what follows the body, is larger than `http.max_head_size` or has more lines than `http.max_headers`",
            ),
            Self::HeadTimeout => row(
                408,
                "http_request_error",
                "SLO",
                14,
                Client,
                Never,
                "the head did not arrive within `http.header_timeout`",
            ),
            Self::BodyTimeout => row(
                408,
                "http_request_error",
                "SLO",
                14,
                Client,
                Never,
                "the body stopped arriving for `http.stream_idle_timeout`",
            ),
            Self::TooSlow => row(
                408,
                "http_request_error",
                "SLO",
                14,
                Client,
                Never,
                "connections or memory are short, and the request came, or the answer was read, more slowly than `http.min_rate` asks",
            ),
            Self::MemoryShort => row(
                503,
                "proxy_internal_response",
                "MEM",
                14,
                Proxy,
                Never,
                "buffers take all the memory that they may, `http.max_buffered`",
            ),
            Self::ConnectMethod => row(
                405,
                "http_request_denied",
                "CON",
                12,
                Client,
                Never,
                "CONNECT is not offered; use plain http:// URLs through the proxy, it speaks TLS to nobody on your behalf",
            ),
            Self::Loop => row(
                508,
                "proxy_loop_detected",
                "LOP",
                13,
                Client,
                Never,
                "the request has passed this proxy four times before; look for a service registered under the proxy's own address",
            ),
            Self::MaxForwards => row(200, "http_request_denied", "MAX", 13, Client, Never, "Max-Forwards is used up"),
            Self::NoRoute => row(
                404,
                "destination_not_found",
                "NR",
                12,
                Client,
                Never,
                "no route matches, and the host is no service's name",
            ),
            Self::NameNotAllowed => {
                row(404, "destination_not_found", "NA", 12, Client, Never, "the name is outside `names.allow`")
            }
            Self::UnknownService => row(
                404,
                "destination_not_found",
                "US",
                12,
                Client,
                Never,
                "the registry has never seen an instance of this service; check the name, and that it is registered",
            ),
            Self::RegistryTimeout => row(
                503,
                "destination_unavailable",
                "RT",
                14,
                Proxy,
                Never,
                "the registry has not answered yet; see /api/v1/services on the admin port",
            ),
            Self::TooManyNames => row(
                503,
                "proxy_internal_error",
                "TN",
                14,
                Proxy,
                Never,
                "more names are in use than `names.max_watches` allows",
            ),
            Self::NoEndpoint => row(
                503,
                "destination_unavailable",
                "UH",
                14,
                Endpoint,
                Never,
                "the service is known and has no healthy instance",
            ),
            Self::ConnectionLimit => {
                row(503, "connection_limit_reached", "UO", 14, Proxy, Safe, "every instance is at `max_connections`")
            }
            Self::OutOfResources => row(
                503,
                "proxy_internal_error",
                "OOR",
                14,
                Proxy,
                Safe,
                "the proxy has no file descriptor, memory or local port left for another connection; raise its limits",
            ),
            Self::ConnectFailed => {
                row(502, "connection_refused", "UF", 14, Endpoint, Safe, "the instance could not be connected to")
            }
            Self::ConnectTimeout => row(
                504,
                "connection_timeout",
                "UF",
                14,
                Endpoint,
                Safe,
                "the connection was not made within `connect_timeout`",
            ),
            Self::UpstreamClosed => row(
                502,
                "connection_terminated",
                "UC",
                14,
                Endpoint,
                Replayable,
                "the instance closed the connection before it answered",
            ),
            Self::UpstreamProtocol => row(
                502,
                "http_protocol_error",
                "UPE",
                14,
                Answer,
                Replayable,
                "the instance's answer breaks HTTP's grammar or its framing rules",
            ),
            Self::UpstreamHeadTooLarge => row(
                502,
                "http_response_header_section_size",
                "UPE",
                14,
                Answer,
                Replayable,
                "the instance's head, or what follows its body, is larger than `http.max_head_size` or has more lines than `http.max_headers`",
            ),
            Self::Timeout => row(504, "http_response_timeout", "UT", 4, Endpoint, Never, "no answer within `timeout`"),
            Self::UpstreamStatus => {
                row(503, "http_request_error", "URX", 14, Endpoint, Replayable, "the instance answered that it cannot")
            }
            Self::UpstreamError => {
                row(500, "http_request_error", "URX", 13, Endpoint, Replayable, "the instance answered with an error")
            }
            Self::BreakerOpen => row(
                503,
                "destination_unavailable",
                "UCB",
                14,
                Proxy,
                Never,
                "the service's circuit breaker is open: no instance has answered lately, and one request at a time is let through to see",
            ),
            Self::LimitReached => row(
                503,
                "connection_limit_reached",
                "UO",
                14,
                Proxy,
                Never,
                "the service is overloaded: as many requests are at it as `limit` lets in",
            ),
            Self::QueueTimeout => row(
                503,
                "connection_limit_reached",
                "UO",
                14,
                Proxy,
                Never,
                "the service is overloaded: the request waited for its turn as long as `limit.queue_timeout` lets it",
            ),
            Self::BulkheadFull => row(
                503,
                "connection_limit_reached",
                "BH",
                14,
                Proxy,
                Never,
                "the caller or the route has as many requests in flight as its `bulkhead` lets it",
            ),
            Self::ClientGone => {
                row(499, "connection_terminated", "DC", 1, Client, Never, "the client closed its connection")
            }
            Self::Draining => row(503, "proxy_internal_response", "DR", 14, Proxy, Never, "the proxy is shutting down"),
            Self::FaultReset => row(
                502,
                "connection_terminated",
                "FI",
                14,
                Proxy,
                Never,
                "an injected edge fault reset the connection; `outrigger fault list` shows it",
            ),
            Self::Internal => {
                row(500, "proxy_internal_error", "INT", 13, Proxy, Never, "a fault of the proxy; please report it")
            }
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row().advice)
    }
}

impl std::error::Error for Reason {}

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The status of the answer.
    pub status: u16,
    /// The error token of `Proxy-Status`, RFC 9209 section 2.3.
    pub token: &'static str,
    /// The flag in the access log, after Envoy's and HAProxy's habit.
    pub flag: &'static str,
    /// The status for a gRPC client.
    pub grpc: u8,
    /// Who is to blame; only what an endpoint or its answer is to blame for may count against it.
    pub blame: Blame,
    /// Whether another attempt may help.
    pub retry: Retry,
    /// What happened and what to do, in a sentence for whoever reads the answer.
    pub advice: &'static str,
}

/// Who is to blame for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// Whoever sent the request.
    Client,
    /// The endpoint, or the way to it.
    Endpoint,
    /// What the endpoint answered breaks a rule: its own fault only where another one answers the same cleanly.
    Answer,
    /// The proxy, its limits or its registry.
    Proxy,
}

/// Whether another attempt may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No.
    Never,
    /// Yes, where the method is idempotent and the body can be sent again.
    Replayable,
    /// Yes, for any method: nothing was processed.
    Safe,
}
