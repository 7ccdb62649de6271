//! The environment variables that every Consul client understands, with Consul's own meaning of each.
//!
//! Two deliberate differences to the official client: a token *file* is read again whenever it is used, so that a
//! rotated token needs no restart; and what cannot be understood is an error that names the variable, where the official client
//! sometimes falls back to a default in silence (`CONSUL_HTTP_SSL=yes` would send the token in clear text).

use std::path::PathBuf;

use super::address::Address;
use super::options::{ConsulOptions, Secret};
use super::{ConsulError, ConsulTls};

/// [`options`] of this process's environment.
pub(super) fn of_this_process() -> Result<ConsulOptions, ConsulError> {
    let broken = std::env::vars_os().find(|(name, value)| {
        name.to_str().is_some_and(|name| name.starts_with("CONSUL_")) && value.to_str().is_none()
    });
    match broken {
        Some((name, _)) => {
            let what = name.to_string_lossy().into_owned();
            Err(ConsulError::Invalid { what, why: "is not UTF-8".to_owned() })
        }
        None => options(|name| std::env::var(name).ok()),
    }
}

/// The defaults with what `var` says over them. An empty variable counts as unset.
pub(super) fn options(var: impl Fn(&str) -> Option<String>) -> Result<ConsulOptions, ConsulError> {
    let var = |name: &str| var(name).filter(|value| !value.is_empty());
    let path = |name: &str| var(name).map(PathBuf::from);
    let secret = |name: &str| var(name).map(Secret::new);
    let mut options = ConsulOptions::default();
    if let Some(address) = var("CONSUL_HTTP_ADDR") {
        options.address = address;
    }
    if flag(&var, "CONSUL_HTTP_SSL")?.unwrap_or(false) {
        options.address = over_tls(options.address);
    }
    Address::parse(&options.address).map_err(|error| invalid("CONSUL_HTTP_ADDR", error))?;
    options.token = secret("CONSUL_HTTP_TOKEN");
    options.token_file = path("CONSUL_HTTP_TOKEN_FILE");
    options.basic_auth = secret("CONSUL_HTTP_AUTH");
    options.namespace = var("CONSUL_NAMESPACE");
    options.partition = var("CONSUL_PARTITION");
    options.tls = ConsulTls {
        ca_file: path("CONSUL_CACERT"),
        ca_dir: path("CONSUL_CAPATH"),
        client: match (path("CONSUL_CLIENT_CERT"), path("CONSUL_CLIENT_KEY")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(invalid("CONSUL_CLIENT_CERT", "needs CONSUL_CLIENT_KEY beside it")),
            (None, Some(_)) => return Err(invalid("CONSUL_CLIENT_KEY", "needs CONSUL_CLIENT_CERT beside it")),
        },
        server_name: var("CONSUL_TLS_SERVER_NAME"),
        verify: flag(&var, "CONSUL_HTTP_SSL_VERIFY")?.unwrap_or(true),
    };
    Ok(options)
}

/// `CONSUL_HTTP_SSL` turns http into https, and never https into http; a unix socket stays as it is.
fn over_tls(address: String) -> String {
    match address.split_once("://") {
        Some(("http", rest)) => format!("https://{rest}"),
        Some(_) => address,
        None => format!("https://{address}"),
    }
}

/// What Go's `strconv.ParseBool` takes.
fn flag(var: &impl Fn(&str) -> Option<String>, name: &'static str) -> Result<Option<bool>, ConsulError> {
    let Some(value) = var(name) else { return Ok(None) };
    match value.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
        other => Err(invalid(name, format!("`{other}` is neither true nor false"))),
    }
}

fn invalid(what: &'static str, why: impl ToString) -> ConsulError {
    ConsulError::Invalid { what: what.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn from(vars: &[(&str, &str)]) -> Result<ConsulOptions, ConsulError> {
        options(|name| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn nothing_set_means_the_local_agent() {
        assert_eq!(from(&[]).unwrap(), ConsulOptions::default());
        assert_eq!(from(&[("CONSUL_HTTP_ADDR", "")]).unwrap(), ConsulOptions::default());
    }

    #[test]
    fn every_variable_arrives() {
        let options = from(&[
            ("CONSUL_HTTP_ADDR", "consul.internal:8501"),
            ("CONSUL_HTTP_TOKEN", "t0"),
            ("CONSUL_HTTP_TOKEN_FILE", "/run/token"),
            ("CONSUL_HTTP_AUTH", "user:word"),
            ("CONSUL_HTTP_SSL", "true"),
            ("CONSUL_HTTP_SSL_VERIFY", "0"),
            ("CONSUL_CACERT", "/tls/ca.pem"),
            ("CONSUL_CAPATH", "/tls/cas"),
            ("CONSUL_CLIENT_CERT", "/tls/c.pem"),
            ("CONSUL_CLIENT_KEY", "/tls/k.pem"),
            ("CONSUL_TLS_SERVER_NAME", "server.dc1.consul"),
            ("CONSUL_NAMESPACE", "team"),
            ("CONSUL_PARTITION", "east"),
        ])
        .unwrap();
        let tls = ConsulTls {
            ca_file: Some("/tls/ca.pem".into()),
            ca_dir: Some("/tls/cas".into()),
            client: Some(("/tls/c.pem".into(), "/tls/k.pem".into())),
            server_name: Some("server.dc1.consul".to_owned()),
            verify: false,
        };
        assert_eq!(options.address, "https://consul.internal:8501");
        assert_eq!(options.tls, tls);
        assert_eq!(options.token.as_ref().unwrap().reveal(), "t0");
        assert_eq!(options.token_file.as_deref(), Some(Path::new("/run/token")));
        assert_eq!(options.basic_auth.as_ref().unwrap().reveal(), "user:word");
        assert_eq!((options.namespace.as_deref(), options.partition.as_deref()), (Some("team"), Some("east")));
        let shown = format!("{options:?}");
        assert!(!shown.contains("t0") && !shown.contains("word"), "{shown}");
    }

    #[test]
    fn https_is_never_downgraded() {
        let address = |vars| from(vars).unwrap().address;
        assert_eq!(address(&[("CONSUL_HTTP_ADDR", "https://c"), ("CONSUL_HTTP_SSL", "false")]), "https://c");
        assert_eq!(address(&[("CONSUL_HTTP_ADDR", "http://c"), ("CONSUL_HTTP_SSL", "true")]), "https://c");
        assert_eq!(address(&[("CONSUL_HTTP_ADDR", "unix:///s"), ("CONSUL_HTTP_SSL", "true")]), "unix:///s");
        assert_eq!(address(&[("CONSUL_HTTP_SSL", "1")]), "https://127.0.0.1:8500");
    }

    #[test]
    fn an_error_names_the_variable() {
        let error = |vars| from(vars).unwrap_err().to_string();
        assert!(error(&[("CONSUL_HTTP_SSL", "yes")]).starts_with("CONSUL_HTTP_SSL: `yes`"));
        assert!(error(&[("CONSUL_HTTP_SSL_VERIFY", "no")]).starts_with("CONSUL_HTTP_SSL_VERIFY: "));
        assert!(error(&[("CONSUL_CLIENT_CERT", "/c")]).starts_with("CONSUL_CLIENT_CERT: "));
        assert!(error(&[("CONSUL_CLIENT_KEY", "/k")]).starts_with("CONSUL_CLIENT_KEY: "));
        assert!(error(&[("CONSUL_HTTP_ADDR", "ftp://c")]).starts_with("CONSUL_HTTP_ADDR: "));
    }
}
