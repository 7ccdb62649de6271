//! The servers, and what each says that it has read.
//!
//! aiohttp, gunicorn, Node, Go and hyper say it themselves. nginx, HAProxy and Apache are proxies here: what they have
//! read is what they send on, and a strict reader behind them says what that is.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chaos_tests::fleet::{Peer, Scripted};
use chaos_tests::foreign::{self, Nginx, Process};
use chaos_tests::proxy::free_address;
use chaos_tests::raw::{self, Connection, Fault};
use chaos_tests::tools::Tool;
use chaos_tests::{SOON, runtime, wait_for};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::corpus::Request;

/// Go's server, and its client.
pub const GO: Tool =
    Tool { name: "smuggling-go", module: "smuggling", package: ".", link: "", build_time: "up to a minute" };
/// The target of the last request that is sent: when it has been read, all before it has.
const LAST: &str = "/last";

/// What somebody has read.
#[derive(Debug, Clone)]
pub struct Report {
    pub request: Request,
    /// Which connection it came on, where that is known, and as which request of that connection.
    pub place: Option<(String, u64)>,
}

/// A server under observation.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    /// Whether slashes at the beginning of a path are one to it.
    pub merges_slashes: bool,
    says: Says,
    _running: Vec<Box<dyn std::any::Any>>,
}

enum Says {
    /// On its standard output.
    Lines(Process),
    Here(Heard),
}

type Heard = Arc<Mutex<Vec<Report>>>;

impl Server {
    /// The reader of the tests themselves, which forgives nothing.
    pub fn strict() -> Self {
        let (reader, heard) = reader();
        let address = reader.address;
        Self {
            name: "strict",
            address,
            merges_slashes: false,
            says: Says::Here(heard),
            _running: vec![Box::new(reader)],
        }
    }

    pub fn hyper() -> Self {
        let heard = Heard::default();
        let listener = runtime().block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime().spawn(accept(listener, Arc::clone(&heard)));
        Self { name: "hyper", address, merges_slashes: false, says: Says::Here(heard), _running: Vec::new() }
    }

    pub fn go() -> Option<Self> {
        let program = GO.path_or_skip().unwrap_or_else(|why| panic!("{why}"))?;
        Some(Self::talking("Go", &mut Command::new(program)))
    }

    pub fn node() -> Option<Self> {
        Some(Self::talking("Node", &mut foreign::script("smuggling/node_server.mjs")?))
    }

    pub fn aiohttp() -> Option<Self> {
        Some(Self::talking("aiohttp", foreign::script("smuggling/aiohttp_server.py")?.stderr(Stdio::null())))
    }

    pub fn gunicorn() -> Option<Self> {
        let programs = foreign::venv("smuggling/requirements.txt")?;
        let address = free_address();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/foreign/smuggling");
        let mut command = Command::new(programs.join("gunicorn"));
        // The worker of a thread for each connection keeps connections; the usual one closes each behind its request.
        command.args(["--worker-class", "gthread", "--threads", "4", "--keep-alive", "60", "--chdir", folder]);
        command.args(["--no-control-socket", "--bind", &address.to_string(), "wsgi_app"]);
        command.env("PYTHONDONTWRITEBYTECODE", "1").stderr(Stdio::null());
        let process = Process::start(&mut command);
        wait_for("gunicorn", SOON, || Connection::try_open(address).is_ok());
        Some(Self {
            name: "gunicorn",
            address,
            merges_slashes: false,
            says: Says::Lines(process),
            _running: Vec::new(),
        })
    }

    pub fn nginx() -> Option<Self> {
        let (reader, heard) = reader();
        let http = format!(
            "upstream reader {{ server {}; keepalive 4; }}\n\
             server {{ listen LISTEN; keepalive_requests 10000; location / {{ proxy_pass http://reader;\n\
             proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
             proxy_set_header Seen-On $connection; proxy_set_header Seen-Nth $connection_requests; }} }}",
            reader.address
        );
        let nginx = Nginx::start(&http, &[])?;
        let address = nginx.address;
        Some(Self {
            name: "nginx",
            address,
            merges_slashes: false,
            says: Says::Here(heard),
            _running: vec![Box::new(nginx), Box::new(reader)],
        })
    }

    pub fn haproxy() -> Option<Self> {
        let config = "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
            frontend all\n bind LISTEN\n http-request set-header Seen-On %[src_port]\n\
            http-request set-header Seen-Nth 0\n default_backend readers\n\
            backend readers\n server reader READER\n";
        let arguments = ["-db", "-q", "-f", "ROOT/conf"];
        Self::in_front("HAProxy", "haproxy", config, &arguments)
    }

    pub fn apache() -> Option<Self> {
        let modules = ["mpm_event", "authz_core", "headers", "proxy", "proxy_http"];
        let modules: String =
            modules.map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")).concat();
        let config = format!(
            "{modules}ServerRoot ROOT\nServerName a\nDefaultRuntimeDir ROOT\nPidFile ROOT/pid\nErrorLog ROOT/error.log\n\
             User nobody\nGroup nogroup\nListen LISTEN\nKeepAliveTimeout 60\nMaxKeepAliveRequests 0\nTraceEnable on\n\
             AllowEncodedSlashes NoDecode\nProxyPreserveHost on\nProxyPass / http://READER/ nocanon\n\
             RequestHeader set Seen-On \"expr=%{{REMOTE_PORT}}\"\nRequestHeader set Seen-Nth 0\n"
        );
        // As one process, which ends when it is killed.
        let server = Self::in_front("Apache httpd", "apache2", &config, &["-X", "-f", "ROOT/conf"])?;
        Some(Self { merges_slashes: true, ..server })
    }

    fn talking(name: &'static str, command: &mut Command) -> Self {
        let (process, address) = Process::server(command);
        Self { name, address, merges_slashes: false, says: Says::Lines(process), _running: Vec::new() }
    }

    /// A proxy in front of a strict reader.
    fn in_front(name: &'static str, program: &str, config: &str, arguments: &[&str]) -> Option<Self> {
        let program = foreign::program(program)?;
        let (reader, heard) = reader();
        let (address, folder) = (free_address(), tempfile::tempdir().unwrap());
        let root = folder.path().display().to_string();
        let filled = |text: &str| {
            let text = text.replace("LISTEN", &address.to_string()).replace("READER", &reader.address.to_string());
            text.replace("ROOT", &root)
        };
        std::fs::write(folder.path().join("conf"), filled(config)).unwrap();
        let mut command = Command::new(program);
        command.args(arguments.iter().map(|argument| filled(argument))).stderr(Stdio::null());
        let process = Process::start(&mut command);
        wait_for(name, SOON, || Connection::try_open(address).is_ok());
        let running: Vec<Box<dyn std::any::Any>> = vec![Box::new(process), Box::new(reader), Box::new(folder)];
        Some(Self { name, address, merges_slashes: false, says: Says::Here(heard), _running: running })
    }

    /// All that it has read, in its order.
    pub fn reports(&self) -> Vec<Report> {
        let last = format!("GET {LAST} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(raw::ask(self.address, last).status(), 200, "{} is gone", self.name);
        let reports: Vec<_> = match &self.says {
            Says::Here(heard) => heard.lock().unwrap().clone(),
            Says::Lines(process) => {
                let mut reports: Vec<Report> = Vec::new();
                while reports.last().is_none_or(|report| report.request.target != LAST) {
                    let line = process.line();
                    let seen = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{} says {line:?}", self.name));
                    reports.push(Report::of(&seen));
                }
                reports
            }
        };
        reports.into_iter().filter(|report| report.request.target != LAST).collect()
    }
}

