//! The text that Prometheus reads, for everything that does not go through the `metrics` crate.

use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use super::process::Process;
use super::table::{TABLE, name};
use super::{OTHER_LABEL, PoolFacts, TcpFacts, age_ms};
use crate::counts::{
    BUCKETS_US, ByReason, Counts, Ejection, EndpointCounts, Gauges, Level, Losses, OTHER, Rescue, TcpCounts, Totals,
};
use crate::error::Reason;
use crate::fault::active::Tally;
use crate::snapshot::{Cluster, EndpointShared, Snapshot};
use crate::telemetry::availability::Window;
use crate::telemetry::status::CheckStatus;

/// Every service's metrics.
pub fn services(snapshot: &Snapshot, clock: u64, facts: &dyn Fn(&str) -> PoolFacts) -> String {
    let mut clusters: Vec<&Arc<Cluster>> = snapshot.clusters.values().collect();
    clusters.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let counted: Vec<(String, &Counts)> = clusters
        .iter()
        .map(|cluster| &cluster.shared.metrics)
        .filter(|metrics| metrics.is_confirmed())
        .map(|metrics| (escape(&metrics.service), &metrics.counts))
        .chain([(OTHER_LABEL.to_owned(), &OTHER)])
        .collect();
    let known = known(snapshot);

    let mut page = Page(String::with_capacity(1024 + 2048 * counted.len()));
    page.family(name::REQUESTS);
    for (service, counts) in &counted {
        for (class, count) in counts.classes.iter().enumerate() {
            let code = if class == 0 { "other".into() } else { format!("{class}xx") };
            page.nonzero(name::REQUESTS, service, "code", &code, count);
        }
    }
    page.family(name::REFUSED);
    for (service, counts) in &counted {
        for (reason, count) in Reason::ALL.iter().zip(&counts.refused) {
            page.nonzero(name::REFUSED, service, "reason", reason.token(), count);
        }
    }
    page.family(name::DURATION);
    for (service, counts) in &counted {
        page.histogram(name::DURATION, service, counts);
    }
    page.family(name::ATTEMPTS);
    for (service, counts) in &counted {
        page.nonzero(name::ATTEMPTS, service, "result", "ok", &counts.good_attempts);
        for (reason, count) in Reason::ALL.iter().zip(&counts.failed_attempts) {
            page.nonzero(name::ATTEMPTS, service, "result", reason.token(), count);
        }
    }
    page.by_service(name::RETRIES, counted.iter().map(|(s, c)| (s, c.retries.load(Relaxed))));
    page.by_service(name::CONNECTIONS_OPENED, counted.iter().map(|(s, c)| (s, c.connections.load(Relaxed))));

    let open = |cluster: &Cluster| -> u64 {
        cluster.endpoints.iter().map(|e| u64::from(e.shared.connections.load(Relaxed))).sum()
    };
    page.by_service(name::CONNECTIONS, known.iter().map(|(s, c)| (s, open(c))));
    let in_flight =
        |cluster: &Cluster| -> i64 { cluster.endpoints.iter().map(|e| e.shared.in_flight.load(Relaxed)).sum() };
    page.by_service(name::IN_FLIGHT, known.iter().map(|(s, c)| (s, in_flight(c))));
    page.by_service(name::ENDPOINTS, known.iter().map(|(s, c)| (s, c.endpoints.len())));
    let age = |cluster: &Cluster| age_ms(cluster.shared.confirmed.load(Relaxed), clock);
    let ages = known.iter().filter_map(|(service, cluster)| Some((service, age(cluster)? as f64 / 1e3)));
    page.by_service(name::REGISTRY_AGE, ages);
    let facts: Vec<(&String, PoolFacts)> = known.iter().map(|(s, cluster)| (s, facts(&cluster.name))).collect();
    page.by_service(name::REGISTRY_FAILING, facts.iter().map(|(s, facts)| (*s, u8::from(facts.failing))));
    page.by_service(name::LEFT_OUT, facts.iter().map(|(s, facts)| (*s, facts.left_out)));
    page.by_service(name::SKIPPED, facts.iter().map(|(s, facts)| (*s, facts.skipped)));
    checks(&mut page, &counted, &facts);
    accounts(&mut page, &counted, &facts);
    let gauges: Vec<(&String, &Gauges)> =
        known.iter().map(|(s, cluster)| (s, cluster.shared.metrics.gauges())).collect();
    policies(&mut page, &counted, &gauges);
    let limits = known.iter().map(|(service, cluster)| (service, limit(cluster)));
    page.by_service(name::LIMIT, limits);
    page.single(name::GENERATION, snapshot.generation);
    page.0
}

