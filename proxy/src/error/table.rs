//! The table: a line for each reason.

use super::{Blame, Reason, Retry, Row};

impl Reason {
    /// Everything that is known of it.
    pub const fn row(self) -> Row {
        use Blame::{Answer, Client, Endpoint, Proxy};
        use Retry::{Never, Replayable, Safe};
        const fn row(
            token: &'static str,
            status: u16,
            proxy_status: &'static str,
            grpc: u8,
            blame: Blame,
            retry: Retry,
            advice: &'static str,
        ) -> Row {
            Row { token, status, proxy_status, grpc, blame, retry, advice }
        }
        match self {
            // gRPC codes: the mapping of HTTP statuses in grpc/doc/http-grpc-status-mapping.md, and 4 for deadlines.
            Self::BadRequest => row(
                "bad_request",
                400,
                "http_request_error",
                13,
                Client,
                Never,
                "the request breaks HTTP's grammar or its framing rules",
            ),
            Self::UnsupportedCoding => row(
                "unsupported_coding",
                501,
                "http_request_error",
                13,
                Client,
                Never,
                "only `Transfer-Encoding: chunked` is understood",
            ),
            Self::HeadTooLarge => row(
                "head_too_large",
                431,
                "http_request_error",
                13,
                Client,
                Never,
                "the head, or what follows the body, is larger than `http.max_head_size` or has more lines than `http.max_headers`",
            ),
            Self::HeadTimeout => row(
                "head_timeout",
                408,
                "http_request_error",
                14,
                Client,
                Never,
                "the head did not arrive within `http.header_timeout`",
            ),
            Self::BodyTimeout => row(
                "body_timeout",
                408,
                "http_request_error",
                14,
                Client,
                Never,
                "the body stopped arriving for `http.stream_idle_timeout`",
            ),
            Self::TooSlow => row(
                "too_slow",
                408,
                "http_request_error",
                14,
                Client,
                Never,
                "connections or memory are short, and the request came, or the answer was read, more slowly than `http.min_rate` asks",
            ),
            Self::MemoryShort => row(
                "memory_short",
                503,
                "proxy_internal_response",
                14,
                Proxy,
                Never,
                "buffers take all the memory that they may, `http.max_buffered`",
            ),
            Self::ConnectMethod => row(
                "connect_method",
                405,
                "http_request_denied",
                12,
                Client,
                Never,
                "CONNECT is not offered; use plain http:// URLs through the proxy, it speaks TLS to nobody on your behalf",
            ),
            Self::Loop => row(
                "proxy_loop_detected",
                508,
                "proxy_loop_detected",
                13,
                Client,
                Never,
                "the request has passed this proxy four times before; look for a service registered under the proxy's own address",
            ),
            Self::MaxForwards => {
                row("max_forwards", 200, "http_request_denied", 13, Client, Never, "Max-Forwards is used up")
            }
            Self::AccessDenied => {
                row("access_denied", 403, "http_request_denied", 7, Client, Never, "the caller may not call this")
            }
            Self::NoRoute => row(
                "no_route",
                404,
                "destination_not_found",
                12,
                Client,
                Never,
                "no route matches, and the host is no service's name",
            ),
            Self::NameNotAllowed => row(
                "name_not_allowed",
                404,
                "destination_not_found",
                12,
                Client,
                Never,
                "the name is outside `names.allow`",
            ),
            Self::UnknownService => row(
                "unknown_service",
                404,
                "destination_not_found",
                12,
                Client,
                Never,
                "the registry has never seen an instance of this service; check the name, and that it is registered",
            ),
            Self::RegistryTimeout => row(
                "registry_timeout",
                503,
                "destination_unavailable",
                14,
                Proxy,
                Never,
                "the registry has not answered yet; see /api/v1/services on the admin port",
            ),
            Self::TooManyNames => row(
                "too_many_names",
                503,
                "proxy_internal_error",
                14,
                Proxy,
                Never,
                "more names are in use than `names.max_watches` allows",
            ),
            Self::NoEndpoint => row(
                "no_endpoint",
                503,
                "destination_unavailable",
                14,
                Endpoint,
                Never,
                "the service is known and has no healthy instance",
            ),
            Self::BareSubset => row(
                "bare_subset",
                503,
                "destination_unavailable",
                14,
                Endpoint,
                Never,
                "the service is the part of another that carries its `subset`, and no instance carries that",
            ),
            Self::ConnectionLimit => row(
                "connection_limit",
                503,
                "connection_limit_reached",
                14,
                Proxy,
                Safe,
                "every instance is at `max_connections`",
            ),
            Self::OutOfResources => row(
                "out_of_resources",
                503,
                "proxy_internal_error",
                14,
                Proxy,
                Safe,
                "the proxy has no file descriptor, memory or local port left for another connection; raise its limits",
            ),
            Self::ConnectFailed => row(
                "connect_failed",
                502,
                "connection_refused",
                14,
                Endpoint,
                Safe,
                "the instance could not be connected to",
            ),
            Self::ConnectTimeout => row(
                "connection_timeout",
                504,
                "connection_timeout",
                14,
                Endpoint,
                Safe,
                "the connection was not made within `connect_timeout`",
            ),
            Self::UpstreamClosed => row(
                "upstream_closed",
                502,
                "connection_terminated",
                14,
                Endpoint,
                Replayable,
                "the instance closed the connection before it answered",
            ),
            Self::UpstreamProtocol => row(
                "http_protocol_error",
                502,
                "http_protocol_error",
                14,
                Answer,
                Replayable,
                "the instance's answer breaks HTTP's grammar or its framing rules",
            ),
            Self::UpstreamHeadTooLarge => row(
                "http_response_header_section_size",
                502,
                "http_response_header_section_size",
                14,
                Answer,
                Replayable,
                "the instance's head, or what follows its body, is larger than `http.max_head_size` or has more lines than `http.max_headers`",
            ),
            Self::Timeout => row(
                "http_response_timeout",
                504,
                "http_response_timeout",
                4,
                Endpoint,
                Never,
                "no answer within `timeout`",
            ),
            Self::UpstreamStatus => row(
                "upstream_status",
                503,
                "http_request_error",
                14,
                Endpoint,
                Replayable,
                "the instance answered that it cannot",
            ),
            Self::UpstreamError => row(
                "upstream_error",
                500,
                "http_request_error",
                13,
                Endpoint,
                Replayable,
                "the instance answered with an error",
            ),
            Self::BreakerOpen => row(
                "breaker_open",
                503,
                "destination_unavailable",
                14,
                Proxy,
                Never,
                "the service's circuit breaker is open: no instance has answered lately, and one request at a time is let through to see",
            ),
            Self::LimitReached => row(
                "limit_reached",
                503,
                "connection_limit_reached",
                14,
                Proxy,
                Never,
                "the service is overloaded: as many requests are at it as `limit` lets in",
            ),
            Self::QueueTimeout => row(
                "queue_timeout",
                503,
                "connection_limit_reached",
                14,
                Proxy,
                Never,
                "the service is overloaded: the request waited for its turn as long as `limit.queue_timeout` lets it",
            ),
            Self::BulkheadFull => row(
                "bulkhead_full",
                503,
                "connection_limit_reached",
                14,
                Proxy,
                Never,
                "the caller or the route has as many requests in flight as its `bulkhead` lets it",
            ),
            Self::ClientGone => {
                row("client_gone", 499, "connection_terminated", 1, Client, Never, "the client closed its connection")
            }
            Self::Draining => {
                row("draining", 503, "proxy_internal_response", 14, Proxy, Never, "the proxy is shutting down")
            }
            Self::FaultReset => row(
                "fault_reset",
                502,
                "connection_terminated",
                14,
                Proxy,
                Never,
                "an injected edge fault reset the connection; `outrigger fault list` shows it",
            ),
            Self::Internal => {
                row("internal", 500, "proxy_internal_error", 13, Proxy, Never, "a fault of the proxy; please report it")
            }
        }
    }
}
