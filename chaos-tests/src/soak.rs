//! A long run by hand: what no test of seconds finds, because it grows too slowly or happens too seldom.
//!
//! One proxy lives through all of it, and its memory and descriptors are looked at; a second one is restarted every minute, and
//! its clients are handed from the old to the new. Before both: loads of every kind, of which each request has an
//! answer that is known. Behind them: services of a registry, of HTTP/2 and of plain files. And in every minute, in this
//! order: an instance dies and comes back, a fault is injected into another, the configuration is changed, the registry dies
//! and comes back without its memory. Only one instance of a service is in trouble at any time, so every request is owed an
//! answer, and one that failed is an error.
//!
//! It ends by itself, and fails if a request did, if the process ended or panicked, or if memory or descriptors
//! have grown.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use outrigger_registry::consul::Registration;
use outrigger_registry::embedded::Embedded;
use serde_json::{Value, json};

use crate::fleet::{Origin, Speaks};
use crate::load::Load;
use crate::proxy::{Proxy, free_address};
use crate::raw::get;
use crate::tools::say;
use crate::{SOON, runtime, wait_for};

mod load;
mod report;

use report::{Minute, Report, Sample};

/// What a soak is made of.
struct World {
    registry: Option<Embedded>,
    registry_at: SocketAddr,
    /// Registered, and restarted one after the other.
    shop: Vec<Option<Origin>>,
    shop_at: Vec<SocketAddr>,
    /// Over HTTP/2, and left alone.
    wares: Vec<Origin>,
    /// Over HTTP/1.1, and left alone.
    files: Vec<Origin>,
}

/// Runs for so many minutes; the report goes to stderr, a line each minute.
pub fn run(minutes: u64) -> ExitCode {
    let mut world = World::start();
    let long = Arc::new(Proxy::start(&world.config(0)));
    let mut short = Proxy::start(&world.config(0));
    for proxy in [&*long, &short] {
        wait_for("the registry's service", SOON, || get(proxy.address, "shop", "/").status() == 200);
    }
    let mut report = Report::begin(Sample::of(&long));
    say(Report::HEADER);
    for minute in 0..minutes {
        let (told, next) = one(&mut world, &long, short, minute);
        short = next;
        report.add(told);
        if long.has_ended() {
            break;
        }
    }
    drop(short);
    report.rest(&long);
    report.judge(&long)
}

/// One minute of everything: what came of it, and the second proxy as it is now.
fn one(world: &mut World, long: &Arc<Proxy>, short: Proxy, minute: u64) -> (Minute, Proxy) {
    let begun = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let (to, first) = (long.address, short.address);
    let second = Proxy::start(&world.config(minute));
    wait_for("the registry's service", SOON, || get(second.address, "shop", "/").status() == 200);
    let (over, moved) = (second.address, Arc::new(AtomicBool::new(false)));
    let target = Arc::clone(&moved);
    let steady = Load::start(move || to, "shop", 100, 8);
    let handed = Load::start(move || if target.load(Ordering::SeqCst) { over } else { first }, "shop", 50, 4);
    let others: Vec<JoinHandle<load::Told>> = load::all(to, &stop);
    let watch = {
        let (stop, long) = (Arc::clone(&stop), Arc::clone(long));
        std::thread::spawn(move || report::samples(&long, &stop))
    };
    let until = |seconds: u64| std::thread::sleep(Duration::from_secs(seconds).saturating_sub(begun.elapsed()));

    // The times are the schedule of what is done, not a wait for what comes of it.
    let victim = usize::try_from(minute).unwrap_or_default() % world.shop.len();
    until(5);
    world.shop[victim] = None;
    until(8);
    world.shop[victim] = Some(Origin::at(&format!("shop-{victim}"), Speaks::Http1, world.shop_at[victim]));
    until(16);
    let struck = world.shop_at[(victim + 1) % world.shop.len()];
    let mut failed = fault(long, minute, struck);
    until(25);
    long.rewrite(&world.config(minute + 1));
    if minute.is_multiple_of(2) {
        long.signal(Signal::SIGHUP);
    }
    until(30);
    if let Some(registry) = world.registry.take() {
        runtime().block_on(registry.shutdown());
    }
    until(40);
    world.registry = Some(begin_registry(world.registry_at, &world.shop_at));
    until(45);
    moved.store(true, Ordering::SeqCst);
    failed.extend(end(short));
    until(60);

    stop.store(true, Ordering::SeqCst);
    let samples = watch.join().expect("the watch");
    let mut told = vec![load::Told::of("steady", steady.finish()), load::Told::of("handed over", handed.finish())];
    told.extend(others.into_iter().map(|load| load.join().expect("a load")));
    (Minute { number: minute + 1, samples, told, failed }, second)
}

