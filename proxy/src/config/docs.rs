//! The configuration's schema, and its reference page, both from the types.
//!
//! `docs/configuration.md` is never edited by hand: a test writes it anew and compares.

use serde_json::{Map, Value};

use super::written::Config;

/// The JSON Schema of a configuration file.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".into(), "Outrigger configuration".into());
    }
    schema
}

/// The reference page, in Markdown.
pub fn markdown() -> String {
    let schema = schema();
    let empty = Map::new();
    let definitions = schema["$defs"].as_object().unwrap_or(&empty);
    let mut page = INTRODUCTION.to_owned();
    section(&mut page, "The file", &schema, definitions);
    for (title, name) in SECTIONS {
        if let Some(definition) = definitions.get(*name) {
            section(&mut page, title, definition, definitions);
        }
    }
    page
}

/// In the order in which a reader meets them.
const SECTIONS: &[(&str, &str)] = &[
    ("`listeners[]`", "Listener"),
    ("`tcp[]`", "Tcp"),
    ("`registries.NAME`", "Registry"),
    ("`defaults`", "Defaults"),
    ("`retries`", "Retries"),
    ("`per_try_timeout`", "LearnedTry"),
    ("`hedge`", "Hedge"),
    ("`hold`", "Hold"),
    ("`outlier`", "Outlier"),
    ("`breaker`", "Breaker"),
    ("`limit`", "Limit"),
    ("`bulkhead`", "Bulkhead"),
    ("`health_check`", "HealthCheck"),
    ("`fallback`", "Fallback"),
    ("`services.NAME`", "Service"),
    ("`services.NAME.instances[]`", "Instance"),
    ("`routes[]`", "Route"),
    ("`names`", "Names"),
    ("`admin`", "Admin"),
    ("`faults`", "Faults"),
    ("`faults.start[]`", "Spec"),
    ("`faults.toxiproxy`", "Toxiproxy"),
    ("`http`", "Http"),
    ("`shutdown`", "Shutdown"),
];

const INTRODUCTION: &str = "\
<!-- Written from the types by a test; edit proxy/src/config/written.rs and run it with UPDATE_DOCS=1. -->

# Configuration

One YAML file (JSON is YAML, too). Every key may be left out, and an empty file is a good one at the start; read again, one is
refused unless it says `{}`. A key that is not known is an error, with the one that was probably meant.

- `outrigger check FILE` tells every error at once, with the key, the line and the column.
- `outrigger check --explain[=SERVICE] FILE` prints what a service ends up with, and where each value came from.
- `outrigger check --route 'GET http://shop.local/cart' FILE` says which route a request takes, and why.
- `outrigger schema` prints the JSON Schema of this page, for editors.

**Durations** are written with a unit: `250ms`, `2s`, `1m30s`, `1h`. **Sizes** too: `512B`, `64KiB`, `1MiB`. Durations of policies are
a day at most (`fallback.stale` and `health_check.keep_absent` excepted), all others 365 days. `0s` is one where it means at once, or
not at all: `slow_start`, `hold.unknown_for`, `health_check.keep_absent`, `ready_grace`, `shutdown.lame_duck`.

**Environment variables**: `${NAME}` in a value is replaced by the variable, and one that is not set is an error;
`${NAME:-default}` gives it a default; `$${` is a plain `${`. Within `{ }` or `[ ]` it stands in quotes. What a variable
holds is only ever text of that value: it cannot add keys.

**Policies** (`timeout`, `retries` and so on) have the same keys under `defaults`, under a service and in a route. The
narrower wins, key by key: route, then service, then `defaults`, then what is built in.

**Routing**: the host decides first (exact, then the longest wildcard, then routes without a host), then the path (exact,
then the longest prefix by whole segments), then the method (named before not), then the order of the file. A host that
has routes of its own answers 404 to a request that none of them takes: it never falls through to another's. Where no
route takes a request, its host is the service's name (see `names`).

**Paths** are used byte for byte, for routing and for what is sent on: `//` is not merged and `%2F` is not decoded. A
path with a `.` or `..` segment, however it is encoded, is refused with 400.
";

pub(crate) fn section(page: &mut String, title: &str, schema: &Value, definitions: &Map<String, Value>) {
    page.push_str(&format!("\n## {title}\n\n"));
    if let Some(text) = schema["description"].as_str() {
        page.push_str(&format!("{}\n\n", one_line(text)));
    }
    let object = if schema["oneOf"].is_array() { &schema["oneOf"][1] } else { schema };
    page.push_str("| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
    let empty = Map::new();
    let policies = definitions.get("Defaults").and_then(|d| d["properties"].as_object()).unwrap_or(&empty);
    let narrows = matches!(title, "`services.NAME`" | "`routes[]`");
    for (key, property) in object["properties"].as_object().unwrap_or(&empty) {
        if narrows && policies.contains_key(key) {
            continue;
        }
        let required = object["required"].as_array().is_some_and(|r| r.iter().any(|k| k == key));
        let default = match &property["default"] {
            _ if required => "(required)".to_owned(),
            Value::Null => String::new(),
            Value::Object(o) if o.is_empty() => "none".to_owned(),
            Value::Object(_) => "see below".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let meaning = property["description"].as_str().map(one_line).unwrap_or_default();
        page.push_str(&format!("| `{key}` | {} | {default} | {meaning} |\n", kind(property, definitions)));
    }
    if narrows {
        let keys: Vec<_> = policies.keys().map(|k| format!("`{k}`")).collect();
        page.push_str(&format!("\nAnd the policies, as under `defaults`: {}.\n", keys.join(", ")));
    }
}

/// A key's kind of value, in words.
fn kind(schema: &Value, definitions: &Map<String, Value>) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        let section = SECTIONS.iter().find(|(_, n)| *n == name);
        return match (section, definitions.get(name)) {
            (Some((title, _)), _) => title.to_string(),
            (None, Some(definition)) => kind(definition, definitions),
            (None, None) => name.to_owned(),
        };
    }
    if let Some(title) = schema["title"].as_str() {
        return match schema["examples"][0].as_str() {
            Some(example) => format!("{title} (`{example}`)"),
            None => title.to_owned(),
        };
    }
    let choices: Vec<&Value> = ["oneOf", "anyOf"].iter().filter_map(|k| schema[k].as_array()).flatten().collect();
    if !choices.is_empty() {
        let mut kinds: Vec<_> = choices.iter().filter(|c| c["type"] != "null").map(|c| kind(c, definitions)).collect();
        kinds.dedup();
        return kinds.join(" or ");
    }
    if let Some(word) = schema["const"].as_str() {
        return format!("`{word}`");
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().filter_map(Value::as_str).map(|w| format!("`{w}`")).collect::<Vec<_>>().join(" or ");
    }
    let name = match &schema["type"] {
        Value::String(name) => name.as_str(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|n| *n != "null").unwrap_or_default(),
        _ => "",
    };
    match name {
        "array" => {
            let item = kind(&schema["items"], definitions);
            format!("list of: {}", item.trim_start_matches("an ").trim_start_matches("a "))
        }
        "object" if schema["additionalProperties"].is_object() => {
            format!("map of names to {}", kind(&schema["additionalProperties"], definitions))
        }
        "object" => match schema["properties"].as_object().and_then(|p| p.iter().next()) {
            Some((key, value)) => format!("`{{ {key}: … }}` with {}", kind(value, definitions)),
            None => "map".to_owned(),
        },
        "integer" => "number".to_owned(),
        "string" => "text".to_owned(),
        other => other.to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests;
