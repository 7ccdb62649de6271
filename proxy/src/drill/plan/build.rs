//! From a plan as written to a plan that can be run: what only shows when keys are seen together.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::faults::{Measure, Subject, fault, is_all};
use super::{Expectation, FaultName, Injection, Plan, Probe, written};
use crate::config::ConfigError;
use crate::config::text::Url;
use crate::config::tree::Tree;
use crate::fault::Place;
use crate::fault::guard::GuardSpec;
use crate::units::{Interval, Share};

/// The longest a row may take: a fault lives no longer than that either.
const MAX_DURATION: Duration = Duration::from_secs(3600);
/// Rows of a matrix.
const MAX_ROWS: usize = 1_000;
/// Columns of a matrix.
const MAX_PROBES: usize = 64;
/// Proxies that are drilled together.
const MAX_ADMINS: usize = 16;
/// The least time from try to try: a drill is no load test.
const MIN_EVERY: Duration = Duration::from_millis(5);

const DURATION: Interval = Interval(Duration::from_secs(5));
const RECOVERY: Interval = Interval(Duration::from_secs(30));
const TIMEOUT: Interval = Interval(Duration::from_secs(5));
const EVERY: Interval = Interval(Duration::from_millis(100));
const SLOW: Interval = Interval(Duration::from_secs(2));
const HOLD: Share = Share(0.95);

/// The plan; good only where no error was added.
pub(super) fn plan(written: &written::Plan, tree: &Tree, errors: &mut Vec<ConfigError>) -> Plan {
    let mut build = Build { written, tree, errors };
    let duration = build.time("duration", written.duration, DURATION, MAX_DURATION);
    let settle = build.time("settle", written.settle, Interval(Duration::ZERO), MAX_DURATION);
    let recovery = build.time("recovery", written.recovery, RECOVERY, MAX_DURATION);
    if duration.is_zero() {
        build.blame(&["duration"], "found 0s, expected how long each row takes".into());
    } else if settle >= duration {
        build.blame(
            &["settle"],
            format!("expected less than `duration`, {}: nothing would be judged", Interval(duration)),
        );
    }
    Plan {
        name: build.name(),
        environment: written.environment.clone(),
        admins: build.admins(),
        probes: build.probes(),
        rows: build.rows(),
        duration,
        settle,
        recovery,
        guards: build.guards(),
    }
}

struct Build<'a> {
    written: &'a written::Plan,
    tree: &'a Tree,
    errors: &'a mut Vec<ConfigError>,
}

