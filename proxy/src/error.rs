//! The one table of everything that can go wrong with a request.
//!
//! A [`Reason`] is the only way a request fails. Whatever has to be known of a failure (its token, the status the client
//! sees, the gRPC code, whether another attempt may help, whether the endpoint is to blame) is a column here, so that no two
//! places can disagree. `docs/errors.md` is made from it ([`docs`]).

pub mod docs;
mod table;

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
    /// A rule of the listener's or the route's does not let the caller in.
    AccessDenied,
    /// The host is one for which another certificate would have answered than the connection's.
    Misdirected,
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
    /// The service is a subset, and nobody carries it or its fallback.
    BareSubset,
    /// Every endpoint is at its connection cap.
    ConnectionLimit,
    /// The proxy has no descriptor, memory or local port left for another connection.
    OutOfResources,
    /// The connection to the endpoint was refused or reset while it was being made.
    ConnectFailed,
    /// The connection to the endpoint was not made in time.
    ConnectTimeout,
    /// The endpoint's certificate does not prove that it is who it should be.
    TlsCertificate,
    /// The endpoint refused the handshake.
    TlsAlert,
    /// The handshake with the endpoint failed otherwise: it speaks no TLS, or none that we speak.
    TlsProtocol,
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
        Reason::AccessDenied,
        Reason::Misdirected,
        Reason::NoRoute,
        Reason::NameNotAllowed,
        Reason::UnknownService,
        Reason::RegistryTimeout,
        Reason::TooManyNames,
        Reason::NoEndpoint,
        Reason::BareSubset,
        Reason::ConnectionLimit,
        Reason::OutOfResources,
        Reason::ConnectFailed,
        Reason::ConnectTimeout,
        Reason::TlsCertificate,
        Reason::TlsAlert,
        Reason::TlsProtocol,
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

    /// Its one name, wherever it is told: `no_endpoint`.
    pub const fn token(self) -> &'static str {
        self.row().token
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
    /// Its one name: in `Proxy-Status`, the access log, metrics, explanations and `docs/errors.md`. It is the type that is
    /// registered for `Proxy-Status` where that means this and nothing else.
    pub token: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// The registered type for `error` in `Proxy-Status`, RFC 9209 section 2.3.
    pub proxy_status: &'static str,
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
