//! A checker that finds stale reads in what clients wrote and read.
//!
//! # Stale, exactly
//!
//! A read is **stale** if some write began after the returned value's own write had been
//! acknowledged, and was itself acknowledged before the read began:
//!
//! ```text
//!   write 1  ├──────┤
//!   write 2            ├──────┤
//!   read                          ├───┤ → 1      stale
//! ```
//!
//! It is tempting to number the values and to call a read stale if it returns a smaller number than
//! the largest one acknowledged before it began. With overlapping writers that is unsound:
//!
//! ```text
//!   write 1  ├───────────┤
//!   write 2     ├──────┤
//!   read                     ├───┤ → 1           correct
//! ```
//!
//! The database may well have put 2 first and 1 after it; then 1 is the value, for all readers and
//! for good, and the naive checker calls each of them stale. Overlapping writes have no order that
//! a client could know.
//!
//! # Sound, whatever the clients' clocks cost
//!
//! Beginnings are noted before a request is sent, ends after its answer has come. So an operation's
//! true span lies within its recorded one, and two recorded spans that do not overlap did happen in
//! that order: each violation reported is one. Spans that merely touch count as overlapping.
//!
//! # Several instances
//!
//! What this module judges is one service. For several instances of it, of which each keeps more
//! than all together do, see [`fleet`].
//!
//! # Use
//!
//! ```
//! use alacena_lab::history::Recorder;
//!
//! let recorder = Recorder::new();
//! recorder.initial("user:1", "Ana");
//! let mut client = recorder.client();
//!
//! let write = client.write("user:1", "Eva");
//! // … the request is sent, and answered 200 …
//! write.acknowledged();
//!
//! let read = client.read("user:1");
//! // … the answer is Ana, out of a cache that missed the write …
//! read.returned("Ana");
//!
//! drop(client);
//! let report = recorder.finish().check().expect("each value is written once");
//! assert_eq!(report.stale.len(), 1);
//! ```

pub mod fleet;
mod recorder;
mod report;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

pub use recorder::{ClientLog, PendingRead, PendingWrite, Recorder};
pub use report::{Report, Stale};

/// A write as its client saw it. Times are since the history's origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write<V> {
    /// What was written: no other write of the same register may have the same value. A deletion is
    /// a write of a value of its own.
    pub value: V,
    /// When the client set out to write.
    pub began: Duration,
    /// When the client had learnt that the write happened. `None`: it never did, so the write may
    /// have happened at any time since it began, or not at all.
    pub acknowledged: Option<Duration>,
}

/// A read as its client saw it. Times are since the history's origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<V> {
    /// What the read returned.
    pub value: V,
    /// When the client set out to read.
    pub began: Duration,
    /// When the client had its answer.
    pub ended: Duration,
}

/// What clients wrote and read: for each key a register, which holds one value at a time.
#[derive(Clone, Debug)]
pub struct History<K, V> {
    registers: HashMap<K, Register<V>>,
}

#[derive(Clone, Debug)]
struct Register<V> {
    writes: Vec<Write<V>>,
    reads: Vec<Read<V>>,
}

/// A register was written the same value twice, so a read does not tell which write it saw. The
/// clients are at fault, not the service.
#[derive(Debug, thiserror::Error)]
#[error(
    "{value:?} was written to {key:?} more than once: a history can only be checked if each value is written once"
)]
pub struct WrittenTwice<K: Debug, V: Debug> {
    /// The register.
    pub key: K,
    /// The value.
    pub value: V,
}

