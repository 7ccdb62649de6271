//! A policy as it would be written, every key of it: for the defaults that are shown, and for `check --explain`.

use super::{
    Balance, Breaker, Bulkhead, Division, Fallback, HashBy, HealthCheck, Hedge, Hold, LearnedTry, Limit, Outlier,
    PerTry, PolicyKeys, Priority, Protocol, Retries, Switch,
};
use crate::config::settings::{self, Policy};
use crate::config::text::{HeaderName, Path};
use crate::units::{Interval, Share, Size};

fn hash(by: &settings::HashBy) -> HashBy {
    let none = HashBy::default();
    match by {
        settings::HashBy::Header(name) => HashBy { header: Some(HeaderName(name.to_string())), ..none },
        settings::HashBy::Cookie(name) => HashBy { cookie: Some(name.to_string()), ..none },
        settings::HashBy::Path => HashBy { path: Some(true), ..none },
        settings::HashBy::Address => HashBy { address: Some(true), ..none },
    }
}

impl From<&Policy> for PolicyKeys {
    fn from(policy: &Policy) -> Self {
        Self {
            timeout: Some(Interval(policy.timeout)),
            connect_timeout: Some(Interval(policy.connect_timeout)),
            retries: Some(Retries {
                max: Some(policy.retries.max),
                budget: Some(Share(policy.retries.budget)),
                // It was written as a whole number.
                min_per_second: Some(policy.retries.min_per_second as u32),
                any_method: Some(policy.retries.any_method),
            }),
            per_try_timeout: Some(match policy.per_try {
                settings::PerTry::Off => PerTry::Off,
                settings::PerTry::Fixed(time) => PerTry::Fixed(Interval(time)),
                settings::PerTry::Learned { multiple, floor, ceiling } => PerTry::Learned(LearnedTry {
                    multiple: Some(Share(multiple)),
                    floor: Some(Interval(floor)),
                    ceiling: Some(Interval(ceiling)),
                }),
            }),
            hedge: Some(switch(
                policy.hedge.share > 0.0,
                Hedge { share: Some(Share(policy.hedge.share)), floor: Some(Interval(policy.hedge.floor)) },
            )),
            hold: Some(switch(
                policy.hold.max_bytes > 0,
                Hold {
                    max_size: Some(Size(policy.hold.max_bytes)),
                    unknown_for: Some(Interval(policy.hold.unknown_for)),
                },
            )),
            outlier: Some(switch(policy.outlier.enabled, outlier(&policy.outlier))),
            breaker: Some(switch(
                policy.breaker.enabled,
                Breaker {
                    consecutive: Some(policy.breaker.consecutive),
                    silence: Some(Interval(policy.breaker.silence)),
                    probe_every: Some(Interval(policy.breaker.probe_every)),
                },
            )),
            limit: Some(Limit {
                max_in_flight: policy.limit.max_in_flight,
                adaptive: Some(policy.limit.adaptive),
                queue: Some(policy.limit.queue),
                queue_timeout: Some(Interval(policy.limit.queue_timeout)),
            }),
            bulkhead: policy.bulkhead.map(|bulkhead| {
                let (per, most) = match bulkhead {
                    settings::Bulkhead::PerCaller(most) => (Division::Caller, most),
                    settings::Bulkhead::PerRoute(most) => (Division::Route, most),
                };
                Switch::On(Bulkhead { per: Some(per), max_in_flight: Some(most) })
            }),
            priority: Some(match policy.priority {
                settings::Priority::Sheddable => Priority::Sheddable,
                settings::Priority::Default => Priority::Default,
                settings::Priority::Critical => Priority::Critical,
            }),
            health_check: policy.health_check.as_ref().map(|check| Switch::On(health_check(check))),
            slow_start: Some(Interval(policy.slow_start)),
            fallback: policy.fallback.as_deref().map(|fallback| Switch::On(self::fallback(fallback))),
            balance: Some(match policy.balance {
                settings::Balance::P2c => Balance::P2c,
                settings::Balance::RoundRobin => Balance::RoundRobin,
                settings::Balance::ConsistentHash => Balance::ConsistentHash,
            }),
            hash: policy.hash.as_ref().map(hash),
            protocol: Some(match policy.protocol {
                settings::Protocol::Http1 => Protocol::Http1,
                settings::Protocol::Http2 => Protocol::Http2,
            }),
            request_trailers: Some(policy.request_trailers),
            max_connections: Some(policy.max_connections),
            max_idle: Some(policy.max_idle),
            idle_timeout: Some(Interval(policy.idle_timeout)),
        }
    }
}

fn switch<T>(on: bool, keys: T) -> Switch<T> {
    if on { Switch::On(keys) } else { Switch::Off }
}

fn outlier(outlier: &settings::Outlier) -> Outlier {
    Outlier {
        consecutive: Some(outlier.consecutive),
        failure_share: Some(Share(outlier.failure_share)),
        min_attempts: Some(outlier.min_attempts),
        // It was written as a whole number.
        latency_factor: Some(outlier.latency_factor as u32),
        base_ejection: Some(Interval(outlier.base_ejection)),
        max_ejection: Some(Interval(outlier.max_ejection)),
        max_ejected: Some(Share(outlier.max_ejected)),
    }
}

fn health_check(check: &settings::HealthCheck) -> HealthCheck {
    let (mut http, mut host, mut tcp, mut grpc) = (None, None, None, None);
    match &check.probe {
        settings::Probe::Http { path, host: named } => {
            http = Some(Path(path.to_string()));
            host = named.as_deref().map(str::to_owned);
        }
        settings::Probe::Tcp => tcp = Some(true),
        settings::Probe::Grpc { service } => grpc = Some(service.to_string()),
    }
    HealthCheck {
        http,
        host,
        tcp,
        grpc,
        port: check.port,
        interval: Some(Interval(check.interval)),
        timeout: Some(Interval(check.timeout)),
        healthy: Some(check.healthy),
        unhealthy: Some(check.unhealthy),
        keep_absent: Some(Interval(check.keep_absent)),
    }
}

fn fallback(fallback: &settings::Fallback) -> Fallback {
    let answer = fallback.answer.as_ref();
    let pairs = |a: &settings::FallbackAnswer| a.headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    Fallback {
        stale: fallback.stale.map(Interval),
        service: fallback.service.as_deref().map(str::to_owned),
        status: answer.map(|a| a.status),
        headers: answer.filter(|a| !a.headers.is_empty()).map(pairs),
        body: answer.map(|a| String::from_utf8_lossy(&a.body).into_owned()),
    }
}
