use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use futures_util::StreamExt;
use outrigger_registry::{InstanceSet, ServiceName, Update, Watch, WatchError};
use tokio::sync::watch;
use tokio::time::{advance, sleep};

use super::testing::{declare_static, instance, policy, set, skipped_only};
use super::*;
use crate::config::settings::RegistrySettings;
use crate::snapshot::{Cluster, DiscoveryState, EndpointId, Reader, joint};

/// A registry that says what the test says. Each service has one last word, which a new watch hears at once; a
/// service of which nothing was said is silent.
#[derive(Clone, Default)]
struct Script(Arc<ScriptInner>);

#[derive(Default)]
struct ScriptInner {
    words: arc_swap::ArcSwap<HashMap<String, watch::Sender<Option<Update>>>>,
    open: Arc<AtomicUsize>,
    opened: AtomicUsize,
}

impl Script {
    fn line(&self, service: &str) -> watch::Sender<Option<Update>> {
        if let Some(line) = self.0.words.load().get(service) {
            return line.clone();
        }
        let mut words = HashMap::clone(&self.0.words.load());
        let line = words.entry(service.to_owned()).or_insert_with(|| watch::channel(None).0).clone();
        self.0.words.store(Arc::new(words));
        line
    }

    fn say(&self, service: &str, set: Arc<InstanceSet>) {
        self.line(service).send_replace(Some(Update::Set(set)));
    }

    fn fail(&self, service: &str) {
        let (registry, reason) = ("script".to_owned(), "it is on fire".to_owned());
        let error = WatchError { registry, service: service.into(), reason, failures: 1 };
        self.line(service).send_replace(Some(Update::Failed(error)));
    }

    fn open(&self) -> usize {
        self.0.open.load(Relaxed)
    }
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Registry for Script {
    fn watch(&self, service: &ServiceName) -> Watch {
        self.0.open.fetch_add(1, Relaxed);
        self.0.opened.fetch_add(1, Relaxed);
        let open = Open(Arc::clone(&self.0.open));
        let mut words = self.line(service.as_str()).subscribe();
        words.mark_changed();
        let stream = futures_util::stream::unfold((words, open), |(mut words, open)| async move {
            loop {
                if words.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                let word = words.borrow_and_update().clone();
                if let Some(word) = word {
                    return Some((word, (words, open)));
                }
            }
        });
        stream.boxed()
    }

    fn describe(&self) -> String {
        "script".into()
    }
}

/// A control plane on the test's own runtime, under paused time.
struct Running {
    reader: Reader,
    board: StatusBoard,
    readiness: Readiness,
    commands: mpsc::Sender<Command>,
    resolves: Arc<AtomicBool>,
}

impl Running {
    fn start(settings: Settings, script: &Script) -> Self {
        let script = script.clone();
        Self::start_with(settings, Box::new(move |settings| Ok(registries(settings, &script))))
    }

    fn start_with(settings: Settings, registries: RegistryFactory) -> Self {
        Self::start_asking(settings, registries, health::system())
    }

    fn start_asking(settings: Settings, registries: RegistryFactory, ask: Ask) -> Self {
        let (publisher, reader, demands) = joint(first_snapshot(&settings));
        let resolves = Arc::new(AtomicBool::new(true));
        let resolving = Arc::clone(&resolves);
        let look_up: LookUp = Arc::new(move |host, _slot| {
            let known = host.ends_with(".test") && resolving.load(Relaxed);
            Box::pin(async move {
                let one: IpAddr = "10.9.9.9".parse().map_err(std::io::Error::other)?;
                if known { Ok(vec![one]) } else { Err(std::io::Error::other("no such name")) }
            })
        });
        let inputs = ControlInputs { settings, registries, dialers: Default::default(), publisher, demands };
        let mut control = Control::new(inputs, look_up, ask).unwrap();
        let (board, readiness) = (control.pools.board(), control.pools.readiness());
        let (commands, commanded) = mpsc::channel(1);
        tokio::spawn(async move { control.run(commanded).await });
        Self { reader, board, readiness, commands, resolves }
    }

