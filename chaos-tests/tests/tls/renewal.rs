//! Certificates that are replaced while the proxy runs.

use std::path::Path;

use chaos_tests::fleet::Origin;
use chaos_tests::proxy::Proxy;
use chaos_tests::{SOON, wait_for};
use serde_json::json;

use super::stage::{Authority, curl, listening, put, url};
use chaos_tests::foreign;

fn works(proxy: &Proxy, ca: &Path) -> Option<bool> {
    let mut command = curl(proxy, ca, "a.example")?;
    Some(foreign::output(command.arg(url(proxy, "a.example", "/"))).status.success())
}

#[test]
fn a_new_certificate_is_taken_up_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let files = authority.until("a", &["a.example"], 2090, 1, 1);
    let proxy = listening(&[origin.address], &json!({ "certificates": [files.json()] }));
    if works(&proxy, &authority.ca).is_none() {
        return;
    }
    let ends = || proxy.metric("outrigger_tls_certificate_not_after_timestamp_seconds", &["a.pem"]);
    wait_for("the metric", SOON, || ends() == [3_786_912_000.0]);

    // Bad: one line, and what was there stays.
    let good_key = std::fs::read_to_string(&files.key).unwrap();
    put(&files.key, "nothing\n");
    wait_for("the refusal", SOON, || {
        proxy.log().contains("certificates stay as they were: listeners[0].tls.certificates")
    });
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(proxy.log().matches("certificates stay as they were").count(), 1, "{}", proxy.log());
    assert_eq!(works(&proxy, &authority.ca), Some(true));
    put(&files.key, &good_key);
    wait_for("the same again", SOON, || proxy.log().contains("certificates were read again"));

    // Good: of another authority, so that nobody can take one for the other.
    let next = Authority::new("next", folder.path());
    next.until("a", &["a.example"], 2091, 1, 1);
    wait_for("the new certificate", SOON, || works(&proxy, &next.ca) == Some(true));
    assert_eq!(works(&proxy, &authority.ca), Some(false));
    wait_for("the new metric", SOON, || ends() == [3_818_448_000.0]);
}

#[test]
fn a_connection_that_lives_is_not_touched_by_a_new_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let files = authority.issue("a", &["a.example"]);
    let proxy = listening(&[origin.address], &json!({ "certificates": [files.json()] }));
    let Some(openssl) = foreign::program("openssl") else { return };
    let mut command = std::process::Command::new(openssl);
    command.args(["s_client", "-quiet", "-connect", &proxy.address.to_string(), "-servername", "a.example"]);
    let mut client = foreign::Process::start(command.stderr(std::process::Stdio::null()));
    let mut ask = || {
        client.tell("GET / HTTP/1.1\r\nHost: a.example\r\n\r");
        let mut lines = vec![client.line()];
        while lines.last().is_some_and(|line| line != "a") {
            lines.push(client.line());
        }
        lines.remove(0)
    };
    assert!(ask().starts_with("HTTP/1.1 200"));
    authority.issue("a", &["a.example"]);
    wait_for("the new certificate", SOON, || proxy.log().contains("certificates were read again"));
    assert!(ask().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let origin = Origin::named("a");
    let mut params = Authority::params(&["a.example"]);
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(10 * 24 * 3600 + 3600);
    params.not_after = soon.into();
    let files = authority.issue_as("a", params);
    let proxy = listening(&[origin.address], &json!({ "certificates": [files.json()] }));
    wait_for("the warning", SOON, || proxy.log().contains("ends in 10 days"));
}
