//! Where a Consul listens, as its clients write it.

use std::fmt;
use std::path::PathBuf;

use reqwest::Url;

/// A parsed address. It never bears credentials, so it can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// What request paths are put behind; its path ends with `/`.
    pub base: Url,
    /// The socket, where it is a unix one.
    pub socket: Option<PathBuf>,
}

impl Address {
    /// `host:port`, `http(s)://host[:port][/prefix]` or `unix:///path`. Without a port, http and https have
    /// their usual ones; a bare host has Consul's 8500.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(format!("`{text}`: the path of a unix socket must be absolute: unix:///path"));
            }
            let base = Url::parse("http://localhost/").map_err(|error| error.to_string())?;
            return Ok(Self { base, socket: Some(path.into()) });
        }
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut base = Url::parse(&with_scheme).map_err(|error| format!("`{text}`: {error}"))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(format!("`{text}`: expected host:port, http://, https:// or unix://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err("credentials do not belong into the address; give them as basic authentication".to_owned());
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(format!("`{text}`: a query or a fragment has no meaning here"));
        }
        if !text.contains("://") && base.port().is_none() && !text.ends_with(":80") {
            base.set_port(Some(8500)).map_err(|()| format!("`{text}`: no host"))?;
        }
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        Ok(Self { base, socket: None })
    }

    /// The address of an API path, each segment percent-encoded.
    pub fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(path) => write!(f, "unix://{}", path.display()),
            None => f.write_str(self.base.as_str().trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_address_is_understood() {
        for (text, shown) in [
            ("127.0.0.1:8500", "http://127.0.0.1:8500"),
            ("consul", "http://consul:8500"),
            ("[::1]:8500", "http://[::1]:8500"),
            ("http://consul", "http://consul"),
            ("https://consul:8501/prefix/", "https://consul:8501/prefix"),
            ("unix:///run/consul.sock", "unix:///run/consul.sock"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "ftp://c", "unix://run/c", "http://", "http://user:word@c", "http://c?token=x", "c:99999"] {
            let error = Address::parse(text).unwrap_err();
            assert!(!error.contains("word"), "{error}");
        }
    }

    #[test]
    fn names_are_encoded_into_one_segment_under_the_prefix() {
        let address = Address::parse("https://c/prefix").unwrap();
        let url = address.url(&["v1", "health", "service", "a/../b c?d"]);
        assert_eq!(url.as_str(), "https://c/prefix/v1/health/service/a%2F..%2Fb%20c%3Fd");
    }
}
