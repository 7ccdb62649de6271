//! Outrigger: a sidecar proxy that finds services in a registry and keeps requests going where they are answered.
//!
//! This page is the map. Two halves and one joint: the **control plane**, one thread, follows registries and publishes
//! an immutable [`Snapshot`](snapshot::Snapshot); the **data plane**, one [`Worker`](worker::Worker) per core,
//! carries requests by the snapshot that is current. They meet in [`snapshot`] and nowhere else. [`app`] makes every
//! long-lived object, in order, and is the only place that knows both halves.
//!
//! # The request's way
//!
//! A healthy GET over HTTP/1.1 is [`forward`](forward::forward) and ten files around it, in this order:
//!
//! ```text
//!    1  serve/accept.rs             a worker's own socket; hands over to a worker with less; a connection's own task, in which the
//!                                   first bytes say which protocol it is
//!    2  downstream/connection.rs    waits for the next request; an idle connection holds no buffer
//!    3  downstream/http1.rs         reads a head (http::parse) and screens it (request): target, loop, Max-Forwards
//!    ★  forward.rs                  top to bottom: find, admit, pick, send, await; the order of policies stands at its head
//!    4  forward/find.rs             which service: by its route (route) or its name, as this worker sees them (worker::view)
//!    5  forward/admission.rs        through the service's limits (resilience::limit): at once, after a turn in line, or not
//!    6  forward/first.rs            the first attempt, which for a healthy request is the only one
//!    7  worker/cluster.rs           picks the endpoint (balance::p2c, unless another is configured) and learns from what it did
//!    8  forward/attempt.rs          leases a free connection, or dials (upstream); the outgoing head, without hop-by-hop
//!                                   fields, is by request::fields
//!    9  upstream/http1.rs           sends, reads the answer; the connection goes back with the answer's last byte
//!   10  downstream/http1/send.rs    a head and a body (forward::response_body) on their way to the client
//!       forward/record.rs           what is known of it: counts, access log, explain, all from one RequestRecord
//! ```
//!
//! What else may happen stands beside that way:
//!
//! ```text
//!   over HTTP/2          downstream::http2: one task per client's connection, all its streams in it; upstream::http2: hyper's
//!                        client; http2 is what both sides share
//!   too many at once     worker::connection_balancer: which worker gets a connection; worker::presence: which idle one makes
//!                        room; upstream::slow: who keeps an endpoint's connection waiting
//!   a slow upload        forward::collect: for 250 ms at most, what fits is waited for before anything is taken for it
//!   the caller's word    request::control_fields: what a trusted caller says of its deadline and its worth
//!   failed, or slow      forward::recovery: retries, hedges, replays; resilience::budget: who pays; forward::race: attempts
//!                        side by side; resilience::{breaker, outlier}: what is held against a service or an endpoint
//!                        error: one table of reasons; resilience::retry: again, free, or not
//!   too late             resilience::deadline, forward::waiting: an idle time while the body comes, then a total
//!   failed for good      forward::fallback: another service; forward::fallback_answers: a stale copy (worker::stale_copies), a
//!                        fixed answer
//!   an answer of ours    forward::local_answer
//!   a fault              forward::inject, forward::faulted (HTTP); relay::StreamFaultHook (where bytes are met),
//!                        fault::stream (what is done to them)
//!   an upgrade           downstream::upgrade
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
//!   worker::view                            each worker makes its own View at its next request or tick;
//!                                           worker::clusters: of the services that differ only
//! ```
//!
//! The other direction is one bounded channel: a request for a name that nobody follows sends a
//! [`Demand`](snapshot::Demand) and waits for the next snapshot. New settings ([`config`], read by [`app`] on SIGHUP or
//! when the file changes) enter at `control::pools`, like any other event.
//!
//! # Beside them
//!
//! [`drain`] is how the process ends; [`telemetry`] what it tells about itself, and [`admin`] the thread that answers
//! for it: [`telemetry::metrics`], [`telemetry::availability`] (before resilience and after it), [`telemetry::explain`], the
//! logs. [`counts`] is what is counted where it happens. [`fault`] is what a fault is and does, [`fault_manager`] who adds faults
//! and ends them. [`units`] are values as they are written, [`mod@reference`] makes pages of schemas.
//! [`config`] is what the operator writes and [`config::settings`] what it means. [`drill`] is a client, in a process of its own,
//! that breaks what the others hold together, and writes down what the product made of it. The commands are `cli`, in the program.
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
pub mod units;
pub mod upstream;
pub mod worker;
