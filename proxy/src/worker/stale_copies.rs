//! Earlier answers, kept for when there is no other.
//!
//! This is no cache: a request always goes to the service, and what is here is looked at only after that has failed.
//! So it saves nobody any work, and its one purpose is that something can be said during an outage. That decides its
//! shape:
//!
//! - It is written at every success and read almost never. A copy is therefore what one allocation and a `memcpy` make
//!   of an answer that was held whole anyway, at most 64 KiB; and only routes that have `fallback: { stale: … }` pay it.
//! - Each worker has its own, a share of `http.max_stale_bytes`, so that a success writes nothing that another core
//!   reads. The price is that a copy is known only where the answer passed: what is asked for often is soon in all of
//!   them, what was asked for once is in one. And a change (a POST, say) that came through one worker forgets that
//!   worker's copies; those of others are bounded by the time that the operator allows, as they are when a change does
//!   not come through this proxy at all.
//! - Least recently *confirmed* goes first. In a cache the eviction's order is about hits; here every success confirms its
//!   copy, and that is what says it is still wanted. A use counts too.
//!
//! Which answers may be kept and used is in [`terms`]. Bytes are counted with all that a copy costs, so that a million
//! empty answers do not hide behind a bound on bodies.

pub mod terms;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::clock::Instant;
use crate::http::Head;
use crate::http::head::{Name, list};
use crate::request::target::Target;
use terms::{Terms, varies};

/// The largest body that is kept.
pub const MAX_BODY: usize = 64 << 10;
/// Copies of one target that differ by what `Vary` names.
const VARIANTS: usize = 16;
/// Fields that `Vary` may name.
const SELECTORS: usize = 16;
/// What a copy costs beside its bytes: its place in two maps, its allocations, its vectors.
const OVERHEAD: usize = 512;

/// A request, as far as copies are found by it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The service it is for.
    pub service: &'a str,
    /// Its target, taken apart.
    pub target: &'a Target<'a>,
    /// Its head, as the client sent it.
    pub head: &'a Head,
}

/// An earlier answer, found.
#[derive(Debug)]
pub struct Found {
    /// Its head, with the `Age` that it has now.
    pub head: Rc<Head>,
    /// None in the answer to HEAD, and where there is no body.
    pub body: Option<Bytes>,
    /// How long ago the service gave it.
    pub age: Duration,
}

/// One worker's copies.
#[derive(Debug)]
pub struct Stale {
    limit: usize,
    kept: RefCell<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By [`Asked::key`]; the newest variant last.
    copies: HashMap<Rc<[u8]>, Vec<Copy>>,
    /// By the turn at which they were last of use.
    order: BTreeMap<u64, Rc<[u8]>>,
    turn: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Copy {
    turn: u64,
    bytes: usize,
    came: Instant,
    terms: Terms,
    selectors: Box<[Selector]>,
    head: Head,
    body: Bytes,
}

/// A field that `Vary` names, and what the request had in it.
#[derive(Debug, PartialEq, Eq)]
struct Selector {
    name: Box<[u8]>,
    value: Option<Box<[u8]>>,
}

impl Stale {
    /// Room for `limit` bytes; none for 0.
    pub fn new(limit: usize) -> Self {
        Self { limit, kept: RefCell::default() }
    }

    /// Bytes in use, with what copies cost beside their bodies.
    pub fn bytes(&self) -> usize {
        self.kept.borrow().bytes
    }

