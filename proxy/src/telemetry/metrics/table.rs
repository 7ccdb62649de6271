//! The table of metrics. `docs/metrics.md` is made from it.

pub(super) mod name;

use std::fmt::Write;

use crate::counts::BUCKETS_US;

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, unit and `_total` included.
    pub name: &'static str,
    /// What it is to Prometheus.
    pub kind: Kind,
    /// Its labels, each from a bounded list.
    pub labels: &'static [&'static str],
    /// A sentence.
    pub help: &'static str,
    /// Whether it goes through the `metrics` crate.
    pub(super) facade: bool,
}

/// What a metric is to Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rises until the process ends; a service's also until the service is no longer followed.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper bound.
    Histogram,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

const fn metric(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind, labels, help, facade: false }
}

const fn facade(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind, labels, help, facade: true }
}

use Kind::{Counter, Gauge, Histogram};

/// Every metric there is.
pub const TABLE: &[Metric] = &[
    metric(
        name::REQUESTS,
        Counter,
        &["service", "code"],
        "Requests answered, by the class of the status that went to the client: 2xx.",
    ),
    metric(
        name::REFUSED,
        Counter,
        &["service", "reason"],
        "Requests that the proxy answered itself, by reason. Also in outrigger_requests_total.",
    ),
    metric(name::DURATION, Histogram, &["service"], "From a request's head to its answer's head, whoever answered."),
    metric(name::ATTEMPTS, Counter, &["service", "result"], "Attempts at endpoints: ok, or the reason of the failure."),
    metric(name::RETRIES, Counter, &["service"], "Attempts after a request's first."),
    metric(
        name::CONNECTIONS_OPENED,
        Counter,
        &["service"],
        "Connections to endpoints that were begun, those that failed included.",
    ),
    metric(name::CONNECTIONS, Gauge, &["service"], "Open connections to endpoints."),
    metric(name::IN_FLIGHT, Gauge, &["service"], "Requests at endpoints now, as of the workers' last ticks."),
    metric(name::ENDPOINTS, Gauge, &["service"], "Endpoints that take traffic."),
    metric(name::ENDPOINT_ATTEMPTS, Counter, &["service", "endpoint"], "Attempts at the endpoint."),
    metric(
        name::ENDPOINT_FAILURES,
        Counter,
        &["service", "endpoint"],
        "Of those, the ones that failed by the endpoint's own fault.",
    ),
    metric(
        name::ENDPOINT_OVERTAKEN,
        Counter,
        &["service", "endpoint"],
        "Of those, the ones that were given up because another attempt was faster, or the client had left. They are no failures.",
    ),
    metric(
        name::ENDPOINT_LATENCY,
        Gauge,
        &["service", "endpoint", "quantile"],
        "What its answers of the last minute or two took at most, in half of all cases (0.5) and in all but a hundredth (0.99); an attempt that was given up counts with the time it had had. Absent without answers.",
    ),
    metric(
        name::ENDPOINT_SCORE,
        Gauge,
        &["service", "endpoint"],
        "What the balancer goes by: the average of the endpoint's answers as one worker sees it, failures included. Absent before the first answer.",
    ),
    metric(name::ENDPOINT_EJECTED, Gauge, &["service", "endpoint"], "1 while the endpoint is ejected."),
    metric(
        name::REGISTRY_AGE,
        Gauge,
        &["service"],
        "Since the registry last confirmed the service's instances. Absent before the first answer, and where the configuration names the instances.",
    ),
    metric(
        name::REGISTRY_FAILING,
        Gauge,
        &["service"],
        "1 while the registry cannot be asked about the service; its last good instances stay.",
    ),
    metric(
        name::LEFT_OUT,
        Gauge,
        &["service"],
        "Instances that take no traffic: critical, of weight 0, without an address, or skipped.",
    ),
    metric(name::SKIPPED, Gauge, &["service"], "Entries of the registry that make no sense: port 0, no address."),
    metric(
        name::CHECKS,
        Counter,
        &["service", "result"],
        "Checks of our own that were made of the service's endpoints: good or bad.",
    ),
    metric(
        name::CHECKED,
        Gauge,
        &["service", "word"],
        "Endpoints with checks of our own, by what these say: passing, failing, or unknown before there are results. Absent where there are no checks.",
    ),
    metric(
        name::OUTCOMES,
        Counter,
        &["service", "outcome"],
        "Requests by what became of them: success, degraded (a fallback answered) or failure. What the client did to itself (4xx, leaving at once) is in none.",
    ),
    metric(
        name::STARTED,
        Counter,
        &["service"],
        "Requests that have reached the service. In every scrape the sum of outrigger_account_total and outrigger_account_in_flight.",
    ),
    metric(
        name::ACCOUNT,
        Counter,
        &["service", "fate"],
        "Requests that are over, each once: first_good (the first attempt was answered well, whoever was faster), rescued (it failed, and another was answered well), unknown (another was faster, and nobody knows what became of the first), degraded (a fallback answered), lost, refused (by one of our limits, before any attempt failed), abandoned (the client left before it had waited 100 ms), client_error (4xx, or a message that breaks the rules).",
    ),
    metric(
        name::ACCOUNT_IN_FLIGHT,
        Gauge,
        &["service"],
        "Requests that are not over: their answer is not with the client, or for 50 ms what becomes of an overtaken first attempt.",
    ),
    metric(
        name::RESCUED,
        Counter,
        &["service", "by"],
        "The rescued requests of outrigger_account_total by what answered: retry, other_endpoint (after a failed connect), try_timeout or hedge.",
    ),
    metric(name::LOST, Counter, &["service", "reason"], "The lost requests of outrigger_account_total by reason."),
    metric(
        name::LIMITED,
        Counter,
        &["service", "reason"],
        "The refused requests of outrigger_account_total by reason.",
    ),
    metric(
        name::AVAILABILITY,
        Gauge,
        &["service", "stage", "window"],
        "The share of requests in the last 1m, 5m, 1h or 24h that were good: before resilience (first attempts) and after it. Absent without requests.",
    ),
    metric(name::HEDGES, Counter, &["service"], "Attempts that were started because another one was slow."),
    metric(name::HEDGES_WON, Counter, &["service"], "Of those, the ones that were faster."),
    metric(name::BUDGET, Gauge, &["service"], "Tokens in the service's account for retries and hedges."),
    metric(
        name::BUDGET_REFUSED,
        Counter,
        &["service"],
        "Attempts that were not made because the service's account was empty.",
    ),
    metric(
        name::EJECTIONS,
        Counter,
        &["service", "cause"],
        "Endpoints that were left out for a while: after consecutive failures, a share of failures, silence (attempts in a row that were overtaken), or for their latency.",
    ),
    metric(name::EJECTED, Gauge, &["service"], "Endpoints that are left out now."),
    metric(
        name::FAIL_OPEN,
        Gauge,
        &["service"],
        "1 while so much of the pool is out that requests go to ejected endpoints too.",
    ),
    metric(name::BREAKER, Gauge, &["service"], "The service's circuit breaker: 0 closed, 1 half open, 2 open."),
    metric(
        name::BREAKER_OPENED,
        Counter,
        &["service"],
        "How often a circuit breaker of the service, or of a route of its, has opened.",
    ),
    metric(
        name::LIMIT,
        Gauge,
        &["service"],
        "How many requests may be at the service at once: `max_in_flight`, or less where one was found while the service is overloaded; 0 while there is no limit.",
    ),
    metric(name::LET_IN, Gauge, &["service"], "Requests that the limit has let in and that have not ended."),
    metric(
        name::QUEUED,
        Gauge,
        &["service"],
        "Requests that wait for their turn. Those that were refused are in outrigger_refused_total.",
    ),
    metric(
        name::GENERATION,
        Gauge,
        &[],
        "The number of the current snapshot; rises with each change of routes or pools.",
    ),
    metric(
        name::FAULTS,
        Gauge,
        &["subject", "place", "type"],
        "Faults that are injected at the moment, by the service or `tcp NAME` they hang on.",
    ),
    metric(
        name::INJECTED,
        Counter,
        &["subject", "place", "type"],
        "Requests (edge), attempts or connections (upstream) that faults have struck.",
    ),
    facade(name::RELOADS, Counter, &["result"], "Reloads of the configuration: applied or refused."),
    facade(
        name::RELOAD_TIME,
        Gauge,
        &[],
        "When the configuration was last reloaded, in Unix time. Absent before the first reload.",
    ),
    facade(
        name::ACCESS_LOG_DROPPED,
        Counter,
        &[],
        "Lines of the access log that were lost: the reader of stdout was too slow, or stdout could not be written.",
    ),
    facade(
        name::LOG_DROPPED,
        Counter,
        &[],
        "Lines of the program's own log that were lost: the reader of stderr was too slow, or stderr could not be written.",
    ),
    facade(
        name::AUDIT_LOG_DROPPED,
        Counter,
        &[],
        "Lines of the file of `faults.audit_log` that were lost because it could not be written.",
    ),
    facade(name::CLIENT_CONNECTIONS, Gauge, &["worker"], "Open connections from clients."),
    facade(name::CLIENT_CONNECTIONS_ACCEPTED, Counter, &["worker"], "Connections accepted from clients."),
    facade(
        name::TURNED_AWAY,
        Counter,
        &["reason"],
        "Connections from clients that were refused as they came: memory, where buffers take all that http.max_buffered allows.",
    ),
    facade(
        name::HANDSHAKES,
        Counter,
        &["result"],
        "TLS handshakes with clients: full or resumed, and those that failed by why: timeout, made_room, closed (by the client, in its middle), not_tls, incompatible (no version, cipher or kind of key in common), alpn, unknown_name, client_certificate, alert_received (the client refuses: it may not trust the certificate), broken.",
    ),
    facade(
        name::NOT_AFTER,
        Gauge,
        &["file"],
        "When the first certificate of the file ends, in Unix time: of listeners, and of services that show one.",
    ),
    facade(
        name::MADE_ROOM,
        Counter,
        &["reason"],
        "Clients' connections that were ended for others because little room was left: idle, the longest first, or slow_head.",
    ),
    facade(
        name::ABUSES,
        Counter,
        &["kind"],
        "Clients' HTTP/2 connections that were ended for what the client sent: resets, provoked_resets, settings, pings, priorities, window_updates, continuations, heads, data, other_frames (too many of them), or protocol (a rule that was broken).",
    ),
    facade(
        name::CHECKS_NOT_MADE,
        Counter,
        &[],
        "Health checks that could not be made for a reason of our own, and say nothing of an endpoint.",
    ),
    facade(name::HELD_BYTES, Gauge, &["worker"], "Bytes of answers that are held until they are whole."),
    facade(
        name::MALFORMED,
        Counter,
        &["field"],
        "Fields that steer the proxy and were ignored because they make no sense; by their usual names, also where they were renamed.",
    ),
    facade(
        name::EXPLAIN_DROPPED,
        Counter,
        &[],
        "Requests that `outrigger explain` does not know although something went wrong, because there were too many at once.",
    ),
    metric(name::TCP_CONNECTIONS, Gauge, &["proxy"], "Open connections of a TCP proxy."),
    metric(name::TCP_ACCEPTED, Counter, &["proxy"], "Connections that a TCP proxy has accepted."),
    metric(name::TCP_FAILED, Counter, &["proxy"], "Of those, connections for which no upstream was to be had."),
    metric(
        name::TCP_RECEIVED,
        Counter,
        &["proxy", "direction"],
        "Bytes that a TCP proxy has received: `upstream` from clients, `downstream` from servers.",
    ),
    metric(
        name::TCP_SENT,
        Counter,
        &["proxy", "direction"],
        "Bytes that a TCP proxy has sent: `upstream` to servers, `downstream` to clients.",
    ),
    facade(name::BUILD_INFO, Gauge, &["version"], "Always 1."),
    metric(name::CPU, Counter, &[], "CPU time of the process, user and system."),
    metric(name::RESIDENT, Gauge, &[], "Resident memory."),
    metric(name::VIRTUAL, Gauge, &[], "Virtual memory."),
    metric(name::OPEN_FDS, Gauge, &[], "Open file descriptors."),
    metric(name::MAX_FDS, Gauge, &[], "How many file descriptors may be open."),
    metric(name::THREADS, Gauge, &[], "Threads of the process."),
    metric(name::START_TIME, Gauge, &[], "When the process started, in Unix time."),
];

