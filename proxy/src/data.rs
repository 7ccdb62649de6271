//! The data plane: what carries requests.
//!
//! A [`worker`] is a thread that shares nothing it writes while requests succeed. [`accept`] takes connections in and
//! finds out what they speak; [`h1`] (over a [`conn`]) and [`h2`] are the two ways a request arrives; [`forward`] is its life, top to
//! bottom. [`body`] lends bytes, [`headers`] does a proxy's duties, [`answer`] speaks for the proxy itself.

pub mod accept;
pub mod admission;
pub mod answer;
pub mod attempt;
pub mod body;
pub mod conn;
pub mod controls;
mod degrade;
pub mod fallback;
mod faulted;
pub mod find;
pub mod first;
pub mod forward;
pub mod framed;
pub mod gather;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod headers;
pub mod inject;
pub mod kinds;
pub mod life;
pub mod presence;
pub mod race;
pub mod request;
mod route_tally;
pub mod side;
pub mod stale;
pub mod story;
pub mod target;
pub mod tcp;
#[cfg(test)]
pub mod testing;
pub mod timer;
pub mod trailers;
pub mod tunnel;
pub mod view;
pub mod worker;