    async fn reload(&self, settings: Settings) -> Result<(), ControlError> {
        let (done, applied) = oneshot::channel();
        self.commands.send(Command::Reload(Box::new(settings), done)).await.unwrap();
        applied.await.unwrap()
    }

    fn cluster(&self, name: &str) -> Option<Arc<Cluster>> {
        self.reader.snapshot().clusters.get(name).cloned()
    }

    fn standing(&self, name: &str) -> Option<DiscoveryState> {
        self.cluster(name).map(|cluster| cluster.standing)
    }

    fn ids(&self, name: &str) -> Vec<EndpointId> {
        self.cluster(name).unwrap().endpoints.iter().map(|endpoint| endpoint.id).collect()
    }

    fn ask(&self, name: &str) {
        assert!(self.reader.demand(Demand::Service(name.into())));
    }

    fn used(&self, name: &str) {
        let now = self.reader.clock(Instant::now());
        self.cluster(name).unwrap().shared.last_used.store(now, Relaxed);
    }
}

fn registries(settings: &Settings, script: &Script) -> Registries {
    let one = |name: &Arc<str>| (Arc::clone(name), Arc::new(script.clone()) as Arc<dyn Registry>);
    settings.registries.keys().map(one).collect()
}

fn settings(declared: &[&str]) -> Settings {
    super::testing::settings(declared)
}

fn two() -> Arc<InstanceSet> {
    set(vec![instance("i1", "10.0.0.1", 80), instance("i2", "10.0.0.2", 80)])
}

/// Lets every task run until all of them wait, and a publish that was put off happen.
async fn settle() {
    sleep(Duration::from_millis(25)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_snapshot_has_every_declared_service_at_once() {
    let mut settings = settings(&["orders"]);
    declare_static(&mut settings, "legacy", &[("127.0.0.1", 3001), ("::1", 3002)]);
    let first = first_snapshot(&settings);
    assert_eq!(first.clusters["orders"].standing, DiscoveryState::Awaited);
    assert_eq!(first.clusters["legacy"].standing, DiscoveryState::Known);
    let ids: Vec<u64> = first.clusters["legacy"].endpoints.iter().map(|endpoint| endpoint.id.0).collect();
    assert_eq!(ids.len(), 2);

    let script = Script::default();
    let running = Running::start(settings, &script);
    script.say("orders", two());
    settle().await;
    let legacy: Vec<u64> = running.ids("legacy").iter().map(|id| id.0).collect();
    assert_eq!(legacy, ids, "the control plane goes on with the first snapshot's endpoints");
    let orders = running.ids("orders");
    assert!(orders.len() == 2 && orders.iter().all(|id| !ids.contains(&id.0)), "{orders:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_never_empties_a_pool() {
    let script = Script::default();
    let running = Running::start(settings(&["orders"]), &script);
    script.say("orders", two());
    settle().await;
    let before = running.reader.snapshot();
    for _ in 0..20 {
        script.fail("orders");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(running.board.read()["orders"].last_error.as_deref(), Some("it is on fire"));
    }
    assert!(Arc::ptr_eq(&before, &running.reader.snapshot()), "an error publishes nothing");
    let confirmed = before.clusters["orders"].shared.confirmed.load(Relaxed);
    script.say("orders", two());
    settle().await;
    assert_eq!(running.board.read()["orders"].last_error, None);
    assert!(Arc::ptr_eq(&before, &running.reader.snapshot()), "a confirmation publishes nothing");
    assert!(before.clusters["orders"].shared.confirmed.load(Relaxed) >= confirmed + 20 * 60_000);

    script.say("orders", set(vec![]));
    settle().await;
    assert!(running.ids("orders").is_empty(), "an empty answer is an answer");
    assert_eq!(running.standing("orders"), Some(DiscoveryState::Known));
}

#[tokio::test(start_paused = true)]
async fn a_demand_is_published_and_what_waits_is_woken() {
    let script = Script::default();
    let running = Running::start(settings(&[]), &script);
    settle().await;
    let generation = running.reader.generation();
    running.ask("cart");
    let asked = Instant::now();
    running.reader.newer_than(generation).await;
    assert_eq!(running.standing("cart"), Some(DiscoveryState::Awaited));
    script.say("cart", two());
    running.reader.newer_than(generation + 1).await;
    assert_eq!(running.ids("cart").len(), 2);
    assert!(asked.elapsed() <= Duration::from_millis(20), "{:?}", asked.elapsed());
    assert_eq!(running.board.read()["cart"].source, "script");
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_a_few_snapshots() {
    let script = Script::default();
    let names: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let running = Running::start(settings(&names), &script);
    settle().await;
    let generation = running.reader.generation();
    for name in &names {
        script.say(name, two());
        tokio::task::yield_now().await;
    }
    settle().await;
    assert!(names.iter().all(|name| running.ids(name).len() == 2));
    let published = running.reader.generation() - generation;
    assert!((1..=4).contains(&published), "{published} snapshots");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_no_registry_knows_is_remembered_for_five_seconds() {
    let script = Script::default();
    let running = Running::start(settings(&[]), &script);
    script.say("typo", set(vec![]));
    running.ask("typo");
    settle().await;
    assert_eq!(running.standing("typo"), Some(DiscoveryState::Unseen));
    assert_eq!(script.open(), 1);
    sleep(Duration::from_millis(4_500)).await;
    running.used("typo");
    assert_eq!(running.standing("typo"), Some(DiscoveryState::Unseen));
    sleep(Duration::from_millis(2_000)).await;
    assert_eq!(running.standing("typo"), None);
    assert_eq!(script.open(), 0, "its watch has ended");
    assert!(!running.board.read().contains_key("typo"));

    running.ask("typo");
    settle().await;
    script.say("typo", two());
    settle().await;
    assert_eq!(running.standing("typo"), Some(DiscoveryState::Known), "an instance that comes in time is seen");
    script.say("typo", set(vec![]));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(running.standing("typo"), Some(DiscoveryState::Known), "and stays known without it");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_used_ends() {
    let script = Script::default();
    let running = Running::start(settings(&["orders"]), &script);
    for name in ["orders", "cart", "search"] {
        script.say(name, two());
    }
    running.ask("cart");
    running.ask("search");
    settle().await;
    assert_eq!(script.open(), 3);
    sleep(Duration::from_secs(300)).await;
    running.used("cart");
    sleep(Duration::from_secs(310)).await;
    assert_eq!(running.standing("search"), None);
    assert_eq!(running.standing("cart"), Some(DiscoveryState::Known));
    sleep(Duration::from_secs(300)).await;
    assert_eq!(running.standing("cart"), None);
    assert_eq!(running.standing("orders"), Some(DiscoveryState::Known), "a declared service never ends");
    assert_eq!(script.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn names_are_bounded() {
    let script = Script::default();
    let running = Running::start(settings(&["orders"]), &script);
    for n in 0..50 {
        running.ask(&format!("n{n}"));
    }
    assert!(running.reader.demand(Demand::Direct("web.test:80".into())));
    settle().await;
    assert_eq!(script.open(), 5, "four names and one declared service");
    assert_eq!(running.reader.snapshot().clusters.len(), 5);
    assert!(running.reader.names_full(Instant::now()));
    sleep(Duration::from_secs(601)).await;
    assert!(!running.reader.names_full(Instant::now()), "there is room when unused ones have ended");
}

#[tokio::test(start_paused = true)]
async fn a_direct_destination_is_resolved_and_ends_like_a_name() {
    let running = Running::start(settings(&[]), &Script::default());
    for authority in ["web.test:8080", "[::1]:80", "gone.invalid:80", "no port", "x:0", ":80"] {
        assert!(running.reader.demand(Demand::Direct(authority.into())));
    }
    settle().await;
    let address = |name: &str| running.cluster(name).unwrap().endpoints[0].address.to_string();
    assert_eq!(address("web.test:8080"), "10.9.9.9:8080");
    assert_eq!(address("[::1]:80"), "[::1]:80");
    assert!(running.ids("gone.invalid:80").is_empty());
    assert!(running.board.read()["gone.invalid:80"].left_out[0].reason.contains("no such name"));
    assert_eq!(running.reader.snapshot().clusters.len(), 3, "nonsense is no destination");

    running.resolves.store(false, Relaxed);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(address("web.test:8080"), "10.9.9.9:8080", "failed look-ups keep the last good address");
    assert_eq!(running.standing("gone.invalid:80"), None, "what never resolved is forgotten early");
    sleep(Duration::from_secs(601)).await;
    assert!(running.reader.snapshot().clusters.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_stays() {
    let script = Script::default();
    let mut settings = settings(&["orders", "users"]);
    let running = Running::start(settings.clone(), &script);
    for name in ["orders", "users", "cart", "new"] {
        script.say(name, two());
    }
    running.ask("cart");
    settle().await;
    let (orders, cart) = (running.ids("orders"), running.ids("cart"));
    let opened = script.0.opened.load(Relaxed);

    settings.services.remove("users");
    settings.services.get_mut("orders").unwrap().policy = policy(9);
    let declared = self::settings(&["cart", "new"]).services;
    settings.services.extend(declared);
    settings.defaults = policy(7);
    running.reload(settings.clone()).await.unwrap();
    assert_eq!(running.cluster("orders").unwrap().policy.timeout.as_secs(), 9, "applied when it returns");
    settle().await;
    assert_eq!(running.ids("orders"), orders);
    assert_eq!(running.ids("cart"), cart, "a name that is declared now keeps its endpoints");
    assert_eq!(running.standing("users"), None);
    assert_eq!(running.ids("new").len(), 2);
    assert_eq!(script.0.opened.load(Relaxed), opened + 1, "only `new` is asked for; the other watches go on");
    assert_eq!(script.open(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_changed_registry_keeps_the_pool_until_it_answers() {
    let (old, new) = (Script::default(), Script::default());
    let fresh = Arc::new(AtomicBool::new(false));
    let factory: RegistryFactory = {
        let (old, new, fresh) = (old.clone(), new.clone(), Arc::clone(&fresh));
        Box::new(move |settings| Ok(registries(settings, if fresh.load(Relaxed) { &new } else { &old })))
    };
    let mut settings = settings(&["orders"]);
    let running = Running::start_with(settings.clone(), factory);
    old.say("orders", two());
    settle().await;
    let before = running.ids("orders");
    fresh.store(true, Relaxed);
    settings.registries.insert("main".into(), RegistrySettings::File { path: "other.yaml".into() });
    running.reload(settings).await.unwrap();
    new.fail("orders");
    old.say("orders", set(vec![]));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(running.ids("orders"), before, "the old registry is not heard, the new one has not answered");
    assert_eq!((old.open(), new.open()), (0, 1));
    new.say("orders", set(vec![instance("i2", "10.0.0.2", 80), instance("i3", "10.0.0.3", 80)]));
    settle().await;
    let after = running.ids("orders");
    assert_eq!(after[0], before[1], "who is in both is one and the same");
    assert_ne!(after[1], before[0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_replaced_watch_still_had_on_its_way_is_not_heard() {
    let settings = settings(&["orders"]);
    let (publisher, reader, _demands) = joint(first_snapshot(&settings));
    let (tell, _updates) = mpsc::channel(1);
    let (answer, _answers) = mpsc::channel(1);
    let made = registries(&settings, &Script::default());
    let (found, _found) = mpsc::channel(1);
    let resolver = resolve::Resolver::new(resolve::system(), answer);
    let mut pools = Pools::new(
        settings,
        made,
        Default::default(),
        publisher,
        tell,
        resolver,
        health::Checker::new(health::system(), found),
    );
    let mut hear = |watch| {
        let now = Instant::now();
        pools.update(WatchUpdate { pool: "orders".into(), watch, update: Update::Set(two()) }, now);
        pools.publish(now);
        reader.snapshot().clusters["orders"].endpoints.len()
    };
    assert_eq!(hear(99), 0);
    assert_eq!(hear(1), 2, "the first watch is number 1");
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_cannot_be_is_refused_and_changes_nothing() {
    let script = Script::default();
    let factory: RegistryFactory = {
        let script = script.clone();
        Box::new(move |settings| match settings.registries.contains_key("bad") {
            true => Err("registries.bad: no such file".into()),
            false => Ok(registries(settings, &script)),
        })
    };
    let mut settings = settings(&["orders"]);
    let running = Running::start_with(settings.clone(), factory);
    script.say("orders", two());
    settle().await;
    let before = running.reader.snapshot();
    settings.registries.insert("bad".into(), RegistrySettings::File { path: "x".into() });
    settings.services.clear();
    let error = running.reload(settings).await.unwrap_err();
    assert_eq!(error.to_string(), "registries.bad: no such file");
    settle().await;
    assert!(Arc::ptr_eq(&before, &running.reader.snapshot()));
}

#[tokio::test(start_paused = true)]
async fn ready_is_when_every_declared_service_has_its_first_answer() {
    let script = Script::default();
    let running = Running::start(settings(&["a", "b"]), &script);
    settle().await;
    assert_eq!(running.readiness.waiting().as_deref(), Some("waiting for the first answer about a, b"));
    script.say("a", two());
    script.fail("b");
    settle().await;
    assert_eq!(running.readiness.waiting().as_deref(), Some("waiting for the first answer about b"));
    script.say("b", set(vec![]));
    settle().await;
    assert_eq!(running.readiness.waiting(), None);
    script.fail("a");
    running.reload(settings(&["a", "b", "c"])).await.unwrap();
    settle().await;
    assert_eq!(running.readiness.waiting(), None, "ready stays ready");
}

#[tokio::test(start_paused = true)]
async fn ready_is_also_when_the_grace_is_over() {
    let running = Running::start(settings(&["a", "b", "c", "d", "e"]), &Script::default());
    let start = Instant::now();
    settle().await;
    let waiting = running.readiness.waiting();
    assert_eq!(waiting.as_deref(), Some("waiting for the first answer about a, b, c and 2 more"));
    running.readiness.ready().await;
    let took = start.elapsed();
    assert!((Duration::from_secs(10)..=Duration::from_secs(11)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_skipped_is_told_and_counts_as_seen() {
    let script = Script::default();
    let running = Running::start(settings(&[]), &script);
    script.say("cart", skipped_only("node/cart-1", "port is 0"));
    running.ask("cart");
    settle().await;
    assert_eq!(running.standing("cart"), Some(DiscoveryState::Known));
    let board = running.board.read();
    assert_eq!(board["cart"].skipped, 1);
    assert_eq!(board["cart"].left_out[0].reason, "port is 0");
}

#[tokio::test(start_paused = true)]
async fn without_a_registry_a_name_is_unseen_at_once() {
    let mut settings = settings(&[]);
    settings.names.as_mut().unwrap().registry = None;
    let running = Running::start(settings, &Script::default());
    running.ask("cart");
    settle().await;
    assert_eq!(running.standing("cart"), Some(DiscoveryState::Unseen));
    advance(Duration::from_secs(7)).await;
    settle().await;
    assert_eq!(running.standing("cart"), None);
}

#[test]
fn the_thread_starts_reloads_and_ends() {
    let script = Script::default();
    script.say("orders", two());
    let given = script.clone();
    let settings = settings(&["orders"]);
    let (publisher, reader, demands) = joint(first_snapshot(&settings));
    let registries: RegistryFactory = Box::new(move |settings| Ok(registries(settings, &given)));
    let handle = spawn(ControlInputs {
        settings: settings.clone(),
        registries,
        dialers: Default::default(),
        publisher,
        demands,
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), handle.readiness().ready()).await.unwrap();
        assert_eq!(reader.snapshot().clusters["orders"].endpoints.len(), 2);
        handle.reload(self::settings(&[])).await.unwrap();
        assert!(reader.snapshot().clusters.is_empty());
    });
    handle.shutdown();
    assert_eq!(script.open(), 0);
}

#[test]
fn a_registry_that_cannot_be_made_is_an_error_at_the_start() {
    let settings = settings(&[]);
    let (publisher, _reader, demands) = joint(first_snapshot(&settings));
    let registries: RegistryFactory = Box::new(|_| Err("registries.main: bad address".into()));
    let error =
        spawn(ControlInputs { settings, registries, dialers: Default::default(), publisher, demands }).unwrap_err();
    assert_eq!(error.to_string(), "registries.main: bad address");
}

mod checks;
mod room;
