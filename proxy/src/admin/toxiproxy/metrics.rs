//! Toxiproxy's own metrics: the bytes that went through each proxy, by direction.
//!
//! Those who chart them have the names and labels in their dashboards. What Outrigger counts beyond that is at the admin
//! API's `/metrics`.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use crate::config::settings::TcpUpstream;
use crate::counts::TcpCounts;
use crate::tcp::TcpProxy;

/// Its type, as Toxiproxy's library says it.
pub const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// Of one direction of one proxy.
type Read = fn(&TcpCounts) -> u64;

const SERIES: [(&str, [(&str, Read); 2]); 2] = [
    (
        "toxiproxy_proxy_received_bytes_total",
        [("downstream", |c| c.received_down.load(Relaxed)), ("upstream", |c| c.received_up.load(Relaxed))],
    ),
    (
        "toxiproxy_proxy_sent_bytes_total",
        [("downstream", |c| c.sent_down.load(Relaxed)), ("upstream", |c| c.sent_up.load(Relaxed))],
    ),
];

/// The page. As there, a proxy without connections so far has no series.
pub fn render(proxies: &[TcpProxy]) -> String {
    let mut page = String::new();
    for (name, directions) in SERIES {
        let mut lines = String::new();
        for (direction, read) in directions {
            for proxy in proxies.iter().filter(|proxy| proxy.counts.accepted.load(Relaxed) > 0) {
                let (listener, proxy_name, upstream) = (proxy.listen, escape(&proxy.name), escape(&leads_to(proxy)));
                let bytes = read(&proxy.counts);
                // A String cannot fail.
                let _ = writeln!(
                    lines,
                    "{name}{{direction=\"{direction}\",listener=\"{listener}\",proxy=\"{proxy_name}\",upstream=\"{upstream}\"}} {bytes}"
                );
            }
        }
        if !lines.is_empty() {
            let _ = write!(page, "# HELP {name} \n# TYPE {name} counter\n{lines}");
        }
    }
    page
}

fn leads_to(proxy: &TcpProxy) -> String {
    match &proxy.upstream {
        TcpUpstream::Address(address) => address.to_string(),
        TcpUpstream::Service(service) => format!("service {service}"),
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
