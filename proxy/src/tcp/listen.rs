//! From an address as it is written to one that can be bound.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

/// For a host name's address.
const LOOKUP: Duration = Duration::from_secs(5);

/// Understands `host:port`. No host means every address; of a name's addresses an IPv4 one is preferred, as Go does it.
pub(super) async fn resolve(text: &str) -> io::Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix(':') {
        let port = port.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "invalid port"))?;
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    let looked_up = tokio::time::timeout(LOOKUP, tokio::net::lookup_host(text)).await;
    let found: Vec<SocketAddr> = looked_up.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    first.copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_understood_as_go_understands_them() {
        for (text, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:0", "[::1]:0"),
            (":2000", "[::]:2000"),
            ("localhost:2000", "127.0.0.1:2000"),
        ] {
            assert_eq!(resolve(text).await.unwrap().to_string(), expected);
        }
        for text in ["", "127.0.0.1", ":", ":x", "127.0.0.1:99999"] {
            assert!(resolve(text).await.is_err(), "{text}");
        }
    }
}
