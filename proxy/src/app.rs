//! The only wiring: every long-lived object of the process is made here, in order.
//!
//! Threads: this one waits for signals and for a changed file; `control` follows the registries and publishes; `admin`
//! answers operators; each `worker-N` carries requests. They meet in the joint ([`crate::snapshot`]), in the drain
//! ([`crate::drain`]) and nowhere else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use outrigger_registry::Registry;
use outrigger_registry::consul::{Consul, ConsulOptions};
use outrigger_registry::file::File;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::toxiproxy::ToxiproxyInputs;
use crate::admin::{self, AdminHandle, AdminInputs};
use crate::clock::Instant;
use crate::config::settings::{RegistrySettings, Settings};
use crate::config::{Reload, warnings};
use crate::control::{self, ControlHandle, ControlInputs, Registries};
use crate::drain::Drain;
use crate::fault_manager::FaultManager;
use crate::fault_manager::guard::Facts;
use crate::http::Budget;
use crate::request::Entrance;
use crate::request::fields::Identity;
use crate::serve;
use crate::serve::accept::Socket;
use crate::snapshot::Reader;
use crate::tcp::TcpProxies;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::explain::Explainer;
use crate::telemetry::metrics::{Metrics, PoolFacts};
use crate::telemetry::query::Values;
use crate::telemetry::{logs, metrics};
use crate::worker::Plan;
use crate::worker::connection_balancer::ConnectionBalancer;
use crate::{net, snapshot};

mod certificates;
mod memory;
mod rehearsal;
mod reload;
mod watch;

use certificates::WatchedFiles;
pub use rehearsal::{checked, rehearsed};

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address.
    #[error("cannot listen on {address}: {source}{}", advice(source))]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Certificates, keys and authorities.
    #[error("{0}")]
    Tls(String),
    /// The admin API.
    #[error(transparent)]
    Admin(#[from] admin::AdminError),
    /// A registry or the control thread.
    #[error(transparent)]
    Control(#[from] control::ControlError),
    /// A fault that should be there from the start.
    #[error("faults.start: {0}")]
    Fault(#[source] crate::fault_manager::Refused),
    /// A thread, a runtime or a signal handler.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

fn advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another process has it: end that, or choose another address",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// Runs the proxy until it is told to end. Exit code 0 when nothing was cut, 1 when it could not start or the deadline
/// cut requests.
pub fn run(settings: Settings, reload: Option<Reload>) -> ExitCode {
    logs::init(None, None);
    let code = match start_and_serve(settings, reload) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    };
    logs::flush(LAST_LINES);
    code
}

/// How long the last lines of a log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

fn start_and_serve(settings: Settings, reload: Option<Reload>) -> Result<bool, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anything can be seen from outside: a signal that comes early must not end the process.
        let signals = Signals::new()?;
        let clean = App::start(settings)?.until_signalled(signals, reload).await;
        Ok(clean)
    })
}

/// A running proxy.
#[derive(Debug)]
pub struct App {
    settings: Settings,
    drain: Drain,
    control: ControlHandle,
    admin: Option<AdminHandle>,
    access_log: AccessLog,
    fault_manager: Arc<FaultManager>,
    reader: Reader,
    metrics: Metrics,
    /// Whoever drops the last one takes the listeners along.
    tcp: TcpProxies,
    workers: Vec<JoinHandle<()>>,
    /// Looked at for as long as somebody has them.
    _certificates: WatchedFiles,
}

