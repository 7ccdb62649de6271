//! On what terms a copy of an answer may be kept and used: RFC 9111, and RFC 5861 for errors.
//!
//! `http-cache-semantics`, the library that most Rust caches use, decides whether an answer may be stored and how
//! long it is fresh. But it cannot be given messages as they came. Version 3.0 knows directives in lower case only,
//! so it would store an answer that says `No-Store` or `Private`. It skips a whole `Cache-Control` line in which one
//! byte is not ASCII. It refuses two of the three forms of a date. And an `Age` near 2^64 makes its sum of durations
//! panic, which any instance could use to end this process. So the fields are read here, strictly, and a doubt
//! forbids. The library gets them written anew, each once, in the one form that it reads. What it does not handle is
//! done here: age, errors, `Vary` (it compares a field's first line only), and repeated fields of an answer (it keeps
//! the last).
//!
//! Three things are stricter than the RFC, because a copy is read by somebody else than the original was, and most
//! services were written without a cache in mind. An answer with `Set-Cookie` is never kept. A request with a
//! `Cookie` is treated like one with `Authorization`, unless the answer says `Vary: Cookie`. Freshness is never
//! guessed from `Last-Modified`: the operator's bound would begin to count days later than anybody expects.

use std::time::{Duration, SystemTime};

use http_cache_semantics::{CacheOptions, CachePolicy};

use crate::http::Head;
use crate::http::head::{Name, trim_blanks};
use crate::resilience::fallback::Degraded;

/// The largest number of seconds. A larger one is read as this (RFC 9111 section 1.2.2).
const FOREVER: u64 = 1 << 31;

/// What `Cache-Control` says, in a request or an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directives {
    /// `no-store`, or a value that cannot be read: nothing may be kept.
    pub no_store: bool,
    /// `no-cache`, with or without names of fields; or `Pragma: no-cache` where there is no `Cache-Control`.
    pub no_cache: bool,
    /// `private`, with or without names of fields.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate` or `proxy-revalidate`.
    pub must_revalidate: bool,
    /// `must-revalidate` alone: the one that also lets answers to requests with `Authorization` be stored.
    pub strictly: bool,
    /// `max-age`, in seconds.
    pub max_age: Option<u64>,
    /// `s-maxage`, in seconds.
    pub s_maxage: Option<u64>,
    /// `stale-if-error`, in seconds.
    pub stale_if_error: Option<u64>,
    /// `max-stale` of a request, in seconds; forever where it has no value.
    pub max_stale: Option<u64>,
    /// `min-fresh` of a request, in seconds.
    pub min_fresh: Option<u64>,
}

impl Directives {
    /// Reads the directives of a head. Where one is there twice, the value that allows less counts.
    pub fn of(head: &Head) -> Self {
        let mut this = Self::default();
        let mut any = false;
        for (_, _, value) in head.fields().filter(|(_, name, _)| name.eq_ignore_ascii_case(b"cache-control")) {
            any = true;
            let mut rest = value;
            while let Some((directive, after)) = directive(rest) {
                this.add(directive);
                rest = after;
            }
            // The rest has a quoted string without an end, and may have said anything.
            this.no_store |= !rest.is_empty();
        }
        let old = |(_, name, value): (Name, &[u8], &[u8])| {
            name.eq_ignore_ascii_case(b"pragma") && value.to_ascii_lowercase().windows(8).any(|w| w == b"no-cache")
        };
        this.no_cache |= !any && head.fields().any(old);
        this
    }

    fn add(&mut self, directive: &[u8]) {
        let equals = directive.iter().position(|b| *b == b'=');
        let (name, value) = match equals {
            Some(at) => (trim_blanks(&directive[..at]), Some(trim_blanks(&directive[at + 1..]))),
            None => (directive, None),
        };
        // A lifetime that cannot be read counts as over (RFC 9111 section 4.2.1). A permission that cannot be read is
        // not given.
        let least = |slot: &mut Option<u64>, value: u64| *slot = Some(slot.map_or(value, |now| now.min(value)));
        let seconds = value.and_then(seconds);
        match &*name.to_ascii_lowercase() {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" => (self.must_revalidate, self.strictly) = (true, true),
            b"proxy-revalidate" => self.must_revalidate = true,
            b"max-age" => least(&mut self.max_age, seconds.unwrap_or(0)),
            b"s-maxage" => least(&mut self.s_maxage, seconds.unwrap_or(0)),
            b"stale-if-error" => least(&mut self.stale_if_error, seconds.unwrap_or(0)),
            b"max-stale" => least(&mut self.max_stale, if value.is_none() { FOREVER } else { seconds.unwrap_or(0) }),
            b"min-fresh" => self.min_fresh = Some(self.min_fresh.unwrap_or(0).max(seconds.unwrap_or(FOREVER))),
            _ => {}
        }
    }

