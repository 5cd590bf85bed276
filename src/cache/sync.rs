//! The locks and atomics that the protocol stands on, in one place: `lab/interleave` has others in theirs,
//! which a scheduler controls.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use parking_lot::Mutex;

/// How many epochs the keys share in memory. Keys that share one refuse each other's fills when either is
/// voided, which costs a hit and never the truth.
pub(super) const STRIPES: usize = 4096;