impl App {
    /// Binds every address and starts every thread. When it returns, requests are accepted.
    ///
    /// # Errors
    ///
    /// When an address, a registry or a thread is not to be had; then nothing is left running.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        #[cfg(not(sim))]
        net::descriptors::prepare();
        for warning in warnings(&settings) {
            tracing::warn!("{warning}");
        }
        let metrics = metrics::install();
        let certificates = WatchedFiles::default();
        let dialers = certificates.dialers();
        let first = control::first_snapshot_with(&settings, &dialers);
        let (publisher, reader, demands) = snapshot::joint(first);
        let admin = settings.admin.map(|address| admin::bind("admin", address)).transpose()?;
        let toxiproxy = match &settings.faults.toxiproxy {
            Some(toxiproxy) => Some((admin::bind("faults.toxiproxy", toxiproxy.address)?, toxiproxy)),
            None => None,
        };
        let fault_manager = FaultManager::new(settings.faults.clone(), reader.clone());
        let (sockets, addresses) = listen(&settings, &certificates)?;
        let (tcp, tcp_queues) = TcpProxies::new(Arc::clone(&fault_manager), settings.workers);
        for proxy in &settings.tcp {
            let failed = |source| StartError::Listen { address: proxy.listen, source };
            tcp.configure(&proxy.name, proxy.listen, proxy.upstream.clone(), proxy.times).map_err(failed)?;
        }
        let values = Values::of(settings.query_values);
        let access_log = if settings.access_log { AccessLog::start(values)? } else { AccessLog::off() };
        let (explainer, records) = Explainer::start(values);
        // Without an admin API there is nobody to read them.
        let explainer = if admin.is_some() { explainer } else { Explainer::off() };
        let (drain, drained) = Drain::new();
        let control = control::spawn(ControlInputs {
            settings: settings.clone(),
            registries: Box::new(registries),
            dialers,
            publisher,
            demands,
        })?;
        let (balancer, queues) = ConnectionBalancer::new(settings.workers, settings.http.max_connections);
        let plan = Plan {
            workers: settings.workers,
            http: Arc::new(settings.http.clone()),
            reader: reader.clone(),
            identity: Arc::new(Identity::new(fastrand::u64(..))),
            drained,
            access_log: access_log.clone(),
            balancer,
            explainer,
            budget: Budget::new(settings.http.max_buffered.unwrap_or_else(memory::for_buffers)),
        };
        // Before the first byte is read.
        for spec in &settings.faults.start {
            fault_manager.add(spec.clone(), "configuration", Instant::now()).map_err(StartError::Fault)?;
        }
        let mut workers = Vec::with_capacity(settings.workers);
        for (index, ((sockets, queue), tcp)) in sockets.into_iter().zip(queues).zip(tcp_queues).enumerate() {
            workers.push(serve::spawn(index, plan.clone(), sockets, queue, tcp)?);
        }
        let toxiproxy = toxiproxy.map(|(bound, written)| {
            tracing::info!(address = %bound.address(), "Toxiproxy's API");
            let services = settings.listeners.iter().map(|listener| listener.service.clone());
            let listeners = addresses.iter().copied().zip(services).collect();
            let (fault_manager, reader, settings) = (Arc::clone(&fault_manager), reader.clone(), written.clone());
            (bound, ToxiproxyInputs { tcp: tcp.clone(), fault_manager, reader, listeners, settings })
        });
        let admin = match (admin, toxiproxy) {
            (None, None) => None,
            (admin, toxiproxy) => Some(admin::serve(
                admin,
                toxiproxy,
                AdminInputs {
                    reader: reader.clone(),
                    board: control.board(),
                    readiness: control.readiness(),
                    draining: drain.draining(),
                    metrics: metrics.clone(),
                    endpoint_metrics: settings.endpoint_metrics,
                    records,
                    fault_manager: Arc::clone(&fault_manager),
                    tcp: tcp.clone(),
                    access: settings.admin_access.clone(),
                },
            )?),
        };
        for address in &addresses {
            tracing::info!(%address, workers = settings.workers, "listening");
        }
        for proxy in tcp.list() {
            tracing::info!(address = %proxy.listen, proxy = &*proxy.name, "listening for TCP");
        }
        if let Some(address) = admin.as_ref().and_then(AdminHandle::address) {
            tracing::info!(%address, "admin API");
        }
        certificates.watch()?;
        let _certificates = certificates;
        Ok(Self {
            settings,
            drain,
            control,
            admin,
            access_log,
            fault_manager,
            reader,
            metrics,
            tcp,
            workers,
            _certificates,
        })
    }

    /// Serves until SIGTERM or SIGINT, then drains; a second one cuts. SIGHUP and a changed file have the
    /// configuration read again. True when nothing was cut.
    async fn until_signalled(self, mut signals: Signals, reload: Option<Reload>) -> bool {
        tokio::select! {
            never = reload::follow(reload, &mut signals.hangup, self.settings.clone(), &self.control) => match never {},
            never = self.tend() => match never {},
            () = signals.ends.next() => {}
        }
        let shutdown = &self.settings.shutdown;
        tracing::info!(lame_duck = ?shutdown.lame_duck, deadline = ?shutdown.deadline, "draining");
        let clean = tokio::select! {
            clean = self.drain.run(shutdown, signals.ends.next()) => clean,
            never = self.tend() => match never {},
        };
        if !clean {
            tracing::warn!("the deadline has passed or a second signal has come: requests in flight were cut");
        }
        self.end();
        clean
    }

    /// Ends the faults that have to end. Here and not on the admin thread, which need not be there.
    async fn tend(&self) -> std::convert::Infallible {
        let mut tick = tokio::time::interval(TEND);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = tick.tick().await.into();
            let snapshot = self.reader.snapshot();
            let board = self.control.board();
            let metrics = || {
                let board = board.read();
                let facts =
                    |service: &str| board.get(service).map_or_else(PoolFacts::default, |status| PoolFacts::of(status));
                let clock = self.reader.clock(now);
                let mut page = self.metrics.render(&snapshot, clock, &facts);
                page.push_str(&self.metrics.render_endpoints(&snapshot, clock));
                let proxies = self.tcp.facts();
                page.push_str(&self.metrics.render_tcp(&proxies));
                page.push_str(&self.metrics.render_faults(&snapshot, &proxies));
                page
            };
            self.fault_manager.tend(&Facts { snapshot: &snapshot, metrics: &metrics }, now);
        }
    }

    fn end(self) {
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!("a worker has ended badly");
            }
        }
        self.control.shutdown();
        if let Some(admin) = self.admin {
            admin.shutdown();
        }
        self.fault_manager.flush_audit(LAST_LINES);
        self.access_log.flush(LAST_LINES);
    }
}

