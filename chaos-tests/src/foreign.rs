//! Other people's clients and servers: curl, Python, Node, nginx.
//!
//! Two programs by the same hand agree on the same mistakes. These were written by others, read HTTP their own way
//! and are what users will in fact put on either side of the proxy.
//!
//! Python's and Node's packages are installed once, under `target/foreign/`, in a folder named by the hash of the
//! file that pins them, behind a file lock. Where an interpreter is missing the tests that need it say so and pass,
//! except with `CI=true`, where they fail.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

use tempfile::TempDir;

use crate::proxy::free_address;
use crate::tools::say;
use crate::{SOON, raw, wait_for};

/// How long a client's whole script may take.
const SCRIPT: Duration = Duration::from_secs(120);

/// The Python with the pinned packages. None where there is no Python.
pub fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON.get_or_init(|| Some(venv("requirements.txt")?.join("python"))).as_deref()
}

/// The programs of a Python that has the packages which a file pins: `python`, and those that the packages bring. None where
/// there is no Python.
pub fn venv(requirements: &str) -> Option<PathBuf> {
    let interpreter = on_path("python3").or_else(|| missing("python3"))?;
    // Debian has it in a package of its own.
    if run(Command::new(&interpreter).args(["-c", "import venv, ensurepip"])).is_err() {
        return missing("Python's venv (python3-venv)");
    }
    let folder = installed(&[requirements], |folder| {
        say("installing Python packages for the tests, once, about 20 s");
        run(Command::new(&interpreter).args(["-m", "venv"]).arg(folder.join("venv")))?;
        run(Command::new(folder.join("venv/bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(sources().join(requirements)))
    })?;
    Some(folder.join("venv/bin"))
}

/// Node, and the folder whose `node_modules` holds the pinned packages. None where there is no Node.
pub fn node() -> Option<&'static (PathBuf, PathBuf)> {
    static NODE: OnceLock<Option<(PathBuf, PathBuf)>> = OnceLock::new();
    NODE.get_or_init(|| node_with("")).as_ref()
}

/// Node, and the folder whose `node_modules` holds the packages that `package.json` in a folder here pins. None where there is
/// no Node.
fn node_with(pinned: &str) -> Option<(PathBuf, PathBuf)> {
    let interpreter = on_path("node").or_else(|| missing("node"))?;
    let npm = on_path("npm").or_else(|| missing("npm"))?;
    let pins = ["package.json", "package-lock.json"].map(|name| format!("{pinned}{name}"));
    let folder = installed(&pins.each_ref().map(String::as_str), |folder| {
        say("installing Node packages for the tests, once, a few seconds");
        for name in ["package.json", "package-lock.json"] {
            std::fs::copy(sources().join(pinned).join(name), folder.join(name)).expect("a copy");
        }
        run(Command::new(&npm)
            .args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(folder))
    })?;
    Some((interpreter, folder))
}

/// Toxiproxy's client in Node, with a script of `chaos-tests/foreign/toxiproxy/`. None where there is no Node.
pub fn toxiproxy_node(script: &str) -> Option<Command> {
    let (node, folder) = node_with("toxiproxy/")?;
    // Node looks for packages beside the script, so the script goes to the packages.
    let copy = folder.join(format!("{}-{script}", std::process::id()));
    std::fs::copy(sources().join("toxiproxy").join(script), &copy).expect("a copy");
    let mut command = Command::new(node);
    command.arg(copy);
    Some(command)
}

/// The programs of the Python that has Toxiproxy's client and Chaos Toolkit. None where there is no Python.
pub fn toxiproxy_python() -> Option<PathBuf> {
    venv("toxiproxy/requirements.txt")
}

/// Toxiproxy's client in Rust, built once as a project of its own. None where it cannot be: it wants OpenSSL's headers.
pub fn toxiproxy_rust() -> Option<PathBuf> {
    if !Command::new("pkg-config").args(["--exists", "openssl"]).status().is_ok_and(|status| status.success()) {
        return missing("OpenSSL's headers (libssl-dev) with pkg-config");
    }
    let pins = ["toxiproxy/rust/Cargo.lock", "toxiproxy/rust/Cargo.toml", "toxiproxy/rust/src/main.rs"];
    let folder = installed(&pins, |folder| {
        say("building toxiproxy_rust for the tests, once, about two minutes");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        run(Command::new(cargo)
            .args(["build", "--quiet", "--locked", "--target-dir"])
            .arg(folder)
            .current_dir(sources().join("toxiproxy/rust")))
    })?;
    Some(folder.join("debug/toxiproxy-client"))
}

/// A program on PATH; what is missing is said, and fails with `CI=true`.
pub fn program(name: &str) -> Option<PathBuf> {
    on_path(name).or_else(|| missing(name))
}

/// A script of `chaos-tests/foreign/`, ready to start. None where its interpreter is missing.
pub fn script(name: &str) -> Option<Command> {
    let path = sources().join(name);
    if name.ends_with(".py") {
        let mut command = Command::new(python()?);
        command.arg("-u").arg(path);
        return Some(command);
    }
    let (node, folder) = node()?;
    // Node looks for packages beside the script, so the script goes to the packages.
    let copy = folder.join(format!("{}-{}", std::process::id(), name.replace('/', "-")));
    std::fs::copy(path, &copy).expect("a copy");
    let mut command = Command::new(node);
    command.arg(copy);
    Some(command)
}

/// Runs a client to its end. Panics, with all it said, where it fails or does not end.
#[track_caller]
pub fn finish(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a client to its end, whatever it is. Panics where it does not end.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{shown}: {e}"));
    let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let mut status = None;
    wait_for(&shown, SCRIPT, || {
        status = child.try_wait().expect("its status");
        status.is_some()
    });
    let status = status.expect("a status");
    Output { status, stdout: out.join().expect("stdout"), stderr: err.join().expect("stderr") }
}

/// What a program said on both streams.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A server, or a client that is told what to do next. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Mutex<mpsc::Receiver<String>>,
}

impl Process {
    /// Starts it.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (send, lines) = mpsc::channel();
        let stdout = child.stdout.take().expect("its stdout");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { stdin: child.stdin.take(), child, lines: Mutex::new(lines) }
    }

    /// Starts a server that says `PORT n` when it listens on loopback.
    #[track_caller]
    pub fn server(command: &mut Command) -> (Self, SocketAddr) {
        let server = Self::start(command);
        let line = server.line();
        let port = line.strip_prefix("PORT ").and_then(|p| p.parse::<u16>().ok());
        let port = port.unwrap_or_else(|| panic!("{command:?} said {line:?}, not its port"));
        (server, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The next line that it says.
    #[track_caller]
    pub fn line(&self) -> String {
        let lines = self.lines.lock().expect("the lines");
        lines.recv_timeout(SOON * 3).expect("a line in time")
    }

    /// Says a line to it.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("its stdin");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("a line");
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An nginx in the foreground, with the given `http` block.
#[derive(Debug)]
pub struct Nginx {
    /// Where its first server listens; put `LISTEN` into the block.
    pub address: SocketAddr,
    /// Its folder; `ROOT` in the block.
    pub folder: TempDir,
    _process: Process,
}

impl Nginx {
    /// Starts it. None where there is no nginx.
    #[track_caller]
    pub fn start(http: &str, files: &[(&str, Vec<u8>)]) -> Option<Self> {
        let nginx = program("nginx")?;
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().display().to_string();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).expect("a file");
        }
        let address = free_address();
        let http = http.replace("LISTEN", &address.to_string()).replace("ROOT", &root);
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {root}/{kind};\n"))
            .collect();
        let conf = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 256; }}\nhttp {{ access_log off;\n{temporary}{http}\n}}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), conf).expect("a file");
        let mut command = Command::new(nginx);
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        command.arg("-e").arg(folder.path().join("error.log")).stderr(Stdio::null());
        let process = Process::start(&mut command);
        wait_for("nginx", SOON, || raw::Connection::try_open(address).is_ok());
        Some(Self { address, folder, _process: process })
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    let mut stream = stream.expect("a stream");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok();
        bytes
    })
}

