//! Bodies of requests, out of JSON.
//!
//! As in Go's decoder a field of a wrong type does not end the reading; the first that was met is told, by the name that the
//! field has inside Toxiproxy. Fields that nobody knows are left alone, since clients send what other versions know; those
//! of ours are read.

use super::json::{Raw, Sort, parse};
use super::toxic::{Field, Type};
use crate::fault::Place;
use crate::units::Interval;

/// A proxy as somebody asks for it. What was not said is none.
#[derive(Debug, Default)]
pub struct ProxyBody<'t> {
    /// Its name.
    pub name: Option<String>,
    /// Where it shall listen.
    pub listen: Option<String>,
    /// Where it shall lead.
    pub upstream: Option<String>,
    /// Whether it shall listen.
    pub enabled: Option<bool>,
    /// Ours: toxics that are there from its start.
    pub toxics: Vec<Raw<'t>>,
}

/// A toxic as somebody asks for it, its attributes not yet looked at.
#[derive(Debug, Default)]
pub struct ToxicBody<'t> {
    /// Its name.
    pub name: Option<String>,
    /// Its type.
    pub kind: Option<String>,
    /// Its direction.
    pub stream: Option<String>,
    /// Which part of the connections it meets.
    pub toxicity: Option<f64>,
    /// Every `attributes` that was not null.
    pub attributes: Vec<Raw<'t>>,
    /// Ours.
    pub more: More,
}

/// What our toxics know beyond Toxiproxy's.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct More {
    /// How long it lives.
    pub ttl: Option<Interval>,
    /// Only the first so many.
    pub first: Option<u64>,
    /// Only every so-many-th.
    pub every: Option<u64>,
    /// Not before so much time has passed.
    pub after: Option<Interval>,
    /// Where an HTTP fault acts.
    pub place: Option<Place>,
}

/// Why a body is refused: what stands behind `bad request body: `.
pub type Bad = String;

/// Collects the fields of one struct; remembers the first that was of a wrong type.
struct Into {
    /// What errors put before a field's name: `Proxy.`.
    within: &'static str,
    first: Option<Bad>,
}

impl Into {
    fn new(within: &'static str) -> Self {
        Self { within, first: None }
    }

    fn blame(&mut self, found: &str, field: &str, expected: &str) {
        let within = self.within;
        self.first.get_or_insert_with(|| {
            format!("json: cannot unmarshal {found} into Go struct field {within}{field} of type {expected}")
        });
    }

    /// Ours are told in our own words.
    fn complain(&mut self, field: &str, found: Raw<'_>, expected: &str) {
        let found = String::from_utf8_lossy(found.bytes()).into_owned();
        self.first.get_or_insert_with(|| format!("`{field}`: found {found}, expected {expected}"));
    }

    fn string(&mut self, field: &str, value: Raw<'_>, into: &mut Option<String>) {
        match value.sort() {
            Sort::Null => {}
            Sort::String => *into = Some(value.string()),
            other => self.blame(other.word(), field, "string"),
        }
    }

    fn bool(&mut self, field: &str, value: Raw<'_>, into: &mut Option<bool>) {
        match value.sort() {
            Sort::Null => {}
            Sort::Bool => *into = Some(value.is_true()),
            other => self.blame(other.word(), field, "bool"),
        }
    }

    fn float(&mut self, field: &str, value: Raw<'_>, into: &mut Option<f64>) {
        match (value.sort(), value.text().parse::<f64>()) {
            (Sort::Null, _) => {}
            (Sort::Number, Ok(number)) if number.abs() <= f64::from(f32::MAX) => *into = Some(number),
            (Sort::Number, _) => self.blame(&format!("number {}", value.text()), field, "float32"),
            (other, _) => self.blame(other.word(), field, "float32"),
        }
    }

    fn count(&mut self, field: &str, value: Raw<'_>, into: &mut Option<u64>) {
        match (value.sort(), value.text().parse()) {
            (Sort::Null, _) => {}
            (Sort::Number, Ok(count)) => *into = Some(count),
            _ => self.complain(field, value, "a whole number"),
        }
    }

    fn interval(&mut self, field: &str, value: Raw<'_>, into: &mut Option<Interval>) {
        match (value.sort(), value.string().parse()) {
            (Sort::Null, _) => {}
            (Sort::String, Ok(interval)) => *into = Some(interval),
            _ => self.complain(field, value, "a duration like \"5m\""),
        }
    }

    fn end<T>(self, read: T) -> Result<T, Bad> {
        self.first.map_or(Ok(read), Err)
    }
}

/// Objects, and null as an empty one. `what` is the type's name inside Toxiproxy.
fn object<'t>(value: Raw<'t>, what: &str) -> Result<Vec<(String, Raw<'t>)>, Bad> {
    match value.sort() {
        Sort::Object | Sort::Null => Ok(value.fields()),
        other => Err(format!("json: cannot unmarshal {} into Go value of type {what}", other.word())),
    }
}

