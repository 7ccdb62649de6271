//! Outrigger and the proxies that it is measured beside, each configured to do the same and started by hand.
//!
//! The same means: one thread; keep-alive to the endpoints, and enough idle connections kept; round robin or what
//! the proxy balances with by default; `X-Forwarded-For` added; the usual timeouts on; no access log; buffers as
//! they come, but large enough that no body goes through a file. Nothing here uses a packaged service or a port
//! of one: configurations are generated into a directory of the caller's.

use std::fmt::{self, Write as _};
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub use build::{build, target_directory};
pub use process::{Cpu, Memory, Process, pin};

pub mod build;
pub mod origin;
pub mod process;

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proxy {
    /// Ours.
    Outrigger,
    /// Ours, with two workers.
    OutriggerTwo,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
    /// Envoy.
    Envoy,
    /// The least that a proxy can do: `examples/floor.rs`.
    Floor,
    /// Toxiproxy's server, for plain TCP alone.
    Toxiproxy,
}

/// How a proxy is to be started.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Cargo's, where our own programs are.
    pub target: PathBuf,
    /// For configurations and logs; made if it is not there.
    pub directory: PathBuf,
    /// What it forwards to.
    pub endpoints: Vec<SocketAddr>,
    /// Where plain TCP goes; none where there is no need for it.
    pub plain: Option<SocketAddr>,
    /// The one core that it may use; none for any.
    pub core: Option<usize>,
    /// Whether its listener waits for a connection's first bytes before it accepts; the floor cannot.
    pub defer_accept: bool,
    /// How long its first answer may take.
    pub patience: Duration,
    /// What is written for our own proxy's service beside its endpoints; empty for the defaults.
    pub policies: &'static str,
}

/// A proxy that answers.
#[derive(Debug)]
pub struct Running {
    /// Which one.
    pub proxy: Proxy,
    /// Its process.
    pub process: Process,
    /// Where it takes HTTP/1.1, if it is no matter of plain TCP alone.
    pub h1: SocketAddr,
    /// Where it takes plain TCP; none if it does not.
    pub tcp: Option<SocketAddr>,
    /// Where it takes HTTP/2 with prior knowledge; none if it does not.
    pub h2: Option<SocketAddr>,
}

impl Proxy {
    /// All, in the order of the tables.
    pub const ALL: [Self; 7] =
        [Self::Outrigger, Self::OutriggerTwo, Self::Haproxy, Self::Nginx, Self::Envoy, Self::Floor, Self::Toxiproxy];

