use proptest::prelude::*;

use super::*;
use crate::http::head::Version;

const SERVICE: &str = "orders";
/// Sun, 06 Nov 1994 08:49:37 GMT.
const DAY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn wall() -> SystemTime {
    httpdate::parse_http_date(DAY).unwrap()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn with_fields(mut head: Head, fields: &str) -> Head {
    for line in fields.split('\n').filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        head.push(name.as_bytes(), value.trim().as_bytes()).unwrap();
    }
    head
}

fn request(method: &str, target: &str, fields: &str) -> Head {
    let mut head = Head::default();
    head.set_request(method.as_bytes(), target.as_bytes(), Version::Http11).unwrap();
    head.push(b"Host", b"Orders:80").unwrap();
    with_fields(head, fields)
}

fn answer(status: u16, fields: &str) -> Head {
    let mut head = Head::default();
    head.set_status(status, b"", Version::Http11).unwrap();
    with_fields(head, fields)
}

/// Copies, and a time that is set by hand.
struct Desk {
    stale: Stale,
    start: Instant,
    at: u64,
}

impl Desk {
    fn new(limit: usize) -> Self {
        Self { stale: Stale::new(limit), start: Instant::now(), at: 0 }
    }

    fn learn(&self, request: &Head, answer: &Head, body: Option<&[u8]>) {
        let target = Target::of(request).unwrap();
        let asked = Asked { service: SERVICE, target: &target, head: request };
        self.stale.learn(&asked, answer, body, self.start + secs(self.at), wall() + secs(self.at));
    }

    fn find(&self, request: &Head, bound: u64) -> Option<Found> {
        let target = Target::of(request).unwrap();
        let asked = Asked { service: SERVICE, target: &target, head: request };
        self.stale.find(&asked, secs(bound), self.start + secs(self.at))
    }
}

