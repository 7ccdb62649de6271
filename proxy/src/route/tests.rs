use std::borrow::Cow;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Ask, Found, RouteTable, Verdict};
use crate::config::settings::{
    Condition, Leads, NameSettings, Part, PathMatch, Pattern, Policy, RouteSettings, UnknownHost, ValueMatch,
};
use crate::http::Head;

fn policy() -> Policy {
    crate::config::from_parts("test", Default::default()).unwrap().settings.defaults
}

/// Only a path and a method.
fn plain<T>(path: &[u8], method: &[u8], then: impl FnOnce(&Ask<'_>) -> T) -> T {
    then(&Ask { method, path, query: b"", head: &Head::default() })
}

/// `host path methods headers query`, each `-` where it is left out; `=` before an exact path, `~` before a pattern; headers
/// and parameters as `name=value`, joined by `&`. The service is `s` and the place.
fn routes(lines: &[&str]) -> Vec<RouteSettings> {
    let policy = policy();
    let route = |(i, line): (usize, &&str)| {
        let mut words = line.split(' ');
        let mut word = || words.next().filter(|w| *w != "-");
        RouteSettings {
            name: format!("routes[{i}]").into(),
            host: word().map(Arc::from),
            path: word().map(|p| match (p.strip_prefix('='), p.strip_prefix('~')) {
                (Some(path), _) => PathMatch::Exact(path.into()),
                (_, Some(pattern)) => PathMatch::Regex(Pattern::new(pattern).unwrap()),
                _ => PathMatch::Prefix(p.into()),
            }),
            methods: word().map(|m| m.split('|').map(Arc::from).collect()).unwrap_or_default(),
            headers: word().map(conditions).unwrap_or_default(),
            query: word().map(conditions).unwrap_or_default(),
            leads: Leads::To {
                parts: vec![Part { service: format!("s{i}").into(), weight: 1, policy: policy.clone() }],
                sticky: None,
            },
            own_breaker: false,
            access: None,
            request: Default::default(),
            response: Default::default(),
            mirror: None,
        }
    };
    lines.iter().enumerate().map(route).collect()
}

/// `name=value`; `name=value*` for a prefix, `name~pattern`, `name` and `!name` for being there or not.
fn conditions(text: &str) -> Vec<Condition> {
    let condition = |text: &str| {
        let (name, value) = match (text.split_once('='), text.split_once('~'), text.strip_prefix('!')) {
            (Some((name, value)), ..) => match value.strip_suffix('*') {
                Some(prefix) => (name, ValueMatch::Prefix(prefix.into())),
                None => (name, ValueMatch::Exact(value.into())),
            },
            (_, Some((name, pattern)), _) => (name, ValueMatch::Regex(Pattern::new(pattern).unwrap())),
            (.., Some(name)) => (name, ValueMatch::Present(false)),
            _ => (text, ValueMatch::Present(true)),
        };
        Condition { name: name.into(), value }
    };
    text.split('&').map(condition).collect()
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
        Found::Route(route) => route.service.as_deref().unwrap_or("itself").to_owned(),
        Found::Split(split) => format!("{} parts", split.parts().count()),
        Found::Service(name) => format!("name {name}"),
        Found::NotAllowed(name) => format!("not allowed {name}"),
        Found::Nothing => "nothing".into(),
    }
}

