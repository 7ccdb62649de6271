//! Who may ask the admin API, and who may change something through it.
//!
//! Reading is for whoever reaches the port, probes and metrics before all; what protects it is the address. Two ways in
//! need more than that. A web page whose host name resolves to this machine (DNS rebinding) reads what a browser here can
//! reach: so on loopback, and where `admin.hosts` says what names are ours, a request whose `Host` is another name is
//! refused; probes are not, they tell nothing. And whoever changes something from another machine has to know the token of
//! `admin.token_file`; without one, changes come from this machine or not at all.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::Full;

use super::respond::{Failure, json};
use crate::config::settings::AdminAccess;
use crate::http::host::literal;

/// The longest token that is read.
const MAX_TOKEN: u64 = 4096;

impl AdminAccess {
    /// Why a request is not answered; none where it is. `loopback`: whether the API listens there.
    pub(super) fn refuse(&self, request: &Parts, loopback: bool, peer: SocketAddr) -> Option<Response<Full<Bytes>>> {
        if matches!(request.uri.path(), "/livez" | "/readyz") {
            return None;
        }
        if (loopback || !self.hosts.is_empty()) && !self.knows(request) {
            let error =
                "the admin API answers to addresses, localhost and the names of `admin.hosts`, not to this Host";
            return Some(json(StatusCode::FORBIDDEN, &Failure { error }));
        }
        if matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return None;
        }
        match &self.token_file {
            None if loopback || peer.ip().to_canonical().is_loopback() => None,
            None => {
                let error = "changes from another machine need a token: name its file in `admin.token_file`";
                Some(json(StatusCode::FORBIDDEN, &Failure { error }))
            }
            Some(file) => match read_token(file) {
                Ok(token) if carries(request, &token) => None,
                Ok(_) => {
                    let error = "a change needs the token of `admin.token_file`: `Authorization: Bearer TOKEN`";
                    let mut answer = json(StatusCode::UNAUTHORIZED, &Failure { error });
                    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                    Some(answer)
                }
                Err(error) => {
                    tracing::error!(%error, file = %file.display(), "the token of the admin API cannot be read");
                    let error = "the file of `admin.token_file` cannot be read";
                    Some(json(StatusCode::FORBIDDEN, &Failure { error }))
                }
            },
        }
    }

    /// Whether the request names this machine: an address, `localhost`, a name that was configured, or nothing.
    fn knows(&self, request: &Parts) -> bool {
        let mut hosts = request.headers.get_all(HOST).iter();
        let named = match (hosts.next(), hosts.next()) {
            (None, _) => Some(""),
            (Some(host), None) => host.to_str().ok(),
            (Some(_), Some(_)) => None,
        };
        let target = request.uri.authority().map(http::uri::Authority::as_str);
        named.into_iter().chain(target).all(|host| self.is_ours(host)) && named.is_some()
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && literal(host).is_none() => name,
            _ => host,
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let local = name.is_empty() || name == "localhost" || name.ends_with(".localhost") || literal(&name).is_some();
        local || self.hosts.contains(&name)
    }
}

/// Read for each change, so that a token that is rotated counts at once.
fn read_token(file: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut token = String::new();
    std::fs::File::open(file)?.take(MAX_TOKEN).read_to_string(&mut token)?;
    let token = token.trim().to_owned();
    if token.is_empty() { Err(std::io::Error::other("it is empty")) } else { Ok(token) }
}

fn carries(request: &Parts, token: &str) -> bool {
    let mut fields = request.headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    let Some((scheme, given)) = field.to_str().ok().and_then(|field| field.split_once(' ')) else { return false };
    scheme.eq_ignore_ascii_case("bearer") && same(given.trim().as_bytes(), token.as_bytes())
}

/// In a time that tells nothing but the length.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differs = one.iter().zip(other).fold(0, |differs, (a, b)| std::hint::black_box(differs | (a ^ b)));
    one.len() == other.len() && differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(host: &str) -> bool {
        AdminAccess { hosts: vec!["outrigger.svc".into()], token_file: None }.is_ours(host)
    }

    #[test]
    fn names_of_this_machine_are_local_and_no_others() {
        for host in [
            "",
            "localhost",
            "LOCALHOST:9901",
            "a.localhost",
            "127.0.0.1:9901",
            "[::1]:9901",
            "[::1]",
            "::1",
            "localhost.:1",
            "10.1.2.3",
            "outrigger.svc",
            "Outrigger.SVC:9901",
        ] {
            assert!(ours(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9901",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "localhost:80:80",
            "a b",
            "a.outrigger.svc",
        ] {
            assert!(!ours(host), "{host}");
        }
    }

    #[test]
    fn a_change_needs_what_its_address_asks_for_and_a_probe_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let with = |token: bool| AdminAccess { hosts: Vec::new(), token_file: token.then(|| file.path().to_owned()) };
        let (here, there) = ("127.0.0.1:5", "10.0.0.9:5");
        let ask = |access: &AdminAccess, loopback, method: &str, path: &str, peer: &str, field: &str| {
            let mut request = http::Request::builder().method(method).uri(path).header("host", "evil.example");
            if loopback {
                request = http::Request::builder().method(method).uri(path).header("host", "localhost");
            }
            if !field.is_empty() {
                request = request.header("authorization", field);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            access.refuse(&parts, loopback, peer.parse().unwrap()).map_or(200, |answer| answer.status().as_u16())
        };
        // The token, listening on loopback, the method, the path, who asks, the field; and the answer.
        let table = [
            (false, true, "POST", "/api/v1/faults", here, "", 200),
            (false, false, "POST", "/api/v1/faults", here, "", 200),
            (false, false, "POST", "/api/v1/faults", there, "", 403),
            (false, false, "DELETE", "/api/v1/faults/1", there, "Bearer s3cret", 403),
            (false, false, "GET", "/api/v1/services", there, "", 200),
            (true, true, "POST", "/api/v1/faults", here, "", 401),
            (true, true, "POST", "/api/v1/faults", here, "Bearer s3cret", 200),
            (true, false, "POST", "/api/v1/faults", there, "bearer s3cret", 200),
            (true, false, "POST", "/api/v1/faults", there, "Bearer s3cre", 401),
            (true, false, "POST", "/api/v1/faults", there, "Bearer s3cretx", 401),
            (true, false, "POST", "/api/v1/faults", there, "Bearer s3creT", 401),
            (true, false, "POST", "/api/v1/faults", there, "Basic s3cret", 401),
            (true, false, "DELETE", "/api/v1/drills/x", there, "", 401),
            (true, false, "GET", "/livez", there, "", 200),
            (true, false, "GET", "/metrics", there, "", 200),
        ];
        for (token, loopback, method, path, peer, field, status) in table {
            let got = ask(&with(token), loopback, method, path, peer, field);
            assert_eq!(got, status, "{token} {loopback} {method} {path} {peer} {field}");
        }
        std::fs::write(file.path(), "\n").unwrap();
        assert_eq!(ask(&with(true), true, "POST", "/", here, "Bearer "), 403, "an empty token is none");
    }
}
