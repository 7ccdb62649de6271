//! The proxy as it runs in a simulation: the real workers, on one host.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger::config;
use outrigger::control::first_snapshot;
use outrigger::drain::Drain;
use outrigger::net::Listener;
use outrigger::request::fields::Identity;
use outrigger::serve::accept::Place;
use outrigger::serve::serve;
use outrigger::snapshot::{self, Publisher};
use outrigger::tcp::TcpQueue;
use outrigger::telemetry::access_log::AccessLog;
use outrigger::telemetry::explain::Explainer;
use outrigger::worker::connection_balancer::ConnectionBalancer;
use outrigger::worker::{Plan, Worker};
use turmoil::{Builder, Sim};

/// Where the first worker listens, and every origin.
pub const PORT: u16 = 80;

/// A network of which every delay follows from the seed.
pub fn network(seed: u64) -> Builder {
    let mut builder = Builder::new();
    builder.rng_seed(seed).max_message_latency(Duration::from_millis(10)).simulation_duration(Duration::from_secs(600));
    builder
}

/// What a proxy is made of.
#[derive(Clone)]
pub struct Setup {
    /// Its endpoints, by their hosts' names.
    pub origins: &'static [&'static str],
    /// How many workers it has.
    pub workers: usize,
    /// Its configuration, once its endpoints' addresses are known.
    pub text: Rc<dyn Fn(&str) -> String>,
}

/// What a test does to a proxy from outside.
pub struct Handles {
    /// The configuration as it was read.
    pub text: String,
    /// What the control plane would do, a test does.
    pub publisher: RefCell<Publisher>,
    pub balancer: Arc<ConnectionBalancer>,
    pub drain: Drain,
    pub workers: Vec<Rc<Worker>>,
}

/// A proxy in front of some origins. Every worker listens on a port of its own, the first on [`PORT`].
pub fn proxy(sim: &mut Sim<'static>, setup: Setup) -> Rc<Cell<Option<Handles>>> {
    let seen = Rc::new(Cell::new(None));
    let show = Rc::clone(&seen);
    sim.host("proxy", move || {
        let (show, setup) = (Rc::clone(&show), setup.clone());
        async move {
            let Setup { origins, workers, text } = setup;
            let instances: Vec<String> =
                origins.iter().map(|o| format!("\"{}:{PORT}\"", turmoil::lookup(*o))).collect();
            let text = text(&instances.join(", "));
            let settings = config::parse("simulation.yaml", &text, &|_| None, |_| ()).unwrap().settings;
            let (publisher, reader, _demands) = snapshot::joint(first_snapshot(&settings));
            let (drain, drained) = Drain::new();
            let (balancer, queues) = ConnectionBalancer::new(workers, settings.http.max_connections);
            let plan = Plan {
                workers,
                http: Arc::new(settings.http.clone()),
                reader,
                identity: Arc::new(Identity::new(1)),
                drained,
                access_log: AccessLog::off(),
                balancer: Arc::clone(&balancer),
                explainer: Explainer::off(),
                budget: outrigger::http::Budget::new(256 << 20),
            };
            let (mut serving, mut made) = (Vec::new(), Vec::new());
            for (index, queue) in queues.into_iter().enumerate() {
                let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT + u16::try_from(index)?));
                let place = Place { listener: Listener::simulated(address).await?, entry: Default::default() };
                let worker = Rc::new(Worker::new(index, &plan));
                made.push(Rc::clone(&worker));
                serving.push(tokio::task::spawn_local(serve(worker, vec![place], queue, TcpQueue::idle())));
            }
            let publisher = RefCell::new(publisher);
            show.set(Some(Handles { text, publisher, balancer, drain, workers: made }));
            for worker in serving {
                worker.await?;
            }
            Ok(())
        }
    });
    seen
}
