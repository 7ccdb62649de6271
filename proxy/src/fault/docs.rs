//! `docs/faults.md`: a section for every fault, from the types that parse it.
//!
//! Never edited by hand: a test writes it anew and compares. The examples are parsed by a test, too.

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value};

use super::guard::GuardSpec;
use super::spec::Spec;
use super::{http, stream};
use crate::reference::Reference;

/// A fault's section.
pub(super) struct Page {
    pub name: &'static str,
    pub schema: Value,
    /// As one would type it.
    pub examples: &'static [&'static str],
    pub notes: &'static str,
}

fn page<T: JsonSchema>(name: &'static str, examples: &'static [&'static str], notes: &'static str) -> Page {
    Page { name, schema: schema_for!(T).to_value(), examples, notes }
}

/// Every fault, in the order of the page.
pub(super) fn pages() -> [Vec<Page>; 2] {
    let http = vec![
        page::<http::Delay>(
            "delay",
            &[
                "outrigger fault add delay fixed=2s --service payments --endpoints 1",
                "outrigger fault add delay median=80ms p99=2s --service payments --place edge --percent 20%",
            ],
            "Ending the fault lets go of what it is holding up, at once. At the edge the time is above the route's `timeout`: the service has all of its time left.",
        ),
        page::<http::Abort>(
            "abort",
            &[
                "outrigger fault add abort status=503 --service payments --endpoints all --percent 10%",
                "outrigger fault add abort grpc_status=14 --service payments --place edge --header x-tester=*",
                "outrigger fault add abort reset=true --service payments --place edge --first 3",
            ],
            "No instance is asked. The answer says where it is from: `Outrigger-Fault: NAME; place=upstream`.",
        ),
        page::<http::RewriteStatus>(
            "rewrite_status",
            &["outrigger fault add rewrite_status status=500 --service payments --endpoints 1 --method POST"],
            "The instance has done its work. 1xx, 204 and 304 stay as they are.",
        ),
        page::<http::Truncate>(
            "truncate",
            &["outrigger fault add truncate after=1KiB --service catalogue --endpoints 1 --every 10"],
            "Upstream, an answer that is held until it is whole (`hold`) is never seen broken: it is asked for again elsewhere.",
        ),
        page::<http::Throttle>(
            "throttle",
            &["outrigger fault add throttle rate=10KiB --service catalogue --place edge --path /images"],
            "The head comes at once.",
        ),
        page::<http::Corrupt>(
            "corrupt",
            &["outrigger fault add corrupt bytes=1% --service catalogue --endpoints 1"],
            "Nothing in between notices, which is the point.",
        ),
    ];
    let stream = vec![
        page::<stream::Latency>("latency", &["outrigger fault add latency latency=1000 jitter=100 --proxy cache"], ""),
        page::<stream::Bandwidth>("bandwidth", &["outrigger fault add bandwidth rate=100 --proxy cache"], ""),
        page::<stream::SlowClose>("slow_close", &["outrigger fault add slow_close delay=5000 --proxy cache"], ""),
        page::<stream::Timeout>(
            "timeout",
            &["outrigger fault add timeout timeout=0 --service payments --endpoints 1"],
            "With `timeout=0` this is a dependency that hangs.",
        ),
        page::<stream::ResetPeer>(
            "reset_peer",
            &["outrigger fault add reset_peer timeout=0 --service payments --endpoints all --percent 5%"],
            "",
        ),
        page::<stream::Slicer>(
            "slicer",
            &["outrigger fault add slicer average_size=64 size_variation=32 delay=10 --proxy cache"],
            "",
        ),
        page::<stream::LimitData>("limit_data", &["outrigger fault add limit_data bytes=1024 --proxy cache"], ""),
        page::<stream::Noop>("noop", &["outrigger fault add noop --proxy cache"], ""),
        page::<stream::Down>("down", &["outrigger fault add down --service payments --endpoints all --hold"], ""),
    ];
    [http, stream]
}

/// The page, in Markdown.
pub fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    let spec = schema_for!(Spec).to_value();
    section(&mut text, "What may be said of every fault", &spec);
    let [http, stream] = pages();
    for (title, pages) in [("# HTTP faults", http), ("# Byte-stream faults", stream)] {
        text.push_str(&format!("\n{title}\n"));
        for page in pages {
            section(&mut text, &format!("`{}`", page.name), &page.schema);
            if page.schema["properties"].as_object().is_none_or(Map::is_empty) {
                text.push_str("| none | | | It has no attributes. |\n");
            }
            if !page.notes.is_empty() {
                text.push_str(&format!("\n{}\n", page.notes));
            }
            text.push_str(&format!("\n```sh\n{}\n```\n", page.examples.join("\n")));
        }
    }
    text.push_str(GUARDS);
    let guard = schema_for!(GuardSpec).to_value();
    section(&mut text, "What may be said of a guard", &guard);
    text
}