    /// Writes the directives in the one form that the library reads. `no-cache` and the like are left out: they are
    /// obeyed here.
    fn canonical(&self) -> String {
        let mut text = String::new();
        let mut say = |directive: &str| {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(directive);
        };
        for (said, name) in [
            (self.no_store, "no-store"),
            (self.private, "private"),
            (self.public, "public"),
            (self.strictly, "must-revalidate"),
        ] {
            if said {
                say(name);
            }
        }
        for (seconds, name) in [(self.max_age, "max-age"), (self.s_maxage, "s-maxage")] {
            if let Some(seconds) = seconds {
                say(&format!("{name}={seconds}"));
            }
        }
        text
    }
}

/// The first directive of a list and the rest of the list. Quoted strings are respected. None at the end, and at a
/// quoted string that does not end.
fn directive(list: &[u8]) -> Option<(&[u8], &[u8])> {
    if list.is_empty() {
        return None;
    }
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in list.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return Some((trim_blanks(&list[..at]), &list[at + 1..])),
            _ => {}
        }
    }
    (!quoted).then_some((trim_blanks(list), &[]))
}

/// A number of seconds, in quotes or not.
fn seconds(value: &[u8]) -> Option<u64> {
    let digits = match value {
        [b'"', inner @ .., b'"'] => inner,
        plain => plain,
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0u64, |n, digit| (n * 10 + u64::from(digit - b'0')).min(FOREVER)))
}

/// The terms of one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How old the answer was when it came.
    pub age: Duration,
    /// At what age it stops being fresh.
    pub fresh: Duration,
    /// How long past its freshness it may be used when there is an error.
    past: Past,
    /// Whether it may go to a request with `Authorization`.
    authorized: bool,
    /// Whether it may go to a request with `Cookie`.
    cookies: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    /// Never: `must-revalidate`, `proxy-revalidate`.
    Never,
    /// For as long as the answer says itself, whatever the configuration says. `s-maxage` forbids stale use (RFC 9111
    /// section 5.2.2.10), and a `stale-if-error` beside it allows it "regardless of other freshness information" (RFC
    /// 5861 section 4).
    Own(Duration),
    /// For as long as the answer says itself or the configuration says, whichever is longer.
    OwnOrBound(Duration),
}

impl Terms {
    /// The terms on which `answer` to `request`, which has just come, may be kept; none where it may not be.
    pub fn of(request: &Head, answer: &Head, wall: SystemTime) -> Option<Self> {
        let says = Directives::of(answer);
        let asks = Directives::of(request);
        let selects = |field: &[u8]| varies(answer).any(|name| name.eq_ignore_ascii_case(field));
        let cookies = says.public || says.s_maxage.is_some() || selects(b"cookie");
        let authorized = says.public || says.s_maxage.is_some() || says.strictly;
        let kept = request.method() == b"GET"
            && !has(request, b"range")
            && !has_body(request)
            // The RFC allows 501 and the like to be stored, but they are no answer to fall back to.
            && matches!(answer.status(), 200..=399 | 404 | 410)
            && !has(answer, b"content-range")
            && !has(answer, b"set-cookie")
            // Otherwise the first fallback of a proxy farther in would replace the copy of a good answer.
            && !has(answer, Degraded::FIELD.as_bytes())
            && !says.no_store
            && !asks.no_store
            && !says.no_cache
            && !says.private
            && (cookies || !request.has(Name::Cookie))
            && (authorized || !request.has(Name::Authorization));
        if !kept {
            return None;
        }
        let fresh = lifetime(request, answer, &asks, &says, wall)?;
        let own = Duration::from_secs(says.stale_if_error.unwrap_or(0));
        let past = match (says.must_revalidate, says.s_maxage) {
            (true, _) => Past::Never,
            (false, Some(_)) => Past::Own(own),
            (false, None) => Past::OwnOrBound(own),
        };
        Some(Self { age: age(answer, wall), fresh, past, authorized, cookies })
    }