/// The services that are known to exist, by their names.
fn known(snapshot: &Snapshot) -> Vec<(String, &Cluster)> {
    let mut known: Vec<(String, &Cluster)> = snapshot
        .clusters
        .values()
        .filter(|cluster| cluster.shared.metrics.is_confirmed())
        .map(|cluster| (escape(&cluster.name), &**cluster))
        .collect();
    known.sort_unstable_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    known
}

/// Which endpoint fails, and which is slow.
pub fn endpoints(snapshot: &Snapshot, clock: u64) -> String {
    // Instances may be registered at one address more than once, and a series must not be there twice.
    let mut each: Vec<(String, SocketAddr, &EndpointShared)> = Vec::new();
    for (service, cluster) in known(snapshot) {
        let mut of: Vec<_> = cluster.endpoints.iter().map(|e| (service.clone(), e.address, &*e.shared)).collect();
        of.sort_by_key(|(_, address, _)| *address);
        of.dedup_by_key(|(_, address, _)| *address);
        each.append(&mut of);
    }
    let mut page = Page(String::with_capacity(512 * each.len()));
    let counters: [(&str, EndpointRead); 3] = [
        (name::ENDPOINT_ATTEMPTS, |counts| &counts.attempts),
        (name::ENDPOINT_FAILURES, |counts| &counts.failures),
        (name::ENDPOINT_OVERTAKEN, |counts| &counts.overtaken),
    ];
    for (name, count) in counters {
        page.family(name);
        for (service, address, shared) in &each {
            let count = count(&shared.counts).load(Relaxed);
            page.line(format_args!("{name}{{service=\"{service}\",endpoint=\"{address}\"}} {count}"));
        }
    }
    let name = name::ENDPOINT_LATENCY;
    page.family(name);
    for (service, address, shared) in &each {
        let Some(took) = shared.counts.took(clock) else { continue };
        for (quantile, took) in [("0.5", took.p50), ("0.99", took.p99)] {
            let (labels, took) = (format!("service=\"{service}\",endpoint=\"{address}\""), took.as_secs_f64());
            page.line(format_args!("{name}{{{labels},quantile=\"{quantile}\"}} {took}"));
        }
    }
    let name = name::ENDPOINT_SCORE;
    page.family(name);
    for (service, address, shared) in &each {
        let score = shared.score_us.load(Relaxed);
        if score > 0 {
            let score = score as f64 / 1e6;
            page.line(format_args!("{name}{{service=\"{service}\",endpoint=\"{address}\"}} {score}"));
        }
    }
    let name = name::ENDPOINT_EJECTED;
    page.family(name);
    for (service, address, shared) in &each {
        let out = u8::from(shared.outlier.is_out());
        page.line(format_args!("{name}{{service=\"{service}\",endpoint=\"{address}\"}} {out}"));
    }
    page.0
}

/// What our own checks came to.
fn checks(page: &mut Page, counted: &[(String, &Counts)], facts: &[(&String, PoolFacts)]) {
    page.family(name::CHECKS);
    for (service, counts) in counted {
        page.nonzero(name::CHECKS, service, "result", "good", &counts.good_checks);
        page.nonzero(name::CHECKS, service, "result", "bad", &counts.bad_checks);
    }
    page.family(name::CHECKED);
    for (service, facts) in facts.iter().filter(|(_, facts)| facts.words.iter().any(|count| *count > 0)) {
        for (word, count) in CheckStatus::ALL.iter().zip(facts.words) {
            let (name, word) = (name::CHECKED, word.name());
            page.line(format_args!("{name}{{service=\"{service}\",word=\"{word}\"}} {count}"));
        }
    }
}

