//! A toxic: a fault, as Toxiproxy's API speaks of it.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::json::{Raw, quote};
use super::read::{self, Bad, More, ToxicBody};
use crate::clock::Instant;
use crate::fault::active::Sort;
use crate::fault::http::HttpFault;
use crate::fault::spec::{Endpoints, Kind};
use crate::fault::stream::Toxic;
use crate::fault::{Active, FaultTarget, Place, Spec, Stream};
use crate::units::Share;

/// A type of toxic, and what it is called inside Toxiproxy.
#[derive(Debug, PartialEq, Eq)]
pub struct Type {
    /// `latency`.
    pub name: &'static str,
    /// Its struct in Go, which its errors name.
    pub go: &'static str,
    /// In the order in which they are shown.
    pub fields: &'static [Field],
}

/// An attribute: a whole number.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// `jitter`.
    pub name: &'static str,
    /// Its type in Go.
    pub go: &'static str,
}

const fn long(name: &'static str) -> Field {
    Field { name, go: "int64" }
}

const fn int(name: &'static str) -> Field {
    Field { name, go: "int" }
}

static TYPES: [Type; 9] = [
    Type { name: "latency", go: "LatencyToxic", fields: &[long("latency"), long("jitter")] },
    Type { name: "bandwidth", go: "BandwidthToxic", fields: &[long("rate")] },
    Type { name: "slow_close", go: "SlowCloseToxic", fields: &[long("delay")] },
    Type { name: "timeout", go: "TimeoutToxic", fields: &[long("timeout")] },
    Type { name: "reset_peer", go: "ResetToxic", fields: &[long("timeout")] },
    Type { name: "slicer", go: "SlicerToxic", fields: &[int("average_size"), int("size_variation"), int("delay")] },
    Type { name: "limit_data", go: "LimitDataToxic", fields: &[long("bytes")] },
    Type { name: "noop", go: "NoopToxic", fields: &[] },
    Type { name: "down", go: "DownToxic", fields: &[] },
];

/// What stands before the name of an HTTP fault when it is a toxic's type.
const HTTP: &str = "http_";

/// What `enabled: false` is called among the faults of what is not its user's own: a service, a proxy of the configuration.
pub const DISABLED: &str = "disabled";

impl Type {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TYPES.iter().find(|kind| kind.name == name)
    }

    /// That it has no such attribute.
    pub fn unknown(&self, attribute: &str) -> Bad {
        let names: Vec<String> = self.fields.iter().map(|field| format!("`{}`", field.name)).collect();
        let takes = match names.split_last() {
            None => "none".to_owned(),
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
        };
        format!("`attributes.{attribute}`: `{}` takes {takes}, not this", self.name)
    }

    fn values(&self, toxic: &Toxic) -> Vec<u64> {
        let attributes = toxic.attributes();
        self.fields.iter().map(|field| attributes.get(field.name).and_then(Value::as_u64).unwrap_or_default()).collect()
    }

    fn attributes(&self, values: &[u64]) -> Map<String, Value> {
        self.fields.iter().zip(values).map(|(field, value)| (field.name.to_owned(), Value::from(*value))).collect()
    }
}

/// Why a toxic is not added.
#[derive(Debug, PartialEq, Eq)]
pub enum NoToxic {
    /// Neither upstream nor downstream.
    Stream,
    /// There is no such type, or not here.
    Type,
    /// Its name is taken.
    Taken,
    /// Something about its body.
    Bad(Bad),
}

/// Whether a type is known: of bytes anywhere, of requests on services.
fn is_known(kind: &str, on: Sort) -> bool {
    let http = kind.strip_prefix(HTTP).is_some_and(|kind| HttpFault::TYPES.contains(&kind));
    Type::named(kind).is_some() || (http && on == Sort::Service)
}

/// A toxic's name, where it was given none.
fn default_name(kind: &str, stream: &str) -> String {
    format!("{kind}_{stream}")
}

