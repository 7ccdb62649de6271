//! Routes: what they ask for, where they lead, and what is refused.

use super::{parse, wrong};

const SERVICES: &str = "services: {a: {instances: ['h:1']}, b: {instances: ['h:2']}}\nroutes:\n";

#[track_caller]
fn refused(route: &str, expected: &[&str]) {
    wrong(&format!("{SERVICES}- {route}\n"), expected);
}

#[track_caller]
fn good(route: &str) -> super::super::settings::RouteSettings {
    let mut loaded = parse(&format!("{SERVICES}- {route}\n")).unwrap_or_else(|errors| panic!("{errors}"));
    loaded.settings.routes.remove(0)
}

#[test]
fn a_condition_is_written_as_a_value_or_as_a_map_of_one_key() {
    let route = good(
        "{headers: {X-A: '1', x-b: {prefix: p}, x-c: {regex: '[0-9]+'}, x-d: {present: false}}, query: {q: {exact: ''}}, \
         path: {regex: '/v[0-9]'}, service: a}",
    );
    let asks = "any method, any host, path ~ /v[0-9], header x-a = 1, header x-b = p*, header x-c ~ [0-9]+, header no x-d, \
                query q = ";
    assert_eq!(route.asks(), asks);
    refused("{headers: {x: 1}, service: a}", &["3: routes[0].headers.x: expected a value in quotes"]);
    refused("{headers: {x: true}, service: a}", &["3: routes[0].headers.x: expected `\"true\"` in quotes"]);
    refused("{headers: {x: {}}, service: a}", &["3: routes[0].headers.x: the key `exact`, `prefix`"]);
    refused("{headers: {x: {exact: a, prefix: b}}, service: a}", &["3: routes[0].headers.x: expected one of `exact`"]);
    refused(
        "{headers: {'x y': a}, service: a}",
        &["3: routes[0].headers.\"x y\": found `x y`, expected a header's name"],
    );
    refused("{headers: {host: a}, service: a}", &["3: routes[0].headers.host: is what the key `host` is for"]);
    refused("{headers: {x: ' a'}, service: a}", &["3: routes[0].headers.x: found ` a`, which can never be"]);
    refused("{query: {x: 'a b'}, service: a}", &["3: routes[0].query.x: found `a b`, which can never be"]);
    refused("{query: {'a=b': x}, service: a}", &["3: routes[0].query.\"a=b\": found `a=b`, expected a name"]);
    refused(
        "{path: {regex: '/('}, service: a}",
        &["3: routes[0].path.regex: found `/(`, which is no regular expression"],
    );
    refused("{path: {}, service: a}", &["3: routes[0].path: the key `exact` or `regex` is missing"]);
    refused(
        "{path: {regex: '/(.*a){1,99}.{99}'}, service: a}",
        &["3: routes[0].path.regex: found `/(.*a){1,99}.{99}`, which needs a table of more than 256 KiB"],
    );
}

#[test]
fn two_routes_that_ask_for_the_same_are_an_error_and_two_that_differ_in_a_condition_are_not() {
    let two = |first: &str, second: &str| {
        format!("{SERVICES}- {{path: /x, {first}service: a}}\n- {{path: /x, {second}service: b}}\n")
    };
    wrong(&two("", ""), &["4: routes[1]: can never be taken: `routes[0]` has the same host, path and methods"]);
    wrong(
        &two("headers: {x: '1'}, ", "headers: {X: '1'}, "),
        &["4: routes[1]: can never be taken: `routes[0]` has the same host, path, methods, headers and query"],
    );
    assert!(parse(&two("headers: {x: '1'}, ", "headers: {x: '2'}, ")).is_ok());
    assert!(parse(&two("", "query: {x: '2'}, ")).is_ok());
}

#[test]
fn a_route_leads_one_way() {
    refused(
        "{path: /x}",
        &["3: routes[0]: leads nowhere, expected one of `service`, `split`, `redirect` and `answer`"],
    );
    refused("{service: a, answer: {}}", &["3: routes[0]: found several of `service`, `split`"]);
    refused("{service: c}", &["3: routes[0].service: found `c`, expected a service that is declared"]);
    refused("{redirect: {scheme: https}, timeout: 1s}", &["3: routes[0].timeout: means nothing beside `redirect`"]);
    refused("{answer: {}, mirror: {service: a}}", &["3: routes[0].mirror: means nothing beside `answer`"]);
    refused("{answer: {status: 100}}", &["3: routes[0].answer.status: found 100, expected 200 to 599"]);
    refused("{answer: {status: 204, body: x}}", &["3: routes[0].answer.body: found a body, expected none"]);
    refused(
        "{answer: {headers: {content-length: '3'}}}",
        &["3: routes[0].answer.headers.content-length: says how a message is framed"],
    );
    assert_eq!(good("{answer: {status: 404}}").leads_to(), "answer 404");
}

