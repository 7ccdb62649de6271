//! The proxy as its operator starts it: a process, a file, signals.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::raw::{self, Message};
use crate::{SOON, wait_for};

/// A running proxy. Killed when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it takes requests: its first listener.
    pub address: SocketAddr,
    /// Where its admin API is.
    pub admin: SocketAddr,
    config: PathBuf,
    child: Child,
    log: Arc<Mutex<String>>,
    _folder: TempDir,
}

/// A configuration with one service, `app`, that every request goes to.
pub fn to(origins: &[SocketAddr]) -> Value {
    let instances: Vec<_> = origins.iter().map(ToString::to_string).collect();
    json!({ "services": { "app": { "instances": instances } }, "routes": [{ "service": "app" }] })
}

impl Proxy {
    /// A proxy before one service.
    #[track_caller]
    pub fn before(origins: &[SocketAddr]) -> Self {
        Self::start(&to(origins))
    }

    /// A proxy with a configuration; where it names no listener or admin address, free ones are filled in.
    /// Returns when `/readyz` says so.
    #[track_caller]
    pub fn start(config: &Value) -> Self {
        let proxy = Self::start_unready(config, &[]);
        proxy.wait_ready();
        proxy
    }

    /// The same with further arguments, and without waiting.
    #[track_caller]
    pub fn start_unready(config: &Value, arguments: &[&str]) -> Self {
        Self::start_with(config, |command| {
            command.args(arguments);
        })
    }

    /// The same, the command changed before it is run. A stream that was given elsewhere is not in [`Proxy::log`].
    #[track_caller]
    pub fn start_with(config: &Value, change: impl FnOnce(&mut Command)) -> Self {
        let mut config = config.clone();
        if config["listeners"].is_null() {
            config["listeners"] = json!([{ "address": free_address() }]);
        }
        if config["admin"]["address"].is_null() {
            config["admin"]["address"] = json!(free_address());
        }
        if config["workers"].is_null() {
            config["workers"] = 2.into();
        }
        let address = |value: &Value| value["address"].as_str().and_then(|a| a.parse().ok()).expect("an address");
        let (listener, admin) = (address(&config["listeners"][0]), address(&config["admin"]));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("outrigger.yaml");
        write(&file, &config);
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(&file);
        let (child, log) = spawn(&mut command, change);
        Self { address: listener, admin, config: file, child, log, _folder: folder }
    }

    /// `outrigger` with arguments of its own, and free addresses by `--listen` and `--admin`. Returns when `/readyz`
    /// says so.
    #[track_caller]
    pub fn with_arguments(arguments: &[&str]) -> Self {
        let (address, admin) = (free_address(), free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(binary());
        command.args(arguments);
        command.args(["--listen", &address.to_string(), "--admin", &admin.to_string()]);
        let (child, log) = spawn(&mut command, |_| ());
        let proxy = Self { address, admin, config: folder.path().join("none"), child, log, _folder: folder };
        proxy.wait_ready();
        proxy
    }

    /// A proxy with a configuration file of the test's own, whose first listener and admin API are at these addresses. Returns
    /// when `/readyz` says so.
    #[track_caller]
    pub fn of_file(file: &str, address: SocketAddr, admin: SocketAddr) -> Self {
        let mut command = Command::new(binary());
        command.args(["run", "--config", file]);
        let (child, log) = spawn(&mut command, |_| ());
        let folder = tempfile::tempdir().expect("a folder");
        let proxy = Self { address, admin, config: file.into(), child, log, _folder: folder };
        proxy.wait_ready();
        proxy
    }

    /// Waits until `/readyz` says yes.
    #[track_caller]
    pub fn wait_ready(&self) {
        let pid = self.pid();
        wait_for(&format!("readiness; the log says:\n{}", self.log()), SOON, || {
            assert!(Path::new(&format!("/proc/{pid}/fd")).exists() && !self.is_zombie(), "it ended:\n{}", self.log());
            self.ready()
        });
    }

    /// Whether `/readyz` says yes now.
    pub fn ready(&self) -> bool {
        self.admin("/readyz").is_some_and(|answer| answer.status() == 200)
    }

    /// `GET` of a path of the admin API; none where nobody answers.
    pub fn admin(&self, path: &str) -> Option<Message> {
        let mut connection = raw::Connection::try_open(self.admin).ok()?;
        connection.try_send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).ok()?;
        connection.try_answer("GET").ok()
    }

