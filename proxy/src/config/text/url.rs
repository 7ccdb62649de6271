//! A URL that this program calls: a drill's probe, an admin API.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// `http://127.0.0.1:8080/checkout`. Only `http`: it is for what runs on this machine or beside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    /// Without brackets, where it is an IPv6 address.
    pub host: String,
    /// 80 where none is written.
    pub port: u16,
    /// For `Host`.
    pub authority: String,
    /// With the query.
    pub path: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("found `{text}`, expected a URL like `http://127.0.0.1:8080/checkout`{why}");
        if text.starts_with("https://") {
            return Err(wrong(" (https is not spoken here: name what the TLS ends at)"));
        }
        let uri: Uri = text.parse().map_err(|_| wrong(""))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong(" (`http://` is missing)"));
        }
        let authority = uri.authority().ok_or_else(|| wrong(""))?;
        if authority.as_str().contains('@') {
            return Err(wrong(" (a user and a password go into a header)"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(80);
        if host.is_empty() || port == 0 || authority.as_str().ends_with(':') {
            return Err(wrong(" (a port is 1 to 65535)"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host: host.to_owned(), port, authority: authority.as_str().to_owned(), path })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_whom_to_call_and_what_to_ask() {
        let url: Url = "http://[::1]:81/a?b=c".parse().unwrap();
        let expected = ("::1", 81, "[::1]:81", "/a?b=c");
        assert_eq!((url.host.as_str(), url.port, url.authority.as_str(), url.path.as_str()), expected);
        let url: Url = "http://shop".parse().unwrap();
        assert_eq!((url.port, url.path.as_str(), url.to_string().as_str()), (80, "/", "http://shop/"));
        for bad in ["shop", "shop:80/x", "https://shop/", "http://", "http://u:p@shop/", "http://shop:0/", "/x", ""] {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
    }
}
