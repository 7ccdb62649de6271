use super::*;

const MS: Duration = Duration::from_millis(1);

/// A worker that gets `rate` requests a second, each answered after `latency`; time goes on by milliseconds.
struct Steady {
    adaptive: Adaptive,
    now: Instant,
    start: Instant,
    out: std::collections::VecDeque<(Instant, Ticket, Duration)>,
}

impl Steady {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            adaptive: Adaptive::new(&Arc::new(Overload::new(start)), start),
            now: start,
            start,
            out: Default::default(),
        }
    }

    /// Polls that never end are opened beside it.
    fn run(&mut self, time: Duration, rate: u32, polls: u32, latency: impl Fn(Duration) -> Duration) {
        let until = self.now + time;
        let (mut due, mut polls_due) = (0.0, 0.0);
        while self.now < until {
            self.now += MS;
            while self.out.front().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, ticket, takes) = self.out.pop_front().unwrap();
                self.adaptive.done(ticket, Done::Answered(takes));
            }
            (due, polls_due) = (due + f64::from(rate) / 1e3, polls_due + f64::from(polls) / 1e3);
            while due >= 1.0 {
                due -= 1.0;
                self.adaptive.offered(self.now);
                if self.adaptive.has_room(1.0) {
                    let takes = latency(self.now - self.start);
                    self.out.push_back((self.now + takes, self.adaptive.begin(), takes));
                } else {
                    self.adaptive.felt(self.now);
                }
            }
            while polls_due >= 1.0 {
                polls_due -= 1.0;
                self.adaptive.offered(self.now);
                if self.adaptive.has_room(1.0) {
                    self.adaptive.begin();
                }
            }
        }
    }

    fn is_limiting(&self) -> bool {
        self.adaptive.limit().is_some()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn polls_that_are_being_opened_are_no_load_that_was_carried_in_health() {
    let mut steady = Steady::new();
    steady.run(10 * SECOND, 500, 0, |_| 20 * MS);
    let usual = |steady: &Steady| {
        let pool = steady.adaptive.overload.pool().unwrap();
        (pool.usual.service(), pool.usual.rate)
    };
    let (service, rate) = usual(&steady);
    steady.run(5 * SECOND, 500, 400, |_| 20 * MS);
    let now = usual(&steady);
    assert!((now.0 - service).abs() < 0.2 * service, "{service} s before, now {}", now.0);
    assert!((now.1 - rate).abs() < 0.2 * rate, "{rate} a second before, now {}", now.1);
}

#[test]
fn a_cohort_made_of_polls_does_not_keep_the_next_ones_from_being_judged() {
    let mut steady = Steady::new();
    steady.run(5 * SECOND, 200, 0, |_| 20 * MS);
    // Nine in ten: the quarter that a cohort is judged by never comes back.
    steady.run(SECOND, 200, 2_000, |_| 20 * MS);
    steady.run(SECOND, 200, 0, |_| 60 * MS);
    let seen = steady.adaptive.view.latency;
    assert!(seen > 0.05, "what is there now takes 60 ms, and {seen} s is what is known");
}

/// Overloads until there is a limit.
fn limited() -> Steady {
    let mut steady = Steady::new();
    steady.run(5 * SECOND, 500, 0, |_| 20 * MS);
    steady.run(2 * SECOND, 1_500, 0, |at| 20 * MS + at.saturating_sub(5 * SECOND));
    assert!(steady.is_limiting());
    steady
}

#[test]
fn a_limit_of_which_nothing_is_known_goes() {
    let mut steady = limited();
    // Everything that is let through hangs from now on.
    steady.run(10 * SECOND, 1_500, 0, |_| 3_600 * SECOND);
    assert!(!steady.is_limiting());
}

#[test]
fn whoever_hangs_for_long_makes_room_even_where_nothing_comes_back() {
    let mut steady = limited();
    while steady.adaptive.has_room(1.0) {
        steady.adaptive.begin();
    }
    let young = Duration::from_secs_f64(steady.adaptive.view.young);
    assert!(young < 8 * SECOND, "{young:?}");
    steady.now += young + 100 * MS;
    steady.adaptive.offered(steady.now);
    assert!(steady.adaptive.has_room(1.0));
}