impl Build<'_> {
    fn name(&mut self) -> String {
        let name = self.written.name.clone().unwrap_or_default();
        let plain = !name.is_empty() && name.len() <= 64 && !name.chars().any(|c| c.is_control() || c == '/');
        if !plain && !self.tree.is_dead(&["name"]) {
            self.blame(&["name"], "expected what the drill is called, like `shop`".into());
        }
        name
    }

    fn admins(&mut self) -> Vec<Url> {
        let urls = &self.written.admin.0;
        if urls.len() > MAX_ADMINS {
            self.blame(&["admin"], format!("found {} addresses, expected at most {MAX_ADMINS}", urls.len()));
        }
        if let Some(url) = urls.iter().find(|url| url.path != "/") {
            self.blame(&["admin"], format!("found `{url}`, expected no path, like `http://127.0.0.1:9901`"));
        }
        if urls.is_empty() {
            return "http://127.0.0.1:9901".parse().into_iter().collect();
        }
        urls.clone()
    }

    fn probes(&mut self) -> Vec<Probe> {
        let probes = &self.written.probes;
        if probes.is_empty() && !self.tree.is_damaged(&["probes"]) {
            self.blame(&["probes"], "expected at least one: the parts of the product, the matrix's columns".into());
        }
        if probes.len() > MAX_PROBES {
            self.blame(&["probes"], format!("found {}, expected at most {MAX_PROBES}", probes.len()));
        }
        let places = self.tree.live_items(&["probes"], probes.len());
        let mut names = BTreeSet::new();
        let mut built = Vec::new();
        for (index, probe) in places.iter().zip(probes) {
            let at = |key| ["probes", index, key];
            if probe.name.is_empty() || probe.name.chars().any(char::is_control) {
                self.blame(&at("name"), "expected what the column is called".into());
            }
            if !names.insert(&probe.name) {
                self.blame(&at("name"), format!("found `{}` a second time", probe.name));
            }
            let timeout = probe.timeout.unwrap_or(TIMEOUT).0;
            if timeout.is_zero() || timeout > MAX_DURATION {
                self.blame(&at("timeout"), format!("found {}, expected 1ms to 1h", Interval(timeout)));
            }
            let every = probe.every.unwrap_or(EVERY).0;
            if every < MIN_EVERY {
                self.blame(
                    &at("every"),
                    format!("found {}, expected at least {}", Interval(every), Interval(MIN_EVERY)),
                );
            }
            let hold = self.hold(&at("hold"), probe.hold.or(self.written.hold));
            let method = probe.method.as_ref().map_or(Some(Method::GET), |method| method.0.parse().ok());
            let headers = self.headers(index, probe);
            let available = probe.available.as_ref().map(|e| self.expectation(&at("available"), e)).unwrap_or_default();
            let degraded = probe.degraded.as_ref().map(|e| self.expectation(&at("degraded"), e));
            if degraded.as_ref() == Some(&available) {
                let message = "expected something else than under `available`, or nothing is ever degraded";
                self.blame(&at("degraded"), message.into());
            }
            built.push(Probe {
                name: probe.name.clone(),
                url: probe.url.clone(),
                method: method.unwrap_or(Method::GET),
                headers,
                body: probe.body.clone().unwrap_or_default(),
                timeout,
                every,
                hold,
                available,
                degraded,
            });
        }
        built
    }

    fn hold(&mut self, path: &[&str], written: Option<Share>) -> f64 {
        let hold = written.unwrap_or(HOLD);
        if hold.0 <= 0.0 || hold.0 > 1.0 {
            self.blame(path, format!("found {hold}, expected above 0% and at most 100%"));
        }
        hold.0
    }

    fn headers(&mut self, index: &str, probe: &written::Probe) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &probe.headers {
            match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
                (Ok(name), Ok(value)) => drop(headers.insert(name, value)),
                _ => self.blame(&["probes", index, "headers", name], "expected a field's name and its value".into()),
            }
        }
        headers
    }

    fn expectation(&mut self, path: &[&str; 3], written: &written::Expectation) -> Expectation {
        let mut headers = Vec::new();
        for (name, value) in &written.headers {
            let any = value == "*";
            match (HeaderName::from_bytes(name.0.as_bytes()), HeaderValue::from_str(value)) {
                (Ok(name), Ok(value)) => headers.push((name, (!any).then_some(value))),
                _ => self.blame(path, format!("`headers`: `{}`: expected a field's name and its value", name.0)),
            }
        }
        Expectation { status: written.status.0.clone(), body_contains: written.body_contains.clone(), headers }
    }

    fn rows(&mut self) -> Vec<Injection> {
        let dependencies = &self.written.dependencies;
        if dependencies.is_empty() && !self.tree.is_damaged(&["dependencies"]) {
            self.blame(&["dependencies"], "expected at least one: what the product needs, the matrix's rows".into());
        }
        let places = self.tree.live_items(&["dependencies"], dependencies.len());
        let mut rows: Vec<Injection> = Vec::new();
        for (index, dependency) in places.iter().zip(dependencies) {
            self.rows_of(index, dependency, &mut rows);
        }
        if rows.len() > MAX_ROWS {
            self.blame(&["dependencies"], format!("{} rows come of it, expected at most {MAX_ROWS}", rows.len()));
        }
        rows
    }

    fn rows_of(&mut self, index: &str, dependency: &written::Dependency, rows: &mut Vec<Injection>) {
        let at = |key| ["dependencies", index, key];
        let subject = match (&dependency.service, &dependency.proxy) {
            (Some(service), None) => Subject::Service(service, dependency.endpoints.as_ref()),
            (None, Some(proxy)) => Subject::Proxy(proxy),
            _ => {
                let message = "expected either `service` or `proxy` (a TCP proxy): what is it, to Outrigger?";
                return self.blame(&["dependencies", index], message.into());
            }
        };
        let (Subject::Service(own, _) | Subject::Proxy(own)) = subject;
        let name = dependency.name.as_deref().unwrap_or(own);
        if name.is_empty() || name.chars().any(char::is_control) {
            self.blame(&at("name"), "expected what the row is called".into());
        }
        if matches!(subject, Subject::Proxy(_)) && dependency.endpoints.is_some() {
            self.blame(&at("endpoints"), "a TCP proxy is drilled as a whole".into());
        }
        let measure = self.measure(index, dependency);
        let plan = self.written;
        let faults =
            dependency.faults.as_deref().or(plan.faults.as_deref()).unwrap_or(&[FaultName::Down, FaultName::Slow]);
        // A part of the instances is a matter of upstream alone, unless somebody says otherwise and is told so.
        let usual: &[Place] = match (&plan.places, &dependency.endpoints) {
            (Some(places), _) => places,
            (None, Some(endpoints)) if !is_all(endpoints) => &[Place::Upstream],
            (None, _) => &[Place::Upstream, Place::Edge],
        };
        let places = dependency.places.as_deref().unwrap_or(usual);
        let part = dependency.endpoints.as_ref().is_some_and(|endpoints| !is_all(endpoints));
        if part && places.contains(&Place::Edge) {
            let message =
                "an edge fault is above the choice of an instance; drill a part of them with `places: [upstream]`";
            self.blame(&at("endpoints"), message.into());
        }
        let before = (rows.len(), self.errors.len());
        for name_of_fault in faults {
            for place in places {
                let Some((spec, what)) = fault(subject, *name_of_fault, *place, &measure) else {
                    self.blame_impossible(index, dependency, *name_of_fault, *place);
                    continue;
                };
                if let Err(invalid) = spec.understand() {
                    self.blame(&["dependencies", index], format!("`{}`: {invalid}", name_of_fault.name()));
                }
                let row = (name, *name_of_fault, *place);
                if rows.iter().any(|other| (other.dependency.as_str(), other.fault, other.place) == row) {
                    let message = format!(
                        "`{name}` is {} at {} a second time; give one of them another `name`",
                        name_of_fault.name(),
                        place.name()
                    );
                    self.blame(&["dependencies", index], message);
                    continue;
                }
                rows.push(Injection { dependency: name.to_owned(), fault: *name_of_fault, place: *place, spec, what });
            }
        }
        if (rows.len(), self.errors.len()) == before && !self.tree.is_damaged(&["dependencies", index]) {
            self.blame(&["dependencies", index], "nothing befalls it: its `faults` and `places` leave no row".into());
        }
    }

    /// What was said of the plan as a whole is for those it suits; what was said of this one is a mistake.
    fn blame_impossible(&mut self, index: &str, dependency: &written::Dependency, fault: FaultName, place: Place) {
        if fault == FaultName::Errors && dependency.faults.is_some() {
            let message = "`errors` are answers to requests, which a TCP proxy knows nothing of";
            self.blame(&["dependencies", index, "faults"], message.into());
        }
        if place == Place::Edge && dependency.places.is_some() {
            let message = "at a TCP proxy there is only the connection: `upstream`";
            self.blame(&["dependencies", index, "places"], message.into());
        }
    }

    fn measure(&mut self, index: &str, dependency: &written::Dependency) -> Measure {
        let (own, wide) = (dependency.errors.unwrap_or_default(), self.written.errors.unwrap_or_default());
        let slow = dependency.slow.or(self.written.slow).unwrap_or(SLOW);
        if slow.0.is_zero() || slow.0 > MAX_DURATION {
            self.blame(&["dependencies", index, "slow"], format!("found {slow}, expected 1ms to 1h"));
        }
        let status = own.status.or(wide.status).unwrap_or(500);
        if !(400..=599).contains(&status) {
            let message = format!("found `status: {status}`, expected 400 to 599");
            self.blame(&["dependencies", index, "errors"], message);
        }
        let share = own.share.or(wide.share).unwrap_or(Share(1.0));
        if share.0 <= 0.0 || share.0 > 1.0 {
            let message = format!("found `share: {share}`, expected above 0% and at most 100%");
            self.blame(&["dependencies", index, "errors"], message);
        }
        let every = own.every.or(wide.every);
        if every == Some(0) || (every.is_some() && share.0 < 1.0) {
            let message = "expected `every` of at least 1, and without `share` beside it";
            self.blame(&["dependencies", index, "errors"], message.into());
        }
        Measure { slow, status, share, every }
    }

    fn guards(&mut self) -> Vec<GuardSpec> {
        let guards = self.written.guards.clone();
        let places = self.tree.live_items(&["guards"], guards.len());
        for (index, guard) in places.iter().zip(&guards) {
            if let Err(invalid) = guard.understand() {
                self.blame(&["guards", index, &invalid.key], invalid.message);
            }
        }
        guards
    }

    fn time(&mut self, key: &str, written: Option<Interval>, default: Interval, most: Duration) -> Duration {
        let time = written.unwrap_or(default);
        if time.0 > most {
            self.blame(&[key], format!("found {time}, expected at most {}", Interval(most)));
        }
        time.0
    }

    fn blame(&mut self, path: &[&str], message: String) {
        let error = self.tree.error_at(path, message);
        // What is wrong with a fault is found at each of its places.
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }
}
