//! Policies: what the keys come to.

use std::sync::Arc;
use std::time::Duration;

use super::leads::hash_by;
use crate::config::settings::{self, Policy};
use crate::config::written::{self, PerTry, PolicyKeys, Switch};
use crate::units::Interval;

/// The policy that comes of these keys, the narrower first.
pub(super) fn policy(layers: &[PolicyKeys]) -> Policy {
    let keys = layers.iter().fold(PolicyKeys::default(), |narrow, wide| narrow.over(wide));
    let built_in = Policy::default();
    let time = |written: Option<Interval>, otherwise: Duration| written.map_or(otherwise, |t| t.0);
    Policy {
        timeout: time(keys.timeout, built_in.timeout),
        connect_timeout: time(keys.connect_timeout, built_in.connect_timeout),
        balance: match keys.balance {
            Some(written::Balance::RoundRobin) => settings::Balance::RoundRobin,
            Some(written::Balance::ConsistentHash) => settings::Balance::ConsistentHash,
            Some(written::Balance::P2c) | None => settings::Balance::P2c,
        },
        hash: keys.hash.as_ref().and_then(hash_by),
        protocol: match keys.protocol {
            Some(written::Protocol::Http2) => settings::Protocol::Http2,
            Some(written::Protocol::Http1) | None => settings::Protocol::Http1,
        },
        request_trailers: keys.request_trailers.unwrap_or(built_in.request_trailers),
        max_connections: keys.max_connections.unwrap_or(built_in.max_connections),
        max_idle: keys.max_idle.unwrap_or(built_in.max_idle),
        idle_timeout: time(keys.idle_timeout, built_in.idle_timeout),
        retries: keys.retries.map(retries).unwrap_or_default(),
        per_try: keys.per_try_timeout.map(per_try).unwrap_or_default(),
        hedge: keys.hedge.map(hedge).unwrap_or_default(),
        hold: keys.hold.map(hold).unwrap_or_default(),
        outlier: keys.outlier.map(outlier).unwrap_or_default(),
        breaker: keys.breaker.map(breaker).unwrap_or_default(),
        limit: keys.limit.map(limit).unwrap_or_default(),
        bulkhead: keys.bulkhead.and_then(bulkhead),
        priority: match keys.priority {
            Some(written::Priority::Sheddable) => settings::Priority::Sheddable,
            Some(written::Priority::Critical) => settings::Priority::Critical,
            Some(written::Priority::Default) | None => settings::Priority::Default,
        },
        health_check: keys.health_check.and_then(health_check),
        slow_start: time(keys.slow_start, built_in.slow_start),
        fallback: keys.fallback.and_then(fallback).map(Arc::new),
    }
}

fn retries(keys: written::Retries) -> settings::Retries {
    let built_in = settings::Retries::default();
    settings::Retries {
        max: keys.max.unwrap_or(built_in.max),
        budget: keys.budget.map_or(built_in.budget, |s| s.0),
        min_per_second: keys.min_per_second.map_or(built_in.min_per_second, f64::from),
        any_method: keys.any_method.unwrap_or(built_in.any_method),
    }
}

fn per_try(keys: PerTry) -> settings::PerTry {
    let settings::PerTry::Learned { multiple, floor, ceiling } = settings::PerTry::default() else {
        return settings::PerTry::Off;
    };
    match keys {
        PerTry::Off => settings::PerTry::Off,
        PerTry::Fixed(time) => settings::PerTry::Fixed(time.0),
        PerTry::Learned(keys) => settings::PerTry::Learned {
            multiple: keys.multiple.map_or(multiple, |s| s.0),
            floor: keys.floor.map_or(floor, |t| t.0),
            ceiling: keys.ceiling.map_or(ceiling, |t| t.0),
        },
    }
}

fn hedge(keys: Switch<written::Hedge>) -> settings::Hedge {
    let built_in = settings::Hedge::default();
    match keys {
        Switch::Off => settings::Hedge { share: 0.0, ..built_in },
        Switch::On(keys) => settings::Hedge {
            share: keys.share.map_or(built_in.share, |s| s.0),
            floor: keys.floor.map_or(built_in.floor, |t| t.0),
        },
    }
}

