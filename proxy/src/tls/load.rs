//! From files to what TLS goes by: every mistake that can be seen in the files is an error that names the key and the file.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};

use super::certificate::Facts;
use super::client::{Configs, Dialer};
use super::server::{Acceptor, Certificates, Serving};
use crate::config::settings::{CertificateFiles, ClientCertificates, ListenerTls, TlsVersion, Trust};

/// What is wrong with some files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The key that it concerns, below the one for TLS: `certificates`, `0`, `key`.
    pub key: Vec<String>,
    /// What was found and what was expected.
    pub message: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key.join("."), self.message)
    }
}

/// What several things are wrong with.
pub type Wrongs = Vec<Wrong>;

fn wrong(key: &[&str], message: String) -> Wrong {
    Wrong { key: key.iter().map(|key| (*key).to_owned()).collect(), message }
}

/// The largest file that is read.
const LARGEST: u64 = 16 << 20;

pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(default_provider())))
}

pub(super) fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    match least {
        TlsVersion::V12 => &BOTH,
        TlsVersion::V13 => &BOTH[..1],
    }
}

/// What a listener goes by.
///
/// # Errors
///
/// Everything that is wrong with its files.
pub fn acceptor(tls: &ListenerTls) -> Result<Acceptor, Wrongs> {
    Ok(Acceptor::new(serving(tls, tickets()?)?, tls.handshake_timeout))
}

/// Keys for session tickets, that no other has.
///
/// # Errors
///
/// When the system has no random numbers.
pub fn tickets() -> Result<Arc<dyn ProducesTickets>, Wrongs> {
    Ticketer::new().map_err(|error| vec![wrong(&["certificates"], error.to_string())])
}

/// What a listener goes by, with the keys for its session tickets.
///
/// # Errors
///
/// Everything that is wrong with its files.
pub fn serving(tls: &ListenerTls, tickets: Arc<dyn ProducesTickets>) -> Result<Serving, Wrongs> {
    let mut wrongs = Wrongs::new();
    let mut all = Vec::with_capacity(tls.certificates.len());
    for (at, files) in tls.certificates.iter().enumerate() {
        match certified(files) {
            Ok(certified) => all.push(certified),
            Err(found) => wrongs.extend(found.into_iter().map(|w| below(&["certificates", &at.to_string()], w))),
        }
    }
    let clients = tls.clients.as_ref().map(client_verifier).transpose();
    let clients = clients.map_err(|found| wrongs.extend(found)).unwrap_or_default();
    if !wrongs.is_empty() {
        return Err(wrongs);
    }
    let certificates = Arc::new(Certificates { all, unknown: tls.unknown_sni });
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(tls.min_version))
        .map_err(|error| vec![wrong(&["min_version"], error.to_string())])?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::<Certificates>::clone(&certificates));
    config.alpn_protocols = tls.alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
    // Tickets alone: what a session needs stays with the client, and workers share nothing that handshakes write.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = tickets;
    // What comes before the handshake is over may have been sent twice by anybody (RFC 8446 section 8).
    config.max_early_data_size = 0;
    Ok(Serving { config: Arc::new(config), certificates })
}

pub(super) fn below(path: &[&str], Wrong { key, message }: Wrong) -> Wrong {
    Wrong { key: path.iter().map(|key| (*key).to_owned()).chain(key).collect(), message }
}

/// A certificate with its chain and its key, and what stands in it.
pub(super) fn certified(files: &CertificateFiles) -> Result<(Arc<CertifiedKey>, Facts), Wrongs> {
    let chain = chain(&files.cert).map_err(|message| wrong(&["cert"], message));
    let key = key(&files.key).map_err(|message| wrong(&["key"], message));
    let ((chain, facts), key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    let cert = files.cert.display();
    let key_file = files.key.display();
    let signing = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| vec![wrong(&["key"], format!("{key_file} holds a key that cannot be used: {error}"))])?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(vec![wrong(&["key"], format!("{key_file} is not the key of the certificate in {cert}"))]);
        }
        Err(error) => return Err(vec![wrong(&["cert"], format!("{cert} cannot be used: {error}"))]),
    }
    Ok((Arc::new(certified), facts))
}

fn chain(path: &Path) -> Result<(Vec<CertificateDer<'static>>, Facts), String> {
    let file = path.display();
    let chain = certificates(path)?;
    let mut facts = Vec::with_capacity(chain.len());
    for (at, certificate) in chain.iter().enumerate() {
        let found = Facts::of(certificate).ok_or_else(|| format!("certificate {} in {file} cannot be read", at + 1))?;
        facts.push(found);
    }
    for (at, pair) in facts.windows(2).enumerate() {
        if !pair[0].is_issued_by(&pair[1]) {
            return Err(format!(
                "certificate {} in {file} is not of who issued certificate {}: the listener's own stands first, then who \
                 issued it, and so on",
                at + 2,
                at + 1
            ));
        }
    }
    let own = facts.into_iter().next().ok_or_else(|| format!("{file} holds no certificate"))?;
    Ok((chain, own))
}

/// The certificates of a file; never none.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = sections(path, "a certificate", "-----BEGIN CERTIFICATE-----")?;
    if found.is_empty() { Err(format!("{} holds no certificate", path.display())) } else { Ok(found) }
}

