use std::borrow::Cow;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Found, RouteTable, Verdict};
use crate::config::settings::{NameSettings, PathMatch, Policy, RouteSettings, UnknownHost};

fn policy() -> Policy {
    crate::config::from_parts("test", Default::default()).unwrap().settings.defaults
}

/// `host path methods`, each `-` where it is left out, `=` before an exact path. The service is `s` and the place.
fn routes(lines: &[&str]) -> Vec<RouteSettings> {
    let policy = policy();
    let route = |(i, line): (usize, &&str)| {
        let mut words = line.split(' ');
        let mut word = || words.next().filter(|w| *w != "-");
        RouteSettings {
            name: format!("routes[{i}]").into(),
            host: word().map(Arc::from),
            path: word().map(|p| match p.strip_prefix('=') {
                Some(path) => PathMatch::Exact(path.into()),
                None => PathMatch::Prefix(p.into()),
            }),
            methods: word().map(|m| m.split('|').map(Arc::from).collect()).unwrap_or_default(),
            service: format!("s{i}").into(),
            policy: policy.clone(),
            own_breaker: false,
        }
    };
    lines.iter().enumerate().map(route).collect()
}

fn names(allow: &[&str]) -> NameSettings {
    NameSettings {
        registry: Some("consul".into()),
        suffixes: vec![".local".into(), ".service.consul".into()],
        allow: allow.iter().map(|s| Arc::from(*s)).collect(),
        max_watches: 1,
        unused_after: std::time::Duration::from_secs(1),
        unknown: UnknownHost::Reject,
    }
}

fn service(found: Found<'_, '_>) -> String {
    match found {
        Found::Route(route) => route.service.to_string(),
        Found::Service(name) => format!("name {name}"),
        Found::NotAllowed(name) => format!("not allowed {name}"),
        Found::Nothing => "nothing".into(),
    }
}

#[track_caller]
fn finds(table: &RouteTable, request: &str, expected: &str) {
    let mut words = request.split(' ');
    let (method, host, path) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    assert_eq!(service(table.find(host, path.as_bytes(), method.as_bytes())), expected, "{request}");
}

#[test]
fn the_narrowest_host_decides_first() {
    let table = RouteTable::new(
        &routes(&["- - -", "*.b.example / -", "*.example / -", "a.b.example / -", "*.a.b.example / -"]),
        None,
    );
    finds(&table, "GET a.b.example /", "s3");
    finds(&table, "GET c.b.example /", "s1");
    finds(&table, "GET x.y.b.example /", "s1");
    finds(&table, "GET b.example /", "s2");
    finds(&table, "GET z.a.b.example /", "s4");
    finds(&table, "GET example /", "s0");
    finds(&table, "GET other /", "s0");
}

#[test]
fn then_the_path_then_the_method_then_the_file() {
    let lines =
        ["h - -", "h / -", "h /cart -", "h /cart GET|HEAD", "h =/cart -", "h /cart/items POST", "h /cart/items PUT"];
    let table = RouteTable::new(&routes(&lines), None);
    finds(&table, "GET h /cart", "s4");
    finds(&table, "GET h /cart/1", "s3");
    finds(&table, "POST h /cart/1", "s2");
    finds(&table, "GET h /cart/items/7", "s3");
    finds(&table, "PUT h /cart/items/7", "s6");
    finds(&table, "GET h /cartoon", "s1");
    finds(&table, "OPTIONS h *", "s0");
    let twice = RouteTable::new(&routes(&["h /a GET|PUT", "h /a GET|POST"]), None);
    finds(&twice, "GET h /a", "s0");
    finds(&twice, "POST h /a", "s1");
    finds(&twice, "get h /a", "nothing");
}

#[test]
fn a_prefix_ends_at_a_segment() {
    let table = RouteTable::new(&routes(&["h /cart -", "h /dir/ -"]), None);
    finds(&table, "GET h /cart", "s0");
    finds(&table, "GET h /cart/", "s0");
    finds(&table, "GET h /cart//x", "s0");
    finds(&table, "GET h /cart%2Fx", "nothing");
    finds(&table, "GET h //cart", "nothing");
    finds(&table, "GET h /Cart", "nothing");
    finds(&table, "GET h /dir/x", "s1");
    finds(&table, "GET h /dir", "nothing");
}

