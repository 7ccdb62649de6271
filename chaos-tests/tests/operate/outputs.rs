//! No output of the proxy can end it or hold it up.

use std::fs::OpenOptions;
use std::io::{PipeReader, Write};
use std::process::Stdio;

use chaos_tests::fleet::Origin;
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::get;
use chaos_tests::{SOON, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;

/// What can be wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Output {
    /// Its disk is full.
    Full,
    /// Its reader is gone.
    Gone,
    /// Its reader has stopped reading, and the pipe is full.
    Stopped,
}

impl Output {
    /// The stream, and what has to be kept for as long as it is to be so.
    fn open(self) -> (Stdio, Option<PipeReader>) {
        if self == Self::Full {
            return (OpenOptions::new().write(true).open("/dev/full").unwrap().into(), None);
        }
        let (reader, mut writer) = std::io::pipe().unwrap();
        if self == Self::Stopped {
            writer.write_all(&[b'\n'; 64 << 10]).unwrap();
        }
        (writer.into(), (self == Self::Stopped).then_some(reader))
    }
}

#[test]
fn no_output_that_fails_ends_the_proxy_or_holds_it_up() {
    let origin = Origin::named("a");
    for stream in ["stderr", "stdout", "audit log"] {
        for output in [Output::Full, Output::Gone, Output::Stopped] {
            let at = format!("{stream}: {output:?}");
            let mut config = proxy::to(&[origin.address]);
            config["access_log"] = json!(true);
            config["shutdown"] = json!({ "lame_duck": "10ms", "deadline": "30s" });
            let (given, _kept) = output.open();
            if stream == "audit log" {
                config["faults"] = json!({ "enabled": true, "audit_log": "/dev/full" });
            }
            let mut proxy = Proxy::start_with(&config, |command| {
                match stream {
                    "stderr" => command.stderr(given),
                    "stdout" => command.stdout(given),
                    _ => command,
                };
            });
            proxy.wait_ready();
            for _ in 0..20 {
                assert_eq!(get(proxy.address, "a", "/").status(), 200, "{at}");
            }
            // Each of these is a line of the log.
            proxy.signal(Signal::SIGHUP);
            wait_for(&format!("{at}: a reload"), SOON, || {
                proxy.metric("outrigger_reloads_total", &["applied"]) == [1.0]
            });
            if stream == "audit log" {
                let fault =
                    json!({ "type": "abort", "attributes": { "status": 503 }, "service": "app", "place": "edge" });
                assert_eq!(proxy.change("POST", "/api/v1/faults", Some(&fault)).status(), 201, "{at}");
                proxy.change("DELETE", "/api/v1/faults", None);
            }
            if output != Output::Stopped || stream == "audit log" {
                let name = match stream {
                    "stderr" => "outrigger_log_dropped_total",
                    "stdout" => "outrigger_access_log_dropped_total",
                    _ => "outrigger_audit_log_dropped_total",
                };
                wait_for(&format!("{at}: a count"), SOON, || proxy.metric(name, &[])[0] > 0.0);
            }
            assert_eq!(get(proxy.address, "a", "/").status(), 200, "{at}");
            proxy.signal(Signal::SIGTERM);
            assert!(proxy.wait_end(SOON).success(), "{at}: {}", proxy.log());
            // Fifty times a second was how often it was said.
            let said = proxy.log().lines().filter(|line| line.contains("were lost")).count();
            assert!(said <= 2, "{at}: said {said} times\n{}", proxy.log());
            if stream == "audit log" {
                break;
            }
        }
    }
}
