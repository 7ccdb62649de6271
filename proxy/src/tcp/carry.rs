//! How a worker carries plain TCP: it accepts, connects to the upstream, and relays bytes.
//!
//! Each worker has a socket of its own for each TCP proxy, as for HTTP. One task for each socket follows the proxy's
//! [`Terms`](crate::tcp::Terms) and its faults, and wakes the connections that came through the socket when these
//! change. A connection itself waits for nothing but its two sockets and its timer, so that one of ten thousand costs
//! no more than one of ten.

mod connect;
mod worker_proxy;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use self::worker_proxy::Registered;
pub use self::worker_proxy::WorkerTcpProxy;
use crate::drain::Phase;
use crate::net::accepting::{OUT_OF_FILES, is_of_one_connection};
use crate::net::{Io, Listener};
use crate::relay::{End, Relay};
use crate::tcp::{Opening, TcpQueue};
use crate::timer;
use crate::worker::connection_balancer::FULL;
use crate::worker::{Carried, Worker};

/// Takes in the sockets of TCP proxies for as long as there may be more.
pub async fn serve(worker: Rc<Worker>, mut queue: TcpQueue, alive: Rc<()>) {
    let held = Rc::downgrade(&alive);
    drop(alive);
    while let Some(opening) = queue.next().await {
        let Some(alive) = held.upgrade() else { return };
        tokio::task::spawn_local(follow(Rc::clone(&worker), opening, alive));
    }
}

/// How long a closed proxy waits for its connections to end. They are woken, and need a moment.
const LEAVING: Duration = Duration::from_secs(1);

/// Accepts on one socket, follows its proxy's terms, and ends with its connections.
async fn follow(worker: Rc<Worker>, opening: Opening, alive: Rc<()>) {
    let Opening { socket, name, subject, counts, times, mut terms } = opening;
    let now = terms.borrow_and_update().clone();
    // The proxy may have been closed before this worker came to its socket. `changed` would not tell of it again.
    if !now.open {
        return;
    }
    let listener = match Listener::register(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, proxy = &*name, "a listening socket could not be registered");
            return;
        }
    };
    let proxy = Rc::new(WorkerTcpProxy::new(name, subject, counts, times, now));
    let carried: Rc<dyn Carried> = Rc::<WorkerTcpProxy>::clone(&proxy);
    worker.carries(Rc::downgrade(&carried));
    let mut listener = Some(listener);
    let mut alive = Some(alive);
    // A connection that was accepted and waits for a permit. The next ones wait in the backlog.
    let mut standing: Option<Io> = None;
    let mut resting = false;
    let mut drained = worker.drained.clone();
    let mut closing = pin!(drained.reached(Phase::Closing));
    let mut changed = pin!(proxy.subject.changed(proxy.subject.generation()));
    loop {
        // This is one branch of the select, so that a change of the proxy is seen whatever is waited for here.
        let accepting = async {
            match &listener {
                Some(_) if resting => {
                    tokio::time::sleep(OUT_OF_FILES).await;
                    None
                }
                Some(_) if standing.is_some() => {
                    tokio::time::sleep(FULL).await;
                    None
                }
                Some(listener) => Some(listener.accept().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            told = terms.changed() => {
                let now = terms.borrow_and_update().clone();
                // An error means that nobody can change the proxy any more: the process is ending.
                let gone = told.is_err() || !now.open;
                proxy.set(now, gone);
                if gone {
                    break;
                }
            }
            now = &mut changed => {
                changed.set(proxy.subject.changed(now));
                proxy.wake();
            }
            accepted = accepting => {
                resting = false;
                match accepted {
                    None => standing = standing.take().and_then(|io| settle(&worker, &proxy, io, &alive)),
                    Some(Ok((io, _))) => {
                        standing = settle(&worker, &proxy, io, &alive);
                        for _ in 0..BATCH {
                            let Some((io, _)) = next_of(&listener, &standing) else { break };
                            standing = settle(&worker, &proxy, io, &alive);
                        }
                    }
                    Some(Err(error)) if is_of_one_connection(&error) => {}
                    Some(Err(error)) => {
                        crate::net::tell_failing(&error);
                        resting = true;
                    }
                }
            }
            () = &mut closing, if listener.is_some() => {
                standing = standing.take().and_then(|io| settle(&worker, &proxy, io, &alive));
                // What waits in the backlog would be reset otherwise.
                while let Some((io, _)) = next_of(&listener, &standing) {
                    standing = settle(&worker, &proxy, io, &alive);
                }
                (listener, standing) = (None, None);
                // The closing worker waits for the connections and not for this task, which goes on to serve them.
                alive = None;
            }
        }
    }
    drop((listener, standing, alive));
    // The connections are ending. Whoever closed the proxy waits until `terms` is dropped.
    let leaving = timer::now() + LEAVING;
    while !proxy.is_empty() && timer::now() < leaving {
        tokio::task::yield_now().await;
    }
    drop(terms);
}

/// How many connections are accepted in a row before other things are looked at.
const BATCH: usize = 16;

/// The next connection of the backlog, unless an accepted one waits for a permit.
fn next_of(listener: &Option<Listener>, standing: &Option<Io>) -> Option<(Io, SocketAddr)> {
    listener.as_ref().filter(|_| standing.is_none())?.accept_now()
}

/// Gives a connection a task of its own; gives it back where there are too many.
fn settle(worker: &Rc<Worker>, proxy: &Rc<WorkerTcpProxy>, io: Io, alive: &Option<Rc<()>>) -> Option<Io> {
    let Some(seat) = worker.balancer().permit(worker.index) else { return Some(io) };
    tokio::task::spawn_local(connection(Rc::clone(worker), Rc::clone(proxy), io, (seat, alive.clone())));
    None
}

/// A connection, from its first byte to its last.
async fn connection<G>(worker: Rc<Worker>, proxy: Rc<WorkerTcpProxy>, io: Io, guards: G) {
    let _guards = guards;
    let seat = Registered::take(&proxy);
    let mut carrying = pin!(carry(&worker, &proxy, io));
    poll_fn(|cx| {
        if seat.is_cut() {
            return Poll::Ready(());
        }
        seat.remember(cx);
        carrying.as_mut().poll(cx)
    })
    .await;
}

async fn carry(worker: &Rc<Worker>, proxy: &Rc<WorkerTcpProxy>, mut client: Io) {
    let mut relay = Relay::new(Some(proxy.times.idle)).yielding(worker.http.min_rate > 0).under(&proxy.subject, None);
    if !proxy.subject.is_quiet() && relay.is_down(timer::now()) {
        client.abort();
        return;
    }
    let mut server = match connect::on(worker, proxy).await {
        Ok(server) => server,
        Err(reason) => {
            tracing::debug!(proxy = &*proxy.name, ?reason, "nobody to connect to");
            proxy.failed();
            return;
        }
    };
    if relay.begin(timer::now()) {
        client.reset_at_close();
        server.io.reset_at_close();
    }
    let pool = &worker.pools.buffers;
    let mut told = relay.moved();
    let end = poll_fn(|cx| {
        let polled = relay.poll(cx, &mut client, &mut server.io, pool);
        let moved = relay.moved();
        proxy.moved(moved, std::mem::replace(&mut told, moved));
        polled
    })
    .await;
    match end {
        End::Done | End::Idle => {}
        // Closing with unread bytes would be a reset, and would destroy what was sent and not read yet.
        End::Closed => {
            client.read_away(pool);
            server.io.read_away(pool);
        }
        End::Broken | End::Reset => {
            client.abort();
            server.io.abort();
        }
    }
}

#[cfg(all(test, not(sim)))]
mod tests;
