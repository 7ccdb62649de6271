//! A process of a fleet: one instance of every service.
//!
//! So that `kill -9` of one of five instances is just that. It is told what to do by lines on stdin, says what it did by
//! lines on stdout, and ends when its stdin does, so that it cannot outlive the harness.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::fault::Fault;
use super::instance::Instance;
use crate::proxies::origin::local_runtime;

/// What a process is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The service; every one if none.
    pub service: Option<usize>,
    /// What is wrong from now on.
    pub fault: Fault,
}

/// How often it says how many requests came. A killed process takes what it has not said with it.
const REPORT: Duration = Duration::from_millis(25);

/// Serves as instance number `instance` of every service, each on its port of loopback.
///
/// # Errors
/// No runtime, no signals, or an address that cannot be listened on.
pub fn run(instance: usize, seed: u64, ports: &[u16]) -> io::Result<()> {
    let (tell, mut told) = mpsc::unbounded_channel::<Order>();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(order) => drop(tell.send(order)),
                Err(error) => say(&format!("bad order: {error}: {line}")),
            }
        }
        // Dropping `tell` ends the process.
    });
    local_runtime()?.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        let instances = ports.iter().enumerate().map(|(service, port)| {
            let name = format!("s{service}/{instance}");
            let seed = seed ^ ((instance as u64) << 32) ^ ((service as u64) << 8);
            (Instance::new(name, seed, Box::new(|id| say(&format!("x {id}")))), *port)
        });
        let instances = instances.collect::<Vec<_>>();
        for (instance, port) in &instances {
            let address = SocketAddr::from(([127, 0, 0, 1], *port));
            let serving = Rc::clone(instance).serve(address);
            let name = instance.name.clone();
            tokio::task::spawn_local(async move {
                if let Err(error) = serving.await {
                    say(&format!("bad socket: {name} at {address}: {error}"));
                }
            });
        }
        // The tasks above listen before this one goes on.
        tokio::task::yield_now().await;
        say("ready");
        let mut said = vec![0; instances.len()];
        let mut report = tokio::time::interval(REPORT);
        loop {
            tokio::select! {
                _ = report.tick() => {
                    for (service, (instance, _)) in instances.iter().enumerate() {
                        let now = instance.requests.get();
                        if now != said[service] {
                            say(&format!("r {service} {}", now - std::mem::replace(&mut said[service], now)));
                        }
                    }
                }
                order = told.recv() => {
                    let Some(order) = order else { return Ok(()) };
                    for (service, (instance, _)) in instances.iter().enumerate() {
                        if order.service.is_none_or(|s| s == service) {
                            instance.set(&order.fault);
                        }
                    }
                }
                _ = term.recv() => {
                    instances.iter().for_each(|(instance, _)| instance.drain());
                    let until = Instant::now() + Duration::from_secs(2);
                    while Instant::now() < until && instances.iter().any(|(i, _)| i.connections.get() > 0) {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    return Ok(());
                }
            }
        }
    })
}

/// A line for the harness. Without a harness nobody minds.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(format!("{line}\n").as_bytes());
    let _ = out.flush();
}