fn section(page: &mut String, title: &str, schema: &Value) {
    let empty = Map::new();
    let definitions = schema["$defs"].as_object().unwrap_or(&empty);
    Reference { sections: &[], definitions }.section(page, title, schema, &|_| false);
}

const INTRODUCTION: &str = "\
<!-- Written from the types by a test; edit proxy/src/fault/ and run it with UPDATE_DOCS=1. -->

# Faults

Break it on purpose, for a while, and for some requests only. `outrigger fault add`, the admin API (`POST
/api/v1/faults`), drills (`docs/drills.md`), the configuration (`faults.start`) and Toxiproxy's API (`docs/toxiproxy.md`) all
speak of the same faults.

A proxy refuses faults unless it was started for them: `faults: { enabled: true }`, or `outrigger run --faults`. Then:

```sh
outrigger fault add delay fixed=2s --service payments --endpoints 1
outrigger fault list
outrigger fault clear
```

## Two places

- **upstream** is below resilience, between the proxy and its instances. Retries, hedges, outlier detection and breakers see the
  fault, and `outrigger availability` shows what absorbed it. A fault strikes *attempts*.
- **edge** is above resilience, between the application and the proxy. The application sees a dependency that is slow or
  failing, whatever the proxy could have done about it. A fault strikes *requests*.

Every interface names the place: the audit log, `outrigger fault list`, the access log (`\"faults\": [\"upstream delay slow-payments\"]`),
`outrigger explain`, and the metrics `outrigger_faults_active` and `outrigger_faults_injected_total`.

## Nothing gets out of hand

- **It ends.** Every fault has a time to live, five minutes where nobody says (`--ttl`; at most `faults.max_ttl`). It carries it
  itself: nobody has to remember it. With a `heartbeat` it also ends when its controller is not heard of: `--hold` does that, and
  even a killed terminal leaves nothing behind.
- **It lets go.** When a fault ends, what it was holding up goes on at once.
- **It reaches no further than it should.** `faults.max_active`, `faults.max_requests`, `faults.max_endpoints`. An upstream fault that would
  meet the last healthy endpoint of a service is refused, unless it says `--endpoints all`; and one that meets some of them ends
  when the others are no longer healthy.
- **A guard** ends every fault within a second when what it watches is no longer true. See below.
- **It is written down**: `GET /api/v1/audit`, the log (target `audit`), and `faults.audit_log`: who, what, when, why it ended.

Faults on TCP proxies that were made through Toxiproxy's API are their user's own: no time to live unless they say so, no caps,
and `outrigger fault clear` leaves them alone.
";

const GUARDS: &str = "
# Guards

```sh
curl -s http://127.0.0.1:9901/api/v1/guards -H 'content-type: application/json' \\
  -d '{\"metric\": \"success\", \"service\": \"checkout\", \"below\": \"99%\", \"over\": \"5s\"}'
```

A guard looks ten times a second at what was counted within its time. When it trips, every fault ends (those on Toxiproxy's own
proxies excepted), the audit log says what it saw, whoever has a heartbeat is told, and may not add another fault.
";

#[cfg(test)]
mod tests;
