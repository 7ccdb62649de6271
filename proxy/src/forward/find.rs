//! Which service a request is for.
//!
//! A route says so, or the host is the service's name. A name that nobody has used before has to be followed first:
//! the request waits for the registry's first answer, for a second at most.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::config::settings::UnknownHost;
use crate::error::Reason;
use crate::forward::record::RequestRecord;
use crate::forward::route_extras;
use crate::request::Request;
use crate::request::target::Target;
use crate::route::Found;
use crate::snapshot::{Demand, DiscoveryState};
use crate::timer;
use crate::worker::Worker;
use crate::worker::cluster::WorkerCluster;
use crate::worker::view::View;

/// How long a first request waits for the registry.
const REGISTRY_WAIT: Duration = Duration::from_secs(1);

/// Which service the request is for; none where its route answers by itself. The record has the route, whose policies it has then.
/// Waits for a registry that has not answered yet.
pub async fn service(
    worker: &Rc<Worker>,
    request: &Request,
    record: &mut RequestRecord,
) -> Result<Option<Rc<WorkerCluster>>, Reason> {
    let view = worker.view();
    let target = request.target();
    // Nearly all requests of a worker are for a few hosts, so the view remembers where those go.
    let entrance = request.entrance.as_deref();
    if let Some(access) = entrance.and_then(|entrance| entrance.access.as_deref()) {
        route_extras::admit(worker, access, request, record)?;
    }
    let fixed = entrance.and_then(|entrance| entrance.service.as_deref());
    let known = match fixed {
        None => view.by_host(target.host, |known| (Rc::clone(&known.side), known.route.clone())),
        Some(_) => None,
    };
    if let Some((side, route)) = known {
        record.route = route;
        admit(worker, request, record)?;
        return Ok(Some(side));
    }
    let host = std::str::from_utf8(target.host).map_err(|_| Reason::BadRequest)?;
    let ask = request.ask(&target);
    let found = match fixed {
        Some(service) => Found::Service(Cow::Borrowed(service)),
        None => view.routes.find(host, &ask),
    };
    let (name, route) = match found {
        Found::Route(route) => match &route.service {
            Some(service) => (Cow::Borrowed(&**service), view.own(route)),
            None => {
                record.route = view.own(route);
                admit(worker, request, record)?;
                return Ok(None);
            }
        },
        Found::Split(split) => {
            let place = split.key(&ask, || request.origin()).or_else(|| view.turn(split));
            let route = place.and_then(|place| split.at(place)).ok_or(Reason::Internal)?;
            (Cow::Borrowed(route.service.as_deref().unwrap_or_default()), view.own(route))
        }
        Found::Service(name) => (name, None),
        Found::NotAllowed(name) => {
            record.name = Some(Arc::from(&*name));
            return direct_or(Reason::NameNotAllowed, worker, &view, &target, host, record).await;
        }
        Found::Nothing => return direct_or(Reason::NoRoute, worker, &view, &target, host, record).await,
    };
    record.route.clone_from(&route);
    admit(worker, request, record)?;
    match view.cluster(&name) {
        Some(side) if side.cluster.standing == DiscoveryState::Known => {
            if fixed.is_none() && view.routes.is_by_host_alone(host) {
                view.remember(target.host, side, route.as_ref());
            }
            Ok(Some(Rc::clone(side)))
        }
        _ => {
            let name = Arc::from(&*name);
            match Box::pin(wait_for(worker, &name, Demand::Service(Arc::clone(&name)), record)).await {
                Err(Reason::UnknownService) if route.is_none() => {
                    return direct_or(Reason::UnknownService, worker, &view, &target, host, record).await;
                }
                waited => waited.map(Some),
            }
        }
    }
}

/// For a host that is no service: the host itself, if the configuration allows that (`names.unknown: direct`);
/// otherwise `reason`.
async fn direct_or(
    reason: Reason,
    worker: &Rc<Worker>,
    view: &View,
    target: &Target<'_>,
    host: &str,
    record: &mut RequestRecord,
) -> Result<Option<Rc<WorkerCluster>>, Reason> {
    // A host that has routes is never gone to directly, even where none of its routes matches.
    let wanted = target.absolute
        && !view.routes.owns(host)
        && view.routes.names().is_some_and(|names| names.unknown == UnknownHost::Direct);
    if wanted { Box::pin(direct_to(worker, host, record)).await.map(Some) } else { Err(reason) }
}

/// Whether the request's route lets it pass.
fn admit(worker: &Worker, request: &Request, record: &mut RequestRecord) -> Result<(), Reason> {
    // A route without extras is left at the first look.
    let Some(route) = &record.route else { return Ok(()) };
    if route.extras.is_none() {
        return Ok(());
    }
    let route = Rc::clone(route);
    match route.extras.as_deref().and_then(|extras| extras.access.as_ref()) {
        Some(access) => route_extras::admit(worker, access, request, record),
        None => Ok(()),
    }
}

async fn direct_to(worker: &Rc<Worker>, host: &str, record: &mut RequestRecord) -> Result<Rc<WorkerCluster>, Reason> {
    let has_port =
        host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let port = host.rsplit_once(':').filter(|_| has_port).map(|(_, port)| port.parse::<u16>());
    if port.is_some_and(|port| port.is_err() || port == Ok(0)) {
        return Err(Reason::BadRequest);
    }
    let authority: Arc<str> = if has_port { Arc::from(host) } else { Arc::from(format!("{host}:80")) };
    wait_for(worker, &authority, Demand::Direct(Arc::clone(&authority)), record).await
}

/// A cluster whose registry has answered. Where nobody follows the name yet, asks the control plane to, and waits a
/// second at most.
async fn wait_for(
    worker: &Rc<Worker>,
    name: &Arc<str>,
    demand: Demand,
    record: &mut RequestRecord,
) -> Result<Rc<WorkerCluster>, Reason> {
    record.name = Some(Arc::clone(name));
    let patience = timer::now() + REGISTRY_WAIT;
    // Whether the name was asked for and has not appeared in a snapshot since.
    let mut asked = false;
    loop {
        let view = worker.view();
        match view.cluster(name).map(|side| (side.cluster.standing, side)) {
            Some((DiscoveryState::Known, side)) => return Ok(Rc::clone(side)),
            Some((DiscoveryState::Unseen, _)) => return Err(Reason::UnknownService),
            // The name is followed now. If it has to make room for another before it is answered, it is asked for
            // again.
            Some((DiscoveryState::Awaited, _)) => asked = false,
            None if view.routes.names().is_none_or(|names| names.registry.is_none())
                && matches!(demand, Demand::Service(_)) =>
            {
                return Err(Reason::UnknownService);
            }
            None if asked => {}
            None if worker.reader.names_full(timer::now()) => return Err(Reason::TooManyNames),
            None => {
                asked = true;
                if !worker.reader.demand(demand.clone()) {
                    return Err(Reason::TooManyNames);
                }
            }
        }
        let newer = worker.reader.newer_than(view.generation);
        if tokio::time::timeout_at(patience.into(), newer).await.is_err() {
            // The control plane may have refused the name after the demand was sent.
            let refused = asked && worker.reader.names_full(timer::now());
            return Err(if refused { Reason::TooManyNames } else { Reason::RegistryTimeout });
        }
    }
}
