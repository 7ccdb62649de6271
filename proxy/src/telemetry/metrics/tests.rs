use std::collections::HashMap;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::*;
use crate::config::settings::Policy;
use crate::counts::{Account, Circuit, Ejection, EndpointTally, Fate, Level, Rescue, ServiceMetrics, ServiceTally};
use crate::error::Reason;
use crate::snapshot::{Clock, Cluster, ClusterShared, DiscoveryState, Endpoint, EndpointId, Health};

fn snapshot(metrics: ServiceMetrics, name: &str) -> Snapshot {
    let policy = Policy {
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(1),
        max_connections: 1,
        max_idle: 1,
        idle_timeout: Duration::from_secs(1),
        ..Policy::default()
    };
    let endpoint = Endpoint {
        id: EndpointId(1),
        instance: "i".into(),
        address: "127.0.0.1:1".parse().unwrap(),
        weight: 1,
        health: Health::Passing,
        shared: Arc::default(),
    };
    endpoint.shared.connections.store(3, Relaxed);
    let name: Arc<str> = name.into();
    let now = crate::clock::Instant::now();
    let clock = Clock::new(now);
    let shared = ClusterShared::new("orders", metrics, &policy, clock, now);
    shared.confirmed.store(500, Relaxed);
    let cluster = Cluster {
        name: Arc::clone(&name),
        policy: Arc::new(policy),
        standing: DiscoveryState::Known,
        endpoints: Arc::new([Arc::new(endpoint)]),
        shared: Arc::new(shared),
    };
    Snapshot {
        generation: 7,
        clock,
        routes: Arc::default(),
        clusters: HashMap::from([(name, Arc::new(cluster))]),
        changes: Default::default(),
    }
}

fn facts(_: &str) -> PoolFacts {
    let availability = [None, Some((0.5, 0.75)), None, None];
    PoolFacts { failing: true, left_out: 3, skipped: 2, words: [0, 4, 1], availability }
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
}

