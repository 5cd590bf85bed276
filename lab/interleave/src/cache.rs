//! The service's own files, on the locks of this crate.

#[path = "../../../src/cache/backend.rs"]
mod backend;
#[path = "../../../src/cache/breaker.rs"]
mod breaker;
#[path = "../../../src/cache/cached.rs"]
mod cached;
#[path = "../../../src/cache/change.rs"]
mod change;
#[path = "../../../src/cache/clock.rs"]
mod clock;
#[path = "../../../src/cache/counters.rs"]
mod counters;
#[path = "../../../src/cache/entry.rs"]
mod entry;
#[path = "../../../src/cache/flight.rs"]
mod flight;
#[path = "../../../src/cache/key.rs"]
mod key;
#[path = "../../../src/cache/log.rs"]
mod log;
#[path = "../../../src/cache/memory.rs"]
mod memory;
#[path = "../../../src/cache/pattern.rs"]
mod pattern;
#[path = "../../../src/cache/policy.rs"]
mod policy;
#[path = "scenarios.rs"]
pub mod scenarios;
#[path = "sync.rs"]
mod sync;