    /// How many copies there are.
    pub fn len(&self) -> usize {
        self.kept.borrow().order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Learns from an endpoint's answer. Keeps a copy where that is allowed, updates a copy that a 304 confirms, and
    /// forgets copies that the answer has invalidated. `body` is the whole body; none where it is larger than
    /// [`MAX_BODY`], did not end, or has trailers. `wall` is the time of day.
    pub fn learn(&self, asked: &Asked<'_>, answer: &Head, body: Option<&[u8]>, now: Instant, wall: SystemTime) {
        let status = answer.status();
        let safe = matches!(asked.head.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE");
        let mut kept = self.kept.borrow_mut();
        if !safe {
            // RFC 9111 section 4.4.
            if (200..400).contains(&status) {
                kept.forget(&asked.key());
            }
            return;
        }
        if self.limit == 0 || asked.head.method() != b"GET" {
            return;
        }
        let key = asked.key();
        if status == 304 {
            kept.confirm(self.limit, &key, asked.head, answer, now, wall);
            return;
        }
        if !matches!(status, 200..=399 | 404 | 410) {
            // An error, or an answer that concerns this client only: existing copies stay as they are.
            return;
        }
        if terms::withdraws(answer) {
            // The service says that this is not to be kept. Then its earlier answers are not to be kept either.
            kept.forget_selected(&key, asked.head);
            return;
        }
        let terms = Terms::of(asked.head, answer, wall).filter(Terms::is_of_use);
        let (Some(terms), Some(selectors)) = (terms, selectors(asked.head, answer)) else { return };
        let Some(body) = body.filter(|body| body.len() <= MAX_BODY) else { return };
        let Some(head) = copy_of(answer, body.len(), wall) else { return };
        kept.forget_selected(&key, asked.head);
        let body = Bytes::copy_from_slice(body);
        kept.put(self.limit, key, Copy { turn: 0, bytes: 0, came: now, terms, selectors, head, body });
    }

    /// The copy that may answer a failed request. It is at most `bound` past its freshness, unless the copy itself
    /// allows more.
    pub fn find(&self, asked: &Asked<'_>, bound: Duration, now: Instant) -> Option<Found> {
        if !matches!(asked.head.method(), b"GET" | b"HEAD") {
            return None;
        }
        let mut kept = self.kept.borrow_mut();
        let kept = &mut *kept;
        let (key, copies) = kept.copies.get_key_value(&*asked.key())?;
        let key = Rc::clone(key);
        // The newest of those that match (RFC 9111 section 4.1).
        let at = copies.iter().rposition(|copy| copy.is_selected_by(asked.head))?;
        let copy = kept.copies.get_mut(&key)?.get_mut(at)?;
        let age = copy.age(now);
        if !copy.terms.allow(asked.head, age, bound) {
            return None;
        }
        kept.turn += 1;
        kept.order.remove(&copy.turn);
        kept.order.insert(kept.turn, key);
        copy.turn = kept.turn;
        let mut head = Head::default();
        head.set_status(copy.head.status(), copy.head.reason(), copy.head.version()).ok()?;
        for (_, name, value) in copy.head.fields() {
            head.push(name, value).ok()?;
        }
        head.push(b"Age", age.as_secs().to_string().as_bytes()).ok()?;
        let without = asked.head.method() == b"HEAD" || copy.body.is_empty();
        let body = (!without).then(|| copy.body.clone());
        Some(Found { head: Rc::new(head), body, age })
    }
}

impl Asked<'_> {
    /// The key: service, host and target, joined by a byte that none of them contains.
    fn key(&self) -> Rc<[u8]> {
        let mut key = Vec::with_capacity(self.service.len() + self.target.host.len() + self.target.origin.len() + 2);
        key.extend_from_slice(self.service.as_bytes());
        key.push(b'\n');
        key.extend(self.target.host.iter().map(u8::to_ascii_lowercase));
        key.push(b'\n');
        key.extend_from_slice(&self.target.origin);
        key.into()
    }
}

impl Kept {
    /// Stores a copy, if it fits `limit` at all.
    fn put(&mut self, limit: usize, key: Rc<[u8]>, mut copy: Copy) {
        let selectors: usize = copy.selectors.iter().map(Selector::cost).sum();
        copy.bytes = key.len() + selectors + copy.head.size() + copy.body.len() + OVERHEAD;
        if copy.bytes > limit {
            return;
        }
        while self.bytes + copy.bytes > limit && self.evict() {}
        self.turn += 1;
        copy.turn = self.turn;
        self.bytes += copy.bytes;
        self.order.insert(copy.turn, Rc::clone(&key));
        let copies = self.copies.entry(key).or_default();
        copies.push(copy);
        if copies.len() > VARIANTS {
            let oldest = copies.remove(0);
            self.bytes -= oldest.bytes;
            self.order.remove(&oldest.turn);
        }
    }

    /// Evicts the copy that was least recently confirmed or used. False when there is none.
    fn evict(&mut self) -> bool {
        let Some((turn, key)) = self.order.pop_first() else { return false };
        self.forget_if(&key, |copy| copy.turn == turn);
        true
    }

    fn forget(&mut self, key: &[u8]) {
        self.forget_if(key, |_| true);
    }

    fn forget_selected(&mut self, key: &[u8], request: &Head) {
        self.forget_if(key, |copy| copy.is_selected_by(request));
    }

    fn forget_if(&mut self, key: &[u8], goes: impl Fn(&Copy) -> bool) {
        let Some(copies) = self.copies.get_mut(key) else { return };
        copies.retain(|copy| {
            let goes = goes(copy);
            if goes {
                self.bytes -= copy.bytes;
                self.order.remove(&copy.turn);
            }
            !goes
        });
        if copies.is_empty() {
            self.copies.remove(key);
        }
    }

    /// RFC 9111 section 4.3.4: a 304 to a client that has the same as is kept here makes the copy as good as new. Its
    /// client asks for nothing but 304s, so otherwise a copy would grow old while the service confirms it all the time.
    fn confirm(&mut self, limit: usize, key: &Rc<[u8]>, request: &Head, answer: &Head, now: Instant, wall: SystemTime) {
        let Some(copies) = self.copies.get_mut(key) else { return };
        let Some(at) = copies.iter().rposition(|copy| copy.is_selected_by(request)) else { return };
        let copy = &copies[at];
        let same = match (copy.head.named(b"etag"), answer.named(b"etag")) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (None, None) => {
                let changed = copy.head.named(b"last-modified");
                changed.is_some() && changed == answer.named(b"last-modified")
            }
            _ => false,
        };
        if !same {
            return;
        }
        let mut copy = copies.remove(at);
        self.bytes -= copy.bytes;
        self.order.remove(&copy.turn);
        if copies.is_empty() {
            self.copies.remove(key);
        }
        let Some(head) = updated(&copy.head, answer, copy.body.len(), wall) else { return };
        let Some(mut terms) = Terms::of(request, &head, wall) else { return };
        terms.age = terms::age(answer, wall);
        let Some(selectors) = selectors(request, &head).filter(|_| terms.is_of_use()) else { return };
        (copy.head, copy.terms, copy.selectors, copy.came) = (head, terms, selectors, now);
        self.put(limit, Rc::clone(key), copy);
    }
}

impl Copy {
    fn age(&self, now: Instant) -> Duration {
        self.terms.age.saturating_add(now.saturating_duration_since(self.came))
    }

