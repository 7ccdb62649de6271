//! Which seeds a test runs under, and that nothing panics under any.

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    /// A simulation is one thread, however many hosts it has.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}
static COUNT_PANICS: Once = Once::new();

/// Runs a test under five seeds.
pub fn each(test: impl Fn(u64)) {
    let chosen = number("OUTRIGGER_SEED");
    let seeds = chosen.map_or(1..=5, |seed| seed..=seed);
    for seed in seeds {
        eprintln!("OUTRIGGER_SEED={seed}");
        under(seed, || test(seed));
    }
}

/// The seeds of one of `parts` tests that share `all` of them; `OUTRIGGER_SEEDS` says how many there are instead, and
/// `OUTRIGGER_SEED` leaves one alone.
pub fn part(part: u64, parts: u64, all: u64) -> Vec<u64> {
    let mine = |seed: &u64| seed % parts == part;
    match number("OUTRIGGER_SEED") {
        Some(seed) => Some(seed).into_iter().filter(mine).collect(),
        None => (1..=number("OUTRIGGER_SEEDS").unwrap_or(all)).filter(mine).collect(),
    }
}

/// Does something with all that is random beginning at a seed.
pub fn under<T>(seed: u64, run: impl FnOnce() -> T) -> T {
    // A task that panics only looks like a connection that broke; the program that is shipped would have aborted.
    COUNT_PANICS.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
    fastrand::seed(seed);
    let result = run();
    assert_eq!(PANICS.get(), 0, "OUTRIGGER_SEED={seed}: something panicked");
    result
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}
