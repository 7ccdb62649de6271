//! Certificates that clients show.

use chaos_tests::fleet::Origin;
use rcgen::SerialNumber;
use serde_json::{Value, json};

use super::stage::{Authority, Files, listening, python, wait_handshakes};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn asked(port: u16, shown: Option<&Files>) -> Value {
    let mut asked = json!({ "port": port, "name": "a.example", "send": [GET] });
    if let Some(shown) = shown {
        asked["cert"] = json!(shown.cert);
        asked["key"] = json!(shown.key);
    }
    asked
}

#[test]
fn who_shows_no_good_certificate_is_let_in_only_where_none_is_required() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new("ca", folder.path()), Authority::new("other", folder.path()));
    let origin = Origin::named("a");
    let certificates = json!([authority.issue("a", &["a.example"]).json()]);
    let with = |auth: &str| {
        let tls = json!({ "certificates": certificates, "client_auth": auth, "client_ca": authority.ca });
        listening(&[origin.address], &tls)
    };
    let (requests, requires) = (with("request"), with("require"));
    let (own, foreign) = (authority.issue("client", &["client"]), other.issue("stranger", &["stranger"]));
    for (shown, by_request, by_require) in
        [(None, true, false), (Some(&own), true, true), (Some(&foreign), false, false)]
    {
        for (proxy, let_in) in [(&requests, by_request), (&requires, by_require)] {
            let Some(told) = python(&asked(proxy.address.port(), shown)) else { return };
            assert_eq!(told["error"].is_null(), let_in, "{shown:?}: {told}");
        }
    }
    wait_handshakes(&requires, "client_certificate", 2.0);
    wait_handshakes(&requests, "client_certificate", 1.0);
}

#[test]
fn a_revoked_client_is_refused_and_from_a_reload_on_one_with_a_session_is_too() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let certificates = json!([authority.issue("a", &["a.example"]).json()]);
    let mut params = Authority::params(&["bad"]);
    params.serial_number = Some(SerialNumber::from(77));
    let bad = authority.issue_as("bad", params);
    let good = authority.issue("good", &["good"]);
    let list = authority.revoke("list", &[]);
    let tls = json!({
        "certificates": certificates, "client_auth": "require", "client_ca": authority.ca, "client_crls": [list],
    });
    let proxy = listening(&[origin.address], &tls);
    let Some(told) = python(&asked(proxy.address.port(), Some(&bad))) else { return };
    assert!(told["error"].is_null(), "nobody is revoked yet: {told}");
    authority.revoke("list", &[77]);
    chaos_tests::wait_for("the new list", chaos_tests::SOON, || proxy.log().contains("certificates were read again"));
    assert!(python(&asked(proxy.address.port(), Some(&bad))).unwrap()["error"].is_string());
    assert!(python(&asked(proxy.address.port(), Some(&good))).unwrap()["error"].is_null());
}
