//! What share of user requests succeeds while instances fail, by Outrigger and by its peers.
//!
//! A user request is a number of calls, one to each of N services; it succeeds if every call is answered, whole and right,
//! within a second. Behind every proxy stands a fleet of its own, five processes with an instance of each service in
//! each, and one of them, or all, misbehave in a stated way at a stated time ([`scenario`]). An open-loop client asks on,
//! whatever happens ([`round`]). `docs/availability.md` has the rules and the tables.
//!
//! Two things are kept apart on purpose. What *happens* is here, in Rust, and the same for all contenders. How a peer is
//! *configured* is in files beside it (`chaos-tests/availability/peers/`), because that is what its friends will argue about.

pub mod cli;
pub mod client;
pub mod fault;
pub mod fleet;
pub mod instance;
pub mod member;
pub mod numbers;
pub mod peers;
pub mod report;
pub mod round;
pub mod scenario;
pub mod template;
pub mod weather;