/// The table as a page of documentation.
pub fn document() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Made from `proxy/src/telemetry/metrics/table.rs`: UPDATE_DOCS=1 cargo test -p outrigger metrics -->\n\n\
         `GET /metrics` on the admin port, in Prometheus' text format.\n\n\
         Labels are bounded: `service` has the services that are followed now and `(other)`, under which all names \
         count of which no registry has an instance, and all direct destinations; `code` is `1xx` to `5xx` or `other`; `reason` is a row of the \
         table of errors; `proxy` has the TCP proxies that there are now; `endpoint` has the addresses that take traffic now, its series end with the endpoint, and \
         `admin.endpoint_metrics: false` leaves all of them out. A service's series end when it is no longer followed, and begin at 0 when it is again.\n\n\
         | Name | Type | Labels | |\n|---|---|---|---|\n",
    );
    for Metric { name, kind, labels, help, .. } in TABLE {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a string does not fail.
        let _never = writeln!(page, "| `{name}` | {} | {} | {help} |", kind.word(), labels.join(", "));
    }
    let bounds: Vec<String> = BUCKETS_US.iter().map(|bound| format!("{}", *bound as f64 / 1e6)).collect();
    let _never = writeln!(page, "\nBuckets of durations, in seconds: {}.", bounds.join(", "));
    page
}
