//! Policies: what cannot be meant, of one and of several together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Build;
use super::policies::CHECK_INTERVAL;
use crate::config::settings;
use crate::config::text::FieldName;
use crate::config::written::{PerTry, PolicyKeys, Switch};
use crate::http::head::Name;
use crate::units::{Interval, Share, Size};

/// The longest static answer.
const MAX_BODY: usize = 1 << 20;
/// What is longer than this is a mistake where it keeps a request or an endpoint waiting.
const A_DAY: Duration = Duration::from_secs(24 * 3600);
/// A view of a request's past has room for eight attempts.
const MAX_RETRIES: u32 = 7;

impl Build<'_> {
    /// The values of policies where they stand.
    pub(super) fn policies(&mut self, path: &[&str], keys: &PolicyKeys) {
        let under = |key| [path, &[key]].concat();
        for (key, time) in
            [("timeout", keys.timeout), ("connect_timeout", keys.connect_timeout), ("idle_timeout", keys.idle_timeout)]
        {
            self.sane_time(&under(key), time);
        }
        if let Some(by) = &keys.hash {
            self.hash_by(&under("hash"), by);
        }
        self.within(&under("max_connections"), keys.max_connections.unwrap_or(1), 1..=1_000_000);
        self.within(&under("max_idle"), keys.max_idle.unwrap_or(0), 0..=1_000_000);
        if let Some(time) = keys.slow_start.filter(|t| t.0 > A_DAY) {
            self.blame(&under("slow_start"), format!("found {time}, expected at most a day"));
        }
        if let Some(retries) = &keys.retries {
            let path = under("retries");
            self.within(&[&path[..], &["max"]].concat(), retries.max.unwrap_or(0), 0..=MAX_RETRIES);
            self.share(&[&path[..], &["budget"]].concat(), retries.budget, 0.0);
            self.within(&[&path[..], &["min_per_second"]].concat(), retries.min_per_second.unwrap_or(0), 0..=10_000);
        }
        self.per_try(path, keys);
        if let Some(Switch::On(hedge)) = &keys.hedge {
            self.share(&[&under("hedge")[..], &["share"]].concat(), hedge.share, 0.0);
            self.sane_time(&[&under("hedge")[..], &["floor"]].concat(), hedge.floor);
        }
        if let Some(Switch::On(hold)) = &keys.hold {
            let path = under("hold");
            if let Some(size) = hold.max_size.filter(|s| *s > Size(64 << 10)) {
                let message = format!("found {size}, expected at most 64KiB: what is held has to fit one buffer");
                self.blame(&[&path[..], &["max_size"]].concat(), message);
            }
            if let Some(time) = hold.unknown_for.filter(|t| t.0 > Duration::from_secs(10)) {
                let message =
                    format!("found {time}, expected at most 10s: every answer of unknown length waits for it");
                self.blame(&[&path[..], &["unknown_for"]].concat(), message);
            }
        }
        self.breakers(path, keys);
        self.limits(path, keys);
        self.health_check(path, keys);
        self.fallback(path, keys);
    }

    fn per_try(&mut self, path: &[&str], keys: &PolicyKeys) {
        let at = |key: &[&'static str]| [path, &["per_try_timeout"], key].concat();
        let total = keys.timeout;
        match &keys.per_try_timeout {
            Some(PerTry::Fixed(time)) => {
                self.sane_time(&at(&[]), Some(*time));
                if let Some(total) = total.filter(|total| time > total) {
                    self.blame(&at(&[]), format!("found {time}, expected no more than `timeout`, which is {total}"));
                }
            }
            Some(PerTry::Learned(learned)) => {
                self.sane_time(&at(&["floor"]), learned.floor);
                self.sane_time(&at(&["ceiling"]), learned.ceiling);
                if let Some(multiple) = learned.multiple.filter(|m| m.0 <= 1.0 || m.0 > 100.0) {
                    let message = format!("found {multiple}, expected more than 100%, and at most 10000%");
                    self.blame(&at(&["multiple"]), message);
                }
                if let (Some(floor), Some(ceiling)) = (learned.floor, learned.ceiling)
                    && floor > ceiling
                {
                    let message = format!("found {floor}, expected no more than `ceiling`, which is {ceiling}");
                    self.blame(&at(&["floor"]), message);
                }
                // One that nobody wrote only gives way to a shorter total.
                if let (Some(ceiling), Some(total)) = (learned.ceiling, total)
                    && ceiling > total
                    && self.tree.at(&at(&["ceiling"])).is_some()
                {
                    let message = format!("found {ceiling}, expected no more than `timeout`, which is {total}");
                    self.blame(&at(&["ceiling"]), message);
                }
            }
            Some(PerTry::Off) | None => {}
        }
    }

    fn breakers(&mut self, path: &[&str], keys: &PolicyKeys) {
        if let Some(Switch::On(outlier)) = &keys.outlier {
            let at = |key: &'static str| [path, &["outlier", key]].concat();
            self.within(&at("consecutive"), outlier.consecutive.unwrap_or(1), 1..=1_000_000);
            self.within(&at("min_attempts"), outlier.min_attempts.unwrap_or(1), 1..=1_000_000);
            self.within(&at("latency_factor"), outlier.latency_factor.unwrap_or(2), 2..=1_000_000);
            self.share(&at("failure_share"), outlier.failure_share, 0.01);
            self.share(&at("max_ejected"), outlier.max_ejected, 0.0);
            self.sane_time(&at("base_ejection"), outlier.base_ejection);
            self.sane_time(&at("max_ejection"), outlier.max_ejection);
            if let (Some(base), Some(most)) = (outlier.base_ejection, outlier.max_ejection)
                && base > most
            {
                let message = format!("found {base}, expected no more than `max_ejection`, which is {most}");
                self.blame(&at("base_ejection"), message);
            }
        }
        if let Some(Switch::On(breaker)) = &keys.breaker {
            let at = |key: &'static str| [path, &["breaker", key]].concat();
            self.within(&at("consecutive"), breaker.consecutive.unwrap_or(2), 2..=1_000_000);
            self.sane_time(&at("silence"), breaker.silence);
            self.sane_time(&at("probe_every"), breaker.probe_every);
        }
    }

    fn limits(&mut self, path: &[&str], keys: &PolicyKeys) {
        if let Some(limit) = &keys.limit {
            let at = |key: &'static str| [path, &["limit", key]].concat();
            self.within(&at("max_in_flight"), limit.max_in_flight.unwrap_or(1), 1..=10_000_000);
            self.within(&at("queue"), limit.queue.unwrap_or(0), 0..=1_000_000);
            self.sane_time(&at("queue_timeout"), limit.queue_timeout);
        }
        if let Some(Switch::On(bulkhead)) = &keys.bulkhead {
            let at = |key: &'static str| [path, &["bulkhead", key]].concat();
            self.within(&at("max_in_flight"), bulkhead.max_in_flight.unwrap_or(1), 1..=10_000_000);
            for (key, missing) in [("per", bulkhead.per.is_none()), ("max_in_flight", bulkhead.max_in_flight.is_none())]
            {
                if missing && !self.tree.is_dead(&at(key)) {
                    self.blame(&[path, &["bulkhead"]].concat(), format!("the key `{key}` is missing"));
                }
            }
        }
    }

    fn health_check(&mut self, path: &[&str], keys: &PolicyKeys) {
        let Some(Switch::On(check)) = &keys.health_check else { return };
        let group = [path, &["health_check"]].concat();
        let at = |key: &'static str| [path, &["health_check", key]].concat();
        let asked = [check.http.is_some(), check.tcp == Some(true), check.grpc.is_some()];
        match asked.into_iter().filter(|asked| *asked).count() {
            1 => {}
            0 => self.blame(&group, "expected one of `http: /healthz`, `tcp: true` and `grpc: NAME`".into()),
            _ => self.blame(&group, "found several of `http`, `tcp` and `grpc`, expected one".into()),
        }
        if check.host.is_some() && check.http.is_none() {
            self.blame(&at("host"), "stands without `http`, which alone has a host".into());
        }
        self.within(&at("port"), u32::from(check.port.unwrap_or(1)), 1..=65535);
        self.within(&at("healthy"), check.healthy.unwrap_or(1), 1..=1_000);
        self.within(&at("unhealthy"), check.unhealthy.unwrap_or(1), 1..=1_000);
        self.sane_time(&at("interval"), check.interval);
        self.sane_time(&at("timeout"), check.timeout);
        let interval = check.interval.map_or(CHECK_INTERVAL, |t| t.0);
        if let Some(timeout) = check.timeout.filter(|t| t.0 > interval) {
            let message = format!("found {timeout}, expected no more than `interval`, which is {}", Interval(interval));
            self.blame(&at("timeout"), message);
        }
    }

    fn fallback(&mut self, path: &[&str], keys: &PolicyKeys) {
        let Some(Switch::On(fallback)) = &keys.fallback else { return };
        let at = |key: &'static str| [path, &["fallback", key]].concat();
        if let Some(stale) = fallback.stale.filter(|t| t.0.is_zero()) {
            self.blame(&at("stale"), format!("found {stale}, expected at least 1ms"));
        }
        let answers = fallback.status.is_some() || fallback.body.is_some();
        if !answers && fallback.headers.as_ref().is_some_and(|headers| !headers.is_empty()) {
            self.blame(
                &at("headers"),
                "found fields and no answer to send them with, expected `status` or `body`, too".into(),
            );
        }
        let group = [path, &["fallback"]].concat();
        self.fixed_answer(&group, fallback.status, fallback.headers.as_ref(), fallback.body.as_deref());
        if let Some(service) = &fallback.service {
            self.known_service(&at("service"), service);
        }
        if fallback.stale.is_none()
            && fallback.service.is_none()
            && fallback.status.is_none()
            && fallback.body.is_none()
        {
            let message = "says nothing to fall back to; expected `stale`, `service`, `status` or `body`".to_owned();
            // A part of one may stand here, and the rest in a wider place.
            if fallback.headers.is_none() {
                self.blame(&[path, &["fallback"]].concat(), message);
            }
        }
    }

    /// An answer that the proxy gives by itself.
    pub(super) fn fixed_answer(
        &mut self,
        group: &[&str],
        status: Option<u16>,
        headers: Option<&BTreeMap<String, String>>,
        body: Option<&str>,
    ) {
        let at = |key: &'static str| [group, &[key]].concat();
        self.within(&at("status"), u32::from(status.unwrap_or(200)), 200..=599);
        // RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
        let bodiless = matches!(status, Some(204 | 205 | 304));
        if bodiless && body.is_some_and(|body| !body.is_empty()) {
            let status = status.unwrap_or_default();
            self.blame(
                &at("body"),
                format!("found a body, expected none: an answer with the status {status} has none"),
            );
        }
        if body.is_some_and(|body| body.len() > MAX_BODY) {
            self.blame(&at("body"), "found more than 1MiB; an answer that large is a service's".into());
        }
        for (name, value) in headers.into_iter().flatten() {
            let path = [group, &["headers", name]].concat();
            let framing = matches!(
                Name::of(name.as_bytes()),
                Name::Connection
                    | Name::ContentLength
                    | Name::TransferEncoding
                    | Name::KeepAlive
                    | Name::Te
                    | Name::Trailer
                    | Name::Upgrade
                    | Name::ProxyConnection
            );
            if framing {
                self.blame(&path, "says how a message is framed, which is the proxy's own to say".into());
            } else if !is_token(name) {
                self.blame(&path, format!("found `{name}`, expected a header's name like `content-type`"));
            }
            if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
                self.blame(&path, "has a control character in its value".into());
            }
        }
    }

    /// What is a service's, and cannot be its route's.
    pub(super) fn not_of_a_route(&mut self, path: &[&str], keys: &PolicyKeys) {
        let retries = keys.retries.as_ref();
        for (key, written) in [
            (&["outlier"][..], keys.outlier.is_some()),
            (&["limit"], keys.limit.is_some()),
            (&["health_check"], keys.health_check.is_some()),
            (&["slow_start"], keys.slow_start.is_some()),
            (&["balance"], keys.balance.is_some()),
            (&["retries", "budget"], retries.is_some_and(|r| r.budget.is_some())),
            (&["retries", "min_per_second"], retries.is_some_and(|r| r.min_per_second.is_some())),
        ] {
            if written {
                let message = "is one for all routes to a service; expected it under the service, or `defaults`".into();
                self.blame(&[path, key].concat(), message);
            }
        }
    }

    /// Services that fall back to each other in a circle.
    pub(super) fn fallback_loops(&mut self, services: &BTreeMap<Arc<str>, settings::ServiceSettings>) {
        let next = |name: &str| {
            let fallback = services.get(name)?.policy.fallback.as_ref()?;
            fallback.service.clone()
        };
        for name in services.keys() {
            let mut seen = vec![Arc::clone(name)];
            while let Some(after) = seen.last().and_then(|last| next(last)) {
                if after == *name {
                    seen.push(after);
                    let circle = seen.join(" → ");
                    let path = ["services", name, "fallback", "service"];
                    self.blame(&path, format!("falls back in a circle: {circle}"));
                    break;
                }
                if seen.contains(&after) {
                    break;
                }
                seen.push(after);
            }
        }
    }

    /// A route that falls back to the service that it is for.
    pub(super) fn fallback_to_itself(&mut self, path: &[&str], service: &str, keys: &PolicyKeys) {
        if let Some(Switch::On(fallback)) = &keys.fallback
            && fallback.service.as_deref() == Some(service)
        {
            let message = format!("found `{service}`, which is the service that has failed then");
            self.blame(&[path, &["fallback", "service"]].concat(), message);
        }
    }

    /// A balancer that keeps requests together, and nothing to keep them together by; or the reverse. `keys` are those that
    /// stand under `path`, and `all` what they come to.
    pub(super) fn hash_and_balance(&mut self, path: &[&str], keys: &PolicyKeys, all: &settings::Policy) {
        let hashes = all.balance == settings::Balance::ConsistentHash;
        let at = |key: &'static str| [path, &[key]].concat();
        if hashes
            && all.hash.is_none()
            && keys.hash.is_none()
            && keys.balance.is_some()
            && !self.tree.is_damaged(&at("hash"))
        {
            let message =
                "needs `hash`, which says what of a request it goes by: `hash: { header: x-user }`".to_owned();
            self.blame(&at("balance"), message);
        }
        if !hashes && keys.hash.is_some() {
            self.blame(&at("hash"), "says nothing without the service's `balance: consistent_hash`".into());
        }
    }

    fn sane_time(&mut self, path: &[&str], found: Option<Interval>) {
        let Some(found) = found else { return };
        self.some_time(path, found);
        if found.0 > A_DAY {
            self.blame(path, format!("found {found}, expected at most a day"));
        }
    }

    fn share(&mut self, path: &[&str], found: Option<Share>, least: f64) {
        if let Some(found) = found.filter(|s| s.0 > 1.0 || s.0 < least) {
            self.blame(path, format!("found {found}, expected {} to 100%", Share(least)));
        }
    }
}

fn is_token(name: &str) -> bool {
    name.parse::<FieldName>().is_ok() || !matches!(Name::of(name.as_bytes()), Name::Other | Name::Disguised)
}
