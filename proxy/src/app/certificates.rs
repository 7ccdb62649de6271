//! Certificates, keys, authorities and revocation lists: their files are looked at each second, and what has changed is taken
//! up whole or not at all.
//!
//! Whoever renews a certificate replaces two files, one after the other, and nobody tells us when both are there. So files
//! are believed when they look the same at two looks, and what was read last stays in use while the new ones are not good: a
//! key without its certificate, a file that is half written. That is one line in the log, not one a second. Connections that
//! live are not touched; handshakes that begin go by the new ones.
//!
//! On a thread of its own: a file system that hangs must not keep the control plane, nor anything else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
#[allow(
    clippy::disallowed_types,
    reason = "taken at the start, at a reload and once a second; no request waits for it"
)]
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::watch::Marks;
use crate::config::settings::{ListenerTls, Trust};
use crate::telemetry::metrics;
use crate::tls::client::Dialer;
use crate::tls::dialers::Dialers;
use crate::tls::load::{self, Wrongs};
use crate::tls::server::Acceptor;

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);
/// A certificate that ends sooner is warned of,
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// once in so long.
const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// What is made from files, and made anew when they change.
#[derive(Debug, Clone, Default)]
#[allow(clippy::disallowed_types, reason = "see above")]
pub struct WatchedFiles(Arc<Mutex<Vec<Watched>>>);

/// What was made from some files.
struct Watched {
    /// Who goes by them: `listeners[0].tls`.
    who: String,
    files: Vec<PathBuf>,
    /// Of the files that are in use, or that were found to be bad.
    seen: Vec<Marks>,
    /// Of the last look, where they were others.
    changing: Option<Vec<Marks>>,
    /// Makes it anew. Says when each certificate file ends; none where nobody goes by it any more.
    renew: Renew,
    ends: Ends,
    /// When the operator was last warned of these.
    warned: Option<SystemTime>,
}

type Ends = BTreeMap<PathBuf, SystemTime>;
type Renew = Box<dyn Fn() -> Option<Result<Ends, Wrongs>> + Send>;

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("who", &self.who).field("files", &self.files).finish_non_exhaustive()
    }
}

impl WatchedFiles {
    /// What the listener at this place goes by.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with its files.
    pub fn listener(&self, at: usize, tls: &ListenerTls) -> Result<Arc<Acceptor>, String> {
        let who = format!("listeners[{at}].tls");
        let files = files_of(tls);
        // Before they are read: what changes in between is seen at the next look.
        let seen = marks(&files);
        let acceptor = Arc::new(load::acceptor(tls).map_err(|wrongs| told(&who, &wrongs))?);
        let (renewed, tls) = (Arc::downgrade(&acceptor), tls.clone());
        let ends = ends(&acceptor, &tls);
        let renew = move || {
            let acceptor = renewed.upgrade()?;
            // What a session was allowed under other authorities or revocation lists is not resumed.
            let tickets = match tls.clients {
                None => Ok(acceptor.current().config.ticketer.clone()),
                Some(_) => load::tickets(),
            };
            Some(tickets.and_then(|tickets| load::serving(&tls, tickets)).map(|serving| {
                acceptor.replace(serving);
                self::ends(&acceptor, &tls)
            }))
        };
        self.add(Watched { who, files, seen, changing: None, renew: Box::new(renew), ends, warned: None });
        Ok(acceptor)
    }

    /// Hands out what services judge their instances by.
    pub fn dialers(&self) -> Dialers {
        let watched = self.clone();
        Dialers::new(Arc::new(move |trust| watched.dialer(trust)))
    }

