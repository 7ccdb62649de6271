//! The proxies, each in the strongest configuration that its documentation offers for keeping requests alive, as long
//! as it does not execute a POST twice.
//!
//! The configurations are in `peers/`, as templates: a block between `{{#services}}` and `{{/services}}` is repeated for
//! each service, one between `{{#endpoints}}` and `{{/endpoints}}` for each of its endpoints.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chaos_tests::proxies::Process;

use crate::Result;

/// A proxy, or one of its configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Outrigger,
    Haproxy,
    Nginx,
    Envoy,
    Traefik,
}

impl Peer {
    /// In the order of the table.
    pub const ALL: [Self; 5] = [Self::Outrigger, Self::Haproxy, Self::Nginx, Self::Envoy, Self::Traefik];

    pub fn name(self) -> &'static str {
        match self {
            Self::Outrigger => "outrigger",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
        }
    }

    /// Its program: named by `NAME_BIN`, else where cargo, Debian or `bench-peers.sh` puts it.
    pub fn program(self, target: &Path) -> Option<PathBuf> {
        let named = std::env::var_os(format!("{}_BIN", self.name().to_uppercase())).map(PathBuf::from);
        let usual = match self {
            Self::Outrigger => vec![target.join("release/outrigger")],
            Self::Haproxy | Self::Nginx => {
                ["/usr/sbin", "/usr/bin", "/usr/local/sbin"].map(|d| Path::new(d).join(self.name())).into()
            }
            Self::Envoy | Self::Traefik => vec![target.join("peers").join(self.name())],
        };
        named.into_iter().chain(usual).find(|p| p.is_file())
    }

    fn template(self, setting: &Setting) -> &'static str {
        match self {
            Self::Outrigger if setting.fallback => include_str!("peers/outrigger-fallback.yaml"),
            Self::Outrigger => include_str!("peers/outrigger.yaml"),
            Self::Haproxy => include_str!("peers/haproxy.cfg"),
            Self::Nginx => include_str!("peers/nginx.conf"),
            Self::Envoy => include_str!("peers/envoy.yaml"),
            Self::Traefik => include_str!("peers/traefik.yaml"),
        }
    }

    fn arguments(self, file: &str, setting: &Setting) -> Vec<String> {
        let directory = setting.directory.display().to_string();
        let text = match self {
            Self::Outrigger => format!("run --config {file}"),
            Self::Haproxy => format!("-db -f {file}"),
            Self::Nginx => format!("-p {directory} -e stderr -c {file}"),
            Self::Envoy => format!(
                "--concurrency 1 --disable-hot-restart --log-level error --base-id {} --config-path {file}",
                std::process::id() % 1_000
            ),
            Self::Traefik => format!(
                "--entrypoints.web.address=127.0.0.1:{} --providers.file.filename={file} --log.level=ERROR \
                 --global.checknewversion=false --global.sendanonymoususage=false",
                setting.port
            ),
        };
        text.split_whitespace().map(Into::into).collect()
    }
}

/// What a proxy is started for.
#[derive(Debug, Clone)]
pub struct Setting {
    pub directory: PathBuf,
    /// Of each service.
    pub endpoints: Vec<Vec<SocketAddr>>,
    /// Whether the first service has a fallback.
    pub fallback: bool,
    port: u16,
    admin: u16,
}

impl Setting {
    pub fn new(directory: PathBuf, endpoints: Vec<Vec<SocketAddr>>, fallback: bool) -> Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let held = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [port, admin] = [held[0].local_addr()?.port(), held[1].local_addr()?.port()];
        Ok(Self { directory, endpoints, fallback, port, admin })
    }
}

/// A proxy that runs.
pub struct Running {
    pub address: SocketAddr,
    pub process: Process,
}

/// Writes the configuration and starts the proxy; returns when it takes connections.
pub fn start(peer: Peer, target: &Path, setting: &Setting) -> Result<Running> {
    let program = peer.program(target).ok_or_else(|| format!("{} is not installed", peer.name()))?;
    let file = setting.directory.join(match peer {
        Peer::Haproxy | Peer::Nginx => format!("{}.conf", peer.name()),
        _ => format!("{}.yaml", peer.name()),
    });
    std::fs::write(&file, fill(peer.template(setting), setting))?;
    let log = std::fs::File::create(setting.directory.join(format!("{}.log", peer.name())))?;
    let mut command = Command::new(program);
    command.args(peer.arguments(&file.display().to_string(), setting)).stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    let mut process = Process::start(command, None)?;
    let address = SocketAddr::from(([127, 0, 0, 1], setting.port));
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
        let ended = process.ended()?;
        if ended.is_some() || Instant::now() > until {
            let log = std::fs::read_to_string(setting.directory.join(format!("{}.log", peer.name())))?;
            return Err(format!("{} does not start: {ended:?} {log:.600}", peer.name()).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Running { address, process })
}

/// Puts a fleet into a template.
fn fill(template: &str, setting: &Setting) -> String {
    let directory = setting.directory.display().to_string();
    let whole = repeat(template, "services", setting.endpoints.iter().enumerate(), |block, (service, endpoints)| {
        let block = repeat(block, "endpoints", endpoints.iter().enumerate(), |block, (i, endpoint)| {
            block
                .replace("{{i}}", &i.to_string())
                .replace("{{ip}}", &endpoint.ip().to_string())
                .replace("{{eport}}", &endpoint.port().to_string())
        });
        block.replace("{{service}}", &format!("s{service}"))
    });
    whole
        .replace("{{port}}", &setting.port.to_string())
        .replace("{{admin}}", &setting.admin.to_string())
        .replace("{{directory}}", &directory)
}

fn repeat<T>(
    text: &str,
    name: &str,
    items: impl Iterator<Item = T> + Clone,
    each: impl Fn(&str, T) -> String,
) -> String {
    let (open, close) = (format!("{{{{#{name}}}}}"), format!("{{{{/{name}}}}}"));
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(&open) {
        let (block, after) = after.split_once(&close).unwrap_or((after, ""));
        out.push_str(before);
        items.clone().for_each(|item| out.push_str(&each(block, item)));
        rest = after;
    }
    out + rest
}