#[track_caller]
fn finds(table: &RouteTable, request: &str, expected: &str) {
    let mut words = request.split(' ');
    let (method, host, target) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut head = Head::default();
    for field in words {
        let (name, value) = field.split_once(':').unwrap();
        head.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    let ask = Ask { method: method.as_bytes(), path: path.as_bytes(), query: query.as_bytes(), head: &head };
    assert_eq!(service(table.find(host, &ask)), expected, "{request}");
}

#[test]
fn an_exact_path_comes_before_a_pattern_and_a_pattern_before_any_prefix() {
    let lines = ["h /cart/v1/items", "h ~/cart/v[0-9]+/.*", "h =/cart/v1/x", "h ~/cart/.*", "h /cart", "h -"];
    let table = RouteTable::new(&routes(&lines), None);
    finds(&table, "GET h /cart/v1/x", "s2");
    finds(&table, "GET h /cart/v1/items", "s1");
    finds(&table, "GET h /cart/vx", "s3");
    finds(&table, "GET h /cart", "s4");
    finds(&table, "GET h /else", "s5");
    // Two patterns go by the file, however long they are.
    let table = RouteTable::new(&routes(&["h ~/.*", "h ~/cart/very/long"]), None);
    finds(&table, "GET h /cart/very/long", "s0");
    // The query is no part of what a pattern is held against.
    let table = RouteTable::new(&routes(&["h ~/a"]), None);
    finds(&table, "GET h /a?b", "s0");
    finds(&table, "GET h /a/", "nothing");
}

#[test]
fn more_conditions_come_before_fewer_headers_before_the_query_and_methods_before_both() {
    let lines = ["h /a", "h /a - - x=1", "h /a - x-canary=1", "h /a - x-canary=1&x-user=7*", "h /a PUT", "h /a/b - -"];
    let table = RouteTable::new(&routes(&lines), None);
    finds(&table, "GET h /a", "s0");
    finds(&table, "GET h /a?x=1", "s1");
    finds(&table, "GET h /a?x=1 X-Canary:1", "s2");
    finds(&table, "GET h /a?x=1 X-Canary:1 x-user:77", "s3");
    finds(&table, "GET h /a?x=1 X-Canary:1 x-user:8", "s2");
    finds(&table, "PUT h /a?x=1 X-Canary:1", "s4");
    // A longer path is narrower than any condition on a shorter one.
    finds(&table, "GET h /a/b X-Canary:1", "s5");
}

#[test]
fn a_condition_on_a_header_holds_for_one_of_its_lines_in_any_case_of_its_name() {
    let table = |condition: &str| RouteTable::new(&routes(&[&format!("h - - {condition}")]), None);
    let exact = table("x-canary=1");
    finds(&exact, "GET h / X-CANARY:0 x-canary:1", "s0");
    for request in ["GET h /", "GET h / x-canary:10", "GET h / x-canary:", "GET h / x_canary:1", "GET h / canary:1"] {
        finds(&exact, request, "nothing");
    }
    let pattern = table("x-user~[a-c]+");
    finds(&pattern, "GET h / x-user:abc", "s0");
    finds(&pattern, "GET h / x-user:abd", "nothing");
    let (there, absent) = (table("x-user"), table("!x-user"));
    finds(&there, "GET h / x-user:", "s0");
    finds(&there, "GET h /", "nothing");
    finds(&absent, "GET h /", "s0");
    finds(&absent, "GET h / x-user:", "nothing");
    // What the codec has a name of its own for is found all the same.
    finds(&table("accept=a/b"), "GET h / Accept:a/b", "s0");
}

#[test]
fn a_condition_on_the_query_holds_for_one_of_its_parameters_as_it_was_sent() {
    let table = |condition: &str| RouteTable::new(&routes(&[&format!("h - - - {condition}")]), None);
    let exact = table("x=1");
    for target in ["/?x=1", "/?a=2&x=1", "/?x=0&x=1&y", "/?&&x=1"] {
        finds(&exact, &format!("GET h {target}"), "s0");
    }
    for target in ["/", "/x=1", "/?x=10", "/?xx=1", "/?x", "/?X=1", "/?x=%31", "/?a=x=1", "/?%78=1"] {
        finds(&exact, &format!("GET h {target}"), "nothing");
    }
    finds(&table("debug"), "GET h /?debug", "s0");
    finds(&table("debug"), "GET h /?debug=", "s0");
    finds(&table("!debug"), "GET h /?debugging", "s0");
    finds(&table("v~[0-9]*"), "GET h /?v", "s0");
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
        plain(b"/", b"GET", |ask| assert_eq!(table.find(host, ask), Found::Nothing, "{host}"));
    }
    let long = "a".repeat(254);
    plain(b"/", b"GET", |ask| assert_eq!(table.find(&long, ask), Found::Nothing));
    let found = plain(b"/", b"GET", |ask| table.find("orders.local:80", ask));
    assert!(matches!(found, Found::Service(Cow::Borrowed("orders"))));
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
    let considered = plain(b"/cart", b"GET", |ask| table.explain("shop:80", ask));
    let short: Vec<_> = considered.iter().map(|c| (&*c.route, c.verdict.clone())).collect();
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
fn reference<'r>(
    routes: &'r [RouteSettings],
    host: &str,
    path: &str,
    method: &str,
    [canary, x]: [bool; 2],
) -> Option<&'r RouteSettings> {
    let host_rank = |r: &RouteSettings| match r.host.as_deref() {
        None => Some(0),
        Some(h) if h == host => Some(usize::MAX),
        Some(h) => h.strip_prefix('*').filter(|s| host.ends_with(s) && host.len() > s.len()).map(str::len),
    };
    let best = routes.iter().filter_map(host_rank).max()?;
    let path_rank = |r: &RouteSettings| match &r.path {
        None => Some((0, 0)),
        Some(PathMatch::Exact(p)) => (**p == *path).then_some((3, 0)),
        Some(PathMatch::Regex(pattern)) => {
            let fits = match pattern.text() {
                "/a.*" => path.starts_with("/a"),
                "/[ab]" => path == "/a" || path == "/b",
                _ => unreachable!(),
            };
            fits.then_some((2, 0))
        }
        Some(PathMatch::Prefix(p)) => {
            let whole = path == &**p || path.starts_with(&format!("{}/", p.trim_end_matches('/')));
            (path.starts_with(&**p) && whole).then_some((1, p.len()))
        }
    };
    let method_rank = |r: &RouteSettings| match r.methods.as_slice() {
        [] => Some(0),
        some => some.iter().any(|m| **m == *method).then_some(1),
    };
    let said = |wanted: &[Condition], is: bool| (wanted.is_empty() || is).then_some(wanted.len());
    let ranked = routes.iter().enumerate().filter(|(_, r)| host_rank(r) == Some(best));
    ranked
        .filter_map(|(i, r)| {
            let conditions = (said(&r.headers, canary)?, said(&r.query, x)?);
            Some(((path_rank(r)?, method_rank(r)?, conditions, std::cmp::Reverse(i)), r))
        })
        .max_by(|a, b| a.0.cmp(&b.0))
        .map(|(_, r)| r)
}

