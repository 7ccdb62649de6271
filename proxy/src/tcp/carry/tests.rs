//! A proxy's end, seen from the worker that carries it.

use std::sync::Arc;

use tokio::task::LocalSet;

use super::*;
use crate::config::settings::FaultLimits;
use crate::config::settings::TcpUpstream;
use crate::fault_manager::FaultManager;
use crate::tcp::{TcpProxies, Wanted};
use crate::testing::Stage;

/// A TCP proxy that was just made, and its socket on its way to the worker.
#[allow(clippy::unwrap_used, reason = "what a test begins with")]
async fn made(stage: &Stage) -> (TcpProxies, Opening, SocketAddr) {
    let fault_manager = FaultManager::new(FaultLimits::default(), stage.plan.reader.clone());
    let (tcp, mut queues) = TcpProxies::new(fault_manager, 1);
    let (name, listen) = (Arc::from("db"), Arc::from("127.0.0.1:0"));
    let upstream = TcpUpstream::Address("127.0.0.1:9".into());
    let proxy = tcp.create(Wanted { name, listen, upstream, enabled: true }).await.unwrap();
    (tcp, queues[0].next().await.unwrap(), proxy.listen)
}

/// Removes it, and says whether that took less than a worker is waited for.
fn removing(tcp: TcpProxies) -> tokio::task::JoinHandle<bool> {
    tokio::task::spawn_local(async move {
        let removed = tokio::time::timeout(Duration::from_secs(4), tcp.remove("db")).await;
        removed.is_ok_and(|removed| removed.is_ok())
    })
}

#[tokio::test]
async fn a_proxy_that_is_removed_before_its_worker_has_come_to_it_is_let_go_of_at_once() {
    let stage = Stage::new("{}", 1);
    let here = async {
        let (tcp, opening, _) = made(&stage).await;
        let removed = removing(tcp);
        while opening.terms.borrow().open {
            tokio::task::yield_now().await;
        }
        tokio::task::spawn_local(follow(Rc::clone(&stage.worker), opening, Rc::new(())));
        assert!(removed.await.unwrap());
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn a_proxy_whose_connection_waits_for_a_seat_is_let_go_of_at_once() {
    let stage = Stage::new("http: { max_connections: 1 }", 1);
    let here = async {
        let (tcp, opening, address) = made(&stage).await;
        let _taken = stage.worker.balancer().permit(0).unwrap();
        tokio::task::spawn_local(follow(Rc::clone(&stage.worker), opening, Rc::new(())));
        let mut client = Io::connect(address).await.unwrap();
        // It is accepted within this time, and stands there.
        tokio::time::sleep(FULL * 4).await;
        assert!(removing(tcp).await.unwrap());
        let mut byte = [0];
        let end = poll_fn(|cx| client.poll_read_into(cx, &mut byte)).await;
        assert!(!matches!(end, Ok(1..)));
    };
    LocalSet::new().run_until(here).await;
}
