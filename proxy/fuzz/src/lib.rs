//! What the codec promises, each promise as a function from bytes to a panic.
//!
//! The fuzz targets only call these; so does `cargo test` in this directory, over the committed corpora, without
//! libFuzzer. Three readers stand beside each other and have to agree:
//!
//! * [`ours`]: the codec, walked over a stream of messages the way a connection walks it;
//! * [`peer`]: hyper, polled by hand over memory, so that an input costs microseconds and no runtime;
//! * [`strict`]: a reader of what the proxy writes, made from the RFC alone and sharing no code with the codec.
//!
//! What the strict reader saw is held against [`duties`]: which fields have to be there, and that there are no others.
//! Messages come to [`rewrite`] from the codec's walk or, as HTTP/2 brings them, from [`mapped`].

pub mod checks;
pub mod duties;
pub mod mapped;
pub mod ours;
pub mod peer;
pub mod rewrite;
pub mod strict;
