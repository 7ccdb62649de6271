//! What these tests begin with: a product that is a proxy before one service, and plans for it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use chaos_tests::fleet::Origin;
use chaos_tests::proxy::{Proxy, binary};
use chaos_tests::{SOON, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A product: what its users see is what the proxy answers.
pub struct Product {
    pub proxy: Proxy,
    pub folder: TempDir,
    _origin: Origin,
}

impl Product {
    pub fn start() -> Self {
        Self::with("app", json!({ "enabled": true }))
    }

    /// With a service of another name than `app`.
    pub fn named(service: &str) -> Self {
        Self::with(service, json!({ "enabled": true }))
    }

    /// With the configuration's `faults`.
    pub fn with(service: &str, faults: Value) -> Self {
        let origin = Origin::named("a");
        let config = json!({
            "services": { service: { "instances": [origin.address.to_string()] } },
            "routes": [{ "service": service }],
            "faults": faults,
        });
        let folder = tempfile::tempdir().expect("a folder");
        Self { proxy: Proxy::start(&config), folder, _origin: origin }
    }

    /// A plan in which `app` answers 503 at the edge for a time. The probe `page` is the proxy's answer.
    pub fn plan(&self, duration: &str) -> Value {
        json!({
            "name": "product",
            "admin": format!("http://{}", self.proxy.admin),
            "probes": [{
                "name": "page",
                "url": format!("http://{}/", self.proxy.address),
                "headers": { "host": "app" },
                "timeout": "1s",
                "every": "20ms",
            }],
            "dependencies": [{ "service": "app", "faults": ["down"], "places": ["edge"] }],
            "duration": duration,
        })
    }

    /// Writes a plan. Every JSON text is a YAML text.
    pub fn write(&self, plan: &Value) -> PathBuf {
        let path = self.file("drill.yaml");
        std::fs::write(&path, serde_json::to_string_pretty(plan).expect("a plan")).expect("a file");
        path
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Begins a drill, and returns when its first fault is there.
    pub fn begin(&self, plan: &Value) -> Running {
        let running = Running::start(&self.write(plan));
        wait_for("a fault", SOON, || self.faults() == 1);
        running
    }

    pub fn faults(&self) -> usize {
        faults(&self.proxy).len()
    }

    /// How many faults were ever added.
    pub fn added(&self) -> usize {
        self.audit().iter().filter(|entry| entry["what"] == "added").count()
    }

    pub fn audit(&self) -> Vec<Value> {
        read(&self.proxy, "/api/v1/audit")["entries"].as_array().expect("a list").clone()
    }

    /// Nothing is injected, and another drill may begin.
    #[track_caller]
    pub fn is_as_before(&self) {
        assert_eq!(self.faults(), 0, "faults are left: {:?}", faults(&self.proxy));
        let lease = json!({ "controller": "test", "name": "test", "heartbeat": "5s" });
        let answer = self.proxy.change("POST", "/api/v1/drills", Some(&lease));
        assert_eq!(answer.status(), 201, "{}", answer.text());
        assert_eq!(self.proxy.change("DELETE", "/api/v1/drills/test", None).status(), 204);
    }
}

pub fn faults(proxy: &Proxy) -> Vec<Value> {
    read(proxy, "/api/v1/faults")["faults"].as_array().expect("a list").clone()
}

fn read(proxy: &Proxy, path: &str) -> Value {
    serde_json::from_slice(&proxy.admin(path).expect("an answer").body).expect("JSON")
}

/// `outrigger drill` that is running. Killed when dropped.
pub struct Running {
    pub child: Child,
}

impl Running {
    fn start(plan: &Path) -> Self {
        let child = Command::new(binary())
            .args(["drill", "run"])
            .arg(plan)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("outrigger runs");
        Self { child }
    }

    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }

    /// Its exit code, when it has ended.
    #[track_caller]
    pub fn end(&mut self, bound: Duration) -> Option<i32> {
        let mut status = None;
        wait_for("the end of the drill", bound, || {
            status = self.child.try_wait().expect("its status");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a plan to its end.
pub fn run(plan: &Path, arguments: &[&str]) -> Output {
    Command::new(binary()).args(["drill", "run"]).arg(plan).args(arguments).output().expect("outrigger runs")
}

/// Its exit code, with what it said where it is another.
#[track_caller]
pub fn assert_ended(output: &Output, code: i32) -> String {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}
