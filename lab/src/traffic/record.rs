//! What one client saw, on a clock that all share.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::stage::{Stage, first_value};
use super::thing::{Thing, ThingRead, ThingWrite};
use crate::history::fleet::{History, Instance, Moment};

/// The clock, which starts with the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Moment {
        self.0.elapsed().into()
    }

    /// A moment as those who sleep until it need it.
    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        self.0 + moment.since(Moment::default())
    }
}

/// A request that was not answered, or not as it should have been.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) instance: Instance,
    pub(crate) began: Moment,
    pub(crate) ended: Moment,
    pub(crate) why: String,
    /// Whether it was answered 503, with `Retry-After`.
    pub(crate) is_refusal: bool,
}

/// What one client saw, in its order. All that one answer told has the same times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// Values that a register has from the start.
    pub(crate) initial: Vec<(Thing, u32)>,
    pub(crate) writes: Vec<(Thing, ThingWrite)>,
    pub(crate) reads: Vec<(Thing, ThingRead)>,
    pub(crate) failed: Vec<Failed>,
}

/// A client's record, which others may look into while it grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Record>>);

impl Notes {
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it says but for the reads that began at another time.
    pub(crate) fn with_reads_of(&self, time: Range<Moment>) -> Record {
        let record = self.record();
        let reads = record.reads.iter().rev();
        // A client's reads begin one after the other.
        let reads = reads
            .skip_while(|(_, read)| read.began >= time.end)
            .take_while(|(_, read)| read.began >= time.start);
        Record {
            initial: record.initial.clone(),
            writes: record.writes.clone(),
            reads: reads.copied().collect(),
            failed: Vec::new(),
        }
    }

    /// What it says, which it then says no more.
    pub(crate) fn take(&self) -> Record {
        std::mem::take(&mut self.record())
    }
}

/// What all clients of a stage saw, as one.
pub(crate) fn assembled(stage: &Stage, records: Vec<Record>) -> (History<Thing, u32>, Vec<Failed>) {
    let mut history = History::new();
    for (index, number) in (0..stage.users.len()).zip(0..) {
        history.initial(Thing::User(number), first_value(index));
    }
    for (index, number) in (0..stage.products.len()).zip(0..) {
        history.initial(Thing::Product(number), first_value(index));
    }
    let mut failed = Vec::new();
    for record in records {
        for (thing, value) in record.initial {
            history.initial(thing, value);
        }
        for (thing, write) in record.writes {
            history.write(thing, write);
        }
        history.reads(record.reads);
        failed.extend(record.failed);
    }
    (history, failed)
}
