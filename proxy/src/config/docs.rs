//! The configuration's schema, and its reference page, both from the types.
//!
//! `docs/configuration.md` is never edited by hand: a test writes it anew and compares.

use serde_json::{Map, Value};

use super::written::Config;
use crate::reference::Reference;

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
    let policies = definitions.get("Defaults").and_then(|d| d["properties"].as_object()).unwrap_or(&empty);
    let reference = Reference { sections: SECTIONS, definitions };
    let mut page = INTRODUCTION.to_owned();
    reference.section(&mut page, "The file", &schema, &|_| false);
    for (title, name) in SECTIONS {
        let Some(definition) = definitions.get(*name) else { continue };
        let narrows = matches!(*name, "Service" | "Route");
        reference.section(&mut page, title, definition, &|key| narrows && policies.contains_key(key));
        if narrows {
            let keys: Vec<_> = policies.keys().map(|k| format!("`{k}`")).collect();
            page.push_str(&format!("\nAnd the policies, as under `defaults`: {}.\n", keys.join(", ")));
        }
    }
    page
}

/// In the order in which a reader meets them.
const SECTIONS: &[(&str, &str)] = &[
    ("`listeners[]`", "Listener"),
    ("`listeners[].tls`", "ListenerTls"),
    ("`listeners[].tls.certificates[]`", "Certificate"),
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
    ("`services.NAME.tls`", "ServiceTls"),
    ("`routes[]`", "Route"),
    ("`routes[].split[]`", "Part"),
    ("`hash`, `routes[].sticky`", "HashBy"),
    ("`routes[].redirect`", "Redirect"),
    ("`routes[].answer`", "Fixed"),
    ("`routes[].access`, `listeners[].access`", "Access"),
    ("`routes[].rewrite`", "Rewrite"),
    ("`routes[].request_headers`, `routes[].response_headers`", "HeaderChanges"),
    ("`routes[].mirror`", "Mirror"),
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
- `outrigger check --route 'GET http://shop.local/cart?x=1' -H 'x-canary: 1' FILE` says which route a request takes, and why.
- `outrigger schema` prints the JSON Schema of this page, for editors.

**Durations** are written with a unit: `250ms`, `2s`, `1m30s`, `1h`. **Sizes** too: `512B`, `64KiB`, `1MiB`. Durations of policies are
a day at most (`fallback.stale` and `health_check.keep_absent` excepted), all others 365 days. `0s` is one where it means at once, or
not at all: `slow_start`, `hold.unknown_for`, `health_check.keep_absent`, `ready_grace`, `shutdown.lame_duck`.

**Environment variables**: `${NAME}` in a value is replaced by the variable, and one that is not set is an error;
`${NAME:-default}` gives it a default; `$${` is a plain `${`. Within `{ }` or `[ ]` it stands in quotes. What a variable
holds is only ever text of that value: it cannot add keys.

**Policies** (`timeout`, `retries` and so on) have the same keys under `defaults`, under a service and in a route. The
narrower wins, key by key: route, then service, then `defaults`, then what is built in.

**Routing**: the host decides first (exact, then the longest wildcard, then routes without a host), then the path (exact, then
regular expressions, then the longest prefix by whole segments), then the method (named before not), then header fields and
then the query (more conditions before fewer), then the order of the file. [routing.md](routing.md) has all of it. A host that
has routes of its own answers 404 to a request that none of them takes: it never falls through to another's. Where no
route takes a request, its host is the service's name (see `names`).

**Paths** are used byte for byte, for routing and for what is sent on: `//` is not merged and `%2F` is not decoded. A
path with a `.` or `..` segment, however it is encoded, is refused with 400.
";

#[cfg(test)]
mod tests;