#[test]
fn what_a_worker_counts_is_what_prometheus_reads() {
    let metrics = ServiceMetrics::new("or\"ders");
    let mut tally = ServiceTally::default();
    tally.answered(200, Duration::from_micros(100));
    tally.answered(204, Duration::from_micros(101));
    tally.answered(999, Duration::from_secs(60));
    tally.refused(Reason::NoEndpoint, Duration::from_millis(1));
    tally.attempted(None);
    tally.attempted(Some(Reason::ConnectFailed));
    tally.retried();
    tally.connected();
    metrics.checked(true);
    metrics.checked(true);
    metrics.checked(false);
    metrics.absorb(&mut tally);
    metrics.absorb(&mut tally);
    let text = install().render(&snapshot(metrics, "or\"ders"), 2000, &facts);

    has(&text, r#"outrigger_requests_total{service="or\"ders",code="2xx"} 2"#);
    has(&text, r#"outrigger_requests_total{service="or\"ders",code="5xx"} 1"#);
    has(&text, r#"outrigger_requests_total{service="or\"ders",code="other"} 1"#);
    has(&text, r#"outrigger_refused_total{service="or\"ders",reason="no_endpoint"} 1"#);
    has(&text, r#"outrigger_attempts_total{service="or\"ders",result="ok"} 1"#);
    has(&text, r#"outrigger_attempts_total{service="or\"ders",result="connect_failed"} 1"#);
    has(&text, r#"outrigger_retries_total{service="or\"ders"} 1"#);
    has(&text, r#"outrigger_upstream_connections_opened_total{service="or\"ders"} 1"#);
    has(&text, r#"outrigger_request_duration_seconds_bucket{service="or\"ders",le="0.0001"} 1"#);
    has(&text, r#"outrigger_request_duration_seconds_bucket{service="or\"ders",le="0.00025"} 2"#);
    has(&text, r#"outrigger_request_duration_seconds_bucket{service="or\"ders",le="10"} 3"#);
    has(&text, r#"outrigger_request_duration_seconds_bucket{service="or\"ders",le="+Inf"} 4"#);
    has(&text, r#"outrigger_request_duration_seconds_count{service="or\"ders"} 4"#);
    has(&text, r#"outrigger_request_duration_seconds_sum{service="or\"ders"} 60.001201"#);
    has(&text, r#"outrigger_upstream_connections{service="or\"ders"} 3"#);
    has(&text, r#"outrigger_registry_age_seconds{service="or\"ders"} 1.5"#);
    has(&text, r#"outrigger_registry_failing{service="or\"ders"} 1"#);
    has(&text, r#"outrigger_instances_left_out{service="or\"ders"} 3"#);
    has(&text, r#"outrigger_instances_skipped{service="or\"ders"} 2"#);
    has(&text, r#"outrigger_health_checks_total{service="or\"ders",result="good"} 2"#);
    has(&text, r#"outrigger_health_checks_total{service="or\"ders",result="bad"} 1"#);
    has(&text, r#"outrigger_health_check_endpoints{service="or\"ders",word="unknown"} 0"#);
    has(&text, r#"outrigger_health_check_endpoints{service="or\"ders",word="passing"} 4"#);
    has(&text, r#"outrigger_health_check_endpoints{service="or\"ders",word="failing"} 1"#);
    has(&text, "outrigger_snapshot_generation 7");
    has(&text, &format!("outrigger_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_became_of_requests_is_in_the_metrics() {
    let metrics = ServiceMetrics::new("orders");
    let mut tally = ServiceTally::default();
    for account in [
        Account::GOOD,
        Account::of(Fate::Rescued(Rescue::Retry), 2),
        Account::of(Fate::Unknown, 2),
        Account::of(Fate::Degraded, 1),
        Account::of(Fate::Lost(Reason::Timeout), 1),
        Account::of(Fate::Lost(Reason::Timeout), 3),
        Account::of(Fate::Refused(Reason::BreakerOpen), 0),
        Account::of(Fate::Abandoned, 1),
        Account::of(Fate::ClientError, 1),
    ] {
        tally.finished(&account);
    }
    tally.opened(true);
    metrics.absorb(&mut tally);
    let totals = metrics.totals();
    assert_eq!((totals.success(), totals.answered(), totals.requests(), totals.attempts), (3, 4, 7, 12));
    assert!(totals.reconciles(), "{totals:?}");
    let text = install().render(&snapshot(metrics, "orders"), 2000, &facts);
    for line in [
        r#"outrigger_outcomes_total{service="orders",outcome="success"} 3"#,
        r#"outrigger_outcomes_total{service="orders",outcome="degraded"} 1"#,
        r#"outrigger_outcomes_total{service="orders",outcome="failure"} 3"#,
        r#"outrigger_requests_started_total{service="orders"} 10"#,
        r#"outrigger_account_total{service="orders",fate="first_good"} 1"#,
        r#"outrigger_account_total{service="orders",fate="rescued"} 1"#,
        r#"outrigger_account_total{service="orders",fate="unknown"} 1"#,
        r#"outrigger_account_total{service="orders",fate="degraded"} 1"#,
        r#"outrigger_account_total{service="orders",fate="lost"} 2"#,
        r#"outrigger_account_total{service="orders",fate="refused"} 1"#,
        r#"outrigger_account_total{service="orders",fate="abandoned"} 1"#,
        r#"outrigger_account_total{service="orders",fate="client_error"} 1"#,
        r#"outrigger_account_in_flight{service="orders"} 1"#,
        r#"outrigger_rescued_total{service="orders",by="retry"} 1"#,
        r#"outrigger_lost_total{service="orders",reason="http_response_timeout"} 2"#,
        r#"outrigger_refused_by_limits_total{service="orders",reason="breaker_open"} 1"#,
        r#"outrigger_availability_ratio{service="orders",stage="before",window="5m"} 0.5"#,
        r#"outrigger_availability_ratio{service="orders",stage="after",window="5m"} 0.75"#,
    ] {
        has(&text, line);
    }
    assert!(!text.contains(r#"window="1h""#), "no requests, no share");
}

#[test]
fn each_endpoint_has_series_that_say_whether_it_fails_or_is_slow() {
    let known = snapshot(ServiceMetrics::new("orders"), "orders");
    let endpoint = &known.clusters["orders"].endpoints[0];
    let text = install().render_endpoints(&known, 60_000);
    has(&text, r#"outrigger_endpoint_attempts_total{service="orders",endpoint="127.0.0.1:1"} 0"#);
    assert!(!text.contains("outrigger_endpoint_latency_seconds{"), "nothing was answered: {text}");
    let tally = EndpointTally::default();
    (0..98).for_each(|_| tally.took(Duration::from_micros(1_000)));
    (0..2).for_each(|_| tally.overtaken(Duration::from_micros(64_000)));
    tally.attempted();
    tally.failed();
    tally.drain(&endpoint.shared.counts, 60_000);
    endpoint.shared.score_us.store(1_500, Relaxed);
    let text = install().render_endpoints(&known, 60_000);
    for line in [
        r#"outrigger_endpoint_attempts_total{service="orders",endpoint="127.0.0.1:1"} 1"#,
        r#"outrigger_endpoint_failures_total{service="orders",endpoint="127.0.0.1:1"} 1"#,
        r#"outrigger_endpoint_overtaken_total{service="orders",endpoint="127.0.0.1:1"} 2"#,
        r#"outrigger_endpoint_latency_seconds{service="orders",endpoint="127.0.0.1:1",quantile="0.5"} 0.001024"#,
        r#"outrigger_endpoint_latency_seconds{service="orders",endpoint="127.0.0.1:1",quantile="0.99"} 0.065536"#,
        r#"outrigger_endpoint_score_seconds{service="orders",endpoint="127.0.0.1:1"} 0.0015"#,
        r#"outrigger_endpoint_ejected{service="orders",endpoint="127.0.0.1:1"} 0"#,
    ] {
        has(&text, line);
    }
    assert!(!install().render(&known, 60_000, &facts).contains("endpoint="), "they are a page of their own");
}

#[test]
fn what_policies_do_is_in_the_metrics() {
    let metrics = ServiceMetrics::new("orders");
    let (mut one, mut other) = (ServiceTally::default(), ServiceTally::default());
    one.hedged();
    one.hedge_won();
    one.budget_refused();
    one.ejected(Ejection::Latency);
    one.breaker_opened();
    one.level(Level::Limit, 10);
    one.level(Level::Queued, 4);
    other.level(Level::Limit, 7);
    metrics.absorb(&mut one);
    metrics.absorb(&mut other);
    one.level(Level::Queued, 1);
    metrics.absorb(&mut one);
    metrics.absorb(&mut one);
    metrics.gauges().endpoints_ejected(2);
    metrics.gauges().fail_open(true);
    metrics.gauges().breaker(Circuit::Open);
    metrics.gauges().budget(2.5);
    let text = install().render(&snapshot(metrics, "orders"), 2000, &facts);
    for line in [
        r#"outrigger_hedges_total{service="orders"} 1"#,
        r#"outrigger_hedges_won_total{service="orders"} 1"#,
        r#"outrigger_retry_budget_refused_total{service="orders"} 1"#,
        r#"outrigger_ejections_total{service="orders",cause="latency"} 1"#,
        r#"outrigger_breaker_opened_total{service="orders"} 1"#,
        r#"outrigger_concurrency_limit{service="orders"} 17"#,
        r#"outrigger_queued_requests{service="orders"} 1"#,
        r#"outrigger_limited_requests{service="orders"} 0"#,
        r#"outrigger_endpoints_ejected{service="orders"} 2"#,
        r#"outrigger_fail_open{service="orders"} 1"#,
        r#"outrigger_breaker_state{service="orders"} 2"#,
        r#"outrigger_retry_budget_tokens{service="orders"} 2.5"#,
    ] {
        has(&text, line);
    }
}

#[test]
fn a_name_nobody_knows_is_no_label() {
    let metrics = ServiceMetrics::provisional("evil-name");
    let mut tally = ServiceTally::default();
    tally.refused(Reason::UnknownService, Duration::ZERO);
    metrics.absorb(&mut tally);
    let known = snapshot(metrics, "evil-name");
    let text = install().render(&known, 1, &facts);
    assert!(!text.contains("evil-name"), "{text}");
    assert!(text.contains(r#"outrigger_refused_total{service="(other)",reason="unknown_service"}"#), "{text}");

    known.clusters["evil-name"].shared.metrics.confirm();
    tally.answered(200, Duration::ZERO);
    known.clusters["evil-name"].shared.metrics.absorb(&mut tally);
    has(&install().render(&known, 1, &facts), r#"outrigger_requests_total{service="evil-name",code="2xx"} 1"#);
}

#[test]
fn every_family_is_declared_once_and_is_in_the_table() {
    let installed = install();
    count_reload(true);
    count_reload(false);
    let mut clients = ClientMetrics::new(0);
    clients.opened();
    clients.malformed(Steering::RetryAfter);
    clients.held(1_000);
    clients.made_room(1, 1);
    clients.turned_away();
    clients.ended_for("pings");
    clients.shook_hands(Handshake::Full);
    clients.flush();
    set_certificate_end(std::path::Path::new("a.pem"), SystemTime::now());
    let mut text = installed.render(&snapshot(ServiceMetrics::new("a"), "a"), 1000, &facts);
    text.push_str(&installed.render_endpoints(&snapshot(ServiceMetrics::new("a"), "a"), 1000));
    text.push_str(&installed.render_tcp(&[]));
    text.push_str(&installed.render_faults(&snapshot(ServiceMetrics::new("a"), "a"), &[]));
    for metric in TABLE {
        let declared = format!("# TYPE {} {}", metric.name, metric.kind.word());
        assert_eq!(text.lines().filter(|line| **line == declared).count(), 1, "{declared}\n{text}");
        assert!(text.contains(&format!("# HELP {} ", metric.name)), "{}", metric.name);
        assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
    }
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known = |name: &str| TABLE.iter().any(|metric| metric.name == name);
        assert!(known(name) || base.is_some_and(known), "{line}");
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn the_process_is_seen() {
    let process = process::Process::now();
    assert!(process.resident_bytes > 1 << 20 && process.virtual_bytes > process.resident_bytes, "{process:?}");
    assert!(process.open_fds >= 3 && process.max_fds >= process.open_fds && process.threads > 0, "{process:?}");
    assert!(process.cpu_seconds >= 0.0);
}

#[test]
fn whatever_is_counted_by_kind_is_its_place_in_the_list() {
    for (place, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, place, "{reason:?}");
    }
    assert!(Rescue::ALL.iter().enumerate().all(|(place, rescue)| *rescue as usize == place));
    assert!(Level::ALL.iter().enumerate().all(|(place, level)| *level as usize == place));
    assert!(Ejection::ALL.iter().enumerate().all(|(place, why)| *why as usize == place));
    assert!(CheckStatus::ALL.iter().enumerate().all(|(place, word)| *word as usize == place));
    assert!(Steering::ALL.iter().enumerate().all(|(place, field)| *field as usize == place));
}

#[test]
fn the_page_of_metrics_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).unwrap();
        std::fs::write(path, document()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == document(), "docs/metrics.md is stale: UPDATE_DOCS=1 cargo test -p outrigger metrics");
}
