//! What a service can be called.

/// The longest name: that of DNS.
const MAX_NAME: usize = 253;

/// Whether a service can have this name: letters, digits, `-`, `_` and `.`, as in DNS and a little wider. 1 to 253
/// bytes, no label empty.
pub fn is_service_name(name: &str) -> bool {
    if name.len() > MAX_NAME {
        return false;
    }
    // A dot needs something before it, and so does the end.
    let mut before = b'.';
    for byte in name.bytes() {
        let good = match byte {
            b'.' => before != b'.',
            _ => byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_',
        };
        if !good {
            return false;
        }
        before = byte;
    }
    before != b'.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_a_host_can_have() {
        for good in ["a", "orders-v2", "Orders", "a_b", "a.b", "1", &"a".repeat(253)] {
            assert!(is_service_name(good), "{good}");
        }
        for bad in ["", ".", ".a", "a.", "a..b", "a b", "a/b", "a*", "a:1", "\u{e9}", "a\0", &"a".repeat(254)] {
            assert!(!is_service_name(bad), "{bad}");
        }
    }
}