#[test]
fn a_split_has_a_share_for_somebody_and_one_place_for_each() {
    let split = |parts: &str| format!("{{split: [{parts}]}}");
    assert_eq!(good(&split("{service: a, weight: 90}, {service: b}")).leads_to(), "a 90, b 1");
    assert_eq!(good(&split("{service: a, weight: 1}, {service: b, weight: 0}")).leads_to(), "a 1, b 0");
    refused(&split(""), &["3: routes[0].split: found none, expected services and their weights"]);
    refused(
        &split("{service: a, weight: 0}, {service: b, weight: 0}"),
        &["3: routes[0].split: the weights sum to zero"],
    );
    refused(&split("{service: a}, {service: a}"), &["3: routes[0].split[1].service: found `a` again"]);
    refused(&split("{service: c}"), &["3: routes[0].split[0].service: found `c`"]);
    refused(
        &split("{service: a, weight: 1000001}"),
        &["3: routes[0].split[0].weight: found 1000001, expected 0 to 1000000"],
    );
    refused("{service: a, sticky: {cookie: s}}", &["3: routes[0].sticky: stands without `split`"]);
    let sticky = |by: &str| format!("{{split: [{{service: a}}, {{service: b}}], sticky: {by}}}");
    for by in ["{cookie: s}", "{header: X-User}", "{path: true}", "{address: true}"] {
        good(&sticky(by));
    }
    for by in ["{}", "{cookie: s, header: x}", "{path: false}"] {
        refused(&sticky(by), &["3: routes[0].sticky: expected one of `header: NAME`"]);
    }
    refused(&sticky("{cookie: 'a=b'}"), &["3: routes[0].sticky.cookie: found `a=b`, expected a cookie's name"]);
}

#[test]
fn each_part_of_a_split_has_the_policies_of_its_service_under_the_routes() {
    let text = "services: {a: {instances: ['h:1'], timeout: 1s}, b: {instances: ['h:2'], timeout: 2s}}\n\
                routes: [{split: [{service: a}, {service: b}], retries: {max: 0}}]\n";
    let loaded = parse(text).unwrap();
    let parts = loaded.settings.routes[0].parts();
    let seen: Vec<_> = parts.iter().map(|part| (part.policy.timeout.as_secs(), part.policy.retries.max)).collect();
    assert_eq!(seen, [(1, 0), (2, 0)]);
    assert_eq!(loaded.explain(Some("b")).unwrap()[0].routes.len(), 1);
}

#[test]
fn a_redirect_goes_somewhere_else_by_a_status_that_says_so() {
    refused("{redirect: {}}", &["3: routes[0].redirect: sends the client where it came from"]);
    refused("{redirect: {scheme: ftp}}", &["3: routes[0].redirect.scheme: found `ftp`, expected `http` or `https`"]);
    refused("{redirect: {scheme: https, status: 300}}", &["3: routes[0].redirect.status: found 300, expected 301"]);
    refused("{redirect: {host: 'a b'}}", &["3: routes[0].redirect.host: found `a b`"]);
    refused("{redirect: {host: 'https://a'}}", &["3: routes[0].redirect.host: found `https://a`"]);
    refused("{redirect: {path: /a, prefix: /b}}", &["3: routes[0].redirect: found several of `path`, `prefix`"]);
    refused("{redirect: {path: '/a/../b'}}", &["3: routes[0].redirect.path: found `/a/../b`"]);
    good("{redirect: {host: 'new.example:8443', status: 301}}");
    good("{redirect: {host: '[::1]:80'}}");
}