proptest! {
    #[test]
    fn the_table_agrees_with_the_order_of_precedence(
        lines in proptest::collection::vec(
            (
                "(-|a|b\\.a|\\*\\.a|\\*\\.b\\.a|\\*\\.c)",
                "(-|=?(/|/a|/a/|/ab|/a/b|/a/b/)|~/a\\.\\*|~/\\[ab\\])",
                "(-|GET|PUT|GET\\|PUT)",
                "(-|canary=1)",
                "(-|x=1)",
            ),
            0..12,
        ),
        host in "(a|b\\.a|c\\.b\\.a|d\\.c|c)",
        path in "/(a|b|ab|a/|a/b|a/b/|a//|a/b/c)?",
        method in "(GET|PUT|POST)",
        canary in proptest::bool::ANY,
        x in proptest::bool::ANY,
    ) {
        let lines: Vec<_> = lines.iter().map(|(h, p, m, f, q)| format!("{h} {p} {m} {f} {q}")).collect();
        let routes = routes(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let table = RouteTable::new(&routes, None);
        let mut head = Head::default();
        head.push(b"Canary", if canary { b"1" } else { b"0" }).unwrap();
        let query = if x { &b"a&x=1"[..] } else { b"" };
        let ask = Ask { method: method.as_bytes(), path: path.as_bytes(), query, head: &head };
        let found = match table.find(&host, &ask) {
            Found::Route(route) => Some(&*route.name),
            _ => None,
        };
        prop_assert_eq!(found, reference(&routes, &host, &path, &method, [canary, x]).map(|r| &*r.name));
        let explained = table.explain(&host, &ask);
        prop_assert_eq!(explained.len(), routes.len());
        let taken: Vec<_> = explained.iter().filter(|c| c.verdict == Verdict::Taken).map(|c| &*c.route).collect();
        prop_assert_eq!(taken.first().copied(), found);
        prop_assert!(taken.len() <= 1);
    }

    #[test]
    fn no_host_is_too_odd(host in ".*", path in proptest::collection::vec(any::<u8>(), 0..20)) {
        let table = RouteTable::new(&routes(&["a / -", "*.a / -"]), Some(names(&["x*y"])));
        plain(&path, &path, |ask| drop((table.find(&host, ask), table.explain(&host, ask))));
    }
}

#[test]
fn a_host_whose_first_route_asks_for_nothing_else_goes_there_whatever_the_path_and_method() {
    let routes = routes(&["all", "path /a", "path", "method - GET", "*.wild /a", "header - - x=1", "query - - - x=1"]);
    let table = RouteTable::new(&routes, Some(names(&["*"])));
    for (host, alone) in [
        ("all", true),
        ("ALL:80", true),
        ("path", false),
        ("method", false),
        ("header", false),
        ("query", false),
        ("a.wild", false),
        ("wild", true),
        ("else", true),
    ] {
        assert_eq!(table.is_by_host_alone(host), alone, "{host}");
        let found = ["/", "/a"].map(|path| {
            ["GET", "PUT"].map(|m| plain(path.as_bytes(), m.as_bytes(), |ask| service(table.find(host, ask))))
        });
        let same = found.iter().flatten().all(|one| *one == found[0][0]);
        assert!(same || !alone, "{host}: {found:?}");
    }
    assert!(!RouteTable::new(&self::routes(&["- /a"]), None).is_by_host_alone("else"));
}