    /// A request to the admin API that changes something, with a JSON body or none.
    #[track_caller]
    pub fn change(&self, method: &str, path: &str, body: Option<&Value>) -> Message {
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        let fields = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        raw::ask(self.admin, format!("{head}{fields}{body}"))
    }

    /// The samples of `/metrics` whose name and labels contain all the given parts.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[&str]) -> Vec<f64> {
        let text = self.admin("/metrics").expect("/metrics").text();
        let hit = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && labels.iter().all(|l| rest.contains(l)))
        };
        text.lines().filter(hit).map(|line| line.rsplit(' ').next().unwrap_or("").parse().expect("a number")).collect()
    }

    /// Replaces the configuration file, as editors and deployments do it: a new file, renamed over the old.
    pub fn rewrite(&self, config: &Value) {
        let mut config = config.clone();
        config["listeners"] = json!([{ "address": self.address.to_string() }]);
        config["admin"]["address"] = json!(self.admin.to_string());
        config["workers"] = 2.into();
        write(&self.config, &config);
    }

    /// Replaces the configuration file with any text.
    pub fn rewrite_text(&self, text: &str) {
        replace(&self.config, text);
    }

    /// Where its configuration is.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("a signal to a process of ours");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_end(&mut self, bound: Duration) -> ExitStatus {
        let mut ended = None;
        wait_for("the end of the process", bound, || {
            ended = self.child.try_wait().expect("its status");
            ended.is_some()
        });
        ended.expect("a status")
    }

    /// Bytes of memory that it holds.
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    /// What it has written to stderr and stdout.
    pub fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Whether it has ended by itself, or by a signal.
    pub fn has_ended(&self) -> bool {
        self.is_zombie()
    }

    fn is_zombie(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).is_ok_and(|s| s.contains(") Z "))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- the proxy at {} said:\n{}---", self.address, self.log());
        }
    }
}

/// Runs `outrigger` with arguments to its end.
pub fn outrigger(arguments: &[&str]) -> std::process::Output {
    Command::new(binary()).args(arguments).output().expect("outrigger runs")
}

/// An address on loopback that nobody listens on.
///
/// From below the ephemeral range, so that no outgoing connection takes it before it is used.
pub fn free_address() -> SocketAddr {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().expect("the ports given");
    let given = given.get_or_insert_with(HashSet::new);
    loop {
        let port = fastrand::u16(10_000..32_000);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return SocketAddr::from(([127, 0, 0, 1], port));
        }
    }
}

/// The program under test: `$OUTRIGGER_BIN`, or the one of this workspace, built when it is missing or old.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("OUTRIGGER_BIN") {
            return path.into();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned();
        let test = std::env::current_exe().expect("this test's path");
        // A test is in `deps`, and a program of ours beside it.
        let program = test.ancestors().find(|p| p.ends_with("deps")).unwrap_or(&test);
        let folder = program.parent().expect("target/<profile>");
        let path = folder.join("outrigger");
        if !newer_than_sources(&path, &root) {
            build(&root, folder);
        }
        path
    })
}

/// The whole workspace's features, as its tests are built with: with others cargo would compile every dependency
/// a second time.
fn build(root: &Path, folder: &Path) {
    let profile = match folder.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--offline", "--workspace", "--bin", "outrigger", "--profile", profile])
        .arg("--target-dir")
        .arg(folder.parent().expect("target"))
        .current_dir(root)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "outrigger does not build");
}

fn newer_than_sources(path: &Path, root: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let Some(built) = changed(path) else { return false };
    let mut folders = vec![root.join("proxy/src"), root.join("registry-client/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if changed(&path).is_some_and(|source| source > built) {
                return false;
            }
        }
    }
    true
}

fn spawn(command: &mut Command, change: impl FnOnce(&mut Command)) -> (Child, Arc<Mutex<String>>) {
    change(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let log = Arc::new(Mutex::new(String::new()));
    if let Some(stdout) = child.stdout.take() {
        collect(stdout, Arc::clone(&log));
    }
    if let Some(stderr) = child.stderr.take() {
        collect(stderr, Arc::clone(&log));
    }
    (child, log)
}

fn collect(from: impl std::io::Read + Send + 'static, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut log = log.lock().expect("the log");
            log.push_str(&line);
            log.push('\n');
        }
    });
}

fn write(file: &Path, config: &Value) {
    // Every JSON text is a YAML text.
    replace(file, &serde_json::to_string_pretty(config).expect("a configuration"));
}

fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(new, file).expect("a rename");
}
