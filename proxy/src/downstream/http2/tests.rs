use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::*;
use crate::http::{Bad, Pools};
use crate::http2::trailers_from;

/// A map whose names went through what decodes them from the wire.
fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_lowercase(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn read(target: &str, fields: &[(&str, &str)]) -> Result<Head, Reason> {
    let mut parts = Request::new(()).into_parts().0;
    parts.uri = target.parse().unwrap();
    parts.headers = map(fields);
    let mut head = Head::default();
    request_head(&parts, &mut head).map(|()| head)
}

fn trailers(fields: &[(&str, &str)]) -> Result<Rc<Head>, Bad> {
    let budget = crate::http::Budget::new(1 << 20);
    trailers_from(&map(fields), &Pools::new(crate::http::Limits::default(), &budget))
}

#[test]
fn trailers_have_the_rules_and_the_limits_of_http_1_1() {
    let long = "a".repeat(33 * 1024);
    let names: Vec<_> = (0..101).map(|n| format!("x-{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    for (fields, expected) in [
        (&[("x-sum", "1"), ("grpc-status", "0")][..], Ok(2)),
        (&many[1..], Ok(100)),
        (&many, Err(Bad::TooManyLines)),
        (&[("x-long", &long)], Err(Bad::TooLarge)),
        (&[("content-length", "1")], Err(Bad::Grammar)),
        (&[("host", "a")], Err(Bad::Grammar)),
    ] {
        assert_eq!(trailers(fields).map(|head| head.len()), expected);
    }
}

#[test]
fn blanks_around_a_value_stay_behind() {
    let head = read("http://orders/", &[("x-y", " \ta b\t "), ("cookie", ""), ("content-length", "5 ")]).unwrap();
    let fields: Vec<_> = head.fields().map(|(_, name, value)| (name, value)).collect();
    assert_eq!(fields, [(&b"host"[..], &b"orders"[..]), (b"x-y", b"a b"), (b"cookie", b""), (b"content-length", b"5")]);
}

#[test]
fn a_name_with_a_quotation_mark_is_refused() {
    assert_eq!(read("http://orders/", &[("x\"y", "1")]).err(), Some(Reason::BadRequest));
    assert_eq!(head_from(&map(&[("\"", "1")]), &mut Head::default()), Err(Bad::Grammar));
    assert_eq!(trailers(&[("x\"", "1")]).err(), Some(Bad::Grammar));
}

#[test]
fn a_target_that_http_1_1_could_not_have_is_refused() {
    for target in ["http://orders/\u{e9}", "/\u{e9}", "/a?\u{f6}"] {
        assert_eq!(read(target, &[("host", "orders")]).err(), Some(Reason::BadRequest), "{target}");
    }
    let odd = "/a\"{b}|^\\?c";
    assert_eq!(read(odd, &[("host", "orders")]).unwrap().target(), odd.as_bytes());
}

#[test]
fn too_much_is_told_from_unsound() {
    let long = "a".repeat(crate::http::head::MAX_HEAD);
    assert_eq!(read("/", &[("x", &long)]).err(), Some(Reason::HeadTooLarge));
}
