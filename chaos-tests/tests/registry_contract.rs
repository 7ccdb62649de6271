//! What a watch promises, against the embedded registry and against a real Consul: the same tests, word for word.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what goes wrong here is the test's failure")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chaos_tests::consul::Agent;
use futures_util::StreamExt;
use outrigger_registry::consul::{Check, Consul, ConsulError, ConsulOptions, Registration};
use outrigger_registry::embedded::Embedded;
use outrigger_registry::{Health, Instance, InstanceSet, Registry, Update, Watch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// More than ten times of what anything here takes.
const SOON: Duration = Duration::from_secs(30);

macro_rules! contract {
    ($($promise:ident)*) => {
        mod embedded {
            use super::*;
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(Backend::embedded().await).await;
            })*
        }
        mod agent {
            use super::*;
            $(#[tokio::test]
            async fn $promise() {
                if let Some(backend) = Backend::agent().await {
                    super::$promise(backend).await;
                }
            })*
        }
    };
}

contract! {
    a_registered_instance_appears
    a_deregistered_instance_is_gone_and_the_last_one_leaves_an_empty_set
    a_service_that_nobody_registered_is_an_empty_set_at_once
    a_registration_again_replaces
    the_weight_is_that_of_the_health
    what_is_reported_arrives_as_health_and_critical_ones_stay
    a_check_without_a_report_becomes_critical
    an_instance_is_as_well_as_its_worst_check
    maintenance_is_critical_and_ends
    tags_meta_datacenter_and_zone_are_carried
    an_instance_without_a_port_is_skipped_with_its_reason
    names_with_strange_characters_are_names
    a_change_ends_the_wait
    an_unchanged_set_is_confirmed_when_the_wait_is_over
    changes_elsewhere_do_not_make_it_read_in_a_loop
    a_registry_killed_is_a_failure_the_set_stays_and_it_is_followed_again_when_it_is_back
    what_is_not_there_cannot_be_deregistered_or_reported_on
}

async fn a_registered_instance_appears(backend: Backend) {
    let consul = backend.consul();
    let mut watch = consul.watch(&"orders".into());
    consul.register(&Registration::new("o1", "orders", "127.0.0.1", 3001)).await.unwrap();
    consul.register(&Registration::new("o2", "orders", "::1", 3002)).await.unwrap();
    let set = until(&mut watch, |set| set.instances().len() == 2).await;
    let [first, second] = set.instances() else { panic!("{set:?}") };
    assert_eq!((&*first.host, first.port, first.weight, first.health), ("127.0.0.1", 3001, 1, Health::Passing));
    assert_eq!((&*second.host, second.port), ("::1", 3002));
    assert!(first.id.0.ends_with("/o1") && first.id != second.id, "{:?}", first.id);
}

async fn a_deregistered_instance_is_gone_and_the_last_one_leaves_an_empty_set(backend: Backend) {
    let consul = backend.consul();
    consul.register(&Registration::new("o1", "orders", "127.0.0.1", 3001)).await.unwrap();
    consul.register(&Registration::new("o2", "orders", "127.0.0.1", 3002)).await.unwrap();
    let mut watch = consul.watch(&"orders".into());
    until(&mut watch, |set| set.instances().len() == 2).await;
    consul.deregister("o1").await.unwrap();
    until(&mut watch, |set| ports(set) == [3002]).await;
    consul.deregister("o2").await.unwrap();
    until(&mut watch, |set| set.instances().is_empty()).await;
    consul.register(&Registration::new("o3", "orders", "127.0.0.1", 3003)).await.unwrap();
    until(&mut watch, |set| ports(set) == [3003]).await;
}

async fn a_service_that_nobody_registered_is_an_empty_set_at_once(backend: Backend) {
    let mut watch = backend.consul().watch(&"nobody".into());
    assert!(matches!(next(&mut watch).await, Update::Set(set) if set.instances().is_empty()));
}

