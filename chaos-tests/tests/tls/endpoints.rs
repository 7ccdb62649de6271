//! What is promised where instances speak TLS: nginx, HAProxy and `openssl s_server` at the far end.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use chaos_tests::fleet::Origin;
use chaos_tests::foreign::{self, Nginx};
use chaos_tests::proxy::{Proxy, free_address, outrigger};
use chaos_tests::{SOON, raw, wait_for};
use serde_json::{Value, json};

use super::stage::{Authority, Files};

/// An nginx with a certificate, that says what it was asked.
fn nginx(files: &Files, more: &str) -> Option<Nginx> {
    let block = format!(
        "server {{ listen LISTEN ssl http2; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {}; ssl_certificate_key {}; {more}\n\
         location / {{ return 200 \"$server_protocol $ssl_protocol $ssl_server_name $ssl_session_reused $ssl_client_s_dn\\n\"; }} }}",
        files.cert.display(),
        files.key.display()
    );
    Nginx::start(&block, &[])
}

fn to(instances: &Value, tls: &Value) -> Value {
    let mut config = json!({ "services": { "app": { "instances": instances } }, "routes": [{ "service": "app" }] });
    if !tls.is_null() {
        config["services"]["app"]["tls"] = tls.clone();
    }
    config
}

fn before(address: SocketAddr, tls: &Value) -> Proxy {
    Proxy::start(&to(&json!([address.to_string()]), tls))
}

fn get(proxy: &Proxy) -> raw::Message {
    raw::ask(proxy.address, "GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
}

/// Waits until attempts have failed for a reason.
fn failed(proxy: &Proxy, token: &str) {
    wait_for(&format!("an attempt that is {token}"), SOON, || {
        proxy.metric("outrigger_attempts_total", &[token]).iter().sum::<f64>() >= 1.0
    });
}

#[test]
fn nginx_is_verified_by_our_authority_and_gets_requests() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let Some(nginx) = nginx(&authority.issue("nginx", &["api.example"]), "") else { return };
    let proxy = before(nginx.address, &json!({ "ca": authority.ca, "server_name": "api.example" }));
    let answer = get(&proxy);
    assert_eq!(answer.status(), 200);
    assert!(answer.text().starts_with("HTTP/1.1 TLSv1.3 api.example . "), "{}", answer.text());
    let shown = proxy.admin("/api/v1/services").unwrap().text();
    assert!(shown.contains("\"tls\":\"api.example\""), "{shown}");
}

#[test]
fn who_does_not_verify_gets_no_request_and_the_row_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new("ca", folder.path()), Authority::new("other", folder.path()));
    let good = authority.issue("nginx", &["api.example"]);
    let old = authority.until("old", &["api.example"], 2020, 1, 1);
    let (Some(fresh), Some(expired)) = (nginx(&good, ""), nginx(&old, "")) else { return };
    for (address, tls) in [
        // Another authority, another name, the address for want of a name, the system's authorities, and a date.
        (fresh.address, json!({ "ca": other.ca, "server_name": "api.example" })),
        (fresh.address, json!({ "ca": authority.ca, "server_name": "other.example" })),
        (fresh.address, json!({ "ca": authority.ca })),
        (fresh.address, json!({ "server_name": "api.example" })),
        (expired.address, json!({ "ca": authority.ca, "server_name": "api.example" })),
    ] {
        let proxy = before(address, &tls);
        let answer = get(&proxy);
        assert_eq!(answer.status(), 502, "{tls}");
        let status = answer.head.field("proxy-status").unwrap_or_default();
        assert!(status.contains("error=tls_certificate_error"), "{tls}: {status}");
        failed(&proxy, "tls_certificate_error");
    }
    let log = std::fs::read_to_string(fresh.folder.path().join("error.log")).unwrap_or_default();
    assert!(!log.contains("GET"), "{log}");
}