/// What is asked of the fault manager for a toxic that shall hang on `subject`. Things are looked at in Toxiproxy's order, since the
/// first that is wrong is the one that is told.
///
/// # Errors
///
/// Where it cannot be added.
pub fn spec(body: &ToxicBody<'_>, subject: &FaultTarget, taken: impl Fn(&str) -> bool) -> Result<Spec, NoToxic> {
    let written = body.stream.as_deref().unwrap_or("downstream");
    let stream = match written.to_ascii_lowercase().as_str() {
        "downstream" => Stream::Downstream,
        "upstream" => Stream::Upstream,
        _ => return Err(NoToxic::Stream),
    };
    let kind = body.kind.as_deref().unwrap_or_default();
    let name = body.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| default_name(kind, written));
    if !is_known(kind, subject.sort) {
        return Err(NoToxic::Type);
    }
    if taken(&name) {
        return Err(NoToxic::Taken);
    }
    let (kind, attributes, stream) = match Type::named(kind) {
        Some(known) => {
            let mut values = vec![0; known.fields.len()];
            read::attributes(&body.attributes, known, &mut values).map_err(NoToxic::Bad)?;
            (kind, known.attributes(&values), Some(stream))
        }
        None => (kind.strip_prefix(HTTP).unwrap_or(kind), objects(&body.attributes).map_err(NoToxic::Bad)?, None),
    };
    let More { ttl, first, every, after, place } = body.more.clone();
    let place = place.unwrap_or_default();
    let on_service = subject.sort == Sort::Service;
    let subject = subject.name.to_string();
    Ok(Spec {
        name: Some(name),
        kind: kind.to_owned(),
        attributes,
        service: on_service.then(|| subject.clone()),
        proxy: (!on_service).then_some(subject),
        place,
        stream,
        // Whoever names a service here means all of it.
        endpoints: (on_service && place == Place::Upstream).then(|| Endpoints::Word("all".into())),
        route: None,
        methods: Vec::new(),
        path: None,
        headers: std::collections::BTreeMap::new(),
        caller: None,
        percent: toxicity(body.toxicity).map_err(NoToxic::Bad)?.map_or(Share(1.0), Share),
        first,
        every,
        after,
        ttl,
        controller: None,
        heartbeat: None,
    })
}

/// What a change makes of a toxic: its kind and its share.
///
/// # Errors
///
/// Where the body is no change of it.
pub fn changed(old: &Active, body: &[u8]) -> Result<(Kind, f64), Bad> {
    let known = Type::named(old.fault.kind.name());
    let body = read::toxic_change(body, known)?;
    let kind = match (&old.fault.kind, known) {
        (Kind::Toxic(stream, toxic), Some(known)) => {
            let mut values = known.values(toxic);
            read::attributes(&body.attributes, known, &mut values)?;
            let attributes = Value::Object(known.attributes(&values));
            Kind::parse(known.name, *stream, &attributes).map_err(|invalid| invalid.to_string())?
        }
        (kind, _) => {
            let mut attributes = match kind.attributes() {
                Value::Object(attributes) => attributes,
                _ => Map::new(),
            };
            attributes.extend(objects(&body.attributes)?);
            let parsed = Kind::parse(kind.name(), Stream::default(), &Value::Object(attributes));
            parsed.map_err(|invalid| invalid.to_string())?
        }
    };
    Ok((kind, toxicity(body.toxicity)?.unwrap_or(old.fault.percent)))
}

