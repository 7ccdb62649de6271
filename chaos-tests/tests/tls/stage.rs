//! Authorities of our own, and proxies that listen with their certificates.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use chaos_tests::foreign;
use chaos_tests::proxy::{self, Proxy, free_address};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

/// An authority, and a folder for what it issues.
pub struct Authority {
    name: String,
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    /// Its own certificate.
    pub ca: PathBuf,
    pem: String,
}

/// A certificate and its key, in files.
#[derive(Debug, Clone)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Files {
    /// As it stands in a configuration.
    pub fn json(&self) -> Value {
        json!({ "cert": self.cert, "key": self.key })
    }
}

impl Authority {
    pub fn new(name: &str, folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let ca = folder.join(format!("{name}.pem"));
        std::fs::write(&ca, &pem).unwrap();
        Self { name: name.into(), issuer: Issuer::new(params, key), folder: folder.into(), ca, pem }
    }

    /// The parameters of a certificate for some names.
    pub fn params(names: &[&str]) -> CertificateParams {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params
    }

    /// A certificate for some names, in files of this name.
    pub fn issue(&self, file: &str, names: &[&str]) -> Files {
        self.issue_as(file, Self::params(names))
    }

    /// One that ends on a day.
    pub fn until(&self, file: &str, names: &[&str], year: i32, month: u8, day: u8) -> Files {
        let mut params = Self::params(names);
        params.not_after = date_time_ymd(year, month, day);
        self.issue_as(file, params)
    }

    pub fn issue_as(&self, file: &str, params: CertificateParams) -> Files {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files =
            Files { cert: self.folder.join(format!("{file}.pem")), key: self.folder.join(format!("{file}.key")) };
        // Renamed over the old: nobody sees half of one.
        put(&files.cert, &format!("{}{}", certificate.pem(), self.pem));
        put(&files.key, &key.serialize_pem());
        files
    }

    /// A list of revoked serial numbers.
    pub fn revoke(&self, file: &str, serials: &[u64]) -> PathBuf {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let path = self.folder.join(format!("{}-{file}.crl", self.name));
        put(&path, &list.signed_by(&self.issuer).unwrap().pem().unwrap());
        path
    }
}

/// Replaces a file by renaming.
pub fn put(path: &Path, text: &str) {
    let new = path.with_extension("part");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// A configuration with a listener under TLS before one service.
pub fn over_tls(origins: &[SocketAddr], tls: &Value) -> Value {
    let mut config = proxy::to(origins);
    config["listeners"] = json!([{ "address": free_address(), "tls": tls }]);
    config
}

/// A proxy with a listener under TLS before one service.
#[track_caller]
pub fn listening(origins: &[SocketAddr], tls: &Value) -> Proxy {
    Proxy::start(&over_tls(origins, tls))
}

/// What `foreign/tls_client.py` says that came of it. None where there is no Python.
#[track_caller]
pub fn python(asked: &Value) -> Option<Value> {
    let python = foreign::program("python3")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/tls_client.py");
    let said = foreign::finish(Command::new(python).arg(script).arg(asked.to_string()));
    Some(serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// What `openssl s_client` says of a request to `a.example`.
#[track_caller]
pub fn s_client(address: SocketAddr, ways: &str) -> Option<String> {
    let openssl = foreign::program("openssl")?;
    let line = format!(
        "printf 'GET / HTTP/1.1\\r\\nHost: a.example\\r\\nConnection: close\\r\\n\\r\\n' | {} s_client -connect {address} \
         -servername a.example -ign_eof {ways}",
        openssl.display()
    );
    Some(foreign::said(&foreign::output(Command::new("sh").args(["-c", &line]))))
}

/// curl to a name that is the proxy's, its authorities known.
#[track_caller]
pub fn curl(proxy: &Proxy, ca: &Path, name: &str) -> Option<Command> {
    let mut command = Command::new(foreign::program("curl")?);
    let port = proxy.address.port();
    command.args(["--silent", "--show-error", "--max-time", "60", "--cacert"]).arg(ca);
    command.args(["--resolve", &format!("{name}:{port}:127.0.0.1")]);
    Some(command)
}

/// A URL of the proxy under a name.
pub fn url(proxy: &Proxy, name: &str, path: &str) -> String {
    format!("https://{name}:{}{path}", proxy.address.port())
}

/// Waits until the handshakes of a kind are so many at least.
#[track_caller]
pub fn wait_handshakes(proxy: &Proxy, result: &str, least: f64) {
    let label = format!("result=\"{result}\"");
    chaos_tests::wait_for(&format!("{least} handshakes that are {result}"), chaos_tests::SOON, || {
        proxy.metric("outrigger_tls_handshakes_total", &[&label]).first().is_some_and(|count| *count >= least)
    });
}
