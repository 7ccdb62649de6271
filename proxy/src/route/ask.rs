//! What a request asks for, as far as a route looks at it.

use crate::config::settings::{Condition, ValueMatch};
use crate::http::Head;

/// A request, taken apart for the table.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// As sent.
    pub method: &'a [u8],
    /// Without the query.
    pub path: &'a [u8],
    /// What stands behind `?`; empty where nothing does.
    pub query: &'a [u8],
    /// The head, for its fields.
    pub head: &'a Head,
}

/// Whether header fields say what they have to.
pub(super) fn header_fits(condition: &Condition, head: &Head) -> bool {
    let name = condition.name.as_bytes();
    let lines = head.fields().filter(|(_, n, _)| n.len() == name.len() && n.eq_ignore_ascii_case(name));
    fits(&condition.value, lines.map(|(_, _, value)| value))
}

/// Whether a query says what it has to. A name without `=` has the empty value.
pub(super) fn query_fits(condition: &Condition, query: &[u8]) -> bool {
    let name = condition.name.as_bytes();
    let pairs = query.split(|b| *b == b'&').filter(|pair| !pair.is_empty());
    let values = pairs.filter_map(|pair| match pair.strip_prefix(name)? {
        [] => Some(&b""[..]),
        [b'=', value @ ..] => Some(value),
        _ => None,
    });
    fits(&condition.value, values)
}

/// Whether one of the values is what it has to be.
fn fits<'a>(wanted: &ValueMatch, mut values: impl Iterator<Item = &'a [u8]>) -> bool {
    match wanted {
        ValueMatch::Exact(exact) => values.any(|value| value == exact.as_bytes()),
        ValueMatch::Prefix(prefix) => values.any(|value| value.starts_with(prefix.as_bytes())),
        ValueMatch::Regex(pattern) => values.any(|value| pattern.is_match(value)),
        ValueMatch::Present(wanted) => values.next().is_some() == *wanted,
    }
}
