//! Making plain proxies, changing and removing them; switching services off and on.
//!
//! What fails has changed nothing. So a proxy that is given toxics is made switched off, gets them, and is switched on then;
//! and one that is replaced keeps its old toxics until the new place is its own.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;

use super::super::address::{self, resolve};
use super::super::problem::{Done, Problem, listen_tcp, no_proxy, not_yours, refused, short, speakable, taken};
use super::super::read::{self, ProxyBody};
use super::super::toxic::{self, DISABLED};
use super::{One, Proxies, SERVICE, disabling, upstream_of};
use crate::clock::Instant;
use crate::config::settings::TcpUpstream;
use crate::fault::spec::Endpoints;
use crate::fault::{Active, Place, Spec, Stream};
use crate::fault_manager::{End, Which};
use crate::snapshot::Cluster;
use crate::tcp::{Change, TcpError, TcpProxy, Wanted};
use crate::units::Share;

/// How soon an address is tried again that somebody else has taken meanwhile.
const AGAIN: Duration = Duration::from_secs(1);
/// Where a proxy that is switched off is put meanwhile.
const NOWHERE: &str = "127.0.0.1:0";

/// What came of `POST /populate`.
#[derive(Debug)]
pub struct Populated {
    /// Each that is there now, as JSON.
    pub shown: Vec<String>,
    /// What went wrong with the one behind them.
    pub problem: Option<Problem>,
}

impl Proxies {
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
        short("listen", &listen)?;
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
        // Before anything of it is ended: what switches it off among that.
        if old.configured {
            return Err(refused(TcpError::Configured(Arc::clone(&old.name)), &at.shown));
        }
        let before = toxic::listed(&old.subject, Instant::now());
        self.fault_manager.clear(Which::FaultTarget(&old.subject), &End::Cleared, by);
        let replaced = self.replace(&old, body, &at, leads_to(upstream), by).await;
        match replaced {
            Ok(new) => {
                self.remember(&new, &listen);
                Ok(self.show(&One::Tcp(new)))
            }
            Err(problem) => {
                self.fault_manager.clear(Which::FaultTarget(&old.subject), &End::Cleared, by);
                for toxic in before {
                    // It was there a moment ago.
                    let _again = self.fault_manager.add(toxic.spec.clone(), by, Instant::now());
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
        upstream: TcpUpstream,
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
    pub async fn update(self: &Rc<Self>, name: &str, body: &[u8], by: &str) -> Done<String> {
        let old = self.find(name)?;
        let body = read::proxy(body).map_err(|bad| Problem::bad(&bad))?;
        let _turn = self.turn.lock().await;
        match old {
            One::Tcp(proxy) if proxy.configured => self.update_configured(name, &body, by).await,
            One::Tcp(_) => self.update_tcp(name, body).await,
            One::Service(cluster) => self.update_service(&cluster, &body, by),
        }
    }

    async fn update_tcp(&self, name: &str, body: ProxyBody<'_>) -> Done<String> {
        let old = self.tcp.find(name).ok_or_else(no_proxy)?;
        let current = self.listen_of(&One::Tcp(old.clone()));
        let listen = body.listen.unwrap_or_else(|| current.clone());
        let at = resolve(&listen).await.map_err(Problem::server)?;
        short("upstream", body.upstream.as_deref().unwrap_or_default())?;
        short("listen", &listen)?;
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
        let now = Instant::now();
        let disabling = disabling(&one, now);
        match (body.enabled, disabling) {
            (Some(false), None) => {
                self.fault_manager.add(Spec { service: Some(cluster.name.to_string()), ..down() }, by, now)?;
            }
            (Some(true), Some(active)) => {
                self.fault_manager.end(active.id, by);
            }
            _ => {}
        }
        Ok(self.show(&one))
    }

    /// Switches one of the configuration off or on. It is as little its user's own as a service is: that it is off is a fault
    /// like any other, with an end, a line in the audit log and the limits of `faults`. As with Toxiproxy its listener closes
    /// meanwhile.
    async fn update_configured(self: &Rc<Self>, name: &str, body: &ProxyBody<'_>, by: &str) -> Done<String> {
        let old = self.tcp.find(name).ok_or_else(no_proxy)?;
        let one = One::Tcp(old.clone());
        let listen = body.listen.as_ref().is_none_or(|listen| *listen == self.listen_of(&one));
        let upstream = body.upstream.as_ref().is_none_or(|upstream| *upstream == upstream_of(&one));
        if !listen || !upstream {
            return Err(refused(TcpError::Configured(Arc::clone(&old.name)), ""));
        }
        let now = Instant::now();
        match (body.enabled, disabling(&one, now)) {
            (Some(false), None) => {
                let active = self.fault_manager.add(Spec { proxy: Some(name.to_owned()), ..down() }, by, now)?;
                let off = Change { enabled: Some(false), ..Change::default() };
                self.tcp.change(name, off).await.map_err(|error| refused(error, ""))?;
                let proxies = Rc::clone(self);
                tokio::task::spawn_local(async move { proxies.restore(&active).await });
            }
            (Some(true), disabling) => {
                if let Some(active) = disabling {
                    self.fault_manager.end(active.id, by);
                }
                if !old.enabled {
                    self.switch_on(&old.name, &one).await?;
                }
            }
            _ => {}
        }
        Ok(self.show(&One::Tcp(self.tcp.find(name).ok_or_else(no_proxy)?)))
    }

    /// Has a proxy of the configuration listen again once the fault is over by which it was switched off, whoever ended it.
    async fn restore(&self, off: &Active) {
        off.over().await;
        loop {
            let turn = self.turn.lock().await;
            let Some(proxy) = self.tcp.find(&off.subject.name) else { return };
            let one = One::Tcp(proxy);
            if matches!(&one, One::Tcp(proxy) if proxy.enabled) || disabling(&one, Instant::now()).is_some() {
                return;
            }
            let Err(problem) = self.switch_on(&off.subject.name, &one).await else { return };
            tracing::error!(proxy = &*off.subject.name, "cannot listen again: {}", problem.message);
            drop(turn);
            tokio::time::sleep(AGAIN).await;
        }
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
            self.fault_manager.clear(Which::FaultTarget(one.subject()), &End::Cleared, by);
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
    for (field, value) in [("name", &name), ("upstream", &upstream)] {
        short(field, value)?;
    }
    speakable(&name)?;
    Ok((name, upstream))
}

fn leads_to(upstream: &str) -> TcpUpstream {
    match upstream.strip_prefix(SERVICE) {
        Some(service) => TcpUpstream::Service(service.into()),
        None => TcpUpstream::Address(upstream.into()),
    }
}

/// What switches a service or a proxy of the configuration off, whichever it is set to.
fn down() -> Spec {
    Spec {
        name: Some(DISABLED.into()),
        kind: "down".into(),
        attributes: Map::new(),
        service: None,
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
