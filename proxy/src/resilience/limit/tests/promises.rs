//! The promises of `limit`, each a test by its name.

use super::sim::{self, Service, Spread, World};

const FIVE: usize = 5;

/// Servers for this capacity at this mean time; what the capacity really is.
fn servers(capacity: f64, mean: f64) -> (Service, f64) {
    let slots = ((capacity * mean / FIVE as f64).round() as usize).max(1);
    (Service::Queues { servers: FIVE, slots }, (FIVE * slots) as f64 / mean)
}

#[test]
#[ignore]
fn explore() {
    let only = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<f64>().ok());
    for spread in [Spread::Constant, Spread::Mixed, Spread::Exponential] {
        for mean in [0.001, 0.01, 0.05, 0.1, 0.3] {
            for capacity in [100.0, 500.0, 2000.0] {
                let (service, capacity) = servers(capacity, mean);
                if capacity > 6000.0 {
                    continue;
                }
                if only("MEAN").is_some_and(|m| m != mean)
                    || only("CAP").is_some_and(|c| c != capacity.round())
                    || std::env::var("SPREAD").is_ok_and(|s| s != format!("{spread:?}"))
                {
                    continue;
                }
                let mut line = String::new();
                for seed in std::env::var("SEED").ok().and_then(|v| v.parse().ok()).map_or(0..3, |s: u64| s..s + 1) {
                    let rate = move |t: f64| if (4.0..11.0).contains(&t) { 2.0 * capacity } else { 0.5 * capacity };
                    let world = World::new(seed, service, spread, mean, Box::new(rate), 15.0);
                    let history = sim::run(&world);
                    let share = history.goodput(4.0, 11.0) / capacity;
                    let back = history.goodput(12.0, 15.0) / history_rate(&history, 12.0, 15.0);
                    let early = history.refused(0.0, 4.0);
                    let entered = history.limited.first().copied().unwrap_or(99.0);
                    line += &format!(" | {:.3} back {:.3} early {early} at {:.2}", share, back, entered - 4.0);
                    if std::env::var("TRACE").is_ok() {
                        for (t, q, l, n) in &history.trace {
                            println!("{t:.2} q {:.0} limit {l:?} n {n}", q * 1e3);
                        }
                        return;
                    }
                }
                println!("{spread:?} mean {mean} cap {capacity:.0}{line}");
            }
        }
    }
}

fn history_rate(history: &sim::History, from: f64, to: f64) -> f64 {
    history.fates.iter().filter(|fate| (from..to).contains(&fate.came)).count() as f64 / (to - from)
}