#[test]
fn what_is_rewritten_makes_a_path_and_names_groups_that_there_are() {
    let rewrite = |keys: &str| format!("{{path: /old, rewrite: {{{keys}}}, service: a}}");
    good(&rewrite("prefix: /new, host: shop.internal"));
    good(&rewrite("regex: '/old/(.*)', with: '/new/$1'"));
    good(&rewrite("regex: '/old/(?P<id>.*)', with: '/new/$${id}'"));
    refused(&rewrite(""), &["3: routes[0].rewrite: changes nothing"]);
    refused(&rewrite("regex: '/a'"), &["3: routes[0].rewrite: `regex` says what is replaced and `with` what by"]);
    refused(&rewrite("regex: '/a(', with: /b"), &["3: routes[0].rewrite.regex: found `/a(`"]);
    refused(&rewrite("regex: '/a(.)', with: '/b$2'"), &["3: routes[0].rewrite.with: found `$2`, which is no group"]);
    refused(&rewrite("regex: '/a', with: 'b'"), &["3: routes[0].rewrite.with: found `b`, expected a path"]);
    refused(&rewrite("regex: '/a', with: '/b?c'"), &["3: routes[0].rewrite.with: found `/b?c`, expected a path"]);
    refused(&rewrite("host: 'http://x'"), &["3: routes[0].rewrite.host: found `http://x`, expected a host"]);
    refused(
        "{path: {exact: /old}, rewrite: {prefix: /new}, service: a}",
        &["3: routes[0].rewrite.prefix: stands in the place of the route's prefix, and the route's `path` is none"],
    );
}

#[test]
fn fields_of_framing_of_a_connection_and_of_the_proxy_are_nobodys_to_change() {
    let change = |key: &str, how: &str| format!("{{{key}: {how}, service: a}}");
    for key in ["request_headers", "response_headers"] {
        good(&change(key, "{set: {X-A: '1'}, add: {x-b: b}, remove: [X-C]}"));
        for name in [
            "Connection",
            "Content-Length",
            "transfer-encoding",
            "TE",
            "trailer",
            "upgrade",
            "keep-alive",
            "proxy-connection",
            "host",
            "via",
            "x-request-id",
            "content_length",
            "x-request-deadline-ms",
        ] {
            if name == "x-request-deadline-ms" {
                continue;
            }
            refused(
                &change(key, &format!("{{remove: [{name}]}}")),
                &[&format!("3: routes[0].{key}.remove[0]: found `")],
            );
            refused(
                &change(key, &format!("{{set: {{{name}: x}}}}")),
                &[&format!("3: routes[0].{key}.set.{}", name.to_lowercase())],
            );
        }
        refused(&change(key, "{}"), &[&format!("3: routes[0].{key}: changes nothing")]);
        refused(&change(key, "{set: {x: ' y'}}"), &[&format!("3: routes[0].{key}.set.x: has a blank")]);
        refused(&change(key, "{set: {x: \"a\\r\\nb: c\"}}"), &[&format!("3: routes[0].{key}.set.x: has a control")]);
        refused(
            &change(key, "{set: {x: y}, remove: [x]}"),
            &[&format!("3: routes[0].{key}.remove[0]: found `x`, which is")],
        );
    }
    refused(
        &change("request_headers", "{set: {x-forwarded-for: x}}"),
        &["3: routes[0].request_headers.set.x-forwarded-for"],
    );
    refused(&change("response_headers", "{set: {grpc-status: x}}"), &["3: routes[0].response_headers.set.grpc-status"]);
    let deadline = parse("{}").unwrap().settings.http.deadline_header;
    refused(
        &change("request_headers", &format!("{{remove: [{deadline}]}}")),
        &["3: routes[0].request_headers.remove[0]: found"],
    );
}

#[test]
fn access_says_something_and_a_block_of_ipv6_that_is_one_of_ipv4_is_taken_for_it() {
    refused("{access: {}, service: a}", &["3: routes[0].access: says nothing"]);
    refused("{access: {allow: [x]}, service: a}", &["3: routes[0].access.allow[0]: found `x`, expected a block"]);
    let access = good("{access: {allow: [10.0.0.0/8, 'fd00::/8'], deny: ['::ffff:10.1.0.0/112']}, service: a}").access;
    let admits = |address: &str| access.as_ref().unwrap().admit(Some(address.parse().unwrap()));
    assert_eq!((admits("10.2.0.1"), admits("fd00::1")), (Ok(()), Ok(())));
    assert_eq!(admits("::ffff:10.2.0.1"), Ok(()), "a client of IPv4 on a socket of both");
    assert_eq!(&*admits("10.1.0.1").unwrap_err(), "routes[0].access.deny: 10.1.0.0/16", "deny wins");
    assert!(admits("192.0.2.1").unwrap_err().starts_with("routes[0].access.allow: 192.0.2.1 is in none"));
    assert!(access.as_ref().unwrap().admit(None).is_err());
    let listener =
        parse("listeners: [{address: '127.0.0.1:1', access: {deny: [10.0.0.1]}}]").unwrap().settings.listeners;
    assert_eq!(&*listener[0].access.as_ref().unwrap().name, "listeners[0].access");
}