/// How often it is looked for faults that have to end.
const TEND: Duration = Duration::from_millis(100);

/// The signals that the process listens to.
struct Signals {
    ends: Ends,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let ends = Ends { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok(Self { ends, hangup: signal(SignalKind::hangup())? })
    }
}

/// Those that end it.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

type Sockets = Vec<Vec<Socket>>;

/// Each worker's sockets, and the addresses they ended up with.
fn listen(settings: &Settings, watched: &WatchedFiles) -> Result<(Sockets, Vec<SocketAddr>), StartError> {
    let mut sockets: Sockets = (0..settings.workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::with_capacity(settings.listeners.len());
    for (at, listener) in settings.listeners.iter().enumerate() {
        let tls = listener.tls.as_ref().map(|tls| watched.listener(at, tls)).transpose().map_err(StartError::Tls)?;
        let failed = |source| StartError::Listen { address: listener.address, source };
        let group = net::bind_group(listener.address, settings.workers, listener.defer_accept).map_err(failed)?;
        if let Some(first) = group.first() {
            addresses.push(first.address().map_err(failed)?);
        }
        let says = listener.service.is_some() || listener.access.is_some();
        let entrance =
            says.then(|| Entrance { service: listener.service.clone(), access: listener.access.clone().map(Arc::new) });
        for (worker, socket) in sockets.iter_mut().zip(group) {
            worker.push(Socket { socket, entrance: entrance.clone(), tls: tls.clone() });
        }
    }
    Ok((sockets, addresses))
}

/// Makes the registries that the settings name.
fn registries(settings: &Settings) -> Result<Registries, String> {
    let mut made: Registries = BTreeMap::new();
    for (name, registry) in &settings.registries {
        let registry: Arc<dyn Registry> = match registry {
            RegistrySettings::Consul { address, token_file, datacenter, max_stale, include_warning } => {
                let failed = |error| format!("registries.{name}: {error}");
                let mut options = ConsulOptions::from_env().map_err(failed)?;
                if let Some(address) = address {
                    options.address = address.clone();
                }
                if token_file.is_some() {
                    options.token_file.clone_from(token_file);
                }
                if datacenter.is_some() {
                    options.datacenter.clone_from(datacenter);
                }
                if max_stale.is_some() {
                    options.max_stale = *max_stale;
                }
                options.include_warning = *include_warning;
                Arc::new(Consul::new(options).map_err(failed)?)
            }
            RegistrySettings::File { path } => Arc::new(File::new(path.clone())),
        };
        made.insert(Arc::clone(name), registry);
    }
    Ok(made)
}
