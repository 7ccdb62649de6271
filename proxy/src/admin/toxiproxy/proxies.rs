//! What Toxiproxy's API calls proxies: plain TCP proxies, and every service that was discovered.
//!
//! A plain one is its user's own, to be made, moved, switched off and removed. A service is not: it is somebody's production
//! or his laptop's copy of it, so it can be given toxics and be switched off, which is a fault like any other, with an end, a
//! line in the audit log and the limits of `faults`; it cannot be moved or removed.
//!
//! Changes of plain proxies come one after the other, since the port of one may be what the next one waits for. Toxics need
//! no turn: the keeper takes them at once, and removing one waits for nobody's connection.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use serde_json::Map;

use super::address::{self, resolve};
use super::json::{parse, quote};
use super::read::{self, Bad, ProxyBody};
use super::toxic::{self, DISABLED, NoToxic};
use crate::config::text::Share;
use crate::fault::keeper::{End, Refused, Which};
use crate::fault::spec::Endpoints;
use crate::fault::{Active, Keeper, Place, Spec, Stream, Subject};
use crate::snapshot::{Cluster, Reader};
use crate::tcp::{Change, TcpError, TcpProxies, TcpProxy, Upstream, Wanted};

/// What the API is made of.
#[derive(Debug)]
pub struct Proxies {
    /// Plain TCP proxies.
    pub tcp: TcpProxies,
    /// Faults.
    pub keeper: Arc<Keeper>,
    /// Services.
    pub reader: Reader,
    /// Where requests are taken, and for which service, where it is for one only.
    pub listeners: Vec<(SocketAddr, Option<Arc<str>>)>,
    /// Where proxies that are switched off shall listen, as it was written.
    pub written: RefCell<BTreeMap<Arc<str>, String>>,
    /// Whose turn it is to change plain proxies.
    pub turn: tokio::sync::Mutex<()>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Of HTTP.
    pub status: StatusCode,
    /// The sentence.
    pub message: String,
}

/// One of them.
#[derive(Debug, Clone)]
pub enum One {
    /// A plain one.
    Tcp(TcpProxy),
    /// A service.
    Service(Arc<Cluster>),
}

/// What came of `POST /populate`.
#[derive(Debug)]
pub struct Populated {
    /// Each that is there now, as JSON.
    pub shown: Vec<String>,
    /// What went wrong with the one behind them.
    pub problem: Option<Problem>,
}

type Done<T> = Result<T, Problem>;

/// More endpoints than this are not spelled out.
const SPELLED_OUT: usize = 16;
/// Where a proxy that is switched off is put meanwhile.
const NOWHERE: &str = "127.0.0.1:0";
/// What an upstream begins with that is a service.
const SERVICE: &str = "service ";

impl Problem {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// A body that is none.
    pub fn bad(bad: &Bad) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("bad request body: {bad}"))
    }

    fn missing(field: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("missing required field: {field}"))
    }

    fn server(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Locked => Self::forbidden(refused.to_string()),
            Refused::Invalid(invalid) => Self::bad(&invalid.to_string()),
            Refused::Unknown(_) => Self::new(StatusCode::NOT_FOUND, refused.to_string()),
            Refused::Taken(..) => Self::new(StatusCode::CONFLICT, "toxic already exists"),
            Refused::Cap(_) => Self::new(StatusCode::CONFLICT, refused.to_string()),
        }
    }
}

impl From<NoToxic> for Problem {
    fn from(why: NoToxic) -> Self {
        let message = match why {
            NoToxic::Stream => "stream was invalid, can be either upstream or downstream",
            NoToxic::Type => "invalid toxic type",
            NoToxic::Taken => return Self::new(StatusCode::CONFLICT, "toxic already exists"),
            NoToxic::Bad(bad) => return Self::bad(&bad),
        };
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

fn no_proxy() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "proxy not found")
}

fn no_toxic() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "toxic not found")
}

fn taken() -> Problem {
    Problem::new(StatusCode::CONFLICT, "proxy already exists")
}

/// `shown` is the address as Go shows it.
fn refused(error: TcpError, shown: &str) -> Problem {
    match error {
        TcpError::Exists => taken(),
        TcpError::NotFound => no_proxy(),
        TcpError::Configured(_) => Problem::forbidden(error.to_string()),
        TcpError::Listen(_, error) => Problem::server(address::refusal(shown, &error)),
        TcpError::TooMany(_) => Problem::new(StatusCode::CONFLICT, error.to_string()),
    }
}

