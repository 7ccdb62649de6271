//! How proxies end: at once, whatever they were about to do.

use std::time::{Duration, Instant};

use chaos_tests::toxiproxy::Toxiproxy;
use serde_json::json;

use crate::echo::Echo;

#[test]
fn a_proxy_that_was_made_a_moment_ago_is_removed_or_switched_off_at_once() {
    let (server, echo) = (Toxiproxy::outrigger(), Echo::start());
    let make = json!({ "name": "p", "listen": "127.0.0.1:0", "upstream": echo.address }).to_string();
    for round in 0..200 {
        let began = Instant::now();
        assert_eq!(server.call("POST", "/proxies", &make).status(), 201);
        if round % 2 == 1 {
            for enabled in [false, true] {
                let switch = json!({ "enabled": enabled }).to_string();
                assert_eq!(server.call("POST", "/proxies/p", &switch).status(), 200);
            }
        }
        assert_eq!(server.call("DELETE", "/proxies/p", "").status(), 204);
        // A worker that missed it would be waited for for five seconds.
        assert!(began.elapsed() < Duration::from_secs(4), "round {round}: {:?}", began.elapsed());
    }
}