/// A proxy: of `POST /proxies` and of its changes.
///
/// # Errors
///
/// Where it is none.
pub fn proxy(body: &[u8]) -> Result<ProxyBody<'_>, Bad> {
    let fields = object(parse(body)?, "toxiproxy.Proxy")?;
    let mut into = Into::new("Proxy.");
    let mut read = ProxyBody::default();
    for (name, value) in fields {
        proxy_field(&mut into, &mut read, &name, value, "");
    }
    into.end(read)
}

/// `inside` is what stands before the names of the fields that `enabled` is not one of.
fn proxy_field<'t>(into: &mut Into, read: &mut ProxyBody<'t>, name: &str, value: Raw<'t>, inside: &str) {
    let field = |field: &str| format!("{inside}{field}");
    match name.to_ascii_lowercase().as_str() {
        "name" => into.string(&field("name"), value, &mut read.name),
        "listen" => into.string(&field("listen"), value, &mut read.listen),
        "upstream" => into.string(&field("upstream"), value, &mut read.upstream),
        "enabled" => into.bool("enabled", value, &mut read.enabled),
        "logger" if !matches!(value.sort(), Sort::Object | Sort::Null) => {
            into.blame(value.sort().word(), &field("Logger"), "zerolog.Logger");
        }
        "toxics" => read.toxics = value.elements(),
        _ => {}
    }
}

/// The element's type in `POST /populate`, as Go spells it.
const POPULATED: &str = r#"struct { toxiproxy.Proxy; Enabled *bool "json:\"enabled\"" }"#;

/// The proxies of `POST /populate`.
///
/// # Errors
///
/// Where they are none.
pub fn proxies(body: &[u8]) -> Result<Vec<ProxyBody<'_>>, Bad> {
    let value = parse(body)?;
    match value.sort() {
        Sort::Array | Sort::Null => {}
        other => return Err(format!("json: cannot unmarshal {} into Go value of type []{POPULATED}", other.word())),
    }
    let mut into = Into::new(".");
    let mut list = Vec::new();
    for element in value.elements() {
        let mut read = ProxyBody::default();
        match object(element, POPULATED) {
            Ok(fields) => {
                for (name, value) in fields {
                    proxy_field(&mut into, &mut read, &name, value, "Proxy.");
                }
            }
            Err(bad) => drop(into.first.get_or_insert(bad)),
        }
        list.push(read);
    }
    into.end(list)
}

/// A toxic that shall be added.
///
/// # Errors
///
/// Where it is none.
pub fn toxic(value: Raw<'_>) -> Result<ToxicBody<'_>, Bad> {
    let fields = object(value, "toxics.ToxicWrapper")?;
    let mut into = Into::new("ToxicWrapper.");
    let mut read = ToxicBody::default();
    for (name, value) in fields {
        match name.to_ascii_lowercase().as_str() {
            "name" => into.string("name", value, &mut read.name),
            "type" => into.string("type", value, &mut read.kind),
            "stream" => into.string("stream", value, &mut read.stream),
            "toxicity" => into.float("toxicity", value, &mut read.toxicity),
            "attributes" => match value.sort() {
                Sort::Null => {}
                Sort::Object => read.attributes.push(value),
                other => into.blame(other.word(), "attributes", "toxics.NoopToxic"),
            },
            other => more_field(&mut into, &mut read.more, other, value),
        }
    }
    into.end(read)
}

fn more_field(into: &mut Into, more: &mut More, name: &str, value: Raw<'_>) {
    match name {
        "ttl" => into.interval(name, value, &mut more.ttl),
        "first" => into.count(name, value, &mut more.first),
        "every" => into.count(name, value, &mut more.every),
        "after" => into.interval(name, value, &mut more.after),
        "place" => match (value.sort(), value.string().as_str()) {
            (Sort::Null, _) => {}
            (Sort::String, "upstream") => more.place = Some(Place::Upstream),
            (Sort::String, "edge") => more.place = Some(Place::Edge),
            _ => into.complain(name, value, "\"upstream\" or \"edge\""),
        },
        _ => {}
    }
}

/// A change of a toxic: toxicity, and the attributes that were named, over those that it has. `kind` is the toxic's; its
/// type's name in Go appears in errors.
///
/// # Errors
///
/// Where it is none.
pub fn toxic_change<'t>(body: &'t [u8], kind: Option<&Type>) -> Result<ToxicBody<'t>, Bad> {
    let named =
        "struct { Attributes interface {} \"json:\\\"attributes\\\"\"; Toxicity float32 \"json:\\\"toxicity\\\"\" }";
    let fields = object(parse(body)?, named)?;
    let mut into = Into::new(".");
    let mut read = ToxicBody::default();
    for (name, value) in fields {
        match name.to_ascii_lowercase().as_str() {
            "toxicity" => into.float("toxicity", value, &mut read.toxicity),
            "attributes" => match value.sort() {
                Sort::Null => {}
                Sort::Object => read.attributes.push(value),
                other => {
                    let expected = kind.map_or("toxics.Toxic".into(), |kind| format!("toxics.{}", kind.go));
                    into.blame(other.word(), "attributes", &expected);
                }
            },
            _ => {}
        }
    }
    into.end(read)
}