impl One {
    /// What its toxics hang on.
    pub fn subject(&self) -> &Arc<Subject> {
        match self {
            Self::Tcp(proxy) => &proxy.subject,
            Self::Service(cluster) => &cluster.shared.faults,
        }
    }

    fn active(&self, toxic: &str, now: Instant) -> Option<Arc<Active>> {
        toxic::listed(self.subject(), now).into_iter().find(|active| &*active.name == toxic)
    }
}

impl Proxies {
    /// The one of this name; a plain one before a service.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find(&self, name: &str) -> Done<One> {
        if let Some(proxy) = self.tcp.find(name) {
            return Ok(One::Tcp(proxy));
        }
        self.reader.snapshot().clusters.get(name).map(|cluster| One::Service(Arc::clone(cluster))).ok_or_else(no_proxy)
    }

    /// All of them, by name.
    pub fn all(&self) -> BTreeMap<Arc<str>, One> {
        let snapshot = self.reader.snapshot();
        let services = snapshot.clusters.values();
        let mut all: BTreeMap<Arc<str>, One> =
            services.map(|cluster| (Arc::clone(&cluster.name), One::Service(Arc::clone(cluster)))).collect();
        all.extend(self.tcp.list().into_iter().map(|proxy| (Arc::clone(&proxy.name), One::Tcp(proxy))));
        all
    }

    /// Makes a plain one. As JSON.
    ///
    /// # Errors
    ///
    /// Where it cannot be made; then nothing is there.
    pub async fn create(&self, body: &[u8], by: &str) -> Done<String> {
        let body = read::proxy(body).map_err(|bad| Problem::bad(&bad))?;
        let (name, upstream) = named(&body, "")?;
        let _turn = self.turn.lock().await;
        if self.find(&name).is_ok() {
            return Err(taken());
        }
        self.make(&name, &upstream, &body, by).await
    }

    async fn make(&self, name: &str, upstream: &str, body: &ProxyBody<'_>, by: &str) -> Done<String> {
        let listen = body.listen.clone().unwrap_or_default();
        let enabled = body.enabled.unwrap_or(true);
        let at = if enabled { Some(resolve(&listen).await.map_err(listen_tcp)?) } else { None };
        let shown = at.as_ref().map_or_else(String::new, |at| at.shown.clone());
        // It does not listen before its toxics are there.
        let at_once = enabled && body.toxics.is_empty();
        let address = at.map_or_else(|| NOWHERE.into(), |at| at.address.to_string());
        let wanted =
            Wanted { name: name.into(), listen: address.into(), upstream: leads_to(upstream), enabled: at_once };
        let mut made = self.tcp.create(wanted).await.map_err(|error| refused(error, &shown))?;
        if !enabled {
            self.written.borrow_mut().insert(Arc::clone(&made.name), listen);
        }
        if !at_once {
            let finished = self.finish(&made, body, enabled, by).await;
            made = match finished {
                Ok(proxy) => proxy,
                Err(problem) => {
                    self.written.borrow_mut().remove(&made.name);
                    // It was there a moment ago, and nobody else has a turn.
                    let _gone = self.tcp.remove(&made.name).await;
                    return Err(match problem {
                        Unfinished::Toxic(problem) => problem,
                        Unfinished::Listen(error) => refused(error, &shown),
                    });
                }
            };
        }
        Ok(self.show(&One::Tcp(made)))
    }

    async fn finish(
        &self,
        made: &TcpProxy,
        body: &ProxyBody<'_>,
        enabled: bool,
        by: &str,
    ) -> Result<TcpProxy, Unfinished> {
        let one = One::Tcp(made.clone());
        for toxic in &body.toxics {
            self.add(&one, *toxic, by).map_err(Unfinished::Toxic)?;
        }
        if !enabled {
            return Ok(made.clone());
        }
        let change = Change { enabled: Some(true), ..Change::default() };
        self.tcp.change(&made.name, change).await.map_err(Unfinished::Listen)
    }

    /// Makes several, or leaves them alone where they are the same already, or replaces them, their toxics included.
    ///
    /// # Errors
    ///
    /// Where the list makes no sense; then nothing was done. What goes wrong with one of them is in the answer beside those
    /// before it.
    pub async fn populate(&self, body: &[u8], by: &str) -> Done<Populated> {
        let list = read::proxies(body).map_err(|bad| Problem::bad(&bad))?;
        let mut asked = Vec::with_capacity(list.len());
        for (index, body) in list.iter().enumerate() {
            asked.push((named(body, &format!(" at proxy {}", index + 1))?, body));
        }
        let _turn = self.turn.lock().await;
        let mut shown = Vec::new();
        for ((name, upstream), body) in asked {
            match self.put(&name, &upstream, body, by).await {
                Ok(one) => shown.push(one),
                Err(problem) => return Ok(Populated { shown, problem: Some(problem) }),
            }
        }
        Ok(Populated { shown, problem: None })
    }

    async fn put(&self, name: &str, upstream: &str, body: &ProxyBody<'_>, by: &str) -> Done<String> {
        let Ok(old) = self.find(name) else { return self.make(name, upstream, body, by).await };
        let listen = body.listen.clone().unwrap_or_default();
        let at = resolve(&listen).await.map_err(Problem::server)?;
        if self.listen_of(&old) == at.shown && upstream_of(&old) == upstream {
            return Ok(self.show(&old));
        }
        let One::Tcp(old) = old else { return Err(not_yours(name)) };
        let before = toxic::listed(&old.subject, now());
        self.keeper.clear(Which::Subject(&old.subject), &End::Cleared, by);
        let replaced = self.replace(&old, body, &at, leads_to(upstream), by).await;
        match replaced {
            Ok(new) => {
                self.remember(&new, &listen);
                Ok(self.show(&One::Tcp(new)))
            }
            Err(problem) => {
                self.keeper.clear(Which::Subject(&old.subject), &End::Cleared, by);
                for toxic in before {
                    // It was there a moment ago.
                    let _again = self.keeper.add(toxic.spec.clone(), by, now());
                }
                Err(problem)
            }
        }
    }

    async fn replace(
        &self,
        old: &TcpProxy,
        body: &ProxyBody<'_>,
        at: &address::Resolved,
        upstream: Upstream,
        by: &str,
    ) -> Done<TcpProxy> {
        let one = One::Tcp(old.clone());
        for toxic in &body.toxics {
            self.add(&one, *toxic, by)?;
        }
        let change = Change {
            listen: Some(at.address.to_string().into()),
            upstream: Some(upstream),
            enabled: Some(body.enabled.unwrap_or(true)),
        };
        self.tcp.change(&old.name, change).await.map_err(|error| refused(error, &at.shown))
    }

    /// Changes one. As JSON.
    ///
    /// # Errors
    ///
    /// Where it cannot be changed; then it is as it was.
    pub async fn update(&self, name: &str, body: &[u8], by: &str) -> Done<String> {
        let old = self.find(name)?;
        let body = read::proxy(body).map_err(|bad| Problem::bad(&bad))?;
        let _turn = self.turn.lock().await;
        match old {
            One::Tcp(_) => self.update_tcp(name, body).await,
            One::Service(cluster) => self.update_service(&cluster, &body, by),
        }
    }

    async fn update_tcp(&self, name: &str, body: ProxyBody<'_>) -> Done<String> {
        let old = self.tcp.find(name).ok_or_else(no_proxy)?;
        let current = self.listen_of(&One::Tcp(old.clone()));
        let listen = body.listen.unwrap_or_else(|| current.clone());
        let at = resolve(&listen).await.map_err(Problem::server)?;
        let upstream = body.upstream.map_or_else(|| old.upstream.clone(), |upstream| leads_to(&upstream));
        let enabled = body.enabled.unwrap_or(old.enabled);
        let differs = current != at.shown || upstream != old.upstream;
        if differs || enabled != old.enabled {
            let listen = at.address.to_string().into();
            let change = Change { listen: Some(listen), upstream: Some(upstream), enabled: Some(enabled) };
            self.tcp.change(name, change).await.map_err(|error| refused(error, &at.shown))?;
        }
        let new = self.tcp.find(name).ok_or_else(no_proxy)?;
        self.remember(&new, if differs { &listen } else { &current });
        Ok(self.show(&One::Tcp(new)))
    }

    /// Keeps where one that is switched off shall listen.
    fn remember(&self, proxy: &TcpProxy, listen: &str) {
        let mut written = self.written.borrow_mut();
        if proxy.enabled {
            written.remove(&proxy.name);
        } else {
            written.insert(Arc::clone(&proxy.name), listen.to_owned());
        }
    }

    fn update_service(&self, cluster: &Arc<Cluster>, body: &ProxyBody<'_>, by: &str) -> Done<String> {
        let one = One::Service(Arc::clone(cluster));
        let moved = body.listen.as_ref().is_some_and(|listen| *listen != self.listen_of(&one));
        let led = body.upstream.as_ref().is_some_and(|upstream| *upstream != upstream_of(&one));
        if moved || led {
            return Err(not_yours(&cluster.name));
        }
        let now = now();
        let disabling = disabling(&one, now);
        match (body.enabled, disabling) {
            (Some(false), None) => {
                self.keeper.add(down(&cluster.name), by, now)?;
            }
            (Some(true), Some(active)) => {
                self.keeper.end(active.id, by);
            }
            _ => {}
        }
        Ok(self.show(&one))
    }

    /// Removes a plain one.
    ///
    /// # Errors
    ///
    /// When there is none of this name, or it is not to be removed.
    pub async fn remove(&self, name: &str) -> Done<()> {
        let _turn = self.turn.lock().await;
        match self.find(name)? {
            One::Tcp(proxy) => {
                self.tcp.remove(name).await.map_err(|error| refused(error, ""))?;
                self.written.borrow_mut().remove(&proxy.name);
                Ok(())
            }
            One::Service(_) => Err(not_yours(name)),
        }
    }

    /// Switches everything on and removes every toxic, those of services included.
    ///
    /// # Errors
    ///
    /// What could not be switched on; the first of them. Everything else is done nevertheless.
    pub async fn reset(&self, by: &str) -> Done<()> {
        let _turn = self.turn.lock().await;
        let mut first = Ok(());
        for (name, one) in self.all() {
            self.keeper.clear(Which::Subject(one.subject()), &End::Cleared, by);
            let One::Tcp(proxy) = &one else { continue };
            if proxy.enabled {
                continue;
            }
            if let Err(problem) = self.switch_on(&name, &one).await {
                first = first.and(Err(problem));
            }
        }
        first
    }

    async fn switch_on(&self, name: &Arc<str>, one: &One) -> Done<()> {
        let at = resolve(&self.listen_of(one)).await.map_err(listen_tcp)?;
        let listen = Some(at.address.to_string().into());
        let change = Change { listen, enabled: Some(true), ..Change::default() };
        self.tcp.change(name, change).await.map_err(|error| refused(error, &at.shown))?;
        self.written.borrow_mut().remove(name);
        Ok(())
    }

    /// Adds a toxic. As JSON.
    ///
    /// # Errors
    ///
    /// Where it cannot be added; then nothing has changed.
    pub fn add_toxic(&self, name: &str, body: &[u8], by: &str) -> Done<String> {
        let one = self.find(name)?;
        let body = parse(body).map_err(|bad| Problem::bad(&bad))?;
        Ok(shown(&*self.add(&one, body, by)?))
    }

    fn add(&self, one: &One, body: super::json::Raw<'_>, by: &str) -> Done<Arc<Active>> {
        let body = read::toxic(body).map_err(|bad| Problem::bad(&bad))?;
        let now = now();
        // The one by which a service is switched off is not listed, but its name is taken.
        let faults = one.subject().faults();
        let taken = |name: &str| faults.iter().any(|active| &*active.name == name && !active.is_over(now));
        let spec = toxic::spec(&body, one.subject(), taken)?;
        Ok(self.keeper.add(spec, by, now)?)
    }

    /// A toxic. As JSON.
    ///
    /// # Errors
    ///
    /// When there is no such proxy, or it has no such toxic.
    pub fn toxic(&self, name: &str, toxic: &str) -> Done<String> {
        Ok(shown(&*self.find(name)?.active(toxic, now()).ok_or_else(no_toxic)?))
    }

    /// The toxics of one. As JSON.
    ///
    /// # Errors
    ///
    /// When there is no such proxy.
    pub fn toxics(&self, name: &str) -> Done<String> {
        Ok(show_toxics(self.find(name)?.subject(), now()))
    }

    /// Changes a toxic. As JSON.
    ///
    /// # Errors
    ///
    /// Where there is none, or it cannot be changed like that; then it is as it was.
    pub fn change_toxic(&self, name: &str, toxic: &str, body: &[u8], by: &str) -> Done<String> {
        let old = self.find(name)?.active(toxic, now()).ok_or_else(no_toxic)?;
        let (kind, percent) = toxic::changed(&old, body).map_err(|bad| Problem::bad(&bad))?;
        let new = self.keeper.change(old.id, kind, percent, by, now())?;
        Ok(shown(&*new.ok_or_else(no_toxic)?))
    }

    /// Removes a toxic.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn remove_toxic(&self, name: &str, toxic: &str, by: &str) -> Done<()> {
        let active = self.find(name)?.active(toxic, now()).ok_or_else(no_toxic)?;
        if self.keeper.end(active.id, by) { Ok(()) } else { Err(no_toxic()) }
    }

    /// One of them, as JSON.
    pub fn show(&self, one: &One) -> String {
        let now = now();
        let (name, enabled) = match one {
            One::Tcp(proxy) => (&proxy.name, proxy.enabled),
            One::Service(cluster) => (&cluster.name, disabling(one, now).is_none()),
        };
        let mut json = String::from("{\"name\":");
        quote(name, &mut json);
        json.push_str(",\"listen\":");
        quote(&self.listen_of(one), &mut json);
        json.push_str(",\"upstream\":");
        quote(&upstream_of(one), &mut json);
        // The real one's logger shows through, and so does ours.
        json.push_str(if enabled {
            ",\"enabled\":true,\"Logger\":{},\"toxics\":"
        } else {
            ",\"enabled\":false,\"Logger\":{},\"toxics\":"
        });
        json.push_str(&show_toxics(one.subject(), now));
        json.push('}');
        json
    }

    fn listen_of(&self, one: &One) -> String {
        match one {
            One::Tcp(proxy) => match self.written.borrow().get(&proxy.name) {
                Some(written) if !proxy.enabled => written.clone(),
                _ => proxy.listen.to_string(),
            },
            One::Service(cluster) => {
                let own = self.listeners.iter().find(|(_, service)| service.as_ref() == Some(&cluster.name));
                let any = || self.listeners.iter().find(|(_, service)| service.is_none());
                own.or_else(any).map_or_else(String::new, |(address, _)| address.to_string())
            }
        }
    }
}

