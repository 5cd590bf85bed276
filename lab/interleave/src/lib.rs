//! The code under the cache's protocol, as `src/cache/` has it, on locks and atomics that
//! [shuttle](https://docs.rs/shuttle) schedules. The model (`lab/src/model`) checks the design; this
//! checks that stripes, single flight and breaker keep it under thousands of interleavings of their
//! threads, which a machine with few cores hardly ever shows.
//!
//! `moka` and `tokio` are not scheduled: an operation on them happens at once.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "the included files offer more than the scenarios use"
)]

mod cache;

pub use cache::scenarios;
