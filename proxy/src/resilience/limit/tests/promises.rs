//! The promises of `limit`, each a test by its name, on a simulated service: over kinds of service times, their means, rates
//! and seeds. Two workers, which know nothing of each other but whether the other one limits.

use super::sim::{self, Service, Spread, World};

const FIVE: usize = 5;
const SEEDS: std::ops::Range<u64> = 0..3;

/// Servers for about this capacity at this mean time, with as many slots as that takes; and what their capacity is.
fn servers(capacity: f64, mean: f64) -> (Service, f64) {
    let slots = ((capacity * mean / FIVE as f64).round() as usize).max(1);
    (Service::Queues { servers: FIVE, slots }, (FIVE * slots) as f64 / mean)
}

/// Half the capacity, from the fourth second on twice the capacity for seven seconds, then half again.
fn overload(seed: u64, spread: Spread, mean: f64, capacity: f64) -> (World, f64) {
    let (service, capacity) = servers(capacity, mean);
    let rate = move |t: f64| if (4.0..11.0).contains(&t) { 2.0 * capacity } else { 0.5 * capacity };
    (World::new(seed, service, spread, mean, Box::new(rate), 15.0), capacity)
}

/// Every world of these spreads, means and rates, in turn.
fn for_each(spreads: &[Spread], means: &[f64], rates: &[f64], test: impl Fn(u64, Spread, f64, f64)) {
    for spread in spreads {
        for mean in means {
            for rate in rates {
                SEEDS.for_each(|seed| test(seed, *spread, *mean, *rate));
            }
        }
    }
}

const STEADY: [Spread; 3] = [Spread::Constant, Spread::Mixed, Spread::Exponential];

#[test]
fn under_twice_the_capacity_goodput_stays_above_ninety_percent_of_it() {
    for_each(&STEADY, &[0.01, 0.05, 0.1], &[200.0, 1_000.0], |seed, spread, mean, capacity| {
        let (world, capacity) = overload(seed, spread, mean, capacity);
        let share = sim::run(&world).goodput(4.0, 11.0) / capacity;
        assert!(share >= 0.9, "{share:.3} of {capacity:.0} a second, {spread:?} {mean} s, seed {seed}");
    });
}

#[test]
fn a_second_after_an_overload_all_is_well_again() {
    for_each(&STEADY, &[0.01, 0.05, 0.1], &[200.0, 1_000.0], |seed, spread, mean, capacity| {
        let (world, _) = overload(seed, spread, mean, capacity);
        let history = sim::run(&world);
        let share = history.goodput(12.0, 15.0) / history.came(12.0, 15.0);
        assert!(share >= 0.99, "{share:.3} of what came, {spread:?} {mean} s, seed {seed}");
    });
}

#[test]
fn clients_that_try_again_do_not_keep_an_overload_going() {
    for_each(&STEADY, &[0.05], &[500.0], |seed, spread, mean, capacity| {
        let (mut world, _) = overload(seed, spread, mean, capacity);
        world.retries = 2;
        let history = sim::run(&world);
        let share = history.goodput(12.5, 15.0) / history.came(12.5, 15.0);
        assert!(share >= 0.98, "{share:.3} of what came, {spread:?} {mean} s, seed {seed}");
    });
}

#[test]
fn a_thousand_long_polls_take_no_place_from_others_in_an_overload() {
    // Those that are opened while there is a limit are refused like others, and count while they are young.
    for (opened, least) in [(1.0..2.0, 0.9), (5.0..6.0, 0.75), (1.0..11.0, 0.75)] {
        for_each(&STEADY, &[0.01, 0.05], &[500.0, 1_000.0], |seed, spread, mean, capacity| {
            let (mut world, capacity) = overload(seed, spread, mean, capacity);
            (world.polls, world.opened) = (1_000, opened.clone());
            let history = sim::run(&world);
            let world = format!("{spread:?} {mean} s, polls opened {opened:?}, seed {seed}");
            let share = history.goodput(4.0, 11.0) / capacity;
            assert!(share >= least, "{share:.3} of {capacity:.0} a second, {world}");
            let share = history.goodput(12.0, 15.0) / history.came(12.0, 15.0);
            assert!(share >= 0.99, "afterwards {share:.3} of what came, {world}");
        });
    }
}

#[test]
fn a_flood_of_long_polls_in_an_overload_shuts_nobody_out() {
    for_each(&STEADY, &[0.01, 0.05], &[200.0], |seed, spread, mean, capacity| {
        let (mut world, _) = overload(seed, spread, mean, capacity);
        (world.polls, world.opened) = (10_000, 10.0..11.0);
        world.until = 18.0;
        let history = sim::run(&world);
        let share = history.goodput(15.0, 18.0) / history.came(15.0, 18.0);
        assert!(share >= 0.99, "{share:.3} of what came, {spread:?} {mean} s, seed {seed}");
    });
}