#[test]
fn a_mirror_is_a_service_a_share_and_a_bound() {
    let mirror = |keys: &str| format!("{{service: a, mirror: {{{keys}}}}}");
    let made = good(&mirror("service: b, share: 10%")).mirror.unwrap();
    assert_eq!((&*made.service, made.share, made.max_in_flight), ("b", 0.1, 100));
    refused(&mirror("service: c"), &["3: routes[0].mirror.service: found `c`"]);
    refused(&mirror("service: b, share: 0%"), &["3: routes[0].mirror.share: found 0%, expected above 0%"]);
    refused(&mirror("service: b, share: 101%"), &["3: routes[0].mirror.share: found 101%"]);
    refused(&mirror("service: b, max_in_flight: 0"), &["3: routes[0].mirror.max_in_flight: found 0"]);
}

#[test]
fn a_subset_is_what_a_registry_says_of_instances() {
    let service = |keys: &str| format!("registries: {{file: {{path: x}}}}\nservices: {{a: {{{keys}}}}}\n");
    let subset = |keys: &str| parse(&service(keys)).unwrap().settings.services["a"].subset.clone().unwrap();
    let made = subset("subset: {tag: v2, meta.zone: a, zone: z, datacenter: d}, fallback_subset: any");
    let labels: Vec<_> = made.wanted.iter().map(ToString::to_string).collect();
    assert_eq!(labels, ["datacenter = d", "meta.zone = a", "tag = v2", "zone = z"]);
    assert_eq!(made.fallback, Some(vec![]));
    assert_eq!(subset("subset: {tag: v2}, fallback_subset: {tag: v1}").fallback.unwrap()[0].to_string(), "tag = v1");
    for (keys, error) in [
        ("subset: {tags: v2}", "2: services.a.subset.tags: unknown key `tags`, expected `tag`, `meta.NAME`"),
        ("subset: {meta.: v2}", "2: services.a.subset.\"meta.\": unknown key"),
        ("fallback_subset: any", "2: services.a.fallback_subset: stands without `subset`"),
        ("subset: {tag: v2}, fallback_subset: {}", "2: services.a.fallback_subset: says nothing"),
        ("subset: {tag: v2}, fallback_subset: all", "2: services.a.fallback_subset: found `all`, expected `any`"),
        ("subset: {tag: v2}, fallback_subset: {tag: v2}", "2: services.a.fallback_subset: is the subset itself"),
        ("subset: {tag: v2}, instances: ['h:1']", "2: services.a.subset: stands beside `instances`"),
    ] {
        wrong(&service(keys), &[error]);
    }
}

#[test]
fn a_balancer_that_keeps_requests_together_is_told_by_what() {
    let text = |service: &str, route: &str| {
        format!("services: {{a: {{instances: ['h:1'], {service}}}}}\nroutes: [{{service: a{route}}}]\n")
    };
    let hashed = "balance: consistent_hash, hash: {header: X-User}";
    let settings = parse(&text(hashed, ", hash: {cookie: s}")).unwrap().settings;
    assert_eq!(settings.services["a"].policy.hash.as_ref().unwrap().to_string(), "header x-user");
    assert_eq!(settings.routes[0].parts()[0].policy.hash.as_ref().unwrap().to_string(), "cookie s");
    wrong(&text("balance: consistent_hash", ""), &["1: services.a.balance: needs `hash`"]);
    wrong(&text("hash: {path: true}", ""), &["1: services.a.hash: says nothing without"]);
    wrong(&text("", ", hash: {path: true}"), &["2: routes[0].hash: says nothing without"]);
    wrong(&text("", ", balance: round_robin"), &["2: routes[0].balance: is one for all routes to a service"]);
    wrong(&text("balance: consistent_hash, hash: {}", ""), &["1: services.a.hash: expected one of"]);
    wrong("defaults: {balance: consistent_hash}", &["1: defaults.balance: needs `hash`"]);
}
