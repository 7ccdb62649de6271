//! How the proxy writes a message that it understood.
//!
//! [`head`] is the hook: here it writes every field as it came, with the functions of `outrigger::http::write`
//! that everything the proxy sends goes through, and a length from the number that was understood. Fields that the
//! proxy adds or leaves out come between.

use outrigger::http::{Head, Length, Name, framing, write};

use crate::ours::{Kind, Message};

/// Writes a message's head anew.
pub fn head(out: &mut Vec<u8>, message: &Message, kind: Kind) {
    match kind {
        Kind::Requests => write::request_line(out, message.head.method(), message.head.target()),
        _ => write::status_line(out, message.head.status(), message.head.reason()),
    }
    fields(out, &message.head);
    write::end(out);
}

/// Writes a message anew, its body in chunks of `chunk` bytes if it came in chunks.
pub fn message(out: &mut Vec<u8>, message: &Message, kind: Kind, chunk: usize) {
    head(out, message, kind);
    if message.length != Length::Chunked {
        out.extend_from_slice(&message.body);
        return;
    }
    for (number, data) in message.body.chunks(chunk).enumerate() {
        write::chunk_line(out, data.len(), number == 0);
        out.extend_from_slice(data);
    }
    if message.trailers.is_empty() && !message.body.is_empty() {
        out.extend_from_slice(write::LAST_CHUNK);
        return;
    }
    if !message.body.is_empty() {
        write::end(out);
    }
    out.extend_from_slice(b"0\r\n");
    fields(out, &message.trailers);
    write::end(out);
}

fn fields(out: &mut Vec<u8>, head: &Head) {
    for (known, name, value) in head.fields() {
        match (known, framing::content_length(head)) {
            (Name::ContentLength, Ok(Some(length))) => write::number(out, name, length),
            _ => write::field(out, name, value),
        }
    }
}