/// One instance is not well, for a few seconds and in another way each minute.
fn fault(long: &Proxy, minute: u64, whom: SocketAddr) -> Vec<String> {
    let kinds = [
        ("abort", json!({ "status": 503 })),
        ("delay", json!({ "fixed": "300ms" })),
        ("latency", json!({ "latency": 200, "jitter": 100 })),
        ("reset_peer", json!({ "timeout": 0 })),
    ];
    let (kind, attributes) = &kinds[usize::try_from(minute).unwrap_or_default() % kinds.len()];
    let fault = json!({
        "type": kind, "attributes": attributes, "service": "shop", "endpoints": whom.to_string(), "ttl": "6s",
    });
    let answer = long.change("POST", "/api/v1/faults", Some(&fault));
    (answer.status() != 201).then(|| format!("a fault was refused: {fault}: {}", answer.text())).into_iter().collect()
}

/// Ends a proxy as its operator would.
fn end(mut proxy: Proxy) -> Option<String> {
    proxy.signal(Signal::SIGTERM);
    let status = proxy.wait_end(SOON * 2);
    (!status.success()).then(|| format!("the proxy that was to drain: {status}"))
}

/// A registry at its address, which knows what was registered and nothing of before.
fn begin_registry(at: SocketAddr, shop: &[SocketAddr]) -> Embedded {
    let registry = runtime().block_on(Embedded::bind(at)).expect("the registry's address");
    for (n, address) in shop.iter().enumerate() {
        let registration = Registration::new(format!("shop-{n}"), "shop", address.ip().to_string(), address.port());
        registry.handle().register(registration).expect("a registration");
    }
    registry
}

impl World {
    fn start() -> Self {
        let shop: Vec<_> = (0..4).map(|n| Some(Origin::named(&format!("shop-{n}")))).collect();
        let shop_at: Vec<_> = shop.iter().flatten().map(|origin| origin.address).collect();
        let registry_at = free_address();
        let registry = Some(begin_registry(registry_at, &shop_at));
        let two = |name: &str, speaks| (0..2).map(|n| Origin::start(&format!("{name}-{n}"), speaks)).collect();
        Self {
            registry,
            registry_at,
            shop,
            shop_at,
            wares: two("wares", Speaks::Http2),
            files: two("files", Speaks::Http1),
        }
    }

    /// Another one each minute.
    fn config(&self, minute: u64) -> Value {
        let addresses = |origins: &[Origin]| origins.iter().map(|o| o.address.to_string()).collect::<Vec<_>>();
        // An instance that the new registry does not know yet is kept for as long as it is well.
        let check = json!({ "http": "/", "interval": "1s", "timeout": "1s", "keep_absent": "10m" });
        json!({
            "registries": { "consul": { "address": format!("http://{}", self.registry_at) } },
            "services": {
                "shop": { "health_check": check, "timeout": format!("{}ms", 10_000 + minute) },
                "wares": { "instances": addresses(&self.wares), "protocol": "http2", "timeout": "30s" },
                "files": { "instances": addresses(&self.files), "timeout": "30s" },
            },
            "defaults": { "max_idle": 100 + minute },
            "faults": { "enabled": true, "max_active": 100 },
            "shutdown": { "lame_duck": "1s", "deadline": "20s" },
        })
    }
}
