//! Files that cannot be used: an error of `outrigger check` that names the key and the file.

use std::path::Path;
use std::process::Command;

use chaos_tests::foreign;
use chaos_tests::proxy::outrigger;
use serde_json::{Value, json};

use super::stage::Authority;

#[track_caller]
fn refused(folder: &Path, tls: &Value, key: &str, says: &str) {
    let config = json!({
        "listeners": [{ "address": "127.0.0.1:0", "tls": tls }],
        "services": { "a": { "instances": ["127.0.0.1:1"] } },
    });
    let file = folder.join("config.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let output = outrigger(&["check", &file.display().to_string()]);
    let said = foreign::said(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("listeners[0].tls.{key}:")) && said.contains(says), "{key}, {says}: {said}");
}

#[test]
fn each_file_that_cannot_be_used_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (authority, other) = (Authority::new("ca", folder.path()), Authority::new("other", folder.path()));
    let (a, b) = (authority.issue("a", &["a.example"]), authority.issue("b", &["b.example"]));
    let certificates = |cert: &Path, key: &Path| json!({ "certificates": [{ "cert": cert, "key": key }] });
    let check = |tls: &Value, key: &str, says: &str| refused(folder.path(), tls, key, says);

    check(&certificates(&a.cert, &b.key), "certificates[0].key", "is not the key of the certificate in");
    check(&certificates(&at("none"), &a.key), "certificates[0].cert", "cannot be read: No such file");
    check(&certificates(&a.cert, folder.path()), "certificates[0].key", "is no file");
    std::fs::write(at("empty"), "").unwrap();
    check(&certificates(&at("empty"), &a.key), "certificates[0].cert", "holds no certificate");
    check(&certificates(&a.cert, &at("empty")), "certificates[0].key", "holds no private key");
    check(&certificates(&a.key, &a.key), "certificates[0].cert", "holds no certificate");
    std::fs::write(at("torn"), &std::fs::read(&a.cert).unwrap()[..300]).unwrap();
    check(&certificates(&at("torn"), &a.key), "certificates[0].cert", "cannot be read as PEM");

    let whole = std::fs::read_to_string(&a.cert).unwrap();
    let (own, above) = whole.split_at(whole.rfind("-----BEGIN").unwrap());
    std::fs::write(at("reversed"), format!("{above}{own}")).unwrap();
    check(&certificates(&at("reversed"), &a.key), "certificates[0].cert", "stands first, then who issued it");
    std::fs::write(at("strange"), format!("{own}{}", std::fs::read_to_string(&other.ca).unwrap())).unwrap();
    check(&certificates(&at("strange"), &a.key), "certificates[0].cert", "is not of who issued certificate 1");

    let old = authority.until("old", &["a.example"], 2020, 1, 31);
    check(
        &certificates(&old.cert, &old.key),
        "certificates[0].cert",
        "has expired: it was good until Fri, 31 Jan 2020",
    );

    let Some(openssl) = foreign::program("openssl") else { return };
    let locked = at("locked.key");
    let mut encrypt = Command::new(openssl);
    encrypt.args(["pkcs8", "-topk8", "-passout", "pass:secret", "-in"]).arg(&a.key).arg("-out").arg(&locked);
    foreign::finish(&mut encrypt);
    check(&certificates(&a.cert, &locked), "certificates[0].key", "holds an encrypted key");

    let own = json!([a.json()]);
    let with_clients = |ca: &Path| json!({ "certificates": own, "client_auth": "require", "client_ca": ca });
    check(&with_clients(&at("empty")), "client_ca", "holds no certificate");
    check(&with_clients(&at("none")), "client_ca", "cannot be read");
    let mut revoked = with_clients(&authority.ca);
    revoked["client_crls"] = json!([at("empty")]);
    check(&revoked, "client_crls[0]", "holds no revocation list");
}

#[test]
fn what_cannot_be_meant_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let own = json!([authority.issue("a", &["a.example"]).json()]);
    for (tls, key, says) in [
        (json!({ "certificates": [] }), "certificates", "expected at least one"),
        (json!({ "certificates": own, "alpn": [] }), "alpn", "expected `h2`, `http/1.1` or both"),
        (json!({ "certificates": own, "alpn": ["spdy"] }), "alpn[0]", "expected `h2` or `http/1.1`"),
        (json!({ "certificates": own, "min_version": "1.1" }), "min_version", "expected `1.2` or `1.3`"),
        (json!({ "certificates": own, "client_auth": "require" }), "client_auth", "expected `client_ca`, too"),
        (json!({ "certificates": own, "client_ca": authority.ca }), "client_ca", "nobody is asked for a certificate"),
        (json!({ "certificates": own, "ocsp_stapling": true }), "ocsp_stapling", "OCSP stapling is not offered"),
        (json!({ "certificates": own, "handshake_timeout": "0s" }), "handshake_timeout", "expected"),
    ] {
        refused(folder.path(), &tls, key, says);
    }
}

#[test]
fn a_proxy_starts_with_a_certificate_that_has_expired_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = chaos_tests::fleet::Origin::named("a");
    let old = authority.until("old", &["a.example"], 2020, 1, 31);
    let proxy = super::stage::listening(&[origin.address], &json!({ "certificates": [old.json()] }));
    let says = "has expired: it was good until Fri, 31 Jan 2020";
    chaos_tests::wait_for("the line", chaos_tests::SOON, || proxy.log().contains(says));
    assert_eq!(proxy.metric("outrigger_tls_certificate_not_after_timestamp_seconds", &[]), [1_580_428_800.0]);
}