/// A healthy service, changed by `change`: nothing is refused, and nothing is limited at all.
fn is_invisible(spreads: &[Spread], change: impl Fn(&mut World, f64, f64)) {
    for_each(spreads, &[0.01, 0.03, 0.1], &[100.0, 1_000.0], |seed, spread, mean, rate| {
        let mut world = World::new(seed, Service::Unbounded, spread, mean, Box::new(move |_| rate), 12.0);
        world.patience = 20.0;
        change(&mut world, mean, rate);
        let history = sim::run(&world);
        let refused = history.refused(0.0, 12.0);
        assert!(
            refused == 0 && history.limited.is_empty(),
            "{refused} refused, limited at {:?}, {spread:?} {mean} s, {rate} a second, seed {seed}",
            history.limited.first()
        );
    });
}

#[test]
fn nothing_is_refused_when_one_call_in_a_hundred_is_a_hundred_times_slower() {
    is_invisible(&[Spread::SlowTail], |_, _, _| {});
}

#[test]
fn nothing_is_refused_when_latency_rises_five_fold_at_equal_load() {
    is_invisible(&STEADY, |world, mean, _| {
        world.mean = Box::new(move |t| if t < 5.0 { mean } else { 5.0 * mean });
    });
}

#[test]
fn nothing_is_refused_with_a_thousand_long_polls_open() {
    is_invisible(&[Spread::Mixed], |world, _, _| world.polls = 1_000);
    is_invisible(&[Spread::Mixed], |world, _, _| (world.polls, world.opened) = (1_000, 0.0..10.0));
}

#[test]
fn nothing_is_refused_when_traffic_grows_ten_fold_in_a_second() {
    is_invisible(&STEADY, |world, mean, rate| {
        let slots = (rate * 10.0 * mean / FIVE as f64 * 3.0).ceil().max(2.0) as usize;
        world.service = Service::Queues { servers: FIVE, slots };
        world.rate = Box::new(move |t| rate * (1.0 + 9.0 * (t - 5.0).clamp(0.0, 1.0)));
    });
}

#[test]
fn nothing_is_refused_when_load_rises_ten_fold_at_once_to_three_quarters_of_the_capacity() {
    is_invisible(&STEADY, |world, mean, rate| {
        let slots = (rate * 10.0 * mean / FIVE as f64 / 0.75).ceil().max(2.0) as usize;
        world.service = Service::Queues { servers: FIVE, slots };
        world.rate = Box::new(move |t| if t < 5.0 { rate } else { 10.0 * rate });
    });
}

#[test]
fn nothing_is_refused_where_every_answer_takes_seconds() {
    for takes in [1.0, 3.0] {
        is_invisible(&[Spread::Constant, Spread::Lognormal, Spread::Bimodal], |world, _, rate| {
            world.mean = Box::new(move |_| takes);
            world.rate = Box::new(move |t| if t < 6.0 { 0.1 * rate } else { 0.4 * rate });
        });
    }
}

#[test]
fn nothing_is_refused_when_a_dependency_becomes_twice_as_slow_and_nothing_queues() {
    let kinds = [Spread::Constant, Spread::Lognormal, Spread::Bimodal];
    is_invisible(&kinds, |world, mean, _| {
        world.mean = Box::new(move |t| if (5.0..8.0).contains(&t) { 2.0 * mean } else { mean });
    });
    // And over some seconds, while there is more to do.
    is_invisible(&kinds, |world, mean, rate| {
        world.mean = Box::new(move |t| mean * (1.0 + ((t - 5.0) / 4.0).clamp(0.0, 1.0)));
        world.rate = Box::new(move |t| rate * (1.0 + ((t - 5.0) / 4.0).clamp(0.0, 1.0)));
    });
}

#[test]
fn nothing_is_refused_for_a_burst_that_is_worked_off_within_half_a_second() {
    is_invisible(&STEADY, |world, mean, rate| {
        let (service, capacity) = servers(2.0 * rate, mean);
        world.service = service;
        world.rate = Box::new(move |t| if (t % 2.0) > 1.98 { 0.4 * capacity / 0.02 } else { 0.8 * rate });
    });
}

#[test]
fn nothing_is_refused_when_a_service_pauses_for_a_moment() {
    // As one that collects garbage does.
    is_invisible(&[Spread::Constant], |world, mean, _| {
        world.mean = Box::new(move |t| if (t % 3.0) > 2.7 { mean + 3.0 - t % 3.0 } else { mean });
    });
}
