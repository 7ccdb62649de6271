//! How much of its share an endpoint gets that has just come.
//!
//! A new process has cold caches, an empty connection pool, code that is not compiled yet: at its full share it is slow
//! for everybody it gets, or falls over, and one that has just failed is more likely to fail again. So its share grows
//! with time, from a floor of 10 %. The floor is what makes it warm: an endpoint that is asked for nothing stays as
//! cold as it came.
//!
//! **Why a chance, and not a weight?** The balancers' lines of weights are built once per pool; a weight that changes by
//! the millisecond would have them built anew all the time. Instead a candidate that is offered its turn takes it with
//! the probability of its ramp, and the turn it declines falls on the others by weight. That costs nothing where
//! nobody is new.
//!
//! **Where nearly all are new**, the ramp must not put everything on the one that is not. Under two choices a turn is
//! therefore not declined in favour of a candidate that is more loaded by more than the inverse of the ramp: one
//! at 10 % gives its turn to one with nine requests in flight, not to one with ninety. And what a new one does not take
//! in a pool of new ones goes to the others as they come.

use std::time::Duration;

/// The least part of its share that an endpoint gets.
pub const FLOOR: f64 = 0.1;

/// How long an endpoint that comes back from an ejection takes to get its whole share, where slow start is not
/// configured: what ejected it may not be over.
pub const RETURN: Duration = Duration::from_secs(2);

/// The part of its share that an endpoint gets at an age, [`FLOOR`] to 1.0. A window of zero is none.
pub fn ramp(age: Duration, window: Duration) -> f64 {
    if age >= window { 1.0 } else { (age.as_secs_f64() / window.as_secs_f64()).max(FLOOR) }
}

/// The window of an endpoint that comes back from an ejection.
pub fn after_ejection(slow_start: Duration) -> Duration {
    if slow_start.is_zero() { RETURN } else { slow_start }
}
