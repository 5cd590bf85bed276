//! What one client saw, on a clock that all share.

use std::time::Instant;

use super::thing::{Thing, ThingRead, ThingWrite};
use crate::history::fleet::{Instance, Moment};

/// The clock, which starts with the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(&self) -> Moment {
        self.0.elapsed().into()
    }
}

/// A request that was not answered, or not as it should have been.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) instance: Instance,
    pub(super) began: Moment,
    pub(super) ended: Moment,
    pub(super) why: String,
}

/// What one client saw, in its order. All that one answer told has the same times.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Values that a register has from the start.
    pub(super) initial: Vec<(Thing, u32)>,
    pub(super) writes: Vec<(Thing, ThingWrite)>,
    pub(super) reads: Vec<(Thing, ThingRead)>,
    pub(super) failed: Vec<Failed>,
}
