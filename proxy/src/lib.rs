//! Outrigger: a sidecar proxy that finds services in a registry and keeps requests going where they are answered.
//!
//! This page is the map. Two halves and one joint: the **control plane**, one thread, follows registries and publishes
//! an immutable [`Snapshot`](snapshot::Snapshot); the **data plane**, one [`Worker`](worker::Worker) per core,
//! carries requests by the snapshot that is current. They meet in [`snapshot`] and nowhere else. [`app`] makes every
//! long-lived object, in order, and is the only place that knows both halves.
//!
//! # The request's way
//!
//! ```text
//!   accept     serve::accept        a worker's own socket; a worker that has more than its share hands over
//!     |                             the first bytes say which protocol it is
//!     +-- downstream::http1         ours: one task per connection, one request after the other
//!     +-- downstream::http2         the h2 crate's frames: one task per connection, all its streams in it
//!     |
//!   screen     request              what has to be so before anything is done: target, loop, Max-Forwards
//!   forward    forward              the life of a request, top to bottom; the order of policies is there
//!     |   find                      forward::find, worker::view, route: which service; waits a second for a registry at most
//!     |   control fields            request::control_fields: what a trusted caller says of its deadline and its worth
//!     |   admit                     forward::admission, resilience::limit: at once, after a turn in line, or not
//!     |   pick                      worker::cluster: a service as one worker sees it; balance: two choices, latency x in flight
//!     |   attempt                   forward::attempt: one try at one endpoint; forward::first: the one that most requests need
//!     |     lease                   upstream: a free connection, or dial
//!     |     send                    upstream::http1, upstream::http2; the head by request::fields
//!     |   recover                   forward::recovery, only when something happened: retries, hedges, replays, and who pays
//!     |     classify                error: one table of reasons; resilience::retry: again, free, or not
//!     |   within                    resilience::deadline: an idle time while the body comes, then a total
//!     v   instead                   forward::fallback: a stale copy (worker::stale_copies), another service, a fixed answer
//!   respond    downstream           a head, and a forward::response_body::Download that owns all that must live until its last byte
//!   give_back  upstream             the connection goes home with the answer's last byte
//!   finish     forward::record      counts, the access log, explain: all read one RequestRecord
//! ```
//!
//! Nothing in this list imports what stands above it: `serve`, `downstream`, `forward`, `worker`, `upstream`, `request`,
//! [`http`]. [`resilience`] holds the policies: each a small synchronous piece that is handed the time and knows no request. A
//! service's shared state hangs on its [`snapshot::Cluster`], a worker's own on its [`worker::cluster::WorkerCluster`]. What
//! becomes of a request is written down by [`forward::record`] and told by [`telemetry::explain`]; how long each kind takes is
//! learned in [`worker::latency_classes`].
//!
//! Plain TCP goes another way: [`tcp`] is where proxies for it are made, [`tcp::carry`] carries their connections, and
//! [`relay`] the bytes. The relay is also what byte-stream faults act in, whatever the bytes are: a connection to an endpoint
//! that such a fault meets is moved behind one ([`relay::StreamFaultHook`]).
//!
//! Cancellation is `Drop`: whoever goes away drops the future, and what it held ends with it.
//! [`http`] is the HTTP/1.1 codec, pure and without sockets; [`net`] is the only file that names sockets.
//! An answer that the proxy makes itself is [`forward::local_answer`]'s.
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
//!   snapshot::Publisher::publish            only what has changed, at most every 10 ms
//!     |
//!   worker::view                            each worker makes its own View at its next request or tick
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
//! logs. [`config`] is what the operator writes and [`config::settings`] what it means. [`drill`] is a client, in a process of its own,
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