/// What requests came to.
fn accounts(page: &mut Page, counted: &[(String, &Counts)], facts: &[(&String, PoolFacts)]) {
    // Read once, so that all that is told of a service is of the same moment.
    let accounts: Vec<(&String, Totals)> = counted.iter().map(|(s, counts)| (s, counts.account.totals())).collect();
    page.family(name::OUTCOMES);
    for (service, totals) in &accounts {
        page.positive(name::OUTCOMES, service, "outcome", "success", totals.success());
        page.positive(name::OUTCOMES, service, "outcome", "degraded", totals.degraded);
        page.positive(name::OUTCOMES, service, "outcome", "failure", totals.failure());
    }
    page.by_service(name::STARTED, accounts.iter().map(|(s, totals)| (*s, totals.started)));
    page.family(name::ACCOUNT);
    for (service, totals) in &accounts {
        for (fate, count) in totals.fates() {
            page.positive(name::ACCOUNT, service, "fate", fate, count);
        }
    }
    page.by_service(name::ACCOUNT_IN_FLIGHT, accounts.iter().map(|(s, totals)| (*s, totals.in_flight)));
    page.family(name::RESCUED);
    for (service, totals) in &accounts {
        for (rescue, count) in Rescue::ALL.iter().zip(totals.rescued) {
            page.positive(name::RESCUED, service, "by", rescue.name(), count);
        }
    }
    let by_reason: [(&str, LossesRead); 2] =
        [(name::LOST, |losses| &losses.lost), (name::LIMITED, |losses| &losses.refused)];
    for (name, counts) in by_reason {
        page.family(name);
        for (service, totals) in &accounts {
            for (reason, count) in Reason::ALL.iter().zip(counts(&totals.losses)) {
                page.positive(name, service, "reason", reason.token(), *count);
            }
        }
    }
    page.family(name::AVAILABILITY);
    for (service, facts) in facts {
        for (window, shares) in Window::ALL.iter().zip(facts.availability) {
            let Some((before, after)) = shares else { continue };
            for (stage, share) in [("before", before), ("after", after)] {
                let (name, window) = (name::AVAILABILITY, window.name());
                page.line(format_args!(
                    "{name}{{service=\"{service}\",stage=\"{stage}\",window=\"{window}\"}} {share}"
                ));
            }
        }
    }
}

/// The lower of the bound that was configured and the one that was found; 0 where there is neither.
fn limit(cluster: &Cluster) -> i64 {
    let found = cluster.shared.metrics.gauges().read(Level::Limit);
    let fixed = cluster.policy.limit.max_in_flight.map(i64::from);
    [Some(found).filter(|found| *found > 0), fixed].into_iter().flatten().min().unwrap_or(0)
}

/// What policies did, and how they stand.
fn policies(page: &mut Page, counted: &[(String, &Counts)], gauges: &[(&String, &Gauges)]) {
    let read = |count: fn(&Counts) -> &AtomicU64| counted.iter().map(move |(s, c)| (s, count(c).load(Relaxed)));
    page.by_service(name::HEDGES, read(|counts| &counts.hedges));
    page.by_service(name::HEDGES_WON, read(|counts| &counts.hedges_won));
    page.by_service(name::BUDGET_REFUSED, read(|counts| &counts.budget_refused));
    page.by_service(name::BREAKER_OPENED, read(|counts| &counts.breaker_opened));
    page.family(name::EJECTIONS);
    for (service, counts) in counted {
        for (cause, count) in Ejection::ALL.iter().zip(&counts.ejections) {
            page.nonzero(name::EJECTIONS, service, "cause", cause.name(), count);
        }
    }
    page.by_service(name::BUDGET, gauges.iter().map(|(s, gauges)| (*s, gauges.read_budget())));
    page.by_service(name::EJECTED, gauges.iter().map(|(s, gauges)| (*s, gauges.read_ejected())));
    page.by_service(name::FAIL_OPEN, gauges.iter().map(|(s, gauges)| (*s, gauges.read_fail_open())));
    page.by_service(name::BREAKER, gauges.iter().map(|(s, gauges)| (*s, gauges.read_breaker())));
    for (name, level) in [(name::LET_IN, Level::LetIn), (name::QUEUED, Level::Queued)] {
        page.by_service(name, gauges.iter().map(|(s, gauges)| (*s, gauges.read(level))));
    }
}

/// What went through plain TCP proxies.
pub fn tcp(proxies: &[TcpFacts]) -> String {
    let mut page = Page(String::new());
    let mut each = |name: &str, lines: &[(&str, Reading)]| {
        page.family(name);
        for (proxy, (labels, count)) in proxies.iter().flat_map(|proxy| lines.iter().map(move |line| (proxy, line))) {
            let (proxy, count) = (escape(&proxy.name), count(&proxy.counts));
            page.line(format_args!("{name}{{proxy=\"{proxy}\"{labels}}} {count}"));
        }
    };
    let (up, down) = (",direction=\"upstream\"", ",direction=\"downstream\"");
    each(name::TCP_CONNECTIONS, &[("", |counts| counts.open.load(Relaxed))]);
    each(name::TCP_ACCEPTED, &[("", |counts| whole(&counts.accepted))]);
    each(name::TCP_FAILED, &[("", |counts| whole(&counts.failed))]);
    each(
        name::TCP_RECEIVED,
        &[(up, |counts| whole(&counts.received_up)), (down, |counts| whole(&counts.received_down))],
    );
    each(name::TCP_SENT, &[(up, |counts| whole(&counts.sent_up)), (down, |counts| whole(&counts.sent_down))]);
    page.0
}

