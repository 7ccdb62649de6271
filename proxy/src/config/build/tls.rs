//! TLS: what can be seen without looking into the files. The files themselves are `tls::load`'s.

use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::Build;
use crate::config::settings::{self, TlsTo};
use crate::config::written::{self, ClientAuth};

impl Build<'_> {
    pub(super) fn listener_tls(&mut self, index: &str, tls: &written::ListenerTls) -> settings::ListenerTls {
        let path = |key: &'static str| ["listeners", index, "tls", key];
        if tls.certificates.is_empty() && self.nothing_in(&path("certificates")) {
            self.blame(&path("certificates"), "found none, expected at least one".into());
        }
        if tls.alpn.is_empty() && self.nothing_in(&path("alpn")) {
            self.blame(&path("alpn"), "found none, expected `h2`, `http/1.1` or both".into());
        }
        if tls.ocsp_stapling {
            let message =
                "OCSP stapling is not offered: authorities have given OCSP up; use certificates that live for days";
            self.blame(&path("ocsp_stapling"), message.into());
        }
        self.some_time(&path("handshake_timeout"), tls.handshake_timeout);
        let asked = tls.client_auth != ClientAuth::None;
        for (key, given) in [("client_ca", tls.client_ca.is_some()), ("client_crls", !tls.client_crls.is_empty())] {
            if given && !asked && !self.tree.is_dead(&path("client_auth")) {
                let message = "stands without `client_auth: request` or `require`: nobody is asked for a certificate";
                self.blame(&path(key), message.into());
            }
        }
        if asked && tls.client_ca.is_none() && !self.tree.is_dead(&path("client_ca")) {
            let message = "expected `client_ca`, too: a file of the authorities whose certificates are good";
            self.blame(&path("client_auth"), message.into());
        }
        let clients = tls.client_ca.as_ref().filter(|_| asked).map(|ca| settings::ClientCertificates {
            required: tls.client_auth == ClientAuth::Require,
            ca: ca.clone(),
            crls: tls.client_crls.clone(),
        });
        settings::ListenerTls {
            certificates: tls.certificates.iter().map(files).collect(),
            min_version: version(tls.min_version),
            alpn: tls.alpn.iter().map(|alpn| protocol(*alpn)).collect(),
            unknown_sni: match tls.unknown_sni {
                written::UnknownSni::Default => settings::UnknownSni::Default,
                written::UnknownSni::Refuse => settings::UnknownSni::Refuse,
            },
            clients,
            handshake_timeout: tls.handshake_timeout.0,
        }
    }
}

impl Build<'_> {
    pub(super) fn service_tls(&mut self, name: &str, service: &written::Service) -> settings::ServiceTls {
        let path = |key: &'static str| ["services", name, "tls", key];
        let tls = match &service.tls {
            None => return settings::ServiceTls::default(),
            Some(written::Switch::Off) => {
                if service.instances.iter().flatten().any(|instance| instance.address.https) {
                    let message = "found `off` beside instances that are written as `https://`";
                    self.blame(&["services", name, "tls"], message.into());
                }
                return settings::ServiceTls { to: TlsTo::None, ..settings::ServiceTls::default() };
            }
            Some(written::Switch::On(tls)) => tls,
        };
        let certificate = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => Some(settings::CertificateFiles { cert: cert.clone(), key: key.clone() }),
            (None, None) => None,
            (cert, _) => {
                let (found, lacks) = if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
                if !self.tree.is_dead(&path(lacks)) {
                    self.blame(&path(found), format!("expected `{lacks}`, too"));
                }
                None
            }
        };
        if let Some(ca) = tls.ca.as_ref().filter(|_| tls.insecure_skip_verify) {
            let message = format!("found {}, by which nothing is verified beside `insecure_skip_verify`", ca.display());
            self.blame(&path("ca"), message);
        }
        if let Some(found) = &tls.server_name
            && ServerName::try_from(found.as_str()).is_err()
        {
            self.blame(&path("server_name"), format!("found `{found}`, expected a host name like `api.example`"));
        }
        settings::ServiceTls {
            to: TlsTo::All,
            server_name: tls.server_name.as_deref().map(Arc::from),
            trust: settings::Trust {
                ca: tls.ca.clone(),
                certificate,
                min_version: version(tls.min_version),
                verify: !tls.insecure_skip_verify,
            },
        }
    }
}

fn files(written: &written::Certificate) -> settings::CertificateFiles {
    settings::CertificateFiles { cert: written.cert.clone(), key: written.key.clone() }
}

fn version(written: written::TlsVersion) -> settings::TlsVersion {
    match written {
        written::TlsVersion::V12 => settings::TlsVersion::V12,
        written::TlsVersion::V13 => settings::TlsVersion::V13,
    }
}

fn protocol(written: written::Alpn) -> settings::Alpn {
    match written {
        written::Alpn::H2 => settings::Alpn::H2,
        written::Alpn::Http11 => settings::Alpn::Http11,
    }
}