    /// As on the command line and in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Outrigger => "outrigger",
            Self::OutriggerTwo => "outrigger-2",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Floor => "floor",
            Self::Toxiproxy => "toxiproxy",
        }
    }

    /// The program: what an environment variable names (`OUTRIGGER_BIN`, `HAPROXY_BIN`, ...), else ours from the
    /// release build in `target`, Envoy from where `bench-peers.sh` puts it, and the others from the usual places.
    /// None if there is none.
    #[must_use]
    pub fn program(self, target: &Path) -> Option<PathBuf> {
        let variable = match self {
            Self::OutriggerTwo => Self::Outrigger.name(),
            proxy => proxy.name(),
        };
        let named = std::env::var_os(format!("{}_BIN", variable.to_uppercase())).map(PathBuf::from);
        let ours = |file: &str| vec![target.join(file)];
        let usual = || {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let path = std::env::split_paths(&path).collect::<Vec<_>>();
            path.into_iter().chain(["/usr/sbin".into()]).map(|d| d.join(self.name())).collect::<Vec<_>>()
        };
        let places = match (named, self) {
            (Some(named), _) => vec![named],
            (None, Self::Outrigger | Self::OutriggerTwo) => ours("release/outrigger"),
            (None, Self::Floor) => ours("release/examples/floor"),
            (None, Self::Envoy) => [ours("peers/envoy"), usual()].concat(),
            (None, Self::Haproxy | Self::Nginx) => usual(),
            (None, Self::Toxiproxy) => crate::toxiproxy::SERVER.path_or_skip().ok().flatten().into_iter().collect(),
        };
        places.into_iter().find(|p| p.is_file())
    }

    /// Writes its configuration, and gives the arguments to start it with.
    fn configure(self, setting: &Setting, ports: &Ports) -> io::Result<Vec<String>> {
        // Envoy goes by the ending.
        let file = setting.directory.join(format!("{self}.yaml"));
        let path = file.display().to_string();
        let (text, arguments) = match self {
            Self::Outrigger | Self::OutriggerTwo => {
                let workers = if self == Self::OutriggerTwo { 2 } else { 1 };
                (outrigger(workers, setting, ports), vec!["run".into(), "--config".into(), path])
            }
            Self::Haproxy => (haproxy(setting, ports), vec!["-db".into(), "-f".into(), path]),
            Self::Nginx => {
                let prefix = setting.directory.display().to_string();
                let arguments = ["-p", &prefix, "-e", "stderr", "-c", &path].map(Into::into);
                (nginx(setting, ports), arguments.to_vec())
            }
            Self::Envoy => {
                let arguments = "--concurrency 1 --disable-hot-restart --log-level error --config-path";
                (envoy(setting, ports), arguments.split(' ').map(Into::into).chain([path]).collect())
            }
            Self::Toxiproxy => {
                let arguments = format!("-host 127.0.0.1 -port {} -config {path}", ports.admin.port());
                (toxiproxy(setting, ports), arguments.split(' ').map(Into::into).collect())
            }
            Self::Floor => {
                (String::new(), [ports.h1].iter().chain(&setting.endpoints).map(ToString::to_string).collect())
            }
        };
        std::fs::write(file, text)?;
        Ok(arguments)
    }

    /// Starts it as `setting` says; returns when a request goes through as it should.
    ///
    /// # Errors
    /// There is no such program, it ended, or no request went through in time: with the end of what it wrote.
    pub fn start(self, setting: &Setting) -> io::Result<Running> {
        let program = self.program(&setting.target).ok_or_else(|| io::Error::other("not installed"))?;
        self.start_under(Command::new(program), setting)
    }

    /// As [`Proxy::start`], by a command that ends in the program: under a tool that watches it.
    ///
    /// # Errors
    /// As [`Proxy::start`].
    pub fn start_under(self, mut command: Command, setting: &Setting) -> io::Result<Running> {
        std::fs::create_dir_all(&setting.directory)?;
        let ports = Ports::free()?;
        let log = setting.directory.join(format!("{self}.log"));
        let output = std::fs::File::create(&log)?;
        command.args(self.configure(setting, &ports)?).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let until = Instant::now() + setting.patience;
        let mut process = Process::start(command, setting.core)?;
        loop {
            let trouble = match (process.ended()?, self.forwards(&ports)) {
                (Some(status), _) => format!("ended: {status}"),
                (None, Ok(())) => break,
                (None, Err(error)) if Instant::now() > until => format!("does not answer: {error}"),
                (None, Err(_)) => {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
            };
            let said = std::fs::read_to_string(log)?;
            let last = said.lines().rev().take(3).collect::<Vec<_>>().join(" | ");
            return Err(io::Error::other(format!("{trouble}; its last lines: {last}")));
        }
        let h2 = match self {
            Self::Floor | Self::Toxiproxy => None,
            Self::Nginx => Some(ports.h2),
            Self::Outrigger | Self::OutriggerTwo | Self::Haproxy | Self::Envoy => Some(ports.h1),
        };
        let carries = setting.plain.is_some() && self.is_plain();
        Ok(Running { proxy: self, process, h1: ports.h1, h2, tcp: carries.then_some(ports.tcp) })
    }

    /// Whether it carries plain TCP here.
    fn is_plain(self) -> bool {
        matches!(self, Self::Outrigger | Self::Haproxy | Self::Toxiproxy)
    }

    fn forwards(self, ports: &Ports) -> io::Result<()> {
        if self == Self::Toxiproxy { echoes(ports.tcp) } else { forwards(ports.h1) }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Addresses on loopback that were free a moment ago.
struct Ports {
    h1: SocketAddr,
    /// For HTTP/2, where the proxy cannot tell the two apart.
    h2: SocketAddr,
    tcp: SocketAddr,
    admin: SocketAddr,
}

impl Ports {
    fn free() -> io::Result<Self> {
        // Held together, so that they differ.
        let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0"));
        let [h1, h2, tcp, admin] = held.map(|l| l?.local_addr());
        Ok(Self { h1: h1?, h2: h2?, tcp: tcp?, admin: admin? })
    }
}

/// Nothing is measured before a request has come out at the other end as the others' do.
fn forwards(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /head HTTP/1.1\r\nHost: origin\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let (head, forwarded) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let as_it_should = head.starts_with("http/1.1 200 ") && forwarded.contains("\r\nx-forwarded-for: ");
    if as_it_should { Ok(()) } else { Err(io::Error::other(format!("it said: {answer:.200}"))) }
}

/// As [`forwards`], for plain TCP.
fn echoes(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let sent = [origin::ONCE; 1024];
    stream.write_all(&sent)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer == sent { Ok(()) } else { Err(io::Error::other(format!("it gave {} bytes back", answer.len()))) }
}

fn outrigger(workers: usize, setting: &Setting, ports: &Ports) -> String {
    let plain = |to| format!("tcp: [{{ name: plain, listen: \"{}\", upstream: \"{to}\" }}]\n", ports.tcp);
    let plain = setting.plain.map(plain).unwrap_or_default();
    let instances = setting.endpoints.iter().map(|e| format!("\"{e}\"")).collect::<Vec<_>>().join(", ");
    let policies = setting.policies;
    format!(
        "workers: {workers}\n\
         listeners: [{{ address: \"{}\", defer_accept: {} }}]\n\
         services: {{ origin: {{ instances: [{instances}], {policies} }} }}\n\
         routes: [{{ service: origin }}]\n\
         http: {{ max_connections: 12000 }}\n\
         shutdown: {{ lame_duck: 0s }}\n\
         {plain}admin: {{ address: \"{}\" }}\n",
        ports.h1, setting.defer_accept, ports.admin
    )
}

fn haproxy(setting: &Setting, ports: &Ports) -> String {
    let defer = if setting.defer_accept { "defer-accept" } else { "" };
    let mut servers = String::new();
    for (i, endpoint) in setting.endpoints.iter().enumerate() {
        let _ = writeln!(servers, "  server s{i} {endpoint} pool-purge-delay 60s");
    }
    let plain = |to| {
        format!(
            "listen plain\n  mode tcp\n  timeout client 1h\n  timeout server 1h\n  bind {}\n  server s {to}\n",
            ports.tcp
        )
    };
    let plain = setting.plain.map(plain).unwrap_or_default();
    format!(
        "global\n  nbthread 1\n  maxconn 12000\n  no strict-limits\n\
         defaults\n  mode http\n  option forwardfor\n  http-reuse always\n  retries 1\n\
         \x20 timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         \x20 timeout http-request 10s\n  timeout http-keep-alive 60s\n\
         frontend f\n  bind {} {defer}\n  default_backend b\n\
         backend b\n  balance roundrobin\n{servers}{plain}",
        ports.h1
    )
}

fn toxiproxy(setting: &Setting, ports: &Ports) -> String {
    let to = setting.plain.map(|to| to.to_string()).unwrap_or_default();
    format!("[{{ \"name\": \"plain\", \"listen\": \"{}\", \"upstream\": \"{to}\", \"enabled\": true }}]", ports.tcp)
}

fn nginx(setting: &Setting, ports: &Ports) -> String {
    let servers = setting.endpoints.iter().fold(String::new(), |s, e| s + "server " + &e.to_string() + ";\n");
    let directory = setting.directory.display();
    let defer = if setting.defer_accept { " deferred" } else { "" };
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(temporary, "{kind}_temp_path {directory}/{kind};");
    }
    format!(
        "daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid;\n\
         events {{ worker_connections 24000; }}\n\
         http {{\n access_log off;\n {temporary}\n keepalive_timeout 75s; keepalive_requests 1000000000;\n\
         client_body_buffer_size 64k;\n\
         upstream origin {{ {servers} keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 60s; }}\n\
         server {{ listen {}{defer}; listen {} http2{defer};\n\
         location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_max_temp_file_size 0; }} }} }}\n",
        ports.h1, ports.h2
    )
}

fn envoy(setting: &Setting, ports: &Ports) -> String {
    let address =
        |a: SocketAddr| format!("{{ socket_address: {{ address: \"{}\", port_value: {} }} }}", a.ip(), a.port());
    // TCP_DEFER_ACCEPT of TCP, by their numbers.
    let defer = "{ level: 6, name: 9, int_value: 1, state: STATE_LISTENING }";
    let defer = if setting.defer_accept { defer } else { "" };
    let members = setting.endpoints.iter().map(|e| format!("{{ endpoint: {{ address: {} }} }}", address(*e)));
    let members = members.collect::<Vec<_>>().join(", ");
    format!(
        r#"static_resources:
  listeners:
  - address: {}
    socket_options: [{defer}]
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: AUTO
          use_remote_address: true
          generate_request_id: false
          request_headers_timeout: 10s
          common_http_protocol_options: {{ idle_timeout: 60s }}
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: origin, timeout: 60s }} }}] }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
    lb_policy: ROUND_ROBIN
    load_assignment: {{ cluster_name: origin, endpoints: [{{ lb_endpoints: [{members}] }}] }}
"#,
        address(ports.h1)
    )
}