#[test]
fn not_verifying_is_spelled_out_logged_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let Some(nginx) = nginx(&authority.until("old", &["other"], 2020, 1, 1), "") else { return };
    let tls = json!({ "insecure_skip_verify": true });
    let proxy = before(nginx.address, &tls);
    assert_eq!(get(&proxy).status(), 200);
    assert!(
        proxy
            .log()
            .contains("services.app.tls.insecure_skip_verify: the certificates of its instances are not verified")
    );
    assert!(proxy.admin("/api/v1/services").unwrap().text().contains("\"tls\":\"127.0.0.1, not verified\""));
    let admin = format!("http://{}", proxy.admin);
    let said = foreign::said(&outrigger(&["services", "app", "--admin", &admin]));
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(line.contains("TLS as 127.0.0.1, not verified"), "{said}");
    let said = foreign::said(&outrigger(&["check", "--explain", &proxy.config().display().to_string()]));
    assert!(said.contains("NOT VERIFIED (insecure_skip_verify)"), "{said}");
    let said = foreign::said(&outrigger(&["check", &proxy.config().display().to_string()]));
    assert!(said.contains("warning: services.app.tls.insecure_skip_verify"), "{said}");
}

#[test]
fn http2_is_agreed_upon_or_refused_and_never_supposed() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let files = authority.issue("nginx", &["api.example"]);
    let Some(nginx) = nginx(&files, "") else { return };
    let trust = json!({ "ca": authority.ca, "server_name": "api.example" });
    let speaking = |address: SocketAddr| {
        let mut config = to(&json!([address.to_string()]), &trust);
        config["services"]["app"]["protocol"] = "http2".into();
        Proxy::start(&config)
    };
    let proxy = speaking(nginx.address);
    assert!(get(&proxy).text().starts_with("HTTP/2.0 TLSv1.3 api.example"), "{}", get(&proxy).text());
    // A server that has never heard of ALPN.
    let address = free_address();
    let Some(openssl) = foreign::program("openssl") else { return };
    let _server = s_server(&openssl, address, &files, &["-www"]);
    let proxy = speaking(address);
    let status = get(&proxy).head.field("proxy-status").unwrap_or_default().to_owned();
    assert!(status.contains("error=tls_protocol_error"), "{status}");
}

struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn s_server(openssl: &Path, address: SocketAddr, files: &Files, more: &[&str]) -> Server {
    let mut command = Command::new(openssl);
    command.args(["s_server", "-accept", &address.to_string(), "-quiet", "-cert"]).arg(&files.cert);
    command.arg("-key").arg(&files.key).arg("-cert_chain").arg(&files.cert).args(more);
    let server = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("s_server", SOON, || raw::Connection::try_open(address).is_ok());
    Server(server)
}

#[test]
fn a_plain_port_an_alert_and_a_silent_port_have_rows_of_their_own_and_another_instance_answers() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let files = authority.issue("nginx", &["api.example"]);
    let plain = Origin::named("plain");
    // It asks for what we do not speak: TLS 1.1 at most is refused by our least version on its side.
    let old = free_address();
    let Some(openssl) = foreign::program("openssl") else { return };
    let _old = s_server(&openssl, old, &files, &["-tls1_2", "-cipher", "AES128-SHA"]);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let trust = json!({ "ca": authority.ca, "server_name": "api.example" });
    for (address, token) in [
        (plain.address, "tls_protocol_error"),
        (old, "tls_alert_received"),
        (silent.local_addr().unwrap(), "connection_timeout"),
    ] {
        let proxy = before(address, &trust);
        let answer = get(&proxy);
        let status = answer.head.field("proxy-status").unwrap_or_default();
        assert!(status.contains(&format!("error={token}")), "{token}: {} {status}", answer.status());
        // Beside one that is good, nobody notices, whatever the method: nothing was written.
        let Some(good) = nginx(&files, "") else { return };
        let both = json!([address.to_string(), good.address.to_string()]);
        let mut config = to(&both, &trust);
        config["services"]["app"]["retries"] = json!({ "max": 0 });
        let proxy = Proxy::start(&config);
        for _ in 0..8 {
            let request = "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
            let answer = raw::ask(proxy.address, request);
            assert!(answer.text().starts_with("HTTP/1.1 TLSv1.3"), "{token}: {} {}", answer.status(), answer.text());
        }
    }
    assert_eq!(plain.requests(), 0);
}