fn text(found: &Found, name: &str) -> Vec<String> {
    let all = found.head.fields().filter(|(_, n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
    all.map(|(_, _, value)| String::from_utf8(value.to_vec()).unwrap()).collect()
}

fn body(found: &mut Found) -> Vec<u8> {
    found.body.take().unwrap_or_default().to_vec()
}

/// For how long an answer to a request is used for the same request when there is an error: the largest age in seconds, up
/// to a thousand; none where never.
fn used_until(asks: &str, says: &str, later: &str, bound: u64) -> Option<u64> {
    let mut queue = Desk::new(1 << 20);
    queue.learn(&request("GET", "/a", asks), &answer(200, says), Some(b"body"));
    let later = request("GET", "/a", later);
    let mut last = None;
    for at in 0..=1000 {
        queue.at = at;
        match queue.find(&later, bound) {
            Some(_) => {
                assert!(last.is_some() || at == 0, "{says:?} is of use only at {at}");
                assert!(last.is_none_or(|last| last + 1 == at), "{says:?} is of use again at {at}");
                last = Some(at);
            }
            None if at > 0 && last.is_none() => return None,
            None => {}
        }
    }
    last
}

#[test]
fn an_answer_is_used_as_long_as_it_and_the_configuration_allow() {
    for (says, bound, expected) in [
        // Nothing said: the bound counts from when it came.
        ("", 60, Some(60)),
        ("", 0, None),
        ("Cache-Control: max-age=100", 0, Some(99)),
        ("Cache-Control: max-age=100", 60, Some(160)),
        // The longer of its own word and the configuration's.
        ("Cache-Control: max-age=100, stale-if-error=200", 60, Some(300)),
        ("Cache-Control: max-age=100, stale-if-error=20", 60, Some(160)),
        ("Cache-Control: max-age=100\nCache-Control: stale-if-error=\"200\"", 0, Some(300)),
        ("Cache-Control: STALE-IF-ERROR = 200", 0, Some(200)),
        // Fresh is fresh; past that the service wants to be asked.
        ("Cache-Control: max-age=100, must-revalidate", 60, Some(99)),
        ("Cache-Control: max-age=100, Must-Revalidate, stale-if-error=600", 60, Some(99)),
        ("Cache-Control: max-age=100, proxy-revalidate", 60, Some(99)),
        ("Cache-Control: must-revalidate", 60, None),
        // s-maxage forbids like proxy-revalidate, but its own stale-if-error is more special.
        ("Cache-Control: max-age=1, s-maxage=100", 60, Some(99)),
        ("Cache-Control: s-maxage=100, stale-if-error=200", 60, Some(300)),
        ("Cache-Control: s-maxage=0", 60, None),
        // RFC 9111 sections 5.2.2.4, 5.2.2.5, 5.2.2.7, whatever their case and form.
        ("Cache-Control: no-store", 60, None),
        ("Cache-Control: No-Store", 60, None),
        ("Cache-Control: max-age=100, NO-STORE, stale-if-error=9", 60, None),
        ("Cache-Control: max-age=100\nCache-Control: no-store", 60, None),
        ("Cache-Control: no-store, must-understand", 60, None),
        ("Cache-Control: Private, max-age=100", 60, None),
        ("Cache-Control: private=\"x, y\"", 60, None),
        ("Cache-Control: no-cache, max-age=100", 60, None),
        ("Cache-Control: no-cache=\"set-cookie\"", 60, None),
        ("Pragma: No-Cache", 60, None),
        ("Pragma: no-cache\nCache-Control: max-age=5", 60, Some(65)),
        // Not ASCII, and yet it says so.
        ("Cache-Control: \u{fc}, no-store", 60, None),
        // A string has a comma in it; one that does not end could have said anything.
        ("Cache-Control: ext=\"a, no-store, b\", max-age=100", 60, Some(160)),
        ("Cache-Control: ext=\"a\\\", no-store\"", 60, Some(60)),
        ("Cache-Control: ext=\"a, max-age=100", 60, None),
        // What cannot be read is over; two values are the less of them; much is much.
        ("Cache-Control: max-age=x", 60, Some(60)),
        ("Cache-Control: max-age=-1", 60, Some(60)),
        ("Cache-Control: max-age=100, max-age=10", 60, Some(70)),
        ("Cache-Control: stale-if-error=x", 60, Some(60)),
        ("Cache-Control: max-age=99999999999999999999999", 0, Some(1000)),
        // Expires, in each form of a date; anything else is over; max-age is before it.
        ("Date: Sun, 06 Nov 1994 08:49:37 GMT\nExpires: Sun, 06 Nov 1994 08:51:17 GMT", 60, Some(160)),
        ("Date: Sun, 06 Nov 1994 08:49:37 GMT\nExpires: Sunday, 06-Nov-94 08:51:17 GMT", 60, Some(160)),
        ("Date: Sun Nov  6 08:49:37 1994\nExpires: Sun Nov  6 08:51:17 1994", 60, Some(160)),
        ("Date: Sun, 06 Nov 1994 08:49:37 GMT\nExpires: 0", 60, Some(60)),
        ("Expires: Sun, 06 Nov 1994 08:51:17 GMT\nExpires: Sun, 06 Nov 1994 08:51:17 GMT", 60, Some(60)),
        ("Expires: Sun, 06 Nov 1994 08:51:17 GMT\nCache-Control: max-age=10", 60, Some(70)),
        // Never guessed.
        ("Last-Modified: Sun, 06 Nov 1994 07:49:37 GMT", 60, Some(60)),
        ("Cache-Control: immutable", 60, Some(60)),
        // It was old when it came: by its own word, or by its date, whichever is more.
        ("Cache-Control: max-age=100\nAge: 30", 60, Some(130)),
        ("Cache-Control: max-age=100\nDate: Sun, 06 Nov 1994 08:48:37 GMT\nAge: 30", 60, Some(100)),
        ("Cache-Control: max-age=100\nDate: Sun, 06 Nov 1994 09:49:37 GMT", 60, Some(160)),
        ("Cache-Control: max-age=100\nAge: 18446744073709551615", 60, None),
        ("Cache-Control: max-age=100\nAge: x", 60, Some(160)),
        // To be given to one only.
        ("Set-Cookie: a=b\nCache-Control: public, max-age=100", 60, None),
        ("Content-Range: bytes 0-1/2", 60, None),
        ("Vary: *", 60, None),
        ("Vary: X-Forwarded-For", 60, None),
        // A fallback's answer is no answer to fall back to.
        ("outrigger-degraded: static;reason=timeout", 60, None),
    ] {
        assert_eq!(used_until("", says, "", bound), expected, "{says:?} within {bound}");
    }
}

#[test]
fn what_a_client_wants_narrows_it() {
    let says = "Cache-Control: max-age=100";
    for (later, expected) in [
        ("Cache-Control: no-cache", None),
        ("Pragma: no-cache", None),
        ("Cache-Control: no-store", Some(160)),
        ("Cache-Control: max-age=0", Some(0)),
        ("Cache-Control: max-age=30", Some(30)),
        ("Cache-Control: max-age=500", Some(99)),
        ("Cache-Control: max-stale", Some(160)),
        ("Cache-Control: max-stale=10", Some(110)),
        ("Cache-Control: max-age=0, max-stale=10", Some(110)),
        ("Cache-Control: max-age=0, stale-if-error=20", Some(120)),
        ("Cache-Control: stale-if-error=900", Some(160)),
        ("Cache-Control: min-fresh=40", Some(60)),
        ("Cache-Control: min-fresh=x", None),
        ("Range: bytes=0-1", None),
        ("If-Range: \"a\"", None),
        ("If-Match: \"a\"", None),
        ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("If-None-Match: \"a\"", Some(160)),
        ("Content-Length: 0", Some(160)),
        ("Content-Length: 3", None),
        ("Transfer-Encoding: chunked", None),
    ] {
        assert_eq!(used_until("", says, later, 60), expected, "{later:?}");
    }
    assert_eq!(used_until("Cache-Control: No-Store", says, "", 60), None);
    assert_eq!(used_until("Range: bytes=0-1", says, "", 60), None);
    assert_eq!(used_until("Content-Length: 3", says, "", 60), None);
}

#[test]
fn what_was_for_somebody_goes_to_nobody_else() {
    let (auth, cookie) = ("Authorization: Bearer a", "Cookie: a=b");
    for (asks, says, later, expected) in [
        (auth, "", "", None),
        (auth, "Cache-Control: max-age=100", auth, None),
        (auth, "Cache-Control: max-age=100, public", "Authorization: Bearer b", Some(160)),
        (auth, "Cache-Control: s-maxage=100", auth, Some(99)),
        (auth, "Cache-Control: max-age=100, must-revalidate", auth, Some(99)),
        (auth, "Cache-Control: max-age=100, proxy-revalidate", auth, None),
        // The other way around, too: what nobody was may not be what somebody is to get.
        ("", "Cache-Control: max-age=100", auth, None),
        ("", "Cache-Control: max-age=100", cookie, None),
        (cookie, "", cookie, None),
        (cookie, "Cache-Control: public", "Cookie: c=d", Some(60)),
        (cookie, "Vary: Accept, Cookie", cookie, Some(60)),
        (cookie, "Vary: Cookie", "Cookie: c=d", None),
        (cookie, "Vary: Cookie", "", None),
    ] {
        assert_eq!(used_until(asks, says, later, 60), expected, "{asks:?} {says:?} {later:?}");
    }
}

#[test]
fn vary_is_every_line_of_every_field_it_names() {
    for (asks, vary, later, hit) in [
        ("Accept: a", "accept", "Accept: a", true),
        ("Accept: a", "accept", "Accept: b", false),
        ("Accept: a", "accept", "", false),
        ("", "accept", "Accept: a", false),
        ("", "accept", "", true),
        ("Accept: a\nAccept: b", "Accept", "Accept: a\nAccept: c", false),
        ("Accept: a\nAccept: b", "Accept", "accept: a, b", true),
        ("Accept: a\nX: 1", "Accept, X", "Accept: a\nX: 2", false),
        ("Accept: a\nX: 1", "Accept\nVary: X", "Accept: a\nX: 2", false),
        ("X: 1", "Host", "X: 2", true),
    ] {
        let found = used_until(asks, &format!("Vary: {vary}"), later, 60).is_some();
        assert_eq!(found, hit, "{asks:?} {vary:?} {later:?}");
    }
}

#[test]
fn variants_stand_side_by_side_and_the_newest_match_counts() {
    let queue = Desk::new(1 << 20);
    let get = |language: &str| request("GET", "/a", &format!("Accept-Language: {language}"));
    let vary = answer(200, "Vary: Accept-Language");
    queue.learn(&get("de"), &vary, Some(b"gut"));
    queue.learn(&get("en"), &vary, Some(b"good"));
    queue.learn(&get("de"), &vary, Some(b"besser"));
    assert_eq!(queue.stale.len(), 2);
    assert_eq!(body(&mut queue.find(&get("de"), 60).unwrap()), b"besser");
    assert_eq!(body(&mut queue.find(&get("en"), 60).unwrap()), b"good");
    for n in 0..100 {
        queue.learn(&get(&n.to_string()), &vary, Some(b""));
    }
    assert_eq!(queue.stale.len(), VARIANTS);
    queue.stale.kept.borrow().check(1 << 20);
    assert!(queue.find(&get("99"), 60).is_some() && queue.find(&get("de"), 60).is_none());
}

#[test]
fn service_host_and_target_are_what_a_copy_is_found_by() {
    let queue = Desk::new(1 << 20);
    queue.learn(&request("GET", "/a?x=1", ""), &answer(200, ""), Some(b"1"));
    for (target, hit) in [("/a?x=1", true), ("http://ORDERS:80/a?x=1", true), ("/a?x=2", false), ("/A?x=1", false)] {
        assert_eq!(queue.find(&request("GET", target, ""), 60).is_some(), hit, "{target}");
    }
    assert!(queue.find(&request("GET", "http://orders:81/a?x=1", ""), 60).is_none());
    let head = request("GET", "/a?x=1", "");
    let target = Target::of(&head).unwrap();
    let other = Asked { service: "others", target: &target, head: &head };
    assert!(queue.stale.find(&other, secs(60), queue.start).is_none());
}

#[test]
fn only_get_is_kept_and_head_gets_the_same_without_the_body() {
    let mut queue = Desk::new(1 << 20);
    for method in ["HEAD", "POST", "OPTIONS", "QUERY"] {
        queue.learn(&request(method, "/a", ""), &answer(200, "Cache-Control: max-age=100"), Some(b"x"));
        assert!(queue.stale.is_empty(), "{method}");
    }
    queue.learn(&request("GET", "/a", ""), &answer(200, "Content-Length: 4\nX: y"), Some(b"body"));
    queue.at = 7;
    let found = queue.find(&request("HEAD", "/a", ""), 60).unwrap();
    assert!(found.body.is_none());
    assert_eq!((text(&found, "content-length"), text(&found, "x")), (vec!["4".to_owned()], vec!["y".to_owned()]));
    for method in ["POST", "OPTIONS", "PUT"] {
        assert!(queue.find(&request(method, "/a", ""), 60).is_none(), "{method}");
    }
}

#[test]
fn a_copy_says_how_old_it_is_and_nothing_of_the_exchange_it_came_in() {
    let mut queue = Desk::new(1 << 20);
    let says = "Connection: X-Hop, close\nX-Hop: 1\nKeep-Alive: 5\nTransfer-Encoding: chunked\nX-Request-Id: old\n\
                Trailer: X\nAge: 3\nLink: a\nLink: b\nETag: \"v\"\nVia: 1.1 cdn";
    queue.learn(&request("GET", "/a", ""), &answer(200, says), Some(b"body"));
    queue.at = 9;
    let mut found = queue.find(&request("GET", "/a", ""), 60).unwrap();
    let mut fields: Vec<String> = found
        .head
        .fields()
        .map(|(_, n, v)| format!("{}: {}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)))
        .collect();
    fields.sort();
    let date = format!("Date: {DAY}");
    let expected = ["Age: 12", "Content-Length: 4", &date, "ETag: \"v\"", "Link: a", "Link: b", "Via: 1.1 cdn"];
    assert_eq!((fields, found.age), (expected.map(str::to_owned).to_vec(), secs(12)));
    assert_eq!((body(&mut found), found.head.status()), (b"body".to_vec(), 200));
    // It is a copy: what one reader has taken is there for the next.
    assert_eq!(body(&mut queue.find(&request("GET", "/a", ""), 60).unwrap()), b"body");
}

#[test]
fn which_statuses_are_an_answer_to_fall_back_to() {
    for status in 200..=599 {
        let queue = Desk::new(1 << 20);
        queue.learn(&request("GET", "/a", ""), &answer(status, "Cache-Control: max-age=100"), Some(b""));
        let expected = matches!(status, 200 | 203 | 204 | 300..=303 | 307 | 308 | 404 | 410);
        assert_eq!(!queue.stale.is_empty(), expected, "{status}");
    }
    // Without a word on its life a redirect that is for now is not kept.
    let queue = Desk::new(1 << 20);
    queue.learn(&request("GET", "/a", ""), &answer(302, ""), Some(b""));
    assert!(queue.stale.is_empty());
}

#[test]
fn a_copy_is_forgotten_when_the_service_takes_it_back_and_not_otherwise() {
    let get = || request("GET", "/a", "");
    for (asks, later, goes) in [
        (get(), answer(200, "Cache-Control: no-store"), true),
        (get(), answer(200, "Cache-Control: private"), true),
        (get(), answer(404, "Cache-Control: no-cache"), true),
        (request("POST", "/a", ""), answer(201, ""), true),
        (request("DELETE", "/a", ""), answer(302, ""), true),
        (request("BREW", "/a", ""), answer(200, ""), true),
        (request("POST", "/a", ""), answer(409, ""), false),
        (request("POST", "/a", ""), answer(503, ""), false),
        (request("POST", "/b", ""), answer(200, ""), false),
        (get(), answer(503, "Cache-Control: no-store"), false),
        (get(), answer(401, "Cache-Control: no-store"), false),
        (get(), answer(429, ""), false),
        // What one client does is no word of the service's.
        (request("GET", "/a", "Cache-Control: no-store"), answer(200, ""), false),
        (request("GET", "/a", "Authorization: x"), answer(200, ""), false),
        (request("GET", "/a", "Range: bytes=0-1"), answer(206, "Content-Range: bytes 0-1/4"), false),
        (get(), answer(200, "Set-Cookie: a=b"), false),
        (get(), answer(200, "Outrigger-Degraded: static;reason=timeout"), false),
        (request("HEAD", "/a", ""), answer(200, ""), false),
    ] {
        let queue = Desk::new(1 << 20);
        queue.learn(&get(), &answer(200, ""), Some(b"kept"));
        queue.learn(&asks, &later, Some(b""));
        let found = queue.find(&get(), 60).map(|mut found| body(&mut found));
        assert_eq!(found, (!goes).then(|| b"kept".to_vec()), "{asks:?} {later:?}");
    }
}

#[test]
fn what_is_too_large_or_did_not_end_leaves_what_was_there() {
    let queue = Desk::new(1 << 20);
    let get = request("GET", "/a", "");
    queue.learn(&get, &answer(200, ""), Some(b"kept"));
    queue.learn(&get, &answer(200, ""), None);
    queue.learn(&get, &answer(200, ""), Some(&[0; MAX_BODY + 1]));
    assert_eq!(body(&mut queue.find(&get, 60).unwrap()), b"kept");
    queue.learn(&get, &answer(200, ""), Some(&[0; MAX_BODY]));
    assert_eq!(body(&mut queue.find(&get, 60).unwrap()).len(), MAX_BODY);
}

#[test]
fn a_304_makes_the_copy_it_means_as_good_as_new() {
    for (kept, confirmed, same) in [
        ("ETag: \"1\"", "ETag: \"1\"", true),
        ("ETag: \"1\"", "ETag: \"2\"", false),
        ("ETag: \"1\"", "", false),
        ("", "", false),
        ("Last-Modified: x", "Last-Modified: x", true),
        ("Last-Modified: x", "Last-Modified: y", false),
    ] {
        let mut queue = Desk::new(1 << 20);
        let get = request("GET", "/a", "");
        queue.learn(&get, &answer(200, &format!("{kept}\nX: old\nContent-Type: text/plain\nX-Kept: 1")), Some(b"body"));
        queue.at = 50;
        let fields = format!("{confirmed}\nX: new\nContent-Type: other\nAge: 2");
        queue.learn(&request("GET", "/a", "If-None-Match: \"1\""), &answer(304, &fields), Some(b""));
        queue.at = 70;
        let mut found = queue.find(&get, 1000).unwrap();
        assert_eq!(found.age, if same { secs(22) } else { secs(70) }, "{kept} {confirmed}");
        assert_eq!(text(&found, "x"), [if same { "new" } else { "old" }]);
        assert_eq!(
            (text(&found, "content-type"), text(&found, "x-kept")),
            (vec!["text/plain".into()], vec!["1".into()])
        );
        assert_eq!((found.head.status(), body(&mut found)), (200, b"body".to_vec()));
        assert_eq!((queue.stale.len(), text(&found, "date").len()), (1, 1));
    }
    let queue = Desk::new(1 << 20);
    let get = request("GET", "/a", "");
    queue.learn(&get, &answer(200, "ETag: \"1\""), Some(b"body"));
    queue.learn(&get, &answer(304, "ETag: \"1\"\nCache-Control: no-store"), Some(b""));
    assert_eq!((queue.stale.len(), queue.stale.bytes()), (0, 0));
}

#[test]
fn a_clock_that_jumps_does_not_matter_once_a_copy_is_there() {
    let queue = Desk::new(1 << 20);
    let get = request("GET", "/a", "");
    let target = Target::of(&get).unwrap();
    let asked = Asked { service: SERVICE, target: &target, head: &get };
    queue.stale.learn(&asked, &answer(200, &format!("Date: {DAY}")), Some(b""), queue.start, wall() - secs(999));
    let found = queue.stale.find(&asked, secs(60), queue.start + secs(5)).unwrap();
    assert_eq!(found.age, secs(5));
    assert!(queue.stale.find(&asked, secs(60), queue.start + secs(61)).is_none());
}

#[test]
fn what_is_confirmed_or_used_stays_and_the_rest_goes() {
    let queue = Desk::new(8 * 1024);
    let get = |n: u32| request("GET", &format!("/{n:03}"), "");
    let ok = answer(200, "");
    for n in 0..100 {
        queue.learn(&get(n), &ok, Some(&[0; 100]));
        queue.learn(&get(0), &ok, Some(&[0; 100]));
        assert!(n == 0 || queue.find(&get(1), 60).is_some());
    }
    assert!(queue.find(&get(0), 60).is_some() && queue.find(&get(2), 60).is_none());
    assert!(queue.stale.len() > 5, "only {} fit", queue.stale.len());
    let none = Desk::new(0);
    none.learn(&get(1), &ok, Some(b""));
    assert!(none.stale.is_empty());
}

impl Kept {
    /// What has to be so at any time.
    fn check(&self, limit: usize) {
        assert!(self.bytes <= limit, "{} of {limit} bytes", self.bytes);
        let all = || self.copies.iter().flat_map(|(key, copies)| copies.iter().map(move |copy| (key, copy)));
        assert_eq!(self.bytes, all().map(|(_, copy)| copy.bytes).sum::<usize>());
        assert_eq!(self.order.len(), all().count());
        assert!(all().all(|(key, copy)| self.order.get(&copy.turn) == Some(key)));
        assert!(self.copies.values().all(|copies| !copies.is_empty() && copies.len() <= VARIANTS));
        for (key, copy) in all() {
            let selectors: usize = copy.selectors.iter().map(Selector::cost).sum();
            let real = key.len() + selectors + copy.head.size() + copy.body.len();
            assert!(copy.bytes >= real, "{} counted for {real}", copy.bytes);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Learn { method: &'static str, target: u8, language: u8, status: u16, says: Vec<&'static str>, body: usize },
    Find { target: u8, language: u8, bound: u64 },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let says = prop::sample::select(vec![
        "Cache-Control: max-age=30",
        "Cache-Control: must-revalidate",
        "Cache-Control: no-store",
        "Vary: Accept-Language",
        "Vary: Accept",
        "ETag: \"1\"",
        "X-Long: 0123456789012345678901234567890123456789",
        "Age: 4",
    ]);
    let learn = (
        prop::sample::select(vec!["GET", "GET", "GET", "GET", "GET", "HEAD", "POST"]),
        0..12u8,
        0..20u8,
        prop::sample::select(vec![200, 200, 200, 200, 304, 404, 503]),
        prop::collection::vec(says, 0..4),
        prop_oneof![4 => 0..300usize, 1 => 300..6000usize],
    );
    let learn = learn.prop_map(|(method, target, language, status, says, body)| Step::Learn {
        method,
        target,
        language,
        status,
        says,
        body,
    });
    let find = (0..12u8, 0..20u8, 0..90u64);
    let find = find.prop_map(|(target, language, bound)| Step::Find { target, language, bound });
    prop::collection::vec(prop_oneof![6 => learn, 3 => find, 1 => (0..20u64).prop_map(Step::Wait)], 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn bytes_never_exceed_the_bound(limit in 0..12_000usize, steps in steps()) {
        let mut queue = Desk::new(limit);
        let asks = |method: &str, target: u8, language: u8| {
            request(method, &format!("/{target}"), &format!("Accept-Language: {language}"))
        };
        for step in steps {
            match step {
                Step::Learn { method, target, language, status, says, body } => {
                    let request = asks(method, target, language);
                    queue.learn(&request, &answer(status, &says.join("\n")), Some(&vec![0; body]));
                }
                Step::Find { target, language, bound } => _ = queue.find(&asks("GET", target, language), bound),
                Step::Wait(seconds) => queue.at += seconds,
            }
            queue.stale.kept.borrow().check(limit);
        }
    }

    /// Whatever else is said, in whatever order and form, by whichever line: one word of these and there is no copy.
    #[test]
    fn what_forbids_it_is_obeyed_among_anything(
        forbids in prop::sample::select(vec!["no-store", "private", "no-cache", "private=\"a, b\"", "no-cache=\"x\""]),
        upper in any::<u32>(),
        around in prop::collection::vec(
            prop::sample::select(vec![
                "public", "max-age=100", "s-maxage=100", "stale-if-error=600", "must-revalidate", "immutable", "x=\"y, z\"",
                "must-understand", "", " ", "max-age=\"9\"", "\u{fc}=1",
            ]),
            0..6,
        ),
        at in any::<prop::sample::Index>(),
        split in any::<prop::sample::Index>(),
    ) {
        let forbids: String = forbids
            .chars()
            .enumerate()
            .map(|(at, c)| if upper >> (at % 32) & 1 == 1 { c.to_ascii_uppercase() } else { c })
            .collect();
        let mut all = around;
        all.insert(at.index(all.len() + 1), &forbids);
        let (one, two) = all.split_at(split.index(all.len()));
        let says = format!("Cache-Control: {}\nCache-Control: {}", one.join(","), two.join(" , "));
        let queue = Desk::new(1 << 20);
        queue.learn(&request("GET", "/a", ""), &answer(200, &says), Some(b"x"));
        prop_assert!(queue.stale.is_empty(), "{says}");
    }

    /// Nothing that an endpoint writes there is more than an answer that is kept or not.
    #[test]
    fn no_bytes_in_these_fields_end_the_process(
        fields in prop::collection::vec((
            prop::sample::select(vec!["Cache-Control", "Age", "Date", "Expires", "Vary", "Pragma", "Last-Modified", "ETag"]),
            prop_oneof![
                "[ -~]{0,40}",
                "[0-9]{1,30}",
                Just("Fri, 31 Dec 9999 23:59:59 GMT".to_owned()),
                Just("Thu, 01 Jan 1970 00:00:00 GMT".to_owned()),
                Just("max-age=18446744073709551615, s-maxage=\"18446744073709551616\", stale-if-error=99999999999".to_owned()),
            ],
        ), 0..8),
        seconds in prop::sample::select(vec![0u64, 1, 1 << 31, 1 << 33]),
    ) {
        let mut says = Head::default();
        says.set_status(200, b"OK", Version::Http11).unwrap();
        for (name, value) in &fields {
            says.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let mut queue = Desk::new(1 << 20);
        let get = request("GET", "/a", "");
        queue.learn(&get, &says, Some(b"x"));
        queue.at = seconds;
        let _ = queue.find(&get, u64::MAX);
        queue.learn(&get, &answer(304, "ETag: \"1\""), Some(b""));
    }
}
