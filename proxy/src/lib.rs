//! Outrigger: a sidecar proxy that finds services in a registry and keeps requests going where they are answered.
//!
//! This page is the map. Two halves and one joint: the **control plane**, one thread, follows registries and publishes
//! an immutable [`Snapshot`](snapshot::Snapshot); the **data plane**, one [`Worker`](worker::Worker) per core,
//! carries requests by the snapshot that is current. They meet in [`snapshot`] and nowhere else. [`app`] makes every
//! long-lived object, in order, and is the only place that knows both halves.
//!
//! # The request's way
//!
//! A healthy GET over HTTP/1.1 is [`forward`](forward::forward) and ten files around it, in this order. In brackets: what each
//! calls upon.
//!
//! ```text
//!    1  serve/accept.rs             a worker's own socket; hands over to a worker with less (worker::connection_balancer); a
//!                                   connection's own task, in which the first bytes say which protocol it is
//!    2  downstream/connection.rs    waits for the next request; an idle connection holds no buffer (worker::presence)
//!    3  downstream/http1.rs         a request after the other: reads a head (http::parse, http::framing), screens it (request:
//!                                   Max-Forwards; request::target: Host and path; request::fields: loop), polls forward,
//!                                   writes the answer's head (request::fields::reply)
//!    ★  forward.rs                  top to bottom: find, admit, pick, send, await; the order of policies stands at its head
//!    4  forward/find.rs             which service: by its route (route) or its name, as this worker sees them (worker.rs
//!                                   notices a change, worker::view is what it sees)
//!    5  forward/admission.rs        through the service's limits (worker::gate, resilience::limit): at once, in line, or not
//!    6  forward/first.rs            the first attempt, for a healthy request the only one: asks the breaker and starts it
//!                                   (worker::cluster::judge); judges its answer (resilience::retry, gRPC's status too) and has
//!                                   the service learn (judge again, worker::latency_classes)
//!    7  worker/cluster.rs           picks the endpoint (balance::p2c by balance::ewma, unless another is configured)
//!    8  forward/attempt.rs          the outgoing head, without hop-by-hop fields (request, request::fields); a connection:
//!                                   upstream.rs reuses a free one, or dials; holds a small answer until it is whole
//!                                   (resilience::response_buffering)
//!    9  upstream/http1.rs           sends (upstream::http1::wire: a cursor into request::body, for each attempt its own),
//!                                   reads the answer (http::content); the connection goes back with its last byte, or is
//!                                   freed by `take_off` for a client that reads slowly
//!   10  downstream/http1/send.rs    a head and a body (forward::response_body, http::framed) on their way to the client
//! ```
//!
//! The order is that of the calls: 6 judges what 9 has read. While 8 and 9 are under way, `forward::waiting` is what waits for them and
//! for the deadline. What is known of the request is one `forward::record`, begun by 3; `forward::record::finish` makes counts, the
//! access log's line and explain of it.
//!
//! What else may happen stands beside that way:
//!
//! ```text
//!   over HTTP/2          downstream::http2: one task per client's connection, all its streams in it; downstream::http2::stream:
//!                        one request, its answer and the windows; upstream::http2: hyper's client; http2: what both sides share
//!   a body comes         request::body: kept while it may be sent again; request::body::http1, request::peer: off the socket
//!   too many at once     worker::connection_balancer: which worker gets a connection; worker::presence: which idle one makes
//!                        room; upstream::slow: clients that keep an endpoint's connection waiting are ended
//!   a slow upload        forward::collect: for 250 ms at most, what fits is waited for before anything is taken for it
//!   the caller's word    request::control_fields: what a trusted caller says of its deadline and its worth
//!   failed, or slow      forward::recovery: when to retry, hedge, replay; resilience::budget: who pays; forward::race: attempts
//!                        side by side; resilience::breaker: what is held against a service; resilience::outlier: what against
//!                        an endpoint, and for how long it is ejected; error: one table of reasons
//!   a dying connection   upstream::idle_life: how long an idle connection stays good, learned for each endpoint; upstream.rs
//!                        (reuse) keeps what may not be sent twice off an older one
//!   too late             resilience::deadline, forward::waiting: an idle time while the body comes, then a total
//!   failed for good      forward::fallback: another service; forward::fallback_answers: a stale copy (worker::stale_copies), a
//!                        fixed answer
//!   an answer of ours    forward::local_answer
//!   what a route does    forward::route_extras: who may call, an answer of its own, changes; route::change, route::split,
//!                        route::key; control::subset: which instances; balance::ring keeps requests together
//!   a copy for another   forward::mirror; its body is request::body::copied
//!   under TLS            downstream::tls: a client's handshake; upstream::tls: an endpoint's; net::tls: records; tls: which
//!                        certificate answers, and whom an endpoint has to prove to be; app::certificates looks at the files
//!   a flood over HTTP/2  downstream::http2::guard: what a client may send beside requests
//!   a fault              forward::inject, forward::faulted (HTTP); relay::StreamFaultHook (where bytes are met),
//!                        fault::stream (what is done to them)
//!   an upgrade           downstream::upgrade; its bytes are carried by relay; over HTTP/2 downstream::http2::tunnel and
//!                        upstream::http2::tunnel (http2::websocket)
//! ```
//!
//! The folders of the request's way, from the top: `serve`, `downstream`, `forward`, `worker`, `upstream`, `request`, [`http`]. None
//! imports what stands before it. [`resilience`] holds the policies: each a small synchronous piece that is handed the time and knows no request. A
//! service's shared state hangs on its [`snapshot::Cluster`], a worker's own on its [`worker::cluster::WorkerCluster`]. How long
//! the answers of each latency class take is learned in [`worker::latency_classes`].
//!
//! Plain TCP goes another way: [`tcp`] is where proxies for it are made, [`tcp::carry`] carries their connections, and
//! [`relay`] the bytes. The relay is also what byte-stream faults act in, whatever the bytes are: a connection to an endpoint
//! that such a fault meets is moved behind one ([`relay::StreamFaultHook`]).
//!
//! Cancellation is `Drop`: whoever goes away drops the future, and what it held ends with it.
//! [`http`] is the HTTP/1.1 codec, pure and without sockets; [`net`] is the only folder on the request's way that names sockets.
//!
//! # The update's way
//!
//! ```text
//!   outrigger_registry::Registry::watch     whole sets, never deltas; an error comes beside the last good set
//!     |                                     (consul, file, ...)
//!   control::pools                          which services are followed, and why; bounded
//!     |                  control::resolve   host names, off the request path, again every 30 s
//!     |                  control::health    checks of our own
//!   control::reconcile                      pure: survivors stay the same endpoints, ids are never used twice
//!     |
//!   snapshot::Publisher::publish            a whole snapshot and what differs in it, at most every 10 ms
//!     |
//!   worker                                  each worker notices at its next request or tick, and has worker::view make its
//!                                           own View; worker::clusters: of the services that differ only
//! ```
//!
//! The other direction is one bounded channel: a request for a name that nobody follows sends a
//! [`Demand`](snapshot::Demand) and waits for the next snapshot. New settings ([`config`], read by [`app`] on SIGHUP or
//! when the file changes) enter at `control::pools`, like any other event.
//!
//! # Beside them
//!
//! [`drain`] is how the process ends; [`telemetry`] what it tells about itself, and [`admin`] the thread that answers for it,
//! its `access` who may ask: [`telemetry::metrics`], [`telemetry::availability`] (before resilience and after it),
//! [`telemetry::explain`], [`telemetry::access_log`], the log of the process. [`counts`] is what is counted where it happens.
//! [`fault`] is what a fault is and does, [`fault_manager`] who adds faults and ends them. [`units`] are values as they are
//! written, [`mod@reference`] makes pages of schemas. [`config`] is what the operator writes and [`config::settings`] what it
//! means. [`drill`] is a client, in a process of its own, that breaks what the others hold together, and writes down what the
//! product made of it. The commands are `cli`, in the program.
//!
//! To read the code: [`forward`], [`control::reconcile`], [`snapshot`], in this order. In prose:
//! `docs/architecture.md`, `docs/life-of-a-request.md`, and for what surprises `docs/adr/`.

pub mod admin;
pub mod app;
pub mod balance;
pub mod clock;
pub mod config;
pub mod control;
pub mod counts;
pub mod downstream;
pub mod drain;
pub mod drill;
pub mod error;
pub mod fault;
pub mod fault_manager;
pub mod forward;
pub mod http;
pub mod http2;
pub mod net;
pub mod reference;
pub mod relay;
pub mod request;
pub mod resilience;
pub mod route;
pub mod serve;
pub mod snapshot;
pub mod tcp;
pub mod telemetry;
#[cfg(test)]
pub mod testing;
pub mod timer;
pub mod tls;
pub mod units;
pub mod upstream;
pub mod worker;
