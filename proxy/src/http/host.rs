//! A host as it stands in an authority.

use std::net::IpAddr;

/// The address, where a host is one and not a name. IPv6 with or without brackets.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_with_and_without_brackets_and_a_name_is_none() {
        for (host, address) in [("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("[::1]", "::1")] {
            assert_eq!(literal(host), address.parse().ok(), "{host}");
        }
        for host in ["orders", "127.1", "[::1", "10.0.0.1:80", ""] {
            assert_eq!(literal(host), None, "{host}");
        }
    }
}
