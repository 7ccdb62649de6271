//! What a request does to what all workers share: nothing, as long as it goes well.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use crate::snapshot::Cluster;
use crate::testing::{Stage, head, paused};

const ROUTED: &str = "
services: { orders: { instances: ['127.0.0.1:1'], idle_timeout: 10m } }
routes: [{ host: shop.local, path: /cart, service: orders, timeout: 3s }]
";

/// How many hold what hangs on the snapshot.
fn holders(stage: &Stage) -> Vec<usize> {
    let side = stage.side("orders");
    let cluster: &Arc<Cluster> = &side.cluster;
    let view = stage.worker.view();
    let route = view.routes.named("routes[0]").unwrap();
    vec![
        Arc::strong_count(cluster),
        Arc::strong_count(&cluster.name),
        Arc::strong_count(&cluster.policy),
        Arc::strong_count(&cluster.endpoints),
        Arc::strong_count(&cluster.shared),
        Arc::strong_count(&cluster.endpoints[0]),
        Arc::strong_count(&cluster.endpoints[0].shared),
        Arc::strong_count(route),
        Arc::strong_count(&route.name),
        Arc::strong_count(&route.policy),
        Arc::strong_count(&view.routes),
        Arc::strong_count(&stage.worker.http),
        Arc::strong_count(&stage.worker.identity),
    ]
}

#[test]
fn a_request_under_way_holds_nothing_that_workers_share_by_count() {
    for host in ["orders", "shop.local"] {
        paused(async {
            let stage = Stage::new(ROUTED, 1);
            let mut endpoint = stage.endpoint("orders");
            let mut client = stage.client([127, 0, 0, 1]);
            let request = format!("GET /cart HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let mut before = Vec::new();
            for round in 0..3 {
                client.write_all(request.as_bytes()).await.unwrap();
                head(&mut endpoint).await;
                let during = holders(&stage);
                endpoint.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                assert!(head(&mut client).await.starts_with("HTTP/1.1 200"));
                let after = holders(&stage);
                // The first connection has been opened by then, which counts.
                if round > 0 {
                    assert_eq!(before, during, "{host}, while it waits");
                }
                assert_eq!(during, after, "{host}, when it is answered");
                before = after;
            }
        });
    }
}