async fn a_registration_again_replaces(backend: Backend) {
    let consul = backend.consul();
    let mut watch = consul.watch(&"orders".into());
    consul.register(&Registration::new("o1", "orders", "127.0.0.1", 3001)).await.unwrap();
    let before = only(until(&mut watch, |set| ports(set) == [3001]).await);
    consul.register(&Registration::new("o1", "orders", "127.0.0.2", 3009)).await.unwrap();
    let after = only(until(&mut watch, |set| ports(set) == [3009]).await);
    assert_eq!((&*after.host, after.id), ("127.0.0.2", before.id));
}

async fn the_weight_is_that_of_the_health(backend: Backend) {
    let consul = backend.consul();
    let registration = Registration::new("o1", "orders", "127.0.0.1", 3001).with_weights(10, 3);
    consul.register(&registration.with_ttl(SOON * 10, Health::Passing)).await.unwrap();
    let mut watch = consul.watch(&"orders".into());
    until(&mut watch, |set| weights(set) == [10]).await;
    consul.report("service:o1", Health::Warning, "slow").await.unwrap();
    until(&mut watch, |set| weights(set) == [3]).await;
    consul.report("service:o1", Health::Critical, "down").await.unwrap();
    until(&mut watch, |set| weights(set) == [0]).await;
    let strict = backend.consul_with(|options| options.include_warning = false);
    consul.report("service:o1", Health::Warning, "slow").await.unwrap();
    let set = until(&mut strict.watch(&"orders".into()), |set| healths(set) == [Health::Warning]).await;
    assert_eq!(weights(&set), [0]);
}

async fn what_is_reported_arrives_as_health_and_critical_ones_stay(backend: Backend) {
    let consul = backend.consul();
    let registration = Registration::new("o1", "orders", "127.0.0.1", 3001);
    // A check begins critical where nobody says otherwise.
    let check = Check { ttl: "300s".to_owned(), ..Check::default() };
    consul.register(&Registration { check: Some(check), ..registration }).await.unwrap();
    let mut watch = consul.watch(&"orders".into());
    for health in [Health::Critical, Health::Passing, Health::Warning, Health::Critical, Health::Passing] {
        until(&mut watch, |set| healths(set) == [health]).await;
        let next = match health {
            Health::Critical => Health::Passing,
            Health::Passing => Health::Warning,
            Health::Warning => Health::Critical,
        };
        consul.report("service:o1", next, "as told").await.unwrap();
    }
}

async fn a_check_without_a_report_becomes_critical(backend: Backend) {
    let consul = backend.consul();
    let registration = Registration::new("o1", "orders", "127.0.0.1", 3001);
    consul.register(&registration.with_ttl(Duration::from_secs(2), Health::Passing)).await.unwrap();
    let mut watch = consul.watch(&"orders".into());
    until(&mut watch, |set| healths(set) == [Health::Passing]).await;
    until(&mut watch, |set| healths(set) == [Health::Critical]).await;
    consul.report("service:o1", Health::Passing, "back").await.unwrap();
    until(&mut watch, |set| healths(set) == [Health::Passing]).await;
}

async fn an_instance_is_as_well_as_its_worst_check(backend: Backend) {
    let consul = backend.consul();
    let check = |id: &str, status: &str| Check {
        id: id.to_owned(),
        name: id.to_owned(),
        ttl: "300s".to_owned(),
        status: status.to_owned(),
        ..Check::default()
    };
    let registration = Registration::new("o1", "orders", "127.0.0.1", 3001);
    let checks = vec![check("one", "passing"), check("two", "warning")];
    consul.register(&Registration { checks, ..registration }).await.unwrap();
    let mut watch = consul.watch(&"orders".into());
    until(&mut watch, |set| healths(set) == [Health::Warning]).await;
    consul.report("one", Health::Critical, "").await.unwrap();
    until(&mut watch, |set| healths(set) == [Health::Critical]).await;
    consul.report("two", Health::Passing, "").await.unwrap();
    consul.report("one", Health::Passing, "").await.unwrap();
    until(&mut watch, |set| healths(set) == [Health::Passing]).await;
}

