//! Answers that the proxy makes itself.
//!
//! Nobody should have to guess whether a 503 came from the service or from the proxy in front of it. Each of these
//! answers says that the proxy made it, why, about which service, and what to do. It says so in `Proxy-Status` (RFC
//! 9209) for machines, and in a short body for people, as JSON where the client asks for it. A gRPC client gets 200
//! with the status in the head. A gRPC-Web client has the status in the body, where that protocol's trailers are.

use std::rc::Rc;

use bytes::Bytes;

use crate::error::Reason;
use crate::forward::response_body::Download;
use crate::http::head::{Name, Version};
use crate::http::{Head, framing, write};
use crate::request::fields::RequestId;
use crate::request::grpc::{self, Dialect};

/// What the proxy says about a request that it answers itself.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// Why the proxy answers.
    pub reason: Reason,
    /// The service it was for, where one was found.
    pub service: Option<&'a str>,
    /// The request's id, where it has got one.
    pub id: Option<&'a RequestId>,
}

impl Refusal<'_> {
    /// The answer. `request` is the request's head; none where that could not be read.
    pub fn answer(&self, request: Option<&Head>) -> (Rc<Head>, Download) {
        let row = self.reason.row();
        let dialect = request.map_or(Dialect::None, Dialect::of);
        let json = request.and_then(|r| r.first(Name::Accept)).is_some_and(|a| contains(a, b"application/json"));
        let mut message = match self.service {
            Some(service) => format!("{service}: {}", row.advice),
            None => row.advice.to_owned(),
        };
        // Where there is a head that breaks a rule of framing, the answer names the rule.
        if matches!(self.reason, Reason::BadRequest | Reason::UnsupportedCoding)
            && let Some(rule) = request.and_then(framing::broken_rule)
        {
            message = format!("{message}: {rule}");
        }
        let status = if dialect == Dialect::None { row.status } else { 200 };
        let mut head = Head::default();
        let body = match dialect {
            Dialect::Grpc => Bytes::new(),
            Dialect::Web { text } => grpc::web_trailers(&row.grpc.to_string(), &percent_encoded(&message), text).into(),
            Dialect::None if json => Bytes::from(self.json(&message)),
            Dialect::None => Bytes::from(format!("outrigger: {} {}: {message}\n", row.status, row.token)),
        };
        let mut push = |name: &str, value: &str| {
            // All of these are short and made of printable ASCII.
            let _ = head.push(name.as_bytes(), value.as_bytes());
        };
        // The registered type often stands for several reasons; the token for one.
        let details = quoted(&format!("{}: {message}", row.token));
        push("Proxy-Status", &format!("outrigger; error={}; details=\"{details}\"", row.proxy_status));
        push("Date", &httpdate::fmt_http_date(std::time::SystemTime::now()));
        match dialect {
            Dialect::Grpc => {
                push("Content-Type", "application/grpc");
                push("grpc-status", &row.grpc.to_string());
                push("grpc-message", &percent_encoded(&message));
            }
            Dialect::Web { .. } => {
                let kind = request.map(grpc::content_type).unwrap_or_default();
                push("Content-Type", &String::from_utf8_lossy(kind));
                push("Cache-Control", "no-store");
            }
            Dialect::None => {
                push("Content-Type", if json { "application/json" } else { "text/plain; charset=utf-8" });
                push("Cache-Control", "no-store");
            }
        }
        match self.reason {
            Reason::ConnectMethod => push("Allow", ALLOW),
            Reason::MaxForwards => push("Allow", ALLOW),
            _ if row.status == 503 => push("Retry-After", "1"),
            _ => {}
        }
        let _ = head.set_status(status, write::reason(status).as_bytes(), Version::Http11);
        (Rc::new(head), if body.is_empty() { Download::Empty } else { Download::Held(body) })
    }

    fn json(&self, message: &str) -> String {
        let id = self.id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
        let error = serde_json::json!({
            "from": "outrigger",
            "status": self.reason.row().status,
            "reason": self.reason.token(),
            "service": self.service,
            "message": message,
            "request_id": id,
        });
        format!("{}\n", serde_json::json!({ "error": error }))
    }
}

const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// The inside of a quoted string of RFC 9651: printable ASCII, quotes and backslashes escaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.push('?'),
        }
    }
    out
}

/// `grpc-message` is percent-encoded UTF-8.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => out.push_str("%25"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