#[test]
fn a_host_with_routes_never_falls_through() {
    let table = RouteTable::new(&routes(&["orders /v1 -", "*.local /v1 -", "- /any -"]), Some(names(&["*"])));
    finds(&table, "GET orders /any", "nothing");
    finds(&table, "GET x.local /any", "nothing");
    finds(&table, "GET search /any", "s2");
    finds(&table, "GET search /", "name search");
    assert!(table.owns("ORDERS:80") && table.owns("x.local") && !table.owns("search") && !table.owns("local"));
}

#[test]
fn a_host_is_compared_without_case_port_and_trailing_dot() {
    let table = RouteTable::new(&routes(&["shop.example / -", "[::1] / -"]), None);
    for host in ["shop.example", "SHOP.example.", "shop.example:8080", "Shop.Example.:8080"] {
        finds(&table, &format!("GET {host} /"), "s0");
    }
    finds(&table, "GET [::1]:80 /", "s1");
    finds(&table, "GET [::1] /", "s1");
    finds(&table, "GET ashop.example /", "nothing");
}

#[test]
fn a_host_is_a_service_without_its_suffix() {
    let table = RouteTable::new(&[], Some(names(&["*"])));
    for host in ["orders", "orders:80", "ORDERS.", "orders.local", "orders.service.consul.:8080"] {
        finds(&table, &format!("GET {host} /"), "name orders");
    }
    finds(&table, "GET orders.local.local /", "name orders.local");
    finds(&table, "GET local /", "name local");
    for host in ["10.0.0.1", "127.1", "[::1]:80", "", ":80", ".local", "a..b", "a/b", "a b", "\u{e4}", "10.0.0.1.local"]
    {
        assert_eq!(table.find(host, b"/", b"GET"), Found::Nothing, "{host}");
    }
    assert_eq!(table.find(&"a".repeat(254), b"/", b"GET"), Found::Nothing);
    assert!(matches!(table.find("orders.local:80", b"/", b"GET"), Found::Service(Cow::Borrowed("orders"))));
    finds(&RouteTable::new(&[], None), "GET orders /", "nothing");
}

#[test]
fn only_allowed_names_are_followed() {
    let table = RouteTable::new(&[], Some(names(&["orders-*", "search", "*-eu-*"])));
    finds(&table, "GET orders-1 /", "name orders-1");
    finds(&table, "GET orders- /", "name orders-");
    finds(&table, "GET orders /", "not allowed orders");
    finds(&table, "GET search.local /", "name search");
    finds(&table, "GET search2 /", "not allowed search2");
    finds(&table, "GET a-eu-b-eu-c /", "name a-eu-b-eu-c");
    finds(&table, "GET a-eu /", "not allowed a-eu");
}

#[test]
fn an_explanation_names_each_route_and_why() {
    let table = RouteTable::new(&routes(&["- - -", "shop /cart -", "shop / -", "shop /cart POST", "other / -"]), None);
    let considered = table.explain("shop:80", b"/cart", b"GET");
    let short: Vec<_> = considered.iter().map(|c| (&*c.route, c.verdict)).collect();
    let expected = [
        ("routes[3]", Verdict::Method),
        ("routes[1]", Verdict::Taken),
        ("routes[2]", Verdict::Later),
        ("routes[0]", Verdict::NarrowerHost),
        ("routes[4]", Verdict::Host),
    ];
    assert_eq!(short, expected);
}