async fn maintenance_is_critical_and_ends(backend: Backend) {
    let consul = backend.consul();
    consul.register(&Registration::new("o1", "orders", "127.0.0.1", 3001)).await.unwrap();
    let mut watch = consul.watch(&"orders".into());
    until(&mut watch, |set| healths(set) == [Health::Passing]).await;
    consul.maintenance("o1", true, "new disks & more").await.unwrap();
    let set = until(&mut watch, |set| healths(set) == [Health::Critical]).await;
    assert_eq!(weights(&set), [0]);
    consul.maintenance("o1", false, "").await.unwrap();
    until(&mut watch, |set| healths(set) == [Health::Passing]).await;
}

async fn tags_meta_datacenter_and_zone_are_carried(backend: Backend) {
    let consul = backend.consul();
    let mut registration = Registration::new("o1", "orders", "127.0.0.1", 3001);
    registration.tags = vec!["v2".to_owned(), "canary".to_owned()];
    registration.meta = [("zone", "a"), ("build", "77")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    consul.register(&registration).await.unwrap();
    let instance = only(until(&mut consul.watch(&"orders".into()), |set| set.instances().len() == 1).await);
    assert_eq!(instance.tags, ["v2".into(), "canary".into()]);
    assert_eq!(instance.meta.get("build").map(|value| &**value), Some("77"));
    assert_eq!((instance.datacenter.as_deref(), instance.zone.as_deref()), (Some("dc1"), Some("a")));
}

async fn an_instance_without_a_port_is_skipped_with_its_reason(backend: Backend) {
    let consul = backend.consul();
    consul.register(&Registration::new("o1", "orders", "127.0.0.1", 0)).await.unwrap();
    consul.register(&Registration::new("o2", "orders", "127.0.0.1", 3002)).await.unwrap();
    consul.register(&Registration::new("o3", "orders", "10.0.0.300", 3003)).await.unwrap();
    // An empty address is the node's.
    consul.register(&Registration::new("o4", "orders", "", 3004)).await.unwrap();
    let set = until(&mut consul.watch(&"orders".into()), |set| set.instances().len() + set.skipped().len() == 4).await;
    assert_eq!(ports(&set), [3002, 3004]);
    assert_eq!(&*set.instances()[1].host, "127.0.0.1");
    assert_eq!(set.skipped()[0].reason, "port is 0");
    assert!(set.skipped()[1].reason.contains("10.0.0.300"), "{:?}", set.skipped());
}

async fn names_with_strange_characters_are_names(backend: Backend) {
    let consul = backend.consul();
    for name in ["Orders", "a b", "a%2Fb", "a?b=c&d", "orders.v2", "bücher"] {
        consul.register(&Registration::new(name, name, "127.0.0.1", 3001)).await.unwrap();
        until(&mut consul.watch(&name.into()), |set| ports(set) == [3001]).await;
        consul.deregister(name).await.unwrap();
    }
    let mut other = consul.watch(&"orders".into());
    assert!(matches!(next(&mut other).await, Update::Set(set) if set.instances().is_empty()));
}

async fn a_change_ends_the_wait(backend: Backend) {
    let counter = Counter::before(&backend).await;
    let consul = counter.consul(|options| options.wait = Duration::from_secs(600));
    let mut watch = consul.watch(&"orders".into());
    until(&mut watch, |set| set.instances().is_empty()).await;
    for port in 3001..3006 {
        // The query of this round is at the registry before the change is.
        let reader = tokio::spawn(async move { (until(&mut watch, |set| ports(set) == [port]).await, watch) });
        backend.consul().register(&Registration::new("o1", "orders", "127.0.0.1", port)).await.unwrap();
        watch = timeout(SOON, reader).await.unwrap().unwrap().1;
    }
    assert!(counter.requests() <= 5 * 3 + 2, "{} requests for 5 changes", counter.requests());
}

async fn an_unchanged_set_is_confirmed_when_the_wait_is_over(backend: Backend) {
    backend.consul().register(&Registration::new("o1", "orders", "127.0.0.1", 3001)).await.unwrap();
    let counter = Counter::before(&backend).await;
    let consul = counter.consul(|options| options.wait = Duration::from_millis(300));
    let mut watch = consul.watch(&"orders".into());
    let first = until(&mut watch, |set| ports(set) == [3001]).await;
    let start = Instant::now();
    for _ in 0..5 {
        let Update::Set(set) = next(&mut watch).await else { panic!("a set was expected") };
        assert!(set.same_instances(&first));
    }
    assert!(start.elapsed() >= Duration::from_millis(4 * 300), "confirmed without a wait: {:?}", start.elapsed());
    assert!(counter.requests() <= 12, "{} requests for 6 sets", counter.requests());
}

async fn changes_elsewhere_do_not_make_it_read_in_a_loop(backend: Backend) {
    let counter = Counter::before(&backend).await;
    let consul = counter.consul(|_| {});
    backend.consul().register(&Registration::new("o1", "orders", "127.0.0.1", 3001)).await.unwrap();
    let (mut orders, mut nobody) = (consul.watch(&"orders".into()), consul.watch(&"nobody".into()));
    let reading = tokio::spawn(async move {
        loop {
            tokio::select! {
                update = next_ever(&mut orders) => assert!(matches!(update, Update::Set(set) if ports(&set) == [3001])),
                update = next_ever(&mut nobody) => assert!(matches!(update, Update::Set(set) if ports(&set).is_empty())),
            }
        }
    });
    let writer = backend.consul();
    let (start, mut changes) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(3) {
        writer.register(&Registration::new("x", "elsewhere", "127.0.0.1", 3002)).await.unwrap();
        writer.deregister("x").await.unwrap();
        changes += 2;
    }
    // Without any rule it would be one read for each change; with no slowing down, 20 in a second for each watch.
    let most = 2 * (8 + 2 * start.elapsed().as_secs() as usize);
    assert!(counter.requests() <= most, "{} requests, not {most}, for {changes} changes", counter.requests());
    assert!(!reading.is_finished());
    reading.abort();
}

async fn a_registry_killed_is_a_failure_the_set_stays_and_it_is_followed_again_when_it_is_back(mut backend: Backend) {
    let consul = backend.consul();
    for n in 0..50 {
        // So that the index is far above that of a registry that begins anew.
        let port = 3001 + n % 2;
        consul.register(&Registration::new("o1", "orders", "127.0.0.1", port)).await.unwrap();
    }
    let mut watch = consul.watch(&"orders".into());
    until(&mut watch, |set| ports(set) == [3002]).await;
    backend.kill().await;
    for failures in 1..=3 {
        match next(&mut watch).await {
            Update::Failed(error) => assert_eq!(error.failures, failures, "{error}"),
            // A set can only be one that was on its way, and never an emptied one.
            Update::Set(set) => panic!("a dead registry gave {set:?}"),
        }
    }
    backend.start_again().await;
    consul.register(&Registration::new("o9", "orders", "127.0.0.1", 3009)).await.unwrap();
    until_through_failures(&mut watch, |set| ports(set) == [3009]).await;
    // And by blocking queries, too, not only by the first read.
    consul.register(&Registration::new("o9", "orders", "127.0.0.1", 3010)).await.unwrap();
    until(&mut watch, |set| ports(set) == [3010]).await;
}

async fn what_is_not_there_cannot_be_deregistered_or_reported_on(backend: Backend) {
    let consul = backend.consul();
    for outcome in [
        consul.deregister("nobody").await,
        consul.report("service:nobody", Health::Passing, "").await,
        consul.maintenance("nobody", true, "").await,
    ] {
        assert!(matches!(outcome, Err(ConsulError::Status { status: 404, .. })), "{outcome:?}");
    }
    let nameless = consul.register(&Registration::new("x", "", "127.0.0.1", 1)).await;
    assert!(matches!(nameless, Err(ConsulError::Status { status: 400, .. })), "{nameless:?}");
}

/// The registry under test.
enum Backend {
    Embedded(Option<Embedded>, SocketAddr),
    Agent(Agent),
}

impl Backend {
    async fn embedded() -> Self {
        let embedded = Embedded::bind("127.0.0.1:0").await.unwrap();
        let address = embedded.address();
        Self::Embedded(Some(embedded), address)
    }

    async fn agent() -> Option<Self> {
        Agent::start().await.unwrap().map(Self::Agent)
    }

    fn url(&self) -> String {
        match self {
            Self::Embedded(_, address) => format!("http://{address}"),
            Self::Agent(agent) => agent.url(),
        }
    }

    fn consul(&self) -> Consul {
        self.consul_with(|_| {})
    }

    fn consul_with(&self, change: impl FnOnce(&mut ConsulOptions)) -> Consul {
        consul_at(self.url(), change)
    }

    async fn kill(&mut self) {
        match self {
            Self::Embedded(embedded, _) => embedded.take().unwrap().shutdown().await,
            Self::Agent(agent) => agent.kill_9().unwrap(),
        }
    }

    async fn start_again(&mut self) {
        match self {
            Self::Embedded(embedded, address) => *embedded = Some(Embedded::bind(*address).await.unwrap()),
            Self::Agent(agent) => agent.start_again().await.unwrap(),
        }
    }
}

fn consul_at(url: String, change: impl FnOnce(&mut ConsulOptions)) -> Consul {
    let mut options = ConsulOptions::at(url);
    change(&mut options);
    Consul::new(options).unwrap()
}

/// Stands before a registry, passes every byte on, and counts the requests.
struct Counter {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Counter {
    async fn before(backend: &Backend) -> Self {
        let behind = backend.url().trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&behind).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&counted)));
            }
        });
        Self { address, requests }
    }

    fn consul(&self, change: impl FnOnce(&mut ConsulOptions)) -> Consul {
        consul_at(self.address.to_string(), change)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// A request without a body comes in one piece: our client writes its head at once.
async fn pass(client: TcpStream, server: TcpStream, requests: Arc<AtomicUsize>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let asking = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
            requests.fetch_add(buffer[..n].windows(5).filter(|bytes| bytes == b"GET /").count(), Ordering::Relaxed);
            if to_server.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    };
    let answering = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! {
        () = asking => {}
        _ = answering => {}
    }
}

