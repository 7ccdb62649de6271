//! Outrigger: a sidecar proxy that finds services in a registry and keeps requests going where they are answered.
//!
//! This page is the map. Two halves and one joint: the **control plane**, one thread, follows registries and publishes
//! an immutable [`Snapshot`](snapshot::Snapshot); the **data plane**, one [`Worker`](data::worker::Worker) per core,
//! carries requests by the snapshot that is current. They meet in [`snapshot`] and nowhere else. [`app`] makes every
//! long-lived object, in order, and is the only place that knows both halves.
//!
//! # The request's way
//!
//! ```text
//!   accept     data::accept      a worker's own socket; a worker that has more than its share hands over
//!     |                          the first bytes say which protocol it is
//!     +-- data::h1               ours: one task per connection, one request after the other
//!     +-- data::h2               hyper's: one task per connection, many streams
//!     |
//!   screen     data::request     what has to be so before anything is done: target, loop, Max-Forwards
//!   forward    data::forward     the life of a request, top to bottom; the order of policies is there
//!     |   find                   data::find, data::view, route: which service; waits a second for a registry at most
//!     |   controls               data::controls: what a trusted caller says of its deadline and its worth
//!     |   admit                  data::admission, resilience::limit: at once, after a turn in line, or not
//!     |   loop                   data::life: which attempt is started, why, and who pays; data::race: those under way
//!     |     pick                 data::side: a service as one worker sees it; balance: two choices, latency x in flight
//!     |     attempt              data::attempt: one try at one endpoint, hedges and retries alike
//!     |       lease              upstream: a free connection, or dial
//!     |       send               upstream::h1, upstream::h2; the head by data::headers
//!     |     classify             error: one table of reasons; resilience::retry: again, free, or not
//!     |   within                 resilience::deadline: an idle time while the body comes, then a total
//!     v   instead                data::degrade: a stale copy (data::stale), another service, a fixed answer
//!   respond    data::h1, h2      a head, and a data::body::Download that owns all that must live until its last byte
//!   give_back  upstream          the connection goes home with the answer's last byte
//!   finished   data::worker      counts and the access log
//! ```
//!
//! [`resilience`] holds the policies: each a small synchronous piece that is handed the time and knows no request. A service's
//! shared state hangs on its [`snapshot::Cluster`], a worker's own on its [`data::side::Side`]. What becomes of a request is
//! written down by [`data::story`] and told by [`telemetry::explain`]; how long each kind takes is learned in [`data::kinds`].
//!
//! Plain TCP goes another way: [`tcp`] is where proxies for it are made, [`data::tcp`] carries their connections, and
//! [`relay`] the bytes. The relay is also what byte-stream faults act in, whatever the bytes are: a connection to an endpoint
//! that such a fault meets is moved behind one ([`relay::Tap`]).
//!
//! Cancellation is `Drop`: whoever goes away drops the future, and what it held ends with it.
//! [`http`] is the HTTP/1.1 codec, pure and without sockets; [`net`] is the only file that names sockets.
//! An answer that the proxy makes itself is [`data::answer`]'s.
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
//!   data::view                              each worker makes its own View at its next request or tick
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
//! To read the code: [`data::forward`], [`control::reconcile`], [`snapshot`], in this order. In prose:
//! `docs/architecture.md`, `docs/life-of-a-request.md`, and for what surprises `docs/adr/`.

pub mod admin;
pub mod app;
pub mod balance;
pub mod clock;
pub mod config;
pub mod control;
pub mod counts;
pub mod data;
pub mod drain;
pub mod drill;
pub mod error;
pub mod fault;
pub mod http;
pub mod net;
pub mod reference;
pub mod relay;
pub mod resilience;
pub mod route;
pub mod snapshot;
pub mod tcp;
pub mod telemetry;
pub mod units;
pub mod upstream;