/// Attributes of a type, laid over `values`, which has one for each of the type's fields.
///
/// # Errors
///
/// Where one is of a wrong type, unknown or negative.
pub fn attributes(given: &[Raw<'_>], kind: &Type, values: &mut [u64]) -> Result<(), Bad> {
    let mut first = None;
    for (name, value) in given.iter().flat_map(|object| object.fields()) {
        let found = kind.fields.iter().position(|field| field.name.eq_ignore_ascii_case(&name));
        let bad = match found {
            Some(at) => integer(kind, &kind.fields[at], value).map(|number| {
                if let (Some(number), Some(into)) = (number, values.get_mut(at)) {
                    *into = number;
                }
            }),
            None => Err(kind.unknown(&name)),
        };
        if let Err(bad) = bad {
            first.get_or_insert(bad);
        }
    }
    first.map_or(Ok(()), Err)
}

fn integer(kind: &Type, field: &Field, value: Raw<'_>) -> Result<Option<u64>, Bad> {
    let wrong = |found: &str| {
        let (go, name, expected) = (kind.go, field.name, field.go);
        Err(format!("json: cannot unmarshal {found} into Go struct field {go}.attributes.{name} of type {expected}"))
    };
    match (value.sort(), value.text().parse::<i64>()) {
        (Sort::Null, _) => Ok(None),
        (Sort::Number, Ok(number)) => match u64::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("`attributes.{}`: found {number}, expected 0 or more", field.name)),
        },
        (Sort::Number, Err(_)) => wrong(&format!("number {}", value.text())),
        (other, _) => wrong(other.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_of_a_wrong_type_is_told_and_the_others_are_read() {
        let bad = proxy(br#"{"upstream":[],"name":2}"#).unwrap_err();
        assert_eq!(bad, "json: cannot unmarshal array into Go struct field Proxy.upstream of type string");
        let bad = proxies(br#"[{"name":"a"},{"enabled":1,"name":2}]"#).unwrap_err();
        assert_eq!(bad, "json: cannot unmarshal number into Go struct field .enabled of type bool");
        let bad = proxies(br#"[{"name":2}]"#).unwrap_err();
        assert_eq!(bad, "json: cannot unmarshal number into Go struct field .Proxy.name of type string");
    }

    #[test]
    fn names_of_fields_are_read_in_any_case_and_the_last_of_several_counts() {
        let read = proxy(br#"{"NAME":"a","name":"b","Enabled":false,"name":null}"#).unwrap();
        assert_eq!((read.name.as_deref(), read.enabled, read.listen), (Some("b"), Some(false), None));
    }

    #[test]
    fn our_own_fields_are_read_and_their_mistakes_told_in_our_words() {
        let read =
            toxic(parse(br#"{"type":"latency","ttl":"5m","first":3,"every":2,"after":"1s","place":"edge"}"#).unwrap());
        let more = read.unwrap().more;
        assert_eq!((more.first, more.every, more.place), (Some(3), Some(2), Some(Place::Edge)));
        assert_eq!((more.ttl.unwrap().0.as_secs(), more.after.unwrap().0.as_secs()), (300, 1));
        for (field, value) in
            [("ttl", "5"), ("first", "-1"), ("every", "\"x\""), ("after", "\"soon\""), ("place", "\"here\"")]
        {
            let body = format!(r#"{{"type":"latency","{field}":{value}}}"#);
            let bad = toxic(parse(body.as_bytes()).unwrap()).unwrap_err();
            assert!(bad.starts_with(&format!("`{field}`: found {value}, expected ")), "{bad}");
        }
    }

    #[test]
    fn attributes_are_laid_over_those_that_are_there() {
        let latency = Type::named("latency").unwrap();
        let mut values = [1, 2];
        let given = parse(br#"{"JITTER":7,"latency":null}"#).unwrap();
        attributes(&[given], latency, &mut values).unwrap();
        assert_eq!(values, [1, 7]);
        let negative = parse(br#"{"latency":-1}"#).unwrap();
        assert_eq!(
            attributes(&[negative], latency, &mut values).unwrap_err(),
            "`attributes.latency`: found -1, expected 0 or more"
        );
        let unknown = parse(br#"{"latancy":1}"#).unwrap();
        assert_eq!(
            attributes(&[unknown], latency, &mut values).unwrap_err(),
            "`attributes.latancy`: `latency` takes `latency` and `jitter`, not this"
        );
    }
}
