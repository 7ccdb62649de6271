//! Addresses to listen on, understood as Go understands them, and refused in its words.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// For a host name's addresses.
const LOOKUP: Duration = Duration::from_secs(5);

/// An address that can be listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// It.
    pub address: SocketAddr,
    /// As Go shows it: without a host it is `:80`.
    pub shown: String,
}

/// Understands `host:port`. Nothing at all is a port of the system's choice, and no host is every address.
///
/// # Errors
///
/// Go's sentence, without the `listen tcp: ` before it.
pub async fn resolve(text: &str) -> Result<Resolved, String> {
    let (host, port) = if text.is_empty() { ("", "") } else { split(text)? };
    let port = parse_port(port)?;
    if host.is_empty() {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        return Ok(Resolved { address, shown: format!(":{port}") });
    }
    let ip = match host.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) => look_up(host).await?,
    };
    let shown = SocketAddr::from((ip, port)).to_string();
    // Go listens for both families where it is asked for every address of one.
    let ip = if ip.is_unspecified() { IpAddr::from(Ipv6Addr::UNSPECIFIED) } else { ip };
    Ok(Resolved { address: SocketAddr::from((ip, port)), shown })
}

async fn look_up(host: &str) -> Result<IpAddr, String> {
    let none = || format!("lookup {host}: no such host");
    let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, 0))).await;
    let found: Vec<SocketAddr> =
        found.map_err(|_| format!("lookup {host}: i/o timeout"))?.map_err(|_| none())?.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    first.map(SocketAddr::ip).ok_or_else(none)
}

/// The host and the port of an address.
fn split(text: &str) -> Result<(&str, &str), String> {
    let wrong = |what: &str| Err(format!("address {text}: {what}"));
    let Some(colon) = text.rfind(':') else { return wrong("missing port in address") };
    let (host, after_host) = if text.starts_with('[') {
        let Some(close) = text.find(']') else { return wrong("missing ']' in address") };
        match close + 1 {
            end if end == text.len() => return wrong("missing port in address"),
            end if end == colon => {}
            end if text[end..].starts_with(':') => return wrong("too many colons in address"),
            _ => return wrong("missing port in address"),
        }
        (&text[1..close], close + 1)
    } else {
        let host = &text[..colon];
        if host.contains(':') {
            return wrong("too many colons in address");
        }
        (host, 0)
    };
    let inside = usize::from(text.starts_with('['));
    if text[inside..].contains('[') {
        return wrong("unexpected '[' in address");
    }
    if text[after_host..].contains(']') {
        return wrong("unexpected ']' in address");
    }
    Ok((host, &text[colon + 1..]))
}

fn parse_port(text: &str) -> Result<u16, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(format!("lookup tcp/{text}: unknown port"));
    }
    text.parse().map_err(|_| format!("address {text}: invalid port"))
}

/// Why an address cannot be listened on.
pub fn refusal(shown: &str, error: &io::Error) -> String {
    let said = error.to_string();
    let said = said.split(" (os error").next().unwrap_or_default();
    let mut signs = said.chars();
    let said: String = signs.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(signs).collect();
    format!("listen tcp {shown}: bind: {said}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_understood_as_go_understands_them() {
        for (text, address, shown) in [
            ("", "[::]:0", ":0"),
            (":80", "[::]:80", ":80"),
            ("127.0.0.1:", "127.0.0.1:0", "127.0.0.1:0"),
            ("localhost:5", "127.0.0.1:5", "127.0.0.1:5"),
            ("[::1]:6", "[::1]:6", "[::1]:6"),
            ("0.0.0.0:7", "[::]:7", "0.0.0.0:7"),
        ] {
            let resolved = resolve(text).await.unwrap();
            assert_eq!((resolved.address.to_string().as_str(), resolved.shown.as_str()), (address, shown), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_in_gos_words() {
        for (text, words) in [
            ("junk", "address junk: missing port in address"),
            ("::1:5", "address ::1:5: too many colons in address"),
            ("[::1", "address [::1: missing ']' in address"),
            ("[::1]5", "address [::1]5: missing port in address"),
            ("x:abc", "lookup tcp/abc: unknown port"),
            ("localhost:99999", "address 99999: invalid port"),
            ("localhost:-1", "address -1: invalid port"),
        ] {
            assert_eq!(resolve(text).await, Err(words.to_owned()));
        }
    }

    #[test]
    fn a_port_in_use_is_told_in_gos_words() {
        let error = io::Error::from_raw_os_error(98);
        assert_eq!(refusal("127.0.0.1:80", &error), "listen tcp 127.0.0.1:80: bind: address already in use");
    }
}
