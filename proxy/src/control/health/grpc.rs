//! `grpc.health.v1.Health/Check`, its two messages written and read by hand.
//!
//! Why by hand? Because a protobuf library, its code generator and a gRPC client on top of hyper are far more than what
//! they would be for here: one string out, one number in. The wire format is a published contract
//! (<https://protobuf.dev/programming-guides/encoding/>), and so is this protocol
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
//!
//! UNIMPLEMENTED is bad, as for every gRPC client with health checks of its own: a server that has no health service
//! cannot be told from one that has lost it. Because that is mostly an operator's oversight, it is said in words.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;

/// The question as a request.
pub fn request(service: &str, authority: SocketAddr, timeout: Duration) -> Result<Request<Full<Bytes>>, String> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(authority.to_string())
        .path_and_query("/grpc.health.v1.Health/Check")
        .build();
    let mut request = Request::new(Full::new(encode(service)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.map_err(|error| error.to_string())?;
    let fields = request.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(TE, HeaderValue::from_static("trailers"));
    // At most eight digits, by the protocol.
    let timeout = timeout.as_millis().clamp(1, 99_999_999);
    if let Ok(timeout) = HeaderValue::from_str(&format!("{timeout}m")) {
        fields.insert("grpc-timeout", timeout);
    }
    Ok(request)
}

/// `HealthCheckRequest { service = 1 }` with gRPC's prefix: not compressed, and its length.
fn encode(service: &str) -> Bytes {
    let mut message = BytesMut::with_capacity(16 + service.len());
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        let mut rest = service.len();
        while rest >= 0x80 {
            message.put_u8(rest as u8 | 0x80);
            rest >>= 7;
        }
        message.put_u8(rest as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

/// What a server's answer comes to. `status` is where `grpc-status` stands: the trailers, or the head where there are
/// none.
pub fn judge(status: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let code = status.get("grpc-status").and_then(|code| code.to_str().ok()).and_then(|code| code.parse::<u32>().ok());
    match code {
        Some(0) => {}
        Some(5) => return Err("the server does not know the service asked for (NOT_FOUND)".into()),
        Some(12) => return Err("the server has no grpc.health.v1.Health (UNIMPLEMENTED)".into()),
        Some(code) => return Err(format!("grpc-status {code}")),
        None => return Err("an answer without grpc-status".into()),
    }
    match decode(body) {
        Some(1) => Ok(()),
        Some(0) => Err("UNKNOWN".into()),
        Some(2) => Err("NOT_SERVING".into()),
        Some(3) => Err("SERVICE_UNKNOWN".into()),
        Some(other) => Err(format!("serving status {other}")),
        None => Err("an answer that is no HealthCheckResponse".into()),
    }
}

/// The number in `HealthCheckResponse { status = 1 }`; 0 where it is not set.
fn decode(framed: &[u8]) -> Option<u64> {
    let (prefix, message) = framed.split_first_chunk::<5>()?;
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 || message.len() != usize::try_from(u32::from_be_bytes(length)).ok()? {
        return None;
    }
    let (mut rest, mut status) = (message, 0);
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut rest)?,
            // Fields of later versions are passed over.
            (_, 0) => drop(varint(&mut rest)?),
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_is_written_as_protobuf_has_it() {
        assert_eq!(&encode("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let long = "x".repeat(300);
        assert_eq!(&encode(&long)[..8], b"\0\0\0\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn an_answer_is_serving_or_says_why_not() {
        let answer = |code: Option<&'static str>, body: &[u8]| {
            let mut status = HeaderMap::new();
            if let Some(code) = code {
                status.insert("grpc-status", HeaderValue::from_static(code));
            }
            judge(&status, body).err().unwrap_or_else(|| "good".into())
        };
        let serving: &[u8] = b"\0\0\0\0\x02\x08\x01";
        for (code, body, expected) in [
            (Some("0"), serving, "good"),
            (Some("0"), b"\0\0\0\0\x06\x12\x02ab\x08\x01", "good"),
            (Some("0"), b"\0\0\0\0\x02\x08\x02", "NOT_SERVING"),
            (Some("0"), b"\0\0\0\0\x02\x08\x03", "SERVICE_UNKNOWN"),
            (Some("0"), b"\0\0\0\0\0", "UNKNOWN"),
            (Some("0"), b"\0\0\0\0\x02\x08\x09", "serving status 9"),
            (Some("0"), b"\x01\0\0\0\x02\x08\x01", "an answer that is no HealthCheckResponse"),
            (Some("0"), b"\0\0\0\0\x03\x08\x01", "an answer that is no HealthCheckResponse"),
            (Some("0"), b"\0\0\0\0\x01\x08", "an answer that is no HealthCheckResponse"),
            (Some("0"), b"", "an answer that is no HealthCheckResponse"),
            (None, serving, "an answer without grpc-status"),
            (Some("x"), serving, "an answer without grpc-status"),
            (Some("12"), b"", "the server has no grpc.health.v1.Health (UNIMPLEMENTED)"),
            (Some("5"), b"", "the server does not know the service asked for (NOT_FOUND)"),
            (Some("14"), serving, "grpc-status 14"),
        ] {
            assert_eq!(answer(code, body), expected, "{code:?} {body:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_breaks_the_reader(body in prop::collection::vec(any::<u8>(), 0..40)) {
            decode(&body);
            let mut framed = vec![0, 0, 0, 0, body.len() as u8];
            framed.extend(&body);
            decode(&framed);
        }
    }
}
