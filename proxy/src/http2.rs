//! What HTTP/2 from clients and HTTP/2 to endpoints share: heads made of field maps, and a bound on the size of field
//! blocks, and the handshake of a WebSocket.

pub mod blocks;
pub mod websocket;

use std::rc::Rc;

use crate::http::head::trim_blanks;
use crate::http::{Bad, Head, Pools, parse};

/// What a client's connection begins with: RFC 9113 section 3.4.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Adds a map's fields to a head, under the rules of HTTP/1.1. Blanks around values are cut off: RFC 9113 section
/// 8.2.1 forbids them and the `h2` crate lets them pass. A name with a quotation mark, which the crate lets pass,
/// too, is refused.
pub fn head_from(map: &http::HeaderMap, head: &mut Head) -> Result<(), Bad> {
    map.iter().try_for_each(|(name, value)| {
        let name = name.as_str().as_bytes();
        if name.contains(&b'"') {
            return Err(Bad::Grammar);
        }
        head.push(name, trim_blanks(value.as_bytes()))
    })
}

/// A map of trailers as a head. They are held to the rules and the limits of trailers over HTTP/1.1.
pub fn trailers_from(map: &http::HeaderMap, pools: &Pools) -> Result<Rc<Head>, Bad> {
    let mut head = pools.heads.take();
    head_from(map, Rc::get_mut(&mut head).ok_or(Bad::Grammar)?)?;
    if head.fields().any(|(known, _, _)| parse::only_in_heads(known)) {
        return Err(Bad::Grammar);
    }
    pools.limits.admit(&head)?;
    Ok(head)
}