enum Unfinished {
    Toxic(Problem),
    Listen(TcpError),
}

/// The name and the upstream, which have to be there.
fn named(body: &ProxyBody<'_>, place: &str) -> Done<(String, String)> {
    let present = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let name = present(&body.name).ok_or_else(|| Problem::missing(&format!("name{place}")))?;
    let upstream = present(&body.upstream).ok_or_else(|| Problem::missing(&format!("upstream{place}")))?;
    Ok((name, upstream))
}

fn listen_tcp(why: String) -> Problem {
    Problem::server(format!("listen tcp: {why}"))
}

fn not_yours(name: &str) -> Problem {
    Problem::forbidden(format!(
        "`{name}` is a service that was discovered: it can have toxics and be disabled, but not be moved or removed"
    ))
}

fn leads_to(upstream: &str) -> Upstream {
    match upstream.strip_prefix(SERVICE) {
        Some(service) => Upstream::Service(service.into()),
        None => Upstream::Address(upstream.into()),
    }
}

fn upstream_of(one: &One) -> String {
    match one {
        One::Tcp(TcpProxy { upstream: Upstream::Address(address), .. }) => address.to_string(),
        One::Tcp(TcpProxy { upstream: Upstream::Service(service), .. }) => format!("{SERVICE}{service}"),
        One::Service(cluster) if cluster.endpoints.is_empty() || cluster.endpoints.len() > SPELLED_OUT => {
            format!("{SERVICE}{}", cluster.name)
        }
        One::Service(cluster) => {
            let addresses = cluster.endpoints.iter().map(|endpoint| endpoint.address.to_string());
            addresses.collect::<Vec<_>>().join(",")
        }
    }
}

/// The fault by which a service is switched off.
fn disabling(one: &One, now: Instant) -> Option<Arc<Active>> {
    one.subject().faults().iter().find(|active| !active.is_over(now) && toxic::is_disabling(active)).cloned()
}

fn down(service: &str) -> Spec {
    Spec {
        name: Some(DISABLED.into()),
        kind: "down".into(),
        attributes: Map::new(),
        service: Some(service.into()),
        proxy: None,
        place: Place::Upstream,
        stream: Some(Stream::Downstream),
        endpoints: Some(Endpoints::Word("all".into())),
        route: None,
        methods: Vec::new(),
        path: None,
        headers: BTreeMap::new(),
        caller: None,
        percent: Share(1.0),
        first: None,
        every: None,
        after: None,
        ttl: None,
        controller: None,
        heartbeat: None,
    }
}

fn shown(active: &Active) -> String {
    let mut json = String::new();
    toxic::show(active, &mut json);
    json
}

fn show_toxics(subject: &Subject, now: Instant) -> String {
    let toxics: Vec<String> = toxic::listed(subject, now).iter().map(|active| shown(active)).collect();
    format!("[{}]", toxics.join(","))
}

/// The keeper's time, which is stopped where a test stops it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