    /// Whether a copy of this age may answer `request` when there is an error. The configured bound says how long
    /// past its freshness it may be.
    pub fn allow(&self, request: &Head, age: Duration, bound: Duration) -> bool {
        let asks = Directives::of(request);
        let over = age.saturating_sub(self.fresh);
        let mut past = match self.past {
            Past::Never => Duration::ZERO,
            Past::Own(own) => own,
            Past::OwnOrBound(own) => own.max(bound),
        };
        // The client may narrow this. `stale-if-error` and `max-stale` say how stale an answer may be. Without them,
        // `max-age` asks for a young answer (a browser's reload sends `max-age=0`), and an old copy is none.
        if let Some(seconds) = asks.stale_if_error.or(asks.max_stale) {
            past = past.min(Duration::from_secs(seconds));
        } else if let Some(seconds) = asks.max_age {
            past = Duration::ZERO;
            if age > Duration::from_secs(seconds) {
                return false;
            }
        }
        let left = self.fresh.saturating_sub(age);
        let fresh_enough = asks.min_fresh.is_none_or(|seconds| left >= Duration::from_secs(seconds));
        // At the very age of its lifetime a copy is no longer fresh (RFC 9111 section 4.2).
        (age < self.fresh || !past.is_zero() && over <= past)
            && fresh_enough
            && !asks.no_cache
            && !["range", "if-range", "if-match", "if-unmodified-since"].iter().any(|f| has(request, f.as_bytes()))
            && !has_body(request)
            && (self.authorized || !request.has(Name::Authorization))
            && (self.cookies || !request.has(Name::Cookie))
    }

    /// Whether the copy may be used after any error, under any bound.
    pub fn is_of_use(&self) -> bool {
        self.age < self.fresh || !matches!(self.past, Past::Never | Past::Own(Duration::ZERO))
    }
}

/// Whether an answer says that no copy of it may be used, whoever asked for it.
pub fn withdraws(answer: &Head) -> bool {
    let says = Directives::of(answer);
    says.no_store || says.no_cache || says.private
}

/// The names in `Vary`.
pub fn varies(answer: &Head) -> impl Iterator<Item = &[u8]> {
    let lines = answer.fields().filter(|(_, name, _)| name.eq_ignore_ascii_case(b"vary"));
    lines.flat_map(|(_, _, value)| crate::http::head::list(value))
}

fn has(head: &Head, name: &[u8]) -> bool {
    head.named(name).is_some()
}

/// Whether a request has a body. Such a request may mean something else than its target says, so no copy answers it.
fn has_body(request: &Head) -> bool {
    request.has(Name::TransferEncoding) || request.first(Name::ContentLength).is_some_and(|n| n != b"0")
}

/// Asks the library how long the answer is fresh. None where it may not be stored.
fn lifetime(request: &Head, answer: &Head, asks: &Directives, says: &Directives, wall: SystemTime) -> Option<Duration> {
    let mut asked = http::Request::builder().method(http::Method::GET);
    if asks.no_store {
        asked = asked.header(http::header::CACHE_CONTROL, "no-store");
    }
    if request.has(Name::Authorization) {
        asked = asked.header(http::header::AUTHORIZATION, "-");
    }
    let mut answered = http::Response::builder().status(answer.status());
    let directives = says.canonical();
    if !directives.is_empty() {
        answered = answered.header(http::header::CACHE_CONTROL, directives);
    }
    if let Some(made) = date(answer, b"date") {
        answered = answered.header(http::header::DATE, httpdate::fmt_http_date(made));
    }
    if has(answer, b"expires") {
        // An invalid date, most of all `0`, means that the answer has expired (RFC 9111 section 5.3).
        let expires = date(answer, b"expires").map_or("0".to_owned(), httpdate::fmt_http_date);
        answered = answered.header(http::header::EXPIRES, expires);
    }
    let options = CacheOptions {
        shared: true,
        cache_heuristic: 0.0,
        immutable_min_time_to_live: Duration::ZERO,
        ignore_cargo_cult: false,
    };
    let policy = CachePolicy::new_options(&asked.body(()).ok()?, &answered.body(()).ok()?, wall, options);
    // The library is given no `Age`, and no time has passed: the time to live that it reports is the whole lifetime.
    policy.is_storable().then(|| policy.time_to_live(wall))
}

/// How old an answer is that has just come (RFC 9111 section 4.2.3).
pub fn age(answer: &Head, wall: SystemTime) -> Duration {
    let said = answer.named(b"age").and_then(seconds).unwrap_or(0);
    let apparent = date(answer, b"date").and_then(|made| wall.duration_since(made).ok()).unwrap_or_default();
    // A date has whole seconds, so an answer of this very second would be up to one second old.
    Duration::from_secs(said.max(apparent.as_secs()).min(FOREVER))
}

/// A date in any of its three forms, if there is exactly one.
fn date(answer: &Head, name: &[u8]) -> Option<SystemTime> {
    let mut lines = answer.fields().filter(|(_, n, _)| n.eq_ignore_ascii_case(name));
    let (_, _, value) = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}