/// The folder for what the named files pin, made by `install` unless it is there already.
fn installed(pins: &[&str], install: impl FnOnce(&Path) -> Result<(), String>) -> Option<PathBuf> {
    let mut hash = DefaultHasher::new();
    for pin in pins {
        std::fs::read(sources().join(pin)).expect("a file that pins").hash(&mut hash);
    }
    let parent = target().join("foreign");
    std::fs::create_dir_all(&parent).expect("target/foreign");
    let stem = pins[0].split('.').next().expect("a name").replace('/', "-");
    let folder = parent.join(format!("{stem}-{:016x}", hash.finish()));
    let lock = std::fs::File::create(folder.with_extension("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    if !folder.join("complete").exists() {
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).expect("a folder");
        if let Err(why) = install(&folder) {
            return missing(&why);
        }
        std::fs::write(folder.join("complete"), "").expect("a mark");
    }
    Some(folder)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let trouble = || format!("{command:?}: {}\n{}", output.status, said(&output));
    output.status.success().then_some(()).ok_or_else(trouble)
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign")
}

fn target() -> PathBuf {
    let test = std::env::current_exe().expect("this test's path");
    let deps = test.ancestors().find(|p| p.ends_with("deps")).expect("target/<profile>/deps");
    deps.ancestors().nth(2).expect("target").to_owned()
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn missing<T>(name: &str) -> Option<T> {
    let strict = std::env::var_os("CI") == Some(OsString::from("true"));
    assert!(!strict, "{name} is not to be had, and CI=true");
    say(&format!("SKIPPED, NOT TESTED: {name} is not to be had"));
    None
}
