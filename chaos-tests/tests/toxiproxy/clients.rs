//! Other people's clients of Toxiproxy, unchanged: what they say of Outrigger is what they say of Toxiproxy.

use std::path::Path;
use std::process::Command;

use chaos_tests::foreign;
use chaos_tests::toxiproxy::{CLI, Toxiproxy};
use serde_json::{Value, json};

use crate::echo::Echo;
use crate::transcript::chosen;

/// What a client says of the real server and of Outrigger, line by line the same; `least` is how many lines it has to be.
#[track_caller]
fn same(least: usize, mut says: impl FnMut(&Toxiproxy) -> String) {
    let Some(real) = Toxiproxy::real() else { return };
    let ours = Toxiproxy::outrigger();
    let (real, ours) = (says(&real), says(&ours));
    assert!(ours.lines().count() >= least, "it said too little:\n{ours}");
    for (real, ours) in real.lines().zip(ours.lines()) {
        assert_eq!(ours, real, "what it says of Outrigger, and of Toxiproxy");
    }
    assert_eq!(ours.lines().count(), real.lines().count());
}

/// Ports that the system chose, and the origin's, are anybody's.
fn normal(said: &str) -> String {
    chosen(said, "127.0.0.1:")
}

#[test]
fn toxiproxy_node_client_works_unchanged() {
    let Some(_) = foreign::toxiproxy_node("client.mjs") else { return };
    let echo = Echo::start();
    same(25, |server| {
        let mut client = foreign::toxiproxy_node("client.mjs").unwrap();
        normal(&foreign::finish(client.arg(server.api.to_string()).arg(echo.address.to_string())))
    });
}

#[test]
fn toxiproxy_python_works_unchanged() {
    let Some(programs) = foreign::toxiproxy_python() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/toxiproxy/client.py");
    let echo = Echo::start();
    same(30, |server| {
        let mut client = Command::new(programs.join("python"));
        normal(&foreign::finish(client.arg(&script).arg(server.api.to_string()).arg(echo.address.to_string())))
    });
}

#[test]
fn toxiproxy_rust_works_unchanged() {
    let Some(client) = foreign::toxiproxy_rust() else { return };
    let echo = Echo::start();
    same(20, |server| {
        let mut client = Command::new(&client);
        normal(&foreign::finish(client.arg(server.api.to_string()).arg(echo.address.to_string())))
    });
}

#[test]
fn toxiproxys_own_command_line_works_unchanged() {
    let Some(cli) = CLI.path_or_skip().unwrap_or_else(|why| panic!("{why}")) else { return };
    let echo = Echo::start();
    let upstream = echo.address.to_string();
    let lines: &[&[&str]] = &[
        &["list"],
        &["create", "--listen", "127.0.0.1:0", "--upstream", &upstream, "one"],
        &["create", "--listen", "127.0.0.1:0", "--upstream", &upstream, "one"],
        &["create", "--listen", "nonsense", "--upstream", &upstream, "two"],
        &["list"],
        &["inspect", "one"],
        &["inspect", "nobody"],
        &["toxic", "add", "-t", "latency", "-a", "latency=100", "-a", "jitter=50", "one"],
        &["toxic", "add", "-t", "latency", "-n", "up", "--upstream", "--toxicity", "0.3", "-a", "latency=7", "one"],
        &["toxic", "add", "-t", "bandwidth", "-a", "rate=5", "one"],
        &["toxic", "add", "-t", "slow_close", "-a", "delay=6", "one"],
        &["toxic", "add", "-t", "timeout", "-a", "timeout=7", "one"],
        &["toxic", "add", "-t", "reset_peer", "-a", "timeout=8", "one"],
        &["toxic", "add", "-t", "slicer", "-a", "average_size=9", "-a", "size_variation=1", "-a", "delay=10", "one"],
        &["toxic", "add", "-t", "limit_data", "-a", "bytes=11", "one"],
        &["toxic", "add", "-t", "latency", "-a", "latency=100", "one"],
        &["toxic", "add", "-t", "nonsense", "one"],
        &["toxic", "add", "-t", "latency", "-n", "x", "-a", "latency=much", "one"],
        &["toxic", "add", "-t", "latency", "nobody"],
        &["inspect", "one"],
        &["toxic", "update", "-n", "latency_downstream", "-a", "latency=200", "one"],
        &["toxic", "update", "-n", "up", "--toxicity", "0.75", "one"],
        &["toxic", "update", "-n", "nothing", "-a", "latency=200", "one"],
        &["inspect", "one"],
        &["toxic", "remove", "-n", "latency_downstream", "one"],
        &["toxic", "remove", "-n", "latency_downstream", "one"],
        &["inspect", "one"],
        &["toggle", "one"],
        &["list"],
        &["toggle", "one"],
        &["toggle", "nobody"],
        &["list"],
        &["delete", "one"],
        &["delete", "one"],
        &["list"],
    ];
    same(50, |server| {
        let mut said = String::new();
        for line in lines {
            let mut command = Command::new(&cli);
            let output = foreign::output(command.arg("--host").arg(format!("http://{}", server.api)).args(*line));
            said += &format!("$ {}\n{}[{}]\n", line.join(" "), foreign::said(&output), output.status);
        }
        normal(&said)
    });
}

#[test]
fn a_chaos_toolkit_experiment_runs_and_is_rolled_back() {
    let Some(programs) = foreign::toxiproxy_python() else { return };
    let experiment = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/toxiproxy/experiment.json");
    let echo = Echo::start();
    same(10, |server| {
        let listen = server.proxy("app", echo.address);
        let folder = tempfile::tempdir().unwrap();
        let mut chaos = Command::new(programs.join("chaos"));
        let path = std::env::join_paths(
            std::iter::once(programs.clone())
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        );
        chaos
            .args(["--no-version-check", "run", "--journal-path"])
            .arg(folder.path().join("journal.json"))
            .arg(&experiment);
        chaos.env("PATH", path.unwrap()).env("TOXIPROXY_URL", format!("http://{}", server.api));
        chaos.env("UPSTREAM", echo.address.to_string()).env("LISTEN", listen.to_string()).current_dir(folder.path());
        foreign::finish(&mut chaos);
        let journal: Value =
            serde_json::from_slice(&std::fs::read(folder.path().join("journal.json")).unwrap()).unwrap();
        assert_eq!((&journal["status"], &journal["deviated"]), (&json!("completed"), &json!(false)), "{journal:#}");
        let mut said = String::new();
        let steady = &journal["steady_states"];
        for probe in [&steady["before"]["probes"], &steady["after"]["probes"], &journal["run"], &journal["rollbacks"]] {
            for one in probe.as_array().unwrap() {
                said += &format!("{} {} {}\n", one["activity"]["name"], one["status"], one["output"]);
            }
        }
        said + &server.call("GET", "/proxies/app/toxics", "").text()
    });
}