impl<K, V> Default for History<K, V> {
    fn default() -> Self {
        Self {
            registers: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash, V> History<K, V> {
    /// An empty history.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value that a register has from the start: a write acknowledged at time zero.
    pub fn initial(&mut self, key: K, value: V) {
        self.write(
            key,
            Write {
                value,
                began: Duration::ZERO,
                acknowledged: Some(Duration::ZERO),
            },
        );
    }

    /// Adds a write.
    ///
    /// # Panics
    ///
    /// If it was acknowledged before it began.
    pub fn write(&mut self, key: K, write: Write<V>) {
        assert!(
            write.acknowledged.is_none_or(|end| write.began <= end),
            "a write ends after it began"
        );
        self.register(key).writes.push(write);
    }

    /// Adds a read.
    ///
    /// # Panics
    ///
    /// If it ended before it began.
    pub fn read(&mut self, key: K, read: Read<V>) {
        assert!(read.began <= read.ended, "a read ends after it began");
        self.register(key).reads.push(read);
    }

    fn register(&mut self, key: K) -> &mut Register<V> {
        self.registers.entry(key).or_insert_with(|| Register {
            writes: Vec::new(),
            reads: Vec::new(),
        })
    }
}

impl<K: Eq + Hash + Clone + Debug, V: Eq + Hash + Clone + Debug> History<K, V> {
    /// Judges every read. Takes O((r + w) log w) for r reads and w writes.
    ///
    /// # Errors
    ///
    /// If a register was written the same value twice.
    pub fn check(&self) -> Result<Report<K, V>, WrittenTwice<K, V>> {
        let mut report = Report::default();
        for (key, register) in &self.registers {
            register.check(key, &mut report)?;
        }
        report.sort();
        Ok(report)
    }
}

impl<V: Eq + Hash + Clone + Debug> Register<V> {
    fn check<K: Clone + Debug>(
        &self,
        key: &K,
        report: &mut Report<K, V>,
    ) -> Result<(), WrittenTwice<K, V>> {
        let source = self.writes_by_value().map_err(|value| WrittenTwice {
            key: key.clone(),
            value,
        })?;
        let successors = Successors::of(&self.writes);
        report.reads += self.reads.len();
        report.writes += self.writes.len();
        report.unacknowledged += self
            .writes
            .iter()
            .filter(|write| write.acknowledged.is_none())
            .count();

        for read in &self.reads {
            let Some(write) = source.get(&read.value) else {
                report.unwritten.push((key.clone(), read.clone()));
                continue;
            };
            if read.ended < write.began {
                report.from_the_future.push((key.clone(), read.clone()));
                continue;
            }
            let successor = write
                .acknowledged
                .and_then(|end| successors.first_acknowledged_of_those_after(end));
            if let Some((replaced, by)) = successor
                && replaced < read.began
            {
                report.stale.push(Stale {
                    key: key.clone(),
                    read: read.clone(),
                    replaced_by: by.clone(),
                    age: read.began - replaced,
                });
            }
        }
        Ok(())
    }

    fn writes_by_value(&self) -> Result<HashMap<&V, &Write<V>>, V> {
        let mut source = HashMap::with_capacity(self.writes.len());
        for write in &self.writes {
            match source.entry(&write.value) {
                Entry::Vacant(free) => free.insert(write),
                Entry::Occupied(_) => return Err(write.value.clone()),
            };
        }
        Ok(source)
    }
}

/// The acknowledged writes of a register in the order in which they began.
struct Successors<'a, V> {
    began: Vec<Duration>,
    /// The earliest acknowledgement among this write and all that began later, and what was
    /// written.
    first_acknowledged: Vec<(Duration, &'a V)>,
}

impl<'a, V> Successors<'a, V> {
    fn of(writes: &'a [Write<V>]) -> Self {
        let mut writes: Vec<(Duration, Duration, &V)> = writes
            .iter()
            .filter_map(|write| Some((write.began, write.acknowledged?, &write.value)))
            .collect();
        writes.sort_by_key(|&(began, ..)| began);
        let began = writes.iter().map(|&(began, ..)| began).collect();

        let mut first_acknowledged: Vec<(Duration, &V)> = writes
            .into_iter()
            .map(|(_, acknowledged, value)| (acknowledged, value))
            .collect();
        for later in (1..first_acknowledged.len()).rev() {
            if first_acknowledged[later].0 < first_acknowledged[later - 1].0 {
                first_acknowledged[later - 1] = first_acknowledged[later];
            }
        }
        Self {
            began,
            first_acknowledged,
        }
    }

    /// Of all writes that began after `end`, the one that was acknowledged first, and when that
    /// was.
    fn first_acknowledged_of_those_after(&self, end: Duration) -> Option<(Duration, &'a V)> {
        let after = self.began.partition_point(|&began| began <= end);
        self.first_acknowledged.get(after).copied()
    }
}