impl Report {
    /// What a server says in its line, and in its answer.
    pub fn of(seen: &Value) -> Self {
        let text = |name: &str| seen[name].as_str().unwrap_or_else(|| panic!("no {name} in {seen}")).to_owned();
        let hex = text("body");
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits");
        let body = (0..hex.len()).step_by(2).map(digits).collect();
        let request = Request { method: text("method"), target: text("target"), host: text("host"), body };
        let nth = seen["nth"].as_u64().unwrap_or_default();
        Self { request, place: (nth > 0).then(|| (text("connection"), nth)) }
    }

    fn line(&self) -> String {
        let Request { method, target, host, body } = &self.request;
        let body: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
        let (connection, nth) = self.place.clone().unwrap_or_default();
        json!({ "method": method, "target": target, "host": host, "body": body, "connection": connection, "nth": nth })
            .to_string()
    }
}

/// A strict reader, and what it has read.
fn reader() -> (Scripted, Heard) {
    let heard = Heard::default();
    let told = Arc::clone(&heard);
    let reader = Scripted::start(move |peer| read(peer, &told));
    (reader, heard)
}

fn read(peer: &mut Peer, heard: &Heard) {
    let mut count = 0;
    let ungrammatical = |what: String| {
        let request = Request { method: "no request".into(), target: what, host: String::new(), body: Vec::new() };
        heard.lock().unwrap().push(Report { request, place: None });
    };
    loop {
        let head = match peer.connection.head() {
            Ok(head) => head,
            Err(Fault::Grammar(what)) => return ungrammatical(what),
            Err(_) => return,
        };
        if head.lists("expect", "100-continue") && peer.connection.try_send("HTTP/1.1 100 Continue\r\n\r\n").is_err() {
            return;
        }
        let message = match peer.connection.request_body(head) {
            Ok(message) => message,
            Err(raw::Broken { fault: Fault::Grammar(what), .. }) => return ungrammatical(what),
            Err(_) => return,
        };
        count += 1;
        let head = &message.head;
        // Where a proxy stands before this reader, it is its client's connection that counts.
        let place = match (head.field("seen-on"), head.field("seen-nth")) {
            (Some(on), Some(nth)) => (on.to_owned(), nth.parse().unwrap()),
            _ => (peer.nth.to_string(), count),
        };
        let request = Request {
            method: head.method().into(),
            target: head.target().into(),
            host: head.all("host").join(" and "),
            body: message.body,
        };
        let bodiless = request.method == "HEAD";
        let report = Report { request, place: Some(place) };
        let line = report.line();
        heard.lock().unwrap().push(report);
        let body = if bodiless { "" } else { &line };
        if peer.connection.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", line.len())).is_err()
        {
            return;
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, heard: Heard) {
    while let Ok((stream, from)) = listener.accept().await {
        stream.set_nodelay(true).ok();
        let (heard, count) = (Arc::clone(&heard), Arc::new(Mutex::new(0)));
        let service = hyper::service::service_fn(move |request| {
            answer(request, Arc::clone(&heard), from.port().to_string(), Arc::clone(&count))
        });
        // How a connection ends is seen from the other side.
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: http::Request<Incoming>,
    heard: Heard,
    connection: String,
    count: Arc<Mutex<u64>>,
) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    let host = head.headers.get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let request =
        Request { method: head.method.to_string(), target: head.uri.to_string(), host: host.unwrap_or_default(), body };
    let nth = {
        let mut count = count.lock().unwrap();
        *count += 1;
        *count
    };
    let report = Report { request, place: Some((connection, nth)) };
    let line = report.line();
    heard.lock().unwrap().push(report);
    Ok(http::Response::new(Full::from(line)))
}