#[test]
fn an_instance_below_the_least_version_gets_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let files = authority.issue("nginx", &["api.example"]);
    let Some(openssl) = foreign::program("openssl") else { return };
    let old = free_address();
    let _old = s_server(&openssl, old, &files, &["-tls1_2", "-www"]);
    let trust = |least: &str| json!({ "ca": authority.ca, "server_name": "api.example", "min_version": least });
    let answer = get(&before(old, &trust("1.2")));
    assert!(answer.status() == 200 && answer.text().contains("TLSv1.2"), "{} {}", answer.status(), answer.text());
    let answer = get(&before(old, &trust("1.3")));
    let told = answer.head.field("proxy-status").unwrap_or_default();
    assert!(answer.status() == 502 && told.contains("error=tls_"), "{} {told}", answer.status());
}

#[test]
fn instances_may_say_so_themselves_in_the_file_and_in_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let Some(nginx) = nginx(&authority.issue("nginx", &["localhost", "api.example"]), "") else { return };
    let plain = Origin::named("plain");
    let port = nginx.address.port();
    // `SSL_CERT_FILE` is where the system's authorities are.
    let with_ours = |config: &Value| {
        let proxy = Proxy::start_with(config, |command| {
            command.env("SSL_CERT_FILE", &authority.ca);
        });
        proxy.wait_ready();
        proxy
    };
    let proxy = with_ours(&to(&json!([format!("https://localhost:{port}")]), &Value::Null));
    assert!(get(&proxy).text().starts_with("HTTP/1.1 TLSv1.3 localhost"), "{}", get(&proxy).text());

    let registry = folder.path().join("services.json");
    let address = nginx.address.to_string();
    let services = json!({ "services": { "app": [
        { "address": address, "tags": ["outrigger.scheme=https", "outrigger.server_name=api.example"] },
        { "address": plain.address.to_string() },
    ], "meta": [
        { "address": address, "meta": { "outrigger-scheme": "https", "outrigger-server-name": "api.example" } },
    ] } });
    std::fs::write(&registry, services.to_string()).unwrap();
    let mut config = json!({ "registries": { "file": { "path": registry } } });
    config["services"] = json!({ "app": {} });
    let proxy = with_ours(&config);
    let mut seen = std::collections::BTreeSet::new();
    wait_for("answers of both", SOON, || {
        let text = get(&proxy).text();
        seen.insert(text.split(' ').nth(2).unwrap_or("plain").trim().to_owned());
        seen.len() == 2
    });
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["api.example", "plain"]);
    // One that nobody has declared.
    let named = raw::ask(proxy.address, "GET / HTTP/1.1\r\nHost: meta\r\nConnection: close\r\n\r\n");
    assert!(named.text().starts_with("HTTP/1.1 TLSv1.3 api.example"), "{} {}", named.status(), named.text());
}

#[test]
fn lb_speaks_tls_to_an_https_target() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let Some(nginx) = nginx(&authority.issue("nginx", &["localhost"]), "") else { return };
    let (address, admin) = (free_address(), free_address());
    let mut command = Command::new(chaos_tests::proxy::binary());
    command.args(["lb", "--listen", &address.to_string(), "--admin", &admin.to_string()]);
    command.arg(format!("https://localhost:{}", nginx.address.port())).env("SSL_CERT_FILE", &authority.ca);
    let _lb = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for("its listener", SOON, || raw::Connection::try_open(address).is_ok());
    let ask = || raw::ask(address, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    wait_for("an answer", SOON, || ask().status() == 200);
    assert!(ask().text().starts_with("HTTP/1.1 TLSv1.3 localhost"), "{}", ask().text());
}

#[test]
fn sessions_are_resumed_tickets_are_no_deaths_and_new_authorities_end_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let Some(nginx) = nginx(&authority.issue("nginx", &["api.example"]), "") else { return };
    let ca = folder.path().join("trusted.pem");
    std::fs::copy(&authority.ca, &ca).unwrap();
    let mut config = to(&json!([nginx.address.to_string()]), &json!({ "ca": ca, "server_name": "api.example" }));
    config["services"]["app"]["max_idle"] = 0.into();
    let resuming = Proxy::start(&config);
    wait_for("a session that is resumed", SOON, || get(&resuming).text().contains(" r "));
    // Kept connections: nginx sends its tickets behind the handshake, when nobody waits for anything.
    let keeping = before(nginx.address, &json!({ "ca": ca, "server_name": "api.example" }));
    for _ in 0..40 {
        assert_eq!(get(&keeping).status(), 200);
    }
    wait_for("the counts", SOON, || {
        keeping.metric("outrigger_attempts_total", &["\"ok\""]).iter().sum::<f64>() >= 40.0
    });
    let opened: f64 = keeping.metric("outrigger_upstream_connections_opened_total", &[]).iter().sum();
    assert!(opened <= 4.0, "{opened} connections for 40 requests, one after the other");
    // With another authority nothing of the old is good, a session either.
    let other = Authority::new("other", folder.path());
    super::stage::put(&ca, &std::fs::read_to_string(&other.ca).unwrap());
    wait_for("the new authority", SOON, || resuming.log().contains("certificates were read again"));
    assert_eq!(get(&resuming).status(), 502);
    // A connection that lives is not touched.
    assert_eq!(get(&keeping).status(), 200);
    // And what is not good keeps what was there.
    super::stage::put(&ca, "nothing\n");
    wait_for("the refusal", SOON, || resuming.log().contains("certificates stay as they were"));
}

