//! A copy of a request for another service, whose answer is thrown away.
//!
//! To see how a new version does with real requests, without anybody being answered by it. So whatever becomes of the copy, the
//! original knows nothing of it: it is made once the whole body is here (a body that is not held whole is not copied, since the
//! slower of two readers would hold the other one up), it has a task of its own, and there are so many at once and no more.
//! What comes on top is not copied rather than queued. A copy is `sheddable`: where its service is overloaded, it goes first.
//!
//! To its service it is a request like any other, with that service's policies, limits, breaker and account.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};

use crate::clock::Instant;
use crate::config::settings::{Mirror, Priority};
use crate::forward::RequestContext;
use crate::forward::answer::Answer;
use crate::forward::record::RequestRecord;
use crate::forward::response_body::Download;
use crate::request::Request;
use crate::request::body::Upload;
use crate::request::control_fields::ControlFields;
use crate::timer::{self, Timer};
use crate::worker::Worker;
use crate::worker::cluster::WorkerCluster;
use crate::worker::route::WorkerRoute;

/// Copies under way, of one route and worker. One less when it is dropped.
struct Place(Rc<Cell<u32>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Sends a copy on its way, if the request's lot is one and there is room.
pub fn copy(asking: &RequestContext<'_>, route: &WorkerRoute, mirror: &Mirror, now: Instant) {
    let RequestContext { worker, request, .. } = *asking;
    // Two ends that have switched to another protocol speak to each other.
    if request.upgrade || mirror.share < 1.0 && worker.random() >= mirror.share {
        return;
    }
    let Some(place) = room(route, worker.share_of(mirror.max_in_flight)) else { return };
    let Some(side) = worker.view().cluster(&mirror.service).map(Rc::clone) else { return };
    // Counted with what is held of answers: it is memory that nobody waits for.
    let bytes = usize::try_from(request.body.taken()).unwrap_or(usize::MAX);
    let Some(held) = worker.hold(bytes) else { return };
    let Some(body) = Upload::copied(&request.body, now) else { return };
    let shadow = Request {
        head: Rc::clone(&request.head),
        body: Rc::new(body),
        client: Rc::clone(&request.client),
        id: request.id,
        entrance: None,
        asked: request.asked.clone(),
        interim: None,
        upgrade: false,
    };
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let _until_the_end = (place, held);
        carry(&worker, &side, &shadow, now).await;
    });
}

fn room(route: &WorkerRoute, most: u32) -> Option<Place> {
    let under_way = &route.mirrored;
    (under_way.get() < most).then(|| {
        under_way.set(under_way.get() + 1);
        Place(Rc::clone(under_way))
    })
}

/// Asks the service, and reads its answer to the end.
async fn carry(worker: &Rc<Worker>, side: &Rc<WorkerCluster>, shadow: &Request, now: Instant) {
    let policy = &*side.cluster.policy;
    let timer = Timer::new(now + policy.timeout);
    let mut record = RequestRecord::new(now);
    record.reached(side);
    let mut controls = ControlFields::default();
    controls.priority = Some(Priority::Sheddable);
    let asking = RequestContext { worker, timer: &timer, request: shadow, controls };
    match asking.ask(side, policy, Some(policy.timeout), &mut record, now).await {
        Ok(Answer::Response(head, mut download)) => {
            record.answered(head.status());
            // As long again: an answer without an end is nobody's to wait for.
            let until = timer::now() + policy.timeout;
            let over = poll_fn(|cx| match thrown_away(&mut download, cx) {
                Poll::Pending => timer.poll(cx, until),
                Poll::Ready(()) => Poll::Ready(()),
            });
            over.await;
            download.recycle(&worker.exchanges);
            worker.pools.heads.give(head);
        }
        Ok(Answer::Tunnel(head, _)) => record.answered(head.status()),
        Err(reason) => record.refused(reason),
    }
    record.finish(worker, shadow);
    shadow.body.close();
}

/// Ready at the end of a body, or where it breaks off.
fn thrown_away(download: &mut Download, cx: &mut std::task::Context<'_>) -> Poll<()> {
    loop {
        match ready!(download.poll_piece(cx)) {
            Ok(0) | Err(_) => return Poll::Ready(()),
            Ok(bytes) => download.consume(bytes),
        }
    }
}
