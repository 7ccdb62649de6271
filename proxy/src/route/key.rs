//! What keeps requests together: a number made of something that they have in common.
//!
//! The number is the same in every worker, process and version: two proxies in front of one service have to agree without
//! speaking to each other. So the hash is written down here and is nobody's default. It keeps nobody from choosing values that
//! meet: whoever chooses the value chooses where the request goes, and that is the purpose.

use std::net::{IpAddr, SocketAddr};

use super::Ask;
use crate::config::settings::HashBy;
use crate::http::head::{Name, trim_blanks};

/// The key of a request; none where it does not have what the key is made of, or has it empty.
pub fn of(by: &HashBy, ask: &Ask<'_>, address: impl FnOnce() -> IpAddr) -> Option<u64> {
    match by {
        HashBy::Header(name) => ask.head.named(name.as_bytes()).filter(|value| !value.is_empty()).map(hash),
        HashBy::Cookie(name) => cookie(ask, name.as_bytes()).filter(|value| !value.is_empty()).map(hash),
        HashBy::Path => Some(hash(ask.path)),
        HashBy::Address => Some(match address().to_canonical() {
            IpAddr::V4(ip) => hash(&ip.octets()),
            IpAddr::V6(ip) => hash(&ip.octets()),
        }),
    }
}

/// What an endpoint is recognised by: its address, which is the same in every proxy.
pub fn of_address(address: SocketAddr) -> u64 {
    let port = address.port().to_be_bytes();
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => hash(&[&ip.octets()[..], &port].concat()),
        IpAddr::V6(ip) => hash(&[&ip.octets()[..], &port].concat()),
    }
}

/// The first cookie of a name (RFC 6265 section 4.2.1), in whichever line it stands.
fn cookie<'a>(ask: &Ask<'a>, name: &[u8]) -> Option<&'a [u8]> {
    let pairs = ask.head.all(Name::Cookie).flat_map(|line| line.split(|b| *b == b';'));
    pairs.map(trim_blanks).find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

/// FNV-1a of 64 bits, and then mixed, since its upper bits hardly change with the last byte.
pub fn hash(bytes: &[u8]) -> u64 {
    let fnv =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, byte| (h ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    mix(fnv)
}

/// The end of SplitMix64 (Steele, Lea and Flood 2014): each bit of the result depends on each of the number.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Head;

    #[test]
    fn a_key_never_changes_from_one_version_to_the_next() {
        assert_eq!(hash(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(hash(b"user-7"), hash(b"user-7"));
        assert_ne!(hash(b"user-7"), hash(b"user-8"));
    }

    #[test]
    fn a_key_is_made_of_what_it_is_made_of_and_of_nothing_else() {
        let mut head = Head::default();
        for (name, value) in [("X-User", "7"), ("Cookie", "a=1; session=x=y"), ("Cookie", "b=2;c=3"), ("X-None", "")] {
            head.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let ask = Ask { method: b"GET", path: b"/a", query: b"q", head: &head };
        let key = |by: HashBy| of(&by, &ask, || "::ffff:10.0.0.1".parse().unwrap());
        assert_eq!(key(HashBy::Header("x-user".into())), Some(hash(b"7")));
        assert_eq!(key(HashBy::Header("x-none".into())), None);
        assert_eq!(key(HashBy::Header("x-other".into())), None);
        assert_eq!(key(HashBy::Cookie("session".into())), Some(hash(b"x=y")));
        assert_eq!(key(HashBy::Cookie("c".into())), Some(hash(b"3")));
        assert_eq!(key(HashBy::Cookie("C".into())), None);
        assert_eq!(key(HashBy::Path), Some(hash(b"/a")));
        assert_eq!(key(HashBy::Address), Some(hash(&[10, 0, 0, 1])));
    }
}
