//! Slow clients: those that hold an endpoint's connections and keep them waiting.
//!
//! An endpoint takes a bounded number of connections, and a request keeps one from its first byte to its answer's
//! last. A client that sends a body by the byte, or does not read its answer, holds a connection that others need,
//! and it costs that client next to nothing. A thousand such clients, and nobody is served. They are told from good
//! clients by what they do and not by their address: behind a sidecar all have the same.
//!
//! Nothing is done while connections are plenty. Once more than three quarters of an endpoint's connections are
//! taken, a minimum rate applies to clients that keep their connection waiting. Those below it are ended, the slowest
//! first, until no more than three quarters are taken. `docs/adr/0015-who-makes-room.md` has the reasons.
//!
//! A request is listed here only when its client had to be waited for at some time. One that came whole and whose
//! answer was read at once, as nearly all are, costs nothing. Time in which the endpoint was waited for is not held
//! against the client.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::Upstream;
use crate::clock::Instant;
use crate::http::Limits;
use crate::request::body::Upload;

/// The list of an endpoint's connections that their client keeps waiting, or kept waiting at some time.
#[derive(Debug, Default)]
pub struct Slow {
    holders: RefCell<HashMap<u64, Rc<Holder>>>,
    next: Cell<u64>,
}

/// A client that holds a connection.
#[derive(Debug)]
pub struct Holder {
    holds: Holds,
    who: IpAddr,
    /// Whether the exchange is long and quiet by its nature.
    exempt: bool,
    waits: Cell<bool>,
    moved: Cell<u64>,
    /// How many bytes had moved some time ago, and a little later. The rate is measured from the first mark.
    marks: Cell<[Mark; 2]>,
    told: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Which way the client's bytes go.
#[derive(Debug)]
enum Holds {
    Sending(Rc<Upload>),
    Reading,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    moved: u64,
}

/// An entry of the list, until it is dropped.
#[derive(Debug)]
pub struct Held {
    upstream: Rc<Upstream>,
    holder: Rc<Holder>,
    id: u64,
}

/// The terms on which a connection is dialled and may be kept.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How many connections the endpoint may have, of all workers.
    pub cap: u32,
    /// The minimum rate, in bytes a second; 0 for none.
    pub min_rate: usize,
    /// How many workers share in the work.
    pub workers: usize,
    /// Whether memory is short. Every client that is too slow is ended then, however many connections are left.
    pub short: bool,
    /// How large an answer's head may be.
    pub limits: Limits,
}

/// How long a client has to be waited for before its rate is judged.
const GRACE: Duration = Duration::from_secs(1);
/// The same, where a request needs a connection at this moment and there is none.
const WANTED: Duration = Duration::from_millis(500);
/// How far back a rate looks at least. At most it looks twice as far.
const WINDOW: Duration = Duration::from_secs(2);

/// How many connections may be taken before slow clients are ended: three quarters of the cap. Exempt exchanges may
/// hold as many.
pub(super) const fn plenty(cap: u32) -> u32 {
    cap - cap.div_ceil(4)
}

impl Slow {
    /// Ends clients that are too slow, as far as connections are short: this worker's share of them. Called at its
    /// ticks.
    pub(super) fn relieve(&self, open: u32, terms: Terms, now: Instant) {
        let holders = self.holders.borrow();
        if holders.is_empty() {
            return;
        }
        holders.values().for_each(|holder| holder.look(now));
        let excess = open.saturating_sub(plenty(terms.cap)) as usize;
        if (excess > 0 || terms.short) && terms.min_rate > 0 {
            let least = if terms.short { holders.len() } else { excess.div_ceil(terms.workers.max(1)) };
            tell(&holders, terms, GRACE, now, least);
        }
    }

    /// Ends the slowest client, for a request that would find no connection otherwise. False where no client is slow.
    pub(super) fn make_room(&self, terms: Terms, now: Instant) -> bool {
        terms.min_rate > 0 && tell(&self.holders.borrow(), terms, WANTED, now, 1) > 0
    }

    fn forget(&self, id: u64) {
        self.holders.borrow_mut().remove(&id);
    }
}

/// Tells up to `most` of the clients below the rate to go. The slowest exchange of the client with the most of them
/// goes first.
fn tell(holders: &HashMap<u64, Rc<Holder>>, terms: Terms, grace: Duration, now: Instant, most: usize) -> usize {
    let exempt = holders.values().filter(|holder| holder.is_exempt()).count();
    let spare = exempt > plenty(terms.cap) as usize / terms.workers.max(1);
    let slow = holders.values().filter(|holder| !holder.told.get() && (spare || !holder.is_exempt()));
    let slow = slow.filter_map(|holder| {
        let rate = holder.rate(grace, now)?;
        (rate < terms.min_rate as u64).then_some((holder, rate))
    });
    let order = in_order(slow.map(|(holder, rate)| (holder, holder.who, rate)).collect());
    let told = order.into_iter().take(most);
    told.map(|holder| holder.tell()).count()
}