fn sections<T: PemObject>(path: &Path, what: &str, begin: &str) -> Result<Vec<T>, String> {
    let text = read(path)?;
    let found: Result<Vec<T>, _> = T::pem_slice_iter(&text).collect();
    found.map_err(|error| {
        let file = path.display();
        format!("{file} cannot be read as PEM ({error}); expected {what} that begins with `{begin}`")
    })
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(path)?;
    let file = path.display();
    let holds = |words: &[u8]| memchr::memmem::find(&text, words).is_some();
    if holds(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(b"Proc-Type: 4,ENCRYPTED") {
        return Err(format!(
            "{file} holds an encrypted key, and nobody is there to be asked for its password; decrypt it (`openssl pkey`) \
             and protect the file instead"
        ));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        format!("{file} holds no private key; expected one in PEM, that begins with `-----BEGIN PRIVATE KEY-----`")
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = path.display();
    let found = fs::metadata(path).map_err(|error| format!("{file} cannot be read: {error}"))?;
    if !found.is_file() {
        return Err(format!("{file} is no file"));
    }
    if found.len() > LARGEST {
        return Err(format!("{file} is larger than 16MiB"));
    }
    fs::read(path).map_err(|error| format!("{file} cannot be read: {error}"))
}

/// Authorities that are trusted.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (at, certificate) in certificates(path)?.into_iter().enumerate() {
        let unfit = |error| format!("certificate {} in {} is no authority's: {error}", at + 1, path.display());
        roots.add(certificate).map_err(unfit)?;
    }
    Ok(roots)
}

type ClientVerifier = Arc<dyn rustls::server::danger::ClientCertVerifier>;

fn client_verifier(clients: &ClientCertificates) -> Result<ClientVerifier, Wrongs> {
    let roots = authorities(&clients.ca).map_err(|message| vec![wrong(&["client_ca"], message)])?;
    let mut lists = Vec::new();
    for (at, path) in clients.crls.iter().enumerate() {
        let at_key = |message| vec![wrong(&["client_crls", &at.to_string()], message)];
        let found: Vec<CertificateRevocationListDer<'static>> =
            sections(path, "a revocation list", "-----BEGIN X509 CRL-----").map_err(at_key)?;
        if found.is_empty() {
            return Err(at_key(format!("{} holds no revocation list", path.display())));
        }
        lists.extend(found);
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = match lists.is_empty() {
        true => builder,
        // A list for each authority that issues clients' certificates; who issued those is the operator's own choice.
        false => builder.with_crls(lists).only_check_end_entity_revocation(),
    };
    let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
    let key = if clients.crls.is_empty() { "client_ca" } else { "client_crls" };
    builder.build().map_err(|error| vec![wrong(&[key], error.to_string())])
}

/// The certificates of a listener that have ended, or have not begun: keys, and what is wrong.
pub fn untimely(serving: &Serving, tls: &ListenerTls, now: SystemTime) -> Wrongs {
    let judged = serving.certificates.all.iter().zip(&tls.certificates).enumerate();
    let told = judged.filter_map(|(at, ((_, facts), files))| {
        let message = untimely_one(facts, &files.cert, now)?;
        Some(wrong(&["certificates", &at.to_string(), "cert"], message))
    });
    told.collect()
}

/// Whether a certificate has ended, or has not begun.
pub fn untimely_one(facts: &Facts, file: &Path, now: SystemTime) -> Option<String> {
    let file = file.display();
    match facts.left(now) {
        None => Some(format!("{file} has expired: it was good until {}", date(facts.not_after))),
        Some(_) if facts.not_before > now => Some(format!("{file} is not good before {}", date(facts.not_before))),
        Some(_) => None,
    }
}

/// A time as people write it.
pub fn date(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

/// A dialer, as its files have it now.
pub fn dialer(trust: &Trust) -> Dialer {
    let judging = judging(trust).map_err(|wrongs| sentence(&wrongs));
    Dialer::new(trust.clone(), judging.map(|(configs, _)| configs))
}

/// What is wrong, in one line.
pub fn sentence(wrongs: &Wrongs) -> String {
    wrongs.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What endpoints are judged by, and what stands in the certificate that they are shown.
///
/// # Errors
///
/// Everything that is wrong with the files.
pub fn judging(trust: &Trust) -> Result<(Configs, Option<Facts>), Wrongs> {
    let mut wrongs = Wrongs::new();
    let roots = match (&trust.ca, trust.verify) {
        (_, false) => Ok(RootCertStore::empty()),
        (Some(ca), true) => authorities(ca).map_err(|message| wrong(&["ca"], message)),
        (None, true) => of_the_system().map_err(|message| wrong(&["ca"], message)),
    };
    let own = trust.certificate.as_ref().map(certified).transpose();
    let own = own.map_err(|found| wrongs.extend(found)).unwrap_or_default();
    let roots = roots.map_err(|found| wrongs.push(found)).ok();
    let Some(roots) = roots.filter(|_| wrongs.is_empty()) else { return Err(wrongs) };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(trust.min_version))
        .map_err(|error| vec![wrong(&["min_version"], error.to_string())])?;
    let builder = match trust.verify {
        true => builder.with_root_certificates(roots),
        false => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider()))),
    };
    let (config, facts) = match own {
        None => (builder.with_no_client_auth(), None),
        Some((key, facts)) => (builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))), Some(facts)),
    };
    Ok((Configs::of(config), facts))
}

/// The authorities that the system trusts: an operator's own are among them where the machine has them, and what the
/// system's maintainers no longer trust is not, without a new version of this program.
fn of_the_system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    match roots.is_empty() {
        false => Ok(roots),
        true => {
            Err("the system has no authorities (a package like `ca-certificates` brings them; `SSL_CERT_FILE` names \
             others); expected `ca: FILE`"
                .into())
        }
    }
}

/// Takes any certificate for good, because the operator has written so.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