    fn dialer(&self, trust: &Trust) -> Arc<Dialer> {
        let own = trust.certificate.iter().flat_map(|files| [files.cert.clone(), files.key.clone()]);
        let files: Vec<PathBuf> = trust.ca.iter().cloned().chain(own).collect();
        let seen = marks(&files);
        let judge = |trust: &Trust| {
            load::judging(trust).map(|(configs, facts)| {
                let ends =
                    trust.certificate.iter().zip(facts).map(|(files, facts)| (files.cert.clone(), facts.not_after));
                (configs, ends.collect::<Ends>())
            })
        };
        let (judging, ends) = match judge(trust) {
            Ok((configs, ends)) => (Ok(configs), ends),
            Err(wrongs) => {
                let why = load::sentence(&wrongs);
                tracing::error!("no instance can be spoken to over TLS: {why}");
                (Err(why), Ends::new())
            }
        };
        let dialer = Arc::new(Dialer::new(trust.clone(), judging));
        let renewed = Arc::downgrade(&dialer);
        let renew = move || {
            let dialer = renewed.upgrade()?;
            Some(judge(&dialer.trust).map(|(configs, ends)| {
                dialer.replace(Ok(configs));
                ends
            }))
        };
        let who = "services' tls".to_owned();
        self.add(Watched { who, files, seen, changing: None, renew: Box::new(renew), ends, warned: None });
        dialer
    }

    fn add(&self, watched: Watched) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }

    /// Begins to look.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub fn watch(&self) -> std::io::Result<()> {
        // The thread ends when nobody else has the list any more.
        let list = Arc::downgrade(&self.0);
        let run = move || {
            while let Some(list) = list.upgrade() {
                // Nobody who brings another waits for a file system.
                let mut looked = std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner));
                looked.retain_mut(|watched| watched.look(SystemTime::now()));
                list.lock().unwrap_or_else(PoisonError::into_inner).append(&mut looked);
                drop(list);
                std::thread::sleep(LOOK);
            }
        };
        std::thread::Builder::new().name("certificates".into()).spawn(run).map(|_| ())
    }
}

impl Watched {
    /// False when nobody goes by the files any more.
    fn look(&mut self, now: SystemTime) -> bool {
        let marks = marks(&self.files);
        if marks == self.seen && !marks.iter().any(Marks::are_recent) {
            self.changing = None;
        } else if self.changing.as_ref() != Some(&marks) {
            self.changing = (marks != self.seen).then_some(marks);
        } else {
            self.changing = None;
            self.seen = marks;
            match (self.renew)() {
                None => return false,
                Some(Ok(ends)) => {
                    tracing::info!(who = %self.who, "certificates were read again");
                    (self.ends, self.warned) = (ends, None);
                }
                Some(Err(wrongs)) => {
                    tracing::error!("certificates stay as they were: {}", told(&self.who, &wrongs));
                }
            }
        }
        for (file, end) in &self.ends {
            metrics::set_certificate_end(file, *end);
        }
        self.warn(now);
        true
    }

    fn warn(&mut self, now: SystemTime) {
        let due = |warned: SystemTime| now.duration_since(warned).is_ok_and(|since| since >= AGAIN);
        if !self.warned.is_none_or(due) {
            return;
        }
        self.warned = Some(now);
        for (file, end) in &self.ends {
            let (who, file, date) = (&self.who, file.display(), load::date(*end));
            match end.duration_since(now) {
                Err(_) => tracing::error!("{who}: the certificate in {file} has expired: it was good until {date}"),
                Ok(left) if left < SOON => {
                    let days = left.as_secs() / (24 * 3600);
                    tracing::warn!("{who}: the certificate in {file} ends in {days} days: {date}");
                }
                Ok(_) => {}
            }
        }
    }
}

fn files_of(tls: &ListenerTls) -> Vec<PathBuf> {
    let own = tls.certificates.iter().flat_map(|files| [&files.cert, &files.key]);
    let clients = tls.clients.iter().flat_map(|clients| std::iter::once(&clients.ca).chain(&clients.crls));
    own.chain(clients).cloned().collect()
}

fn ends(acceptor: &Acceptor, tls: &ListenerTls) -> Ends {
    let serving = acceptor.current();
    let facts = serving.certificates.all.iter().map(|(_, facts)| facts.not_after);
    tls.certificates.iter().map(|files| files.cert.clone()).zip(facts).collect()
}

fn marks(files: &[PathBuf]) -> Vec<Marks> {
    files.iter().map(|file| Marks::of(file)).collect()
}

fn told(who: &str, wrongs: &Wrongs) -> String {
    wrongs.iter().map(|wrong| format!("{who}.{wrong}")).collect::<Vec<_>>().join("; ")
}