    fn is_selected_by(&self, request: &Head) -> bool {
        self.selectors.iter().all(|selector| value_of(request, &selector.name) == selector.value)
    }
}

impl Selector {
    fn cost(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

/// The request fields that the answer depends on (`Vary`); none where that cannot be told.
fn selectors(request: &Head, answer: &Head) -> Option<Box<[Selector]>> {
    let mut all = Vec::new();
    for name in varies(answer) {
        match Name::of(name) {
            // It is in the key.
            Name::Host => continue,
            // The endpoint saw what this proxy wrote, not what the client did.
            Name::Forwarded
            | Name::XForwardedFor
            | Name::XForwardedHost
            | Name::XForwardedProto
            | Name::XRequestId
            | Name::Via => return None,
            _ if name == b"*" || all.len() == SELECTORS => return None,
            _ => {}
        }
        let name = name.to_ascii_lowercase().into_boxed_slice();
        all.push(Selector { value: value_of(request, &name), name });
    }
    Some(all.into())
}

/// All lines of a field as one (RFC 9110 section 5.3); none where there is none.
fn value_of(request: &Head, name: &[u8]) -> Option<Box<[u8]>> {
    let mut lines = request.fields().filter(|(_, n, _)| n.eq_ignore_ascii_case(name)).map(|(_, _, value)| value);
    let mut value = lines.next()?.to_vec();
    for line in lines {
        value.extend_from_slice(b", ");
        value.extend_from_slice(line);
    }
    Some(value.into())
}

/// Fields of an answer that are not its copy's: those of one connection and of one exchange, and what is written anew.
fn is_passing(answer: &Head, known: Name, name: &[u8]) -> bool {
    match known {
        Name::Connection
        | Name::KeepAlive
        | Name::ProxyConnection
        | Name::ProxyAuthenticate
        | Name::ProxyAuthorization
        | Name::Te
        | Name::Trailer
        | Name::TransferEncoding
        | Name::ContentLength
        | Name::Upgrade
        | Name::XRequestId
        | Name::Disguised => true,
        _ => {
            name.eq_ignore_ascii_case(b"age")
                || answer.all(Name::Connection).flat_map(list).any(|item| item.eq_ignore_ascii_case(name))
        }
    }
}

/// An answer's head, as far as it is worth keeping.
fn copy_of(answer: &Head, body: usize, wall: SystemTime) -> Option<Head> {
    assemble(answer, answer.fields().filter(|(known, name, _)| !is_passing(answer, *known, name)), body, wall)
}

/// A copy's head with what a 304 says in its place (RFC 9111 section 3.2). Its age is told by the 304, too.
fn updated(copy: &Head, confirmed: &Head, body: usize, wall: SystemTime) -> Option<Head> {
    let of_the_body = |name: &[u8]| {
        let fields: [&[u8]; 3] = [b"content-encoding", b"content-type", b"content-range"];
        fields.iter().any(|f| name.eq_ignore_ascii_case(f))
    };
    let new = |known: Name, name: &[u8]| !is_passing(confirmed, known, name) && !of_the_body(name);
    let stays = copy.fields().filter(|(_, name, _)| {
        let replaced = confirmed.fields().any(|(known, n, _)| n.eq_ignore_ascii_case(name) && new(known, n));
        !replaced && !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"date")
    });
    let comes = confirmed.fields().filter(|(known, name, _)| new(*known, name));
    assemble(copy, stays.chain(comes), body, wall)
}

fn assemble<'a>(
    of: &Head,
    fields: impl Iterator<Item = (Name, &'a [u8], &'a [u8])>,
    body: usize,
    wall: SystemTime,
) -> Option<Head> {
    let mut head = Head::default();
    head.set_status(of.status(), of.reason(), of.version()).ok()?;
    let mut dated = false;
    for (known, name, value) in fields {
        dated |= known == Name::Date;
        head.push(name, value).ok()?;
    }
    if !dated {
        // RFC 9110 section 6.6.1.
        head.push(b"Date", httpdate::fmt_http_date(wall).as_bytes()).ok()?;
    }
    if of.status() != 204 {
        // What HEAD is told, and what a GET's answer is framed by anyway.
        head.push(b"Content-Length", body.to_string().as_bytes()).ok()?;
    }
    Some(head)
}

#[cfg(test)]
mod tests;