fn hold(keys: Switch<written::Hold>) -> settings::Hold {
    let built_in = settings::Hold::default();
    match keys {
        Switch::Off => settings::Hold { max_bytes: 0, unknown_for: Duration::ZERO },
        Switch::On(keys) => settings::Hold {
            max_bytes: keys.max_size.map_or(built_in.max_bytes, |s| s.0),
            unknown_for: keys.unknown_for.map_or(built_in.unknown_for, |t| t.0),
        },
    }
}

fn outlier(keys: Switch<written::Outlier>) -> settings::Outlier {
    let built_in = settings::Outlier::default();
    match keys {
        Switch::Off => settings::Outlier { enabled: false, ..built_in },
        Switch::On(keys) => settings::Outlier {
            enabled: true,
            consecutive: keys.consecutive.unwrap_or(built_in.consecutive),
            failure_share: keys.failure_share.map_or(built_in.failure_share, |s| s.0),
            min_attempts: keys.min_attempts.unwrap_or(built_in.min_attempts),
            latency_factor: keys.latency_factor.map_or(built_in.latency_factor, f64::from),
            base_ejection: keys.base_ejection.map_or(built_in.base_ejection, |t| t.0),
            max_ejection: keys.max_ejection.map_or(built_in.max_ejection, |t| t.0),
            max_ejected: keys.max_ejected.map_or(built_in.max_ejected, |s| s.0),
        },
    }
}

fn breaker(keys: Switch<written::Breaker>) -> settings::Breaker {
    let built_in = settings::Breaker::default();
    match keys {
        Switch::Off => settings::Breaker { enabled: false, ..built_in },
        Switch::On(keys) => settings::Breaker {
            enabled: true,
            consecutive: keys.consecutive.unwrap_or(built_in.consecutive),
            silence: keys.silence.map_or(built_in.silence, |t| t.0),
            probe_every: keys.probe_every.map_or(built_in.probe_every, |t| t.0),
        },
    }
}

fn limit(keys: written::Limit) -> settings::Limit {
    let built_in = settings::Limit::default();
    settings::Limit {
        max_in_flight: keys.max_in_flight.or(built_in.max_in_flight),
        adaptive: keys.adaptive.unwrap_or(built_in.adaptive),
        queue: keys.queue.unwrap_or(built_in.queue),
        queue_timeout: keys.queue_timeout.map_or(built_in.queue_timeout, |t| t.0),
    }
}

fn bulkhead(keys: Switch<written::Bulkhead>) -> Option<settings::Bulkhead> {
    let Switch::On(keys) = keys else { return None };
    Some(match (keys.per?, keys.max_in_flight?) {
        (written::Division::Caller, most) => settings::Bulkhead::PerCaller(most),
        (written::Division::Route, most) => settings::Bulkhead::PerRoute(most),
    })
}

fn health_check(keys: Switch<written::HealthCheck>) -> Option<settings::HealthCheck> {
    let Switch::On(keys) = keys else { return None };
    let probe = match (keys.http, keys.grpc) {
        (Some(path), _) => {
            settings::Probe::Http { path: path.0.as_str().into(), host: keys.host.as_deref().map(Arc::from) }
        }
        (None, Some(service)) => settings::Probe::Grpc { service: service.as_str().into() },
        (None, None) => settings::Probe::Tcp,
    };
    let interval = keys.interval.map_or(CHECK_INTERVAL, |t| t.0);
    Some(settings::HealthCheck {
        probe,
        port: keys.port,
        interval,
        timeout: keys.timeout.map_or(CHECK_TIMEOUT.min(interval), |t| t.0),
        healthy: keys.healthy.unwrap_or(2),
        unhealthy: keys.unhealthy.unwrap_or(3),
        keep_absent: keys.keep_absent.map_or(KEEP_ABSENT, |t| t.0),
    })
}

pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(2);
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
const KEEP_ABSENT: Duration = Duration::from_secs(30);

fn fallback(keys: Switch<written::Fallback>) -> Option<settings::Fallback> {
    let Switch::On(keys) = keys else { return None };
    let fixed = keys.status.is_some() || keys.body.is_some();
    let headers = keys.headers.unwrap_or_default();
    let answer = fixed.then(|| settings::FallbackAnswer {
        status: keys.status.unwrap_or(200),
        headers: headers.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
        body: keys.body.unwrap_or_default().into_bytes().into(),
    });
    Some(settings::Fallback { stale: keys.stale.map(|t| t.0), service: keys.service.as_deref().map(Arc::from), answer })
}