/// Attributes whose shape is not ours to know.
fn objects(given: &[Raw<'_>]) -> Result<Map<String, Value>, Bad> {
    let mut all = Map::new();
    for object in given {
        let object: Map<String, Value> =
            serde_json::from_slice(object.bytes()).map_err(|e| format!("`attributes`: {e}"))?;
        all.extend(object);
    }
    Ok(all)
}

fn toxicity(given: Option<f64>) -> Result<Option<f64>, Bad> {
    match given {
        Some(share) if !(0.0..=1.0).contains(&share) => Err(format!("`toxicity`: found {share}, expected 0 to 1")),
        given => Ok(given),
    }
}

/// The toxics of a subject as they are listed: those of the upstream direction first, each in the order of their adding.
pub fn listed(subject: &FaultTarget, now: Instant) -> Vec<std::sync::Arc<Active>> {
    let shown = |active: &&std::sync::Arc<Active>| !active.is_over(now) && !is_disabling(active);
    let mut list: Vec<_> = subject.faults().iter().filter(shown).cloned().collect();
    list.sort_by_key(|active| match &active.fault.kind {
        Kind::Toxic(Stream::Upstream, _) => 0,
        _ => 1,
    });
    list
}

/// Whether a fault is such an `enabled: false`.
pub fn is_disabling(active: &Active) -> bool {
    !active.origin.exempt && &*active.name == DISABLED && active.fault.kind.name() == "down"
}

/// Writes a toxic down.
pub fn show(active: &Active, into: &mut String) {
    into.push_str("{\"attributes\":");
    match (&active.fault.kind, Type::named(active.fault.kind.name())) {
        (Kind::Toxic(_, toxic), Some(known)) => {
            let values = known.values(toxic);
            let fields = known.fields.iter().zip(values).map(|(field, value)| format!("\"{}\":{value}", field.name));
            let _ = write!(into, "{{{}}}", fields.collect::<Vec<_>>().join(","));
        }
        (kind, _) => into.push_str(&kind.attributes().to_string()),
    }
    let (http, stream) = match &active.fault.kind {
        Kind::Toxic(stream, _) => ("", *stream),
        Kind::Http(_) => (HTTP, Stream::Downstream),
    };
    into.push_str(",\"name\":");
    quote(&active.name, into);
    let (kind, stream) = (active.fault.kind.name(), stream.name());
    let _ =
        write!(into, ",\"type\":\"{http}{kind}\",\"stream\":\"{stream}\",\"toxicity\":{}", float(active.fault.percent));
    let Spec { ttl, first, every, after, place, .. } = &active.spec;
    if matches!(active.fault.kind, Kind::Http(_)) {
        let _ = write!(into, ",\"place\":\"{}\"", place.name());
    }
    for (name, time) in [("ttl", ttl), ("after", after)] {
        if let Some(time) = time {
            let _ = write!(into, ",\"{name}\":\"{time}\"");
        }
    }
    for (name, count) in [("first", first), ("every", every)] {
        if let Some(count) = count {
            let _ = write!(into, ",\"{name}\":{count}");
        }
    }
    into.push('}');
}

/// A number as Go writes one of its `float32`.
#[allow(clippy::cast_possible_truncation, reason = "Toxiproxy keeps no more of it")]
fn float(number: f64) -> String {
    let number = number as f32;
    if number != 0.0 && number.abs() < 1e-6 { format!("{number:e}") } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_byte_stream_fault_is_a_type_of_toxic_with_the_attributes_that_it_has() {
        assert_eq!(TYPES.each_ref().map(|kind| kind.name), Toxic::TYPES);
        for known in &TYPES {
            let toxic = Toxic::parse(known.name, &Value::Null).unwrap().unwrap();
            let Value::Object(attributes) = toxic.attributes() else { panic!("attributes of {}", known.name) };
            let names: BTreeSet<&str> = known.fields.iter().map(|field| field.name).collect();
            assert_eq!(attributes.keys().map(String::as_str).collect::<BTreeSet<_>>(), names);
        }
    }

    #[test]
    fn toxicity_is_written_as_go_writes_it() {
        for (number, text) in [
            (1.0, "1"),
            (0.0, "0"),
            (0.1, "0.1"),
            (0.333_333_333_333, "0.33333334"),
            (1e-7, "1e-7"),
            (1e-6, "0.000001"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_toxiproxys_order() {
        let subject = FaultTarget::new("a", Sort::TcpProxy);
        let refused = |body: &str| {
            let body = read::toxic(super::super::json::parse(body.as_bytes()).unwrap()).unwrap();
            spec(&body, &subject, |name| name == "taken").unwrap_err()
        };
        assert_eq!(refused(r#"{"type":"nope","stream":"sideways"}"#), NoToxic::Stream);
        assert_eq!(refused(r#"{"type":"nope","name":"taken"}"#), NoToxic::Type);
        assert_eq!(refused(r#"{"type":"http_delay"}"#), NoToxic::Type);
        assert_eq!(refused(r#"{"type":"latency","name":"taken","attributes":{"latency":-1}}"#), NoToxic::Taken);
        assert!(matches!(refused(r#"{"type":"latency","toxicity":1.5}"#), NoToxic::Bad(_)));
    }

    #[test]
    fn a_toxic_on_a_service_means_all_of_it() {
        let subject = FaultTarget::new("orders", Sort::Service);
        let body = r#"{"type":"http_abort","attributes":{"status":503},"place":"edge"}"#;
        let body = read::toxic(super::super::json::parse(body.as_bytes()).unwrap()).unwrap();
        let edge = spec(&body, &subject, |_| false).unwrap();
        assert_eq!((edge.kind.as_str(), edge.place, &edge.endpoints), ("abort", Place::Edge, &None));
        assert_eq!(edge.name.as_deref(), Some("http_abort_downstream"));
        edge.understand().unwrap();
        let body = read::toxic(super::super::json::parse(br#"{"type":"latency"}"#).unwrap()).unwrap();
        let upstream = spec(&body, &subject, |_| false).unwrap();
        assert_eq!(upstream.endpoints, Some(Endpoints::Word("all".into())));
        upstream.understand().unwrap();
    }
}
