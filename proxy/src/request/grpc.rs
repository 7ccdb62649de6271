//! Which requests are gRPC's, and in which dialect.
//!
//! Two things depend on it. A gRPC call may be a stream of hours, so it obeys its caller's deadline and not its
//! route's. And its client reads from `grpc-status` how a call ended, so answers that are made here must have one.
//! Both hold for gRPC proper only, which is HTTP/2 with `te: trailers` (the protocol's own test of whether a proxy on
//! the way understands it). The content type alone is not enough: any HTTP/1.1 client can state it, and could switch
//! its route's timeout off that way.
//!
//! gRPC-Web is another protocol, made for clients that see neither HTTP/2 nor trailers. It runs over either version, its
//! calls are bounded like any request, and its trailers are the last frame of the body. Its clients read the status
//! from that frame, because they may see nothing else: a browser shows a page of another origin only the fields that
//! are exposed to it, and an HTTP status has no room for a reason.

use crate::http::Head;
use crate::http::head::{Name, Version};

/// Which dialect of gRPC a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// It is no gRPC.
    None,
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web; `text` where its bodies are in base64.
    Web {
        /// `application/grpc-web-text`.
        text: bool,
    },
}

/// The gRPC status that an answer's head or its trailers state.
pub fn status_of(fields: &Head) -> Option<u8> {
    std::str::from_utf8(fields.first(Name::GrpcStatus)?).ok()?.parse().ok()
}

impl Dialect {
    /// The dialect that a request's head states.
    pub fn of(head: &Head) -> Self {
        let Some(kind) = head.first(Name::ContentType) else { return Self::None };
        let Some(rest) = after(kind, b"application/grpc") else { return Self::None };
        match rest {
            // A message's format may follow: `+proto`.
            [] | [b'+' | b';' | b' ' | b'\t', ..] => {
                let proper = head.version() == Version::Http2 && head.lists(Name::Te, b"trailers");
                if proper { Self::Grpc } else { Self::None }
            }
            _ => match (after(rest, b"-web-text"), after(rest, b"-web")) {
                (Some([] | [b'+' | b';' | b' ' | b'\t', ..]), _) => Self::Web { text: true },
                (_, Some([] | [b'+' | b';' | b' ' | b'\t', ..])) => Self::Web { text: false },
                _ => Self::None,
            },
        }
    }
}

/// The content type of an answer to a gRPC-Web request: what the request named, without parameters, since the client may
/// compare it with what it asked for.
pub fn content_type(request: &Head) -> &[u8] {
    let kind = request.first(Name::ContentType).unwrap_or(b"application/grpc-web");
    let end = kind.iter().position(|b| matches!(b, b';' | b' ' | b'\t')).unwrap_or(kind.len());
    &kind[..end]
}

/// A body that is gRPC-Web's trailers alone: a frame whose first bit says what it is, its length, and lines of fields.
pub fn web_trailers(status: &str, message: &str, text: bool) -> Vec<u8> {
    let lines = format!("grpc-status:{status}\r\ngrpc-message:{message}\r\n");
    let length = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    let frame = [&[0x80], &length.to_be_bytes()[..], lines.as_bytes()].concat();
    if text { base64(&frame) } else { frame }
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        let digits = [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 0x3f) as usize]);
        out.extend_from_slice(&digits[..=three.len()]);
        out.extend(std::iter::repeat_n(b'=', 3 - three.len()));
    }
    out
}

/// What follows a prefix, whatever its case.
fn after<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, kind: &str, te: Option<&str>) -> Head {
        let mut head = Head::default();
        head.set_request(b"POST", b"/shop.Cart/Add", version).unwrap();
        head.push(b"content-type", kind.as_bytes()).unwrap();
        if let Some(te) = te {
            head.push(b"te", te.as_bytes()).unwrap();
        }
        head
    }

    #[test]
    fn grpc_is_its_content_type_over_http_2_with_te_trailers_and_nothing_less() {
        use Dialect::{Grpc, None, Web};
        use Version::{Http2, Http10, Http11};
        let trailers = Some("trailers");
        for (kind, proper, otherwise) in [
            ("application/grpc", Grpc, None),
            ("application/grpc+proto", Grpc, None),
            ("Application/GRPC; charset=utf-8", Grpc, None),
            ("application/grpc-web", Web { text: false }, Web { text: false }),
            ("application/grpc-web+proto", Web { text: false }, Web { text: false }),
            ("application/grpc-web-text", Web { text: true }, Web { text: true }),
            ("application/grpc-web-text+proto", Web { text: true }, Web { text: true }),
            ("application/grpc-websocket", None, None),
            ("application/grpcweb", None, None),
            ("application/grp", None, None),
            ("application/json", None, None),
        ] {
            assert_eq!(Dialect::of(&request(Http2, kind, trailers)), proper, "{kind}");
            assert_eq!(Dialect::of(&request(Http2, kind, Option::None)), otherwise, "{kind} without te");
            assert_eq!(Dialect::of(&request(Http11, kind, trailers)), otherwise, "{kind} over HTTP/1.1");
            assert_eq!(Dialect::of(&request(Http10, kind, trailers)), otherwise, "{kind} over HTTP/1.0");
        }
        assert_eq!(Dialect::of(&Head::default()), None);
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded.as_bytes(), "{plain}");
        }
    }
}