/// Faults. They are counted on their subjects, so a proxy or a service that is gone has no series.
pub fn faults(snapshot: &Snapshot, proxies: &[TcpFacts]) -> String {
    let services = snapshot.clusters.values().map(|cluster| &cluster.shared.faults);
    let mut subjects: Vec<_> = services.chain(proxies.iter().map(|proxy| &proxy.faults)).collect();
    subjects.sort_unstable_by_key(|subject| subject.label());
    let tallies: Vec<_> = subjects
        .iter()
        .flat_map(|subject| {
            subject
                .tallies()
                .iter()
                .cloned()
                .collect::<Vec<_>>()
                .into_iter()
                .map(move |tally| (escape(&subject.label()), tally))
        })
        .collect();
    let mut page = Page(String::new());
    let mut each = |name: &str, count: fn(&Tally) -> u64| {
        page.family(name);
        for (subject, tally) in &tallies {
            let (place, kind, count) = (tally.place.name(), tally.kind, count(tally));
            page.line(format_args!("{name}{{subject=\"{subject}\",place=\"{place}\",type=\"{kind}\"}} {count}"));
        }
    };
    each(name::FAULTS, |tally| tally.active.load(Relaxed) as u64);
    each(name::INJECTED, |tally| tally.injected.load(Relaxed));
    page.0
}

type Reading = fn(&TcpCounts) -> i64;
type LossesRead = fn(&Losses) -> &ByReason;
type EndpointRead = fn(&EndpointCounts) -> &AtomicU64;

/// No process lives long enough for more.
fn whole(count: &AtomicU64) -> i64 {
    i64::try_from(count.load(Relaxed)).unwrap_or(i64::MAX)
}

/// The process's own.
pub fn process(text: &mut String, started: SystemTime) {
    let process = Process::now();
    let mut page = Page(std::mem::take(text));
    page.single(name::CPU, process.cpu_seconds);
    page.single(name::RESIDENT, process.resident_bytes);
    page.single(name::VIRTUAL, process.virtual_bytes);
    page.single(name::OPEN_FDS, process.open_fds);
    page.single(name::MAX_FDS, process.max_fds);
    page.single(name::THREADS, process.threads);
    let started = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    page.single(name::START_TIME, started.as_secs_f64());
    *text = page.0;
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

struct Page(String);

impl Page {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _never = self.0.write_fmt(line);
        self.0.push('\n');
    }

    fn family(&mut self, name: &str) {
        if let Some(metric) = TABLE.iter().find(|metric| metric.name == name) {
            self.line(format_args!("# HELP {name} {}", metric.help));
            self.line(format_args!("# TYPE {name} {}", metric.kind.word()));
        }
    }

    fn single(&mut self, name: &str, value: impl Display) {
        self.family(name);
        self.line(format_args!("{name} {value}"));
    }

    fn by_service<'s>(&mut self, name: &str, values: impl Iterator<Item = (&'s String, impl Display)>) {
        self.family(name);
        for (service, value) in values {
            self.line(format_args!("{name}{{service=\"{service}\"}} {value}"));
        }
    }

    fn nonzero(&mut self, name: &str, service: &str, label: &str, is: &str, count: &AtomicU64) {
        self.positive(name, service, label, is, count.load(Relaxed));
    }

    fn positive(&mut self, name: &str, service: &str, label: &str, is: &str, count: u64) {
        if count > 0 {
            self.line(format_args!("{name}{{service=\"{service}\",{label}=\"{is}\"}} {count}"));
        }
    }

    fn histogram(&mut self, name: &str, service: &str, counts: &Counts) {
        let mut total = 0;
        for (bucket, count) in counts.latency.iter().enumerate() {
            total += count.load(Relaxed);
            match BUCKETS_US.get(bucket) {
                Some(bound) => {
                    let bound = *bound as f64 / 1e6;
                    self.line(format_args!("{name}_bucket{{service=\"{service}\",le=\"{bound}\"}} {total}"));
                }
                None => self.line(format_args!("{name}_bucket{{service=\"{service}\",le=\"+Inf\"}} {total}")),
            }
        }
        let sum = counts.latency_us.load(Relaxed) as f64 / 1e6;
        self.line(format_args!("{name}_sum{{service=\"{service}\"}} {sum}"));
        self.line(format_args!("{name}_count{{service=\"{service}\"}} {total}"));
    }
}
