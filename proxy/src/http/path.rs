//! The stated rule on paths.
//!
//! **A path is used byte for byte, for routing and for what is sent on.** `//` is not merged, `%2F` is not decoded,
//! nothing is made lower-case: whatever the proxy would change, an instance might read otherwise, and the two would
//! disagree on what was asked for.
//!
//! The one thing that cannot be left to disagreement is a *dot segment*, `.` or `..` standing alone: libraries resolve
//! it, so `/cart/../admin` would be routed as `/cart` and answered as `/admin`. Clients resolve it themselves before
//! they send (browsers, curl and the rest), so nobody misses it when it is refused. Since instances differ in what
//! they take for a dot and for a slash, a dot segment is one in the widest reading: the dot as itself or as `%2e`, the
//! slash as itself, as `%2f`, as `\` or as `%5c`, and with or without path parameters (`..;a=b`, which servlet
//! containers take off first).

/// Whether a segment of the path is `.` or `..` in the widest reading. The path is that of a request, without the
/// query.
pub fn has_dot_segment(path: &[u8]) -> bool {
    may_have(path) && has(path)
}

/// Whether a closer look is needed: a `%` anywhere, or a dot after what may end a slash. Most paths have neither, and
/// without a branch in the loop it looks at many bytes at once.
fn may_have(path: &[u8]) -> bool {
    let pairs = path.iter().zip(path.iter().skip(1));
    pairs.fold(path.first() == Some(&b'%'), |found, (before, byte)| {
        let slash = (*before == b'/') | (*before == b'\\');
        found | (*byte == b'%') | ((*byte == b'.') & slash)
    })
}

fn has(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(at) = rest.iter().position(|b| matches!(b, b'/' | b'%' | b'\\')) {
        rest = &rest[at..];
        match slash(rest) {
            Some(after) => {
                if dots_alone(after) {
                    return true;
                }
                rest = after;
            }
            None => rest = &rest[1..],
        }
    }
    false
}

/// Whether what begins here is one or two dots and then the segment's end.
fn dots_alone(rest: &[u8]) -> bool {
    let Some(after) = dot(rest) else { return false };
    let after = dot(after).unwrap_or(after);
    after.is_empty() || after[0] == b';' || slash(after).is_some()
}

/// What comes after a dot; none where there is none.
fn dot(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b'.', after @ ..] | [b'%', b'2', b'e' | b'E', after @ ..] => Some(after),
        _ => None,
    }
}

/// What comes after a slash; none where there is none.
fn slash(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b'/' | b'\\', after @ ..] | [b'%', b'2', b'f' | b'F', after @ ..] | [b'%', b'5', b'c' | b'C', after @ ..] => {
            Some(after)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
