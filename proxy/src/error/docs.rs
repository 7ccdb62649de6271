//! `docs/errors.md`: every reason by its token, what it means, and what to do.
//!
//! Never edited by hand: a test writes it anew and compares.

use std::fmt::Write;

use super::{Blame, Reason, Retry, Row};

/// What whoever looks after the service, or calls it, does about it.
fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::BadRequest | Reason::UnsupportedCoding => {
            "Mend the client; the body of the answer names the rule that is broken."
        }
        Reason::HeadTooLarge => "Look for cookies or tokens that grow; raise the limit if they are meant.",
        Reason::HeadTimeout | Reason::BodyTimeout => {
            "Look at the client and its network. A stream that rests for longer needs a heartbeat of its own, or a longer time."
        }
        Reason::TooSlow => {
            "Raise `max_connections` or `http.max_buffered`, or lower `http.min_rate`, if such clients are to be served."
        }
        Reason::MemoryShort => {
            "Look for clients that do not read and bodies that are large; raise the limit if there is memory."
        }
        Reason::ConnectMethod => {
            "Give the client `http_proxy` and plain URLs; TLS to other hosts goes around the proxy."
        }
        Reason::Loop => {
            "Look for a service whose registered address is this proxy's, or for two proxies that send to each other."
        }
        Reason::MaxForwards => "Nothing: the client asked how far its request comes.",
        Reason::AccessDenied => {
            "See in the access log (`rule`), or in the log, which rule of `access` it was. Nothing, where the rule is meant."
        }
        Reason::Misdirected => {
            "Nothing, mostly: a client that understands the status asks again over another connection. One that does not has to keep a connection to the host that it was made for."
        }
        Reason::NoRoute => "Check the host, and the routes by `outrigger check`.",
        Reason::NameNotAllowed => "Add the name to `names.allow`, or declare the service.",
        Reason::UnknownService => "Check the name, and that an instance is registered: `outrigger services`.",
        Reason::RegistryTimeout => "Check the registry; `outrigger services` has its last error.",
        Reason::TooManyNames => "Look for clients that make names up; raise the limit if there are as many services.",
        Reason::NoEndpoint => {
            "Start instances, or see in `outrigger services NAME` why those that there are take no traffic."
        }
        Reason::BareSubset => {
            "Check `subset` against the tags and metadata in the registry, start such instances, or give it a `fallback_subset`."
        }
        Reason::ConnectionLimit => {
            "Raise `max_connections`, or add instances. `outrigger services NAME` shows whether one is slow and keeps its connections."
        }
        Reason::OutOfResources => "Raise the limit of file descriptors (`ulimit -n`) or the range of local ports.",
        Reason::ConnectFailed => "See whether the instance runs and listens at the address that the registry has.",
        Reason::ConnectTimeout => {
            "See whether the instance's host is up and reachable; raise `connect_timeout` where it is far away."
        }
        Reason::TlsCertificate => {
            "See by `openssl s_client -connect ADDRESS -servername NAME` which certificate it shows. It has to be for the name in `outrigger services NAME` (`tls.server_name` sets another), not expired, and of an authority of the system's or of `tls.ca`."
        }
        Reason::TlsAlert => {
            "See the instance's log; give it `tls.cert` and `tls.key`, or the `tls.server_name` that it knows."
        }
        Reason::TlsProtocol => {
            "See whether the instance speaks TLS at that port, of `tls.min_version` at least, and HTTP/2 by ALPN where `protocol` is `http2`."
        }
        Reason::UpstreamClosed => {
            "See the instance's log: it crashed, ran out of time, or closes connections that were idle for a shorter time than `idle_timeout`."
        }
        Reason::UpstreamProtocol => "Mend the instance, or set `protocol` to what it speaks.",
        Reason::UpstreamHeadTooLarge => "Mend the instance, or raise the limits.",
        Reason::Timeout => {
            "See in `outrigger services NAME` whether one instance is slow or all are; raise `timeout` where answers take as long."
        }
        Reason::UpstreamStatus | Reason::UpstreamError => {
            "See the instance's log; `outrigger explain ID` says which one it was."
        }
        Reason::BreakerOpen => {
            "Nothing at the proxy: it closes by itself as soon as the service answers. See what is wrong with its instances."
        }
        Reason::LimitReached | Reason::QueueTimeout => {
            "Add instances, or shed load; raise `limit` only if the service can do more."
        }
        Reason::BulkheadFull => "See what that caller or route does; raise its `bulkhead` if it is meant.",
        Reason::ClientGone => {
            "Compare the client's timeout with `timeout`: many of these with one duration are a timeout of its."
        }
        Reason::Draining => {
            "Nothing: another one takes over. Lengthen `shutdown.lame_duck` if it is still sent requests."
        }
        Reason::FaultReset => "End the fault, if it is not meant.",
        Reason::Internal => "Report it, with the log.",
    }
}

fn whose(blame: Blame) -> &'static str {
    match blame {
        Blame::Client => "client",
        Blame::Endpoint => "instance",
        Blame::Answer => "instance, unless others answer alike",
        Blame::Proxy => "proxy",
    }
}

fn again(retry: Retry) -> &'static str {
    match retry {
        Retry::Never => "no",
        Retry::Replayable => "if it may be repeated",
        Retry::Safe => "yes",
    }
}

/// The page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Errors\n\n\
         <!-- Made from `proxy/src/error/table.rs`: UPDATE_DOCS=1 cargo test -p outrigger --lib docs -->\n\n\
         Whatever goes wrong with a request, or with one attempt of it, has one token. It is the same in `reason` of the access log, of \
         metrics (`result` in `outrigger_attempts_total`) and of JSON answers, in `outrigger explain`, in `outrigger availability`, in the \
         text of an answer (`outrigger: 504 http_response_timeout: …`), and in `Proxy-Status`, where it begins `details`:\n\n\
         ```text\nProxy-Status: outrigger; error=connection_refused; details=\"connect_failed: orders: the instance could not be connected to\"\n```\n\n\
         `error` there is a type that is registered (RFC 9209), for programs that know nothing of Outrigger. Where a type means one reason and \
         nothing else, it is the token, too. [ADR 21](adr/0021-one-token.md) says why.\n\n\
         *Whose*: who is to blame; only what an instance is to blame for is held against it. *Again*: whether another attempt is made.\n\n",
    );
    for &reason in Reason::ALL {
        let Row { token, status, proxy_status, grpc, blame, retry, advice } = reason.row();
        let capital = advice.get(..1).unwrap_or_default().to_uppercase() + advice.get(1..).unwrap_or_default();
        let (whose, again, remedy) = (whose(blame), again(retry), remedy(reason));
        // Writing to a string does not fail.
        let _never = write!(
            page,
            "## `{token}`\n\n{capital}. {remedy}\n\n\
             | status | gRPC | `error` in `Proxy-Status` | whose | again |\n|---|---|---|---|---|\n\
             | {status} | {grpc} | `{proxy_status}` | {whose} | {again} |\n\n"
        );
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_of_errors_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
        let page = markdown();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == page, "docs/errors.md is stale; run this test with UPDATE_DOCS=1");
    }

    #[test]
    fn a_token_is_one_reason_s_and_no_registered_type_that_others_have_too() {
        let tokens: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.token()).collect();
        assert_eq!(tokens.len(), Reason::ALL.len());
        for &reason in Reason::ALL {
            let Row { token, proxy_status, .. } = reason.row();
            let of_the_type = Reason::ALL.iter().filter(|other| other.row().proxy_status == token);
            assert!(token != proxy_status || of_the_type.count() == 1, "{token} is the type of others, too");
        }
    }
}