#[test]
fn haproxy_that_wants_a_certificate_gets_ours() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let Some(haproxy) = foreign::program("haproxy") else { return };
    let server = authority.issue("haproxy", &["api.example"]);
    let bundle = folder.path().join("bundle.pem");
    let both = [std::fs::read(&server.cert).unwrap(), std::fs::read(&server.key).unwrap()].concat();
    std::fs::write(&bundle, both).unwrap();
    let address = free_address();
    let config = format!(
        "defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\nfrontend f\n bind {address} ssl crt {} \
         ca-file {} verify required alpn h2,http/1.1\n http-request return status 200 content-type text/plain lf-string \
         \"%[ssl_c_s_dn(cn)]\"\n",
        bundle.display(),
        authority.ca.display()
    );
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(haproxy);
    command.args(["-db", "-f"]).arg(&file);
    let _server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for("haproxy", SOON, || raw::Connection::try_open(address).is_ok());
    let own = authority.issue("own", &["proxy.example"]);
    let with = json!({ "ca": authority.ca, "server_name": "api.example", "cert": own.cert, "key": own.key });
    for protocol in ["http1", "http2"] {
        let mut config = to(&json!([address.to_string()]), &with);
        config["services"]["app"]["protocol"] = protocol.into();
        let proxy = Proxy::start(&config);
        let answer = get(&proxy);
        assert_eq!((answer.status(), answer.text().trim()), (200, "proxy.example"), "{protocol}");
    }
    // Without one, it is refused: in TLS 1.3 only behind the handshake, when the request is written already.
    let proxy = before(address, &json!({ "ca": authority.ca, "server_name": "api.example" }));
    assert_eq!(get(&proxy).status(), 502);
}

#[test]
fn a_body_that_ends_with_its_connection_is_whole_only_behind_close_notify() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let files = authority.issue("server", &["api.example"]);
    let Some(python) = foreign::program("python3") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/tls_until_close.py");
    for (ends, whole) in [("clean", true), ("cut", false)] {
        let mut command = Command::new(&python);
        command.arg(&script).arg(&files.cert).arg(&files.key).arg(ends);
        let (_server, address) = foreign::Process::server(&mut command);
        let proxy = before(address, &json!({ "ca": authority.ca, "server_name": "api.example" }));
        let request = "GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";
        let mut connection = raw::Connection::try_open(proxy.address).unwrap();
        connection.try_send(request).unwrap();
        let answer = connection.try_answer("GET");
        let got_all = answer.as_ref().is_ok_and(|answer| answer.status() == 200 && answer.body.len() == 200_000);
        assert_eq!(got_all, whole, "{ends}: {answer:?}");
    }
}

#[test]
fn a_health_check_speaks_tls_as_requests_do() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca", folder.path());
    let Some(nginx) = nginx(&authority.issue("nginx", &["api.example"]), "") else { return };
    for (name, says) in [("api.example", "passing"), ("other.example", "failing: TLS: ")] {
        let mut config = to(&json!([nginx.address.to_string()]), &json!({ "ca": authority.ca, "server_name": name }));
        config["services"]["app"]["health_check"] = json!({ "http": "/", "interval": "100ms", "timeout": "100ms" });
        let proxy = Proxy::start(&config);
        wait_for(says, SOON, || {
            let shown = proxy.admin("/api/v1/services").unwrap().text();
            shown.contains(&format!("\"check\":\"{says}"))
        });
    }
}
