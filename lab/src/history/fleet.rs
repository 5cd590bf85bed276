//! What clients of several instances of one service wrote and read, and how stale each read was.
//!
//! # Three questions to each read
//!
//! Stale is what it is for [one service](super): some write began after the returned value's own
//! write had been acknowledged, and was itself acknowledged before the read began. Here it makes a
//! difference which write that was:
//!
//! - one that the **same instance** acknowledged, the one which answered the read. No instance may
//!   ever do that.
//! - one that **another instance** acknowledged. Instances may learn of each other's writes a little
//!   later. How much later is to be measured: the time from the acknowledgement of the earliest such
//!   write to the beginning of the read.
//! - any, at a **position** in the log of changes which is not after the one that the reader sent
//!   along. Whoever sends a position must never be answered from before it.
//!
//! ```text
//!   instance 1   write 1 ├───┤          position 7
//!   instance 2                    ├───┤ → 0          stale by what another instance wrote
//!   instance 2                    ├───┤ → 0, sent 7  breaks its promise
//!   instance 1                    ├───┤ → 0          breaks its promise
//! ```
//!
//! # Writes whose outcome nobody was told
//!
//! An instance that is killed in the middle of a write may have committed it. Once some read has
//! returned the value, the write is known to have happened: it counts as acknowledged from then on,
//! but not before its client had given up on it. So what a killed process committed and could not
//! tell anybody is held against those who go on too, and against the process that takes its place.
//!
//! # Size
//!
//! A read takes 32 bytes and its key, and is judged where it lies.

mod judge;

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::num::NonZeroU64;
use std::ops::Add;
use std::time::Duration;

use super::WrittenTwice;
use judge::{Register, Unknown};

/// Nanoseconds since the history's origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// The time since an earlier moment; none since a later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(Self::from(later).0))
    }
}

impl From<Duration> for Moment {
    fn from(since_origin: Duration) -> Self {
        Self(u64::try_from(since_origin.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Which of the instances, counted from 0. It stays the same when its process is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance(pub u8);

/// A position in the log of changes, as writes answer with it.
pub type Position = NonZeroU64;

/// A write as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<V> {
    /// What was written: no other write of the same register may have the same value.
    pub value: V,
    /// Whom the client asked.
    pub instance: Instance,
    /// When the client set out to write.
    pub began: Moment,
    /// When the client had its answer, or gave up waiting for it.
    pub ended: Moment,
    /// What the client was told.
    pub outcome: Outcome,
}

/// What came of a write, as far as its client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is none: the register had this value from the start.
    Initial,
    /// It happened, at this position in the log.
    Acknowledged(Position),
    /// Nothing.
    Unknown,
}

/// A read as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read<V> {
    /// What the read returned.
    pub value: V,
    /// Who answered.
    pub instance: Instance,
    /// The position that was sent along.
    pub position: Option<Position>,
    /// When the client set out to read.
    pub began: Moment,
    /// When the client had its answer.
    pub ended: Moment,
}

/// What is to be said of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It returned what somebody had written.
    Written(Staleness),
    /// It returned what nobody ever wrote.
    Unwritten,
    /// It ended before the returned value's write began.
    FromTheFuture,
}

/// How stale a read was: in each case, how long ago the earliest write that proves it had been
/// acknowledged when the read began; `None` if it was not stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Staleness {
    /// By what the instance that answered had acknowledged.
    pub same_instance: Option<Duration>,
    /// By what another instance had acknowledged.
    pub other_instance: Option<Duration>,
    /// By what stands no later in the log than the position that was sent.
    pub position: Option<Duration>,
    /// Not a staleness: how long ago another instance had last acknowledged a write of this
    /// register, of which this read might have missed something.
    pub since_write_elsewhere: Option<Duration>,
}

/// What clients wrote and read at several instances.
#[derive(Clone, Debug)]
pub struct History<K, V> {
    writes: HashMap<K, Vec<Write<V>>>,
    reads: Vec<Vec<(K, Read<V>)>>,
}

impl<K, V> Default for History<K, V> {
    fn default() -> Self {
        Self {
            writes: HashMap::new(),
            reads: Vec::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, V: Copy + Eq + Hash> History<K, V> {
    /// An empty history.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value that a register has from the start.
    pub fn initial(&mut self, key: K, value: V) {
        let write = Write {
            value,
            instance: Instance(0),
            began: Moment::default(),
            ended: Moment::default(),
            outcome: Outcome::Initial,
        };
        self.write(key, write);
    }

    /// Adds a write.
    ///
    /// # Panics
    ///
    /// If it ended before it began.
    pub fn write(&mut self, key: K, write: Write<V>) {
        assert!(write.began <= write.ended, "a write ends after it began");
        self.writes.entry(key).or_default().push(write);
    }

    /// Adds what one client read, in its order.
    pub fn reads(&mut self, reads: Vec<(K, Read<V>)>) {
        self.reads.push(reads);
    }

    /// Every write, register by register.
    pub fn all_writes(&self) -> impl Iterator<Item = (&K, &Write<V>)> {
        let registers = self.writes.iter();
        registers.flat_map(|(key, writes)| writes.iter().map(move |write| (key, write)))
    }

    /// Every read, client by client.
    pub fn all_reads(&self) -> impl Iterator<Item = &(K, Read<V>)> {
        self.reads.iter().flatten()
    }

    /// Judges every read, in the order of [`all_reads`](Self::all_reads).
    ///
    /// # Errors
    ///
    /// If a register was written the same value twice.
    pub fn judge(
        &self,
        mut visit: impl FnMut(&K, &Read<V>, Verdict),
    ) -> Result<(), WrittenTwice<K, V>>
    where
        K: Debug,
        V: Debug,
    {
        let mut registers = HashMap::with_capacity(self.writes.len());
        for (&key, writes) in &self.writes {
            let register = Register::new(writes.clone());
            registers.insert(key, register.map_err(|value| WrittenTwice { key, value })?);
        }
        for (key, read) in self.all_reads() {
            if let Some(register) = registers.get_mut(key) {
                register.witness(read);
            }
        }
        for register in registers.values_mut() {
            register.complete();
        }
        for (key, read) in self.all_reads() {
            let verdict = match registers.get(key).map(|register| register.judge(read)) {
                Some(Ok(verdict)) => verdict,
                None | Some(Err(Unknown)) => Verdict::Unwritten,
            };
            visit(key, read, verdict);
        }
        Ok(())
    }
}
