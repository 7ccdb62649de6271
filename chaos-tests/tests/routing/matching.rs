//! Which route takes a request.

use chaos_tests::h2;
use serde_json::json;

use crate::stage::Stage;

fn stage() -> Stage {
    Stage::of(
        &["plain", "canary", "user", "debug", "versions", "put"],
        json!([
            { "host": "shop", "service": "plain" },
            { "host": "shop", "headers": { "X-Canary": "1" }, "service": "canary" },
            { "host": "shop", "headers": { "x-user": { "prefix": "test-" } }, "service": "user" },
            { "host": "shop", "query": { "debug": { "present": true } }, "service": "debug" },
            { "host": "shop", "path": { "regex": "/v[0-9]+/cart(/.*)?" }, "service": "versions" },
            { "host": "shop", "path": "/v1", "service": "plain" },
            { "host": "shop", "methods": ["PUT"], "service": "put" }
        ]),
    )
}

#[test]
fn a_request_goes_by_its_headers_its_query_its_method_and_a_pattern_of_its_path() {
    let stage = stage();
    for (target, fields, service) in [
        ("/", "", "plain"),
        ("/", "X-Canary: 1\r\n", "canary"),
        ("/", "x-canary: 0\r\nX-CANARY: 1\r\n", "canary"),
        ("/", "X-Canary: 11\r\n", "plain"),
        ("/", "X-User: test-7\r\n", "user"),
        ("/?debug", "", "debug"),
        ("/?a=1&debug=", "", "debug"),
        // Header fields come before the query.
        ("/?debug", "X-User: test-7\r\n", "user"),
        ("/v12/cart/1?x", "", "versions"),
        ("/v1/cart", "", "versions"),
        ("/v1/cartoon", "", "plain"),
        ("/v1/cart", "X-Canary: 1\r\n", "versions"),
    ] {
        assert_eq!(stage.get(target, fields).text(), service, "{target} {fields:?}");
    }
    let put = stage.ask("PUT / HTTP/1.1\r\nHost: shop\r\nX-Canary: 1\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(put.text(), "put", "a method is narrower than a header");
}

#[test]
fn a_request_over_http_2_goes_by_the_same() {
    let stage = stage();
    let mut client = h2::Client::open(stage.proxy.address, "shop");
    for (target, fields, service) in
        [("/", &[][..], "plain"), ("/", &[("x-canary", "1")], "canary"), ("/?debug", &[], "debug")]
    {
        let answer = client.ask("GET", target, fields, Vec::new(), http::HeaderMap::new());
        assert_eq!(answer.body, service.as_bytes(), "{target} {fields:?}");
    }
}
