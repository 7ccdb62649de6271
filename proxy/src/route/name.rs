//! A request's host as a service's name.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::settings::{NameSettings, is_service_name};

/// A host without port and trailing dot, in lower case. Borrowed where it is lower-case already.
pub(super) fn normal(host: &str) -> Cow<'_, str> {
    let host = match host.rfind(':') {
        // In brackets a colon belongs to the address; a port comes after them.
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// The settings of names, compiled.
#[derive(Debug, Default)]
pub(super) struct NameRules {
    /// Longest first.
    suffixes: Vec<Arc<str>>,
    /// A bare `*` is among the globs.
    all: bool,
    /// Names without a `*`, sorted.
    literal: Vec<Arc<str>>,
    globs: Vec<Arc<str>>,
}

impl NameRules {
    pub fn new(names: &NameSettings) -> Self {
        let mut suffixes = names.suffixes.clone();
        suffixes.sort_by_key(|s| std::cmp::Reverse(s.len()));
        let (globs, mut literal): (Vec<_>, Vec<_>) = names.allow.iter().cloned().partition(|g| g.contains('*'));
        literal.sort();
        Self { suffixes, all: globs.iter().any(|g| &**g == "*"), literal, globs }
    }

    /// The service's name that a host in its normal form stands for; none where it cannot be one.
    pub fn service<'h>(&self, host: Cow<'h, str>) -> Option<Cow<'h, str>> {
        let cut = self.suffixes.iter().find(|s| host.len() > s.len() && host.ends_with(&***s)).map_or(0, |s| s.len());
        let keep = host.len() - cut;
        let name = match host {
            Cow::Borrowed(host) => Cow::Borrowed(&host[..keep]),
            Cow::Owned(mut host) => {
                host.truncate(keep);
                Cow::Owned(host)
            }
        };
        (is_service_name(&name) && !is_address(&name)).then_some(name)
    }

    pub fn allows(&self, name: &str) -> bool {
        self.all
            || self.literal.binary_search_by(|l| (**l).cmp(name)).is_ok()
            || self.globs.iter().any(|g| glob(g.as_bytes(), name.as_bytes()))
    }
}

/// Numbers and dots are an address, also where they are not four (`127.1` is an older way of writing one). Those with
/// colons are no name to begin with.
fn is_address(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_digit() || b == b'.') && name.contains('.')
}

/// `*` stands for any run of bytes. Linear in both: only the last star is ever taken up again.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && pattern[p] == text[t] {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            p = star_p + 1;
            t = star_t + 1;
            star = Some((star_p, t));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests;
