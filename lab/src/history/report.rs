//! What the checker found.

use std::fmt::{self, Debug, Display, Formatter};
use std::time::Duration;

use super::Read;

/// How many violations of each kind are printed in full.
const SHOWN: usize = 5;

/// A read that returned a value which had been replaced before the read began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale<K, V> {
    /// The register.
    pub key: K,
    /// The read.
    pub read: Read<V>,
    /// The value of the write that proves it: of those that began after the returned value's own
    /// write had been acknowledged, the one that was acknowledged first.
    pub replaced_by: V,
    /// How long the value had been replaced when the read began: the time since that
    /// acknowledgement.
    pub age: Duration,
}

/// What the checker found in a history. Violations are in the order in which the reads began.
#[derive(Clone, Debug)]
pub struct Report<K, V> {
    /// How many reads there were.
    pub reads: usize,
    /// How many writes there were, with the initial values.
    pub writes: usize,
    /// How many of the writes were never acknowledged.
    pub unacknowledged: usize,
    /// Reads of a value that had been replaced.
    pub stale: Vec<Stale<K, V>>,
    /// Reads of a value that nobody ever wrote.
    pub unwritten: Vec<(K, Read<V>)>,
    /// Reads that ended before the returned value's write began.
    pub from_the_future: Vec<(K, Read<V>)>,
}

impl<K, V> Default for Report<K, V> {
    fn default() -> Self {
        Self {
            reads: 0,
            writes: 0,
            unacknowledged: 0,
            stale: Vec::new(),
            unwritten: Vec::new(),
            from_the_future: Vec::new(),
        }
    }
}

impl<K, V> Report<K, V> {
    /// Whether there is no violation of any kind.
    pub fn is_clean(&self) -> bool {
        self.stale.is_empty() && self.unwritten.is_empty() && self.from_the_future.is_empty()
    }

    /// Stale reads in a million reads; zero if there were no reads.
    pub fn stale_per_million(&self) -> f64 {
        self.stale.len() as f64 * 1e6 / self.reads.max(1) as f64
    }

    pub(super) fn sort(&mut self) {
        self.stale.sort_by_key(|stale| stale.read.began);
        self.unwritten.sort_by_key(|(_, read)| read.began);
        self.from_the_future.sort_by_key(|(_, read)| read.began);
    }
}

/// One line of counts, then the first violations of each kind.
impl<K: Debug, V: Debug> Display for Report<K, V> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} reads, {} writes ({} unacknowledged): {} stale, {} of what nobody wrote, {} from the future",
            self.reads,
            self.writes,
            self.unacknowledged,
            self.stale.len(),
            self.unwritten.len(),
            self.from_the_future.len(),
        )?;
        for Stale {
            key,
            read,
            replaced_by,
            age,
        } in self.stale.iter().take(SHOWN)
        {
            let Read { value, began, .. } = read;
            write!(
                f,
                "\n  stale: {key:?} read as {value:?} at {began:?}, replaced by {replaced_by:?} {age:?} before"
            )?;
        }
        for (key, Read { value, began, .. }) in self.unwritten.iter().take(SHOWN) {
            write!(
                f,
                "\n  nobody wrote: {key:?} read as {value:?} at {began:?}"
            )?;
        }
        for (key, Read { value, began, .. }) in self.from_the_future.iter().take(SHOWN) {
            write!(
                f,
                "\n  from the future: {key:?} read as {value:?} at {began:?}"
            )?;
        }
        Ok(())
    }
}
