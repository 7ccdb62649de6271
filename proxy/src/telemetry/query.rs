//! What is told of a request's query.
//!
//! Tokens, addresses and search words stand there, and a log is read by more people than may see them, and kept for longer.
//! So what is written down says which parameters there were and not what they held, unless the operator wants that.

use std::borrow::Cow;

/// In the place of a value.
const MASK: char = '…';

/// Whether values are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Values {
    /// Names only.
    #[default]
    Masked,
    /// As sent.
    Whole,
}

impl Values {
    /// As the configuration says it.
    pub fn of(whole: bool) -> Self {
        if whole { Self::Whole } else { Self::Masked }
    }

    /// A path with its query, as it may be told. What has no `=` may be a name or the secret itself: it is a value.
    pub fn tell(self, path: &str) -> Cow<'_, str> {
        let (Self::Masked, Some((path, query))) = (self, path.split_once('?')) else { return Cow::Borrowed(path) };
        let mut told = String::with_capacity(path.len() + query.len() + MASK.len_utf8());
        told.push_str(path);
        for (index, part) in query.split('&').enumerate() {
            told.push(if index == 0 { '?' } else { '&' });
            let value = match part.split_once('=') {
                Some((name, value)) => {
                    told.push_str(name);
                    told.push('=');
                    value
                }
                None => part,
            };
            if !value.is_empty() {
                told.push(MASK);
            }
        }
        Cow::Owned(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_and_values_are_not() {
        for (sent, told) in [
            ("/a", "/a"),
            ("/a?", "/a?"),
            ("/a?token=secret", "/a?token=…"),
            ("/a?b=1&c=2&d=", "/a?b=…&c=…&d="),
            ("/a?b=secret=secret", "/a?b=…"),
            ("/a?secret", "/a?…"),
            ("/a?b=secret;c=secret", "/a?b=…"),
            ("/a?b=secret?c=secret", "/a?b=…"),
            ("/a?&&b=secret", "/a?&&b=…"),
            ("/a?=secret", "/a?=…"),
            ("*", "*"),
        ] {
            assert_eq!(Values::Masked.tell(sent), told, "{sent}");
            assert_eq!(Values::Whole.tell(sent), sent);
        }
    }
}