async fn next_ever(watch: &mut Watch) -> Update {
    watch.next().await.unwrap()
}

async fn next(watch: &mut Watch) -> Update {
    timeout(SOON, next_ever(watch)).await.unwrap()
}

/// The first set that is as wanted; a failure is none of those.
async fn until(watch: &mut Watch, wanted: impl Fn(&InstanceSet) -> bool) -> Arc<InstanceSet> {
    until_with(watch, wanted, |update| panic!("{update:?}")).await
}

async fn until_through_failures(watch: &mut Watch, wanted: impl Fn(&InstanceSet) -> bool) {
    until_with(watch, wanted, |_| {}).await;
}

async fn until_with(
    watch: &mut Watch,
    wanted: impl Fn(&InstanceSet) -> bool,
    failed: impl Fn(Update),
) -> Arc<InstanceSet> {
    let mut last = None;
    let reading = async {
        loop {
            match next_ever(watch).await {
                Update::Set(set) if wanted(&set) => return set,
                Update::Set(set) => last = Some(set),
                update @ Update::Failed(_) => failed(update),
            }
        }
    };
    match timeout(SOON, reading).await {
        Ok(set) => set,
        Err(_) => panic!("not within {SOON:?}; last: {last:?}"),
    }
}

fn only(set: Arc<InstanceSet>) -> Instance {
    let [instance] = set.instances() else { panic!("{set:?}") };
    instance.clone()
}

fn ports(set: &InstanceSet) -> Vec<u16> {
    set.instances().iter().map(|instance| instance.port).collect()
}

fn weights(set: &InstanceSet) -> Vec<u32> {
    set.instances().iter().map(|instance| instance.weight).collect()
}

fn healths(set: &InstanceSet) -> Vec<Health> {
    set.instances().iter().map(|instance| instance.health).collect()
}