/// The order of precedence once more, as a reader of the first paragraph would program it: all routes, the best wins.
fn reference<'r>(routes: &'r [RouteSettings], host: &str, path: &str, method: &str) -> Option<&'r RouteSettings> {
    let host_rank = |r: &RouteSettings| match r.host.as_deref() {
        None => Some(0),
        Some(h) if h == host => Some(usize::MAX),
        Some(h) => h.strip_prefix('*').filter(|s| host.ends_with(s) && host.len() > s.len()).map(str::len),
    };
    let best = routes.iter().filter_map(host_rank).max()?;
    let path_rank = |r: &RouteSettings| match &r.path {
        None => Some((0, 0)),
        Some(PathMatch::Exact(p)) => (**p == *path).then_some((2, 0)),
        Some(PathMatch::Prefix(p)) => {
            let whole = path == &**p || path.starts_with(&format!("{}/", p.trim_end_matches('/')));
            (path.starts_with(&**p) && whole).then_some((1, p.len()))
        }
    };
    let method_rank = |r: &RouteSettings| match r.methods.as_slice() {
        [] => Some(0),
        some => some.iter().any(|m| **m == *method).then_some(1),
    };
    let ranked = routes.iter().enumerate().filter(|(_, r)| host_rank(r) == Some(best));
    ranked
        .filter_map(|(i, r)| Some(((path_rank(r)?, method_rank(r)?, std::cmp::Reverse(i)), r)))
        .max_by(|a, b| a.0.cmp(&b.0))
        .map(|(_, r)| r)
}

proptest! {
    #[test]
    fn the_table_agrees_with_the_order_of_precedence(
        lines in proptest::collection::vec(
            ("(-|a|b\\.a|\\*\\.a|\\*\\.b\\.a|\\*\\.c)", "(-|=?(/|/a|/a/|/ab|/a/b|/a/b/))", "(-|GET|PUT|GET\\|PUT)"), 0..12),
        host in "(a|b\\.a|c\\.b\\.a|d\\.c|c)",
        path in "/(a|b|ab|a/|a/b|a/b/|a//|a/b/c)?",
        method in "(GET|PUT|POST)",
    ) {
        let lines: Vec<_> = lines.iter().map(|(h, p, m)| format!("{h} {p} {m}")).collect();
        let routes = routes(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let table = RouteTable::new(&routes, None);
        let found = match table.find(&host, path.as_bytes(), method.as_bytes()) {
            Found::Route(route) => Some(&*route.name),
            _ => None,
        };
        prop_assert_eq!(found, reference(&routes, &host, &path, &method).map(|r| &*r.name));
        let explained = table.explain(&host, path.as_bytes(), method.as_bytes());
        prop_assert_eq!(explained.len(), routes.len());
        let taken: Vec<_> = explained.iter().filter(|c| c.verdict == Verdict::Taken).map(|c| &*c.route).collect();
        prop_assert_eq!(taken.first().copied(), found);
        prop_assert!(taken.len() <= 1);
    }

    #[test]
    fn no_host_is_too_odd(host in ".*", path in proptest::collection::vec(any::<u8>(), 0..20)) {
        let table = RouteTable::new(&routes(&["a / -", "*.a / -"]), Some(names(&["x*y"])));
        table.find(&host, &path, &path);
        table.explain(&host, &path, &path);
    }
}

#[test]
fn a_host_whose_first_route_asks_for_nothing_else_goes_there_whatever_the_path_and_method() {
    let routes = routes(&["all", "path /a", "path", "method - GET", "*.wild /a"]);
    let table = RouteTable::new(&routes, Some(names(&["*"])));
    for (host, alone) in [
        ("all", true),
        ("ALL:80", true),
        ("path", false),
        ("method", false),
        ("a.wild", false),
        ("wild", true),
        ("else", true),
    ] {
        assert_eq!(table.is_by_host_alone(host), alone, "{host}");
        let found =
            ["/", "/a"].map(|path| ["GET", "PUT"].map(|m| service(table.find(host, path.as_bytes(), m.as_bytes()))));
        let same = found.iter().flatten().all(|one| *one == found[0][0]);
        assert!(same || !alone, "{host}: {found:?}");
    }
    assert!(!RouteTable::new(&self::routes(&["- /a"]), None).is_by_host_alone("else"));
}