/// Sorts slow exchanges in the order in which they go. The slowest exchange of the client with the most of them goes
/// first, until that client has no more than the others. Among clients with equally many the slowest exchange goes
/// first.
fn in_order<T>(mut slow: Vec<(T, IpAddr, u64)>) -> Vec<T> {
    slow.sort_by_key(|(_, who, rate)| (*who, *rate));
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    slow.iter().for_each(|(_, who, _)| *counts.entry(*who).or_default() += 1);
    let mut ranked: Vec<(usize, u64, T)> = Vec::with_capacity(slow.len());
    for (one, who, rate) in slow {
        let left = counts.entry(who).or_default();
        ranked.push((*left, rate, one));
        *left = left.saturating_sub(1);
    }
    ranked.sort_by_key(|(left, rate, _)| (std::cmp::Reverse(*left), *rate));
    ranked.into_iter().map(|(_, _, one)| one).collect()
}

/// The subscriber that an address belongs to: an IPv4 address, or a whole IPv6 /64.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((u128::from(address) & !u128::from(u64::MAX)).to_be_bytes()),
        v4 => v4,
    }
}

impl Holder {
    fn is_exempt(&self) -> bool {
        self.exempt
    }

    fn waits(&self) -> bool {
        match &self.holds {
            Holds::Sending(body) => body.ended().is_none() && body.is_starved(),
            Holds::Reading => self.waits.get(),
        }
    }

    fn moved(&self) -> u64 {
        match &self.holds {
            Holds::Sending(body) => body.taken(),
            Holds::Reading => self.moved.get(),
        }
    }

    fn look(&self, now: Instant) {
        let mark = Mark { at: now, moved: self.moved() };
        let [_, later] = self.marks.get();
        if !self.waits() {
            self.marks.set([mark; 2]);
        } else if now.saturating_duration_since(later.at) >= WINDOW {
            self.marks.set([later, mark]);
        }
    }

    /// The client's rate in bytes a second. None where the client is not waited for, or not for long enough to tell.
    fn rate(&self, grace: Duration, now: Instant) -> Option<u64> {
        let [from, _] = self.marks.get();
        let time = now.saturating_duration_since(from.at);
        if !self.waits() || time < grace {
            return None;
        }
        let bytes = self.moved().saturating_sub(from.moved);
        Some(u64::try_from(u128::from(bytes) * 1000 / time.as_millis().max(1)).unwrap_or(u64::MAX))
    }

    fn tell(&self) {
        self.told.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Held {
    /// A client that sends a body to this endpoint.
    pub fn sending(upstream: &Rc<Upstream>, body: &Rc<Upload>, who: IpAddr, exempt: bool, now: Instant) -> Self {
        Self::new(upstream, Holds::Sending(Rc::clone(body)), body.taken(), who, exempt, now)
    }

    /// A client that reads an answer from this endpoint.
    pub fn reading(upstream: &Rc<Upstream>, moved: u64, who: IpAddr, exempt: bool, now: Instant) -> Self {
        Self::new(upstream, Holds::Reading, moved, who, exempt, now)
    }

    fn new(upstream: &Rc<Upstream>, holds: Holds, moved: u64, who: IpAddr, exempt: bool, now: Instant) -> Self {
        let holder = Rc::new(Holder {
            holds,
            who: subscriber(who),
            exempt,
            waits: Cell::new(false),
            moved: Cell::new(moved),
            marks: Cell::new([Mark { at: now, moved }; 2]),
            told: Cell::new(false),
            waker: RefCell::default(),
        });
        let list = &upstream.slow;
        let id = list.next.get();
        list.next.set(id + 1);
        list.holders.borrow_mut().insert(id, Rc::clone(&holder));
        Self { upstream: Rc::clone(upstream), holder, id }
    }

    /// Whether the connection is one of this endpoint's.
    pub fn is_of(&self, upstream: &Rc<Upstream>) -> bool {
        Rc::ptr_eq(&self.upstream, upstream)
    }

    /// Whether the client has to go. If not, the caller's task is woken once it has to.
    pub fn has_to_go(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.holder.waker.borrow_mut();
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        self.holder.told.get()
    }

    /// Notes that the client has taken `moved` bytes in all, and whether it is waited for to take more.
    pub fn progress(&self, moved: u64, waits: bool) {
        self.holder.moved.set(moved);
        self.holder.waits.set(waits);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.upstream.slow.forget(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_goes_first_and_the_heaviest_clients_slowest_before_anybody_elses() {
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let one = vec![("a9", a, 9), ("a1", a, 1), ("a5", a, 5)];
        assert_eq!(in_order(one), ["a1", "a5", "a9"]);
        let two = vec![("b0", b, 0), ("a9", a, 9), ("a1", a, 1), ("a5", a, 5), ("b7", b, 7)];
        // A is cut down to what B has; from there on the slower of both goes.
        assert_eq!(in_order(two), ["a1", "b0", "a5", "b7", "a9"]);
    }

    #[test]
    fn a_subscribers_ipv6_addresses_are_one() {
        let of = |text: &str| subscriber(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn pressure_begins_above_three_quarters() {
        assert_eq!([0, 1, 4, 1024].map(plenty), [0, 0, 3, 768]);
    }
}
