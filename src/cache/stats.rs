use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

use super::reads::{ReadCounters, Reads};

pub(super) const SHARDS: usize = 32;

/// A counter for paths that every core runs: each thread adds to a cache line of its own.
#[derive(Debug)]
pub struct ShardedCounter([CachePadded<AtomicU64>; SHARDS]);

impl ShardedCounter {
    /// A counter at zero.
    pub fn new() -> Self {
        Self(std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))))
    }

    /// Adds one.
    pub fn increment(&self) {
        self.0[shard()].fetch_add(1, Ordering::Relaxed);
    }

    /// The sum over all threads.
    pub fn get(&self) -> u64 {
        self.0
            .iter()
            .map(|shard| shard.load(Ordering::Relaxed))
            .sum()
    }
}

impl Default for ShardedCounter {
    fn default() -> Self {
        Self::new()
    }
}

/// The calling thread's shard: threads are dealt out in turn.
pub(super) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        mine.get()
    })
}

/// What a [`Cache`](super::Cache) has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Reads answered out of the cache.
    pub hits: u64,
    /// Those of them that this process's memory answered in time.
    pub near_hits: u64,
    /// Those that a shared store answered in time.
    pub far_hits: u64,
    /// Reads that went to the source.
    pub misses: u64,
    /// Misses that waited for another's load instead of loading themselves.
    pub coalesced: u64,
    /// Reads answered past the entry's time because the source was away; they count as hits too.
    pub stale_served: u64,
    /// Loads that were stored.
    pub fills: u64,
    /// Loads that were not stored, since a void had overtaken them.
    pub fills_refused: u64,
    /// Loads begun in the background because a hit was near its end.
    pub refreshes: u64,
    /// Writes that voided what they changed.
    pub voids: u64,
    /// Writes whose void a tier did not confirm.
    pub voids_unconfirmed: u64,
    /// Times everything was distrusted because it was not known what had changed.
    pub distrusts: u64,
    /// Changes that the change log told of.
    pub log_entries: u64,
}

impl CacheStats {
    /// Hits among all reads, in percent with two decimals; 0 before the first read.
    pub fn hit_rate(&self) -> f64 {
        let reads = Reads {
            near: self.near_hits,
            far: self.far_hits,
            late: self.stale_served,
            loaded: self.misses,
        };
        reads.hit_rate().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) reads: ReadCounters,
    pub(super) coalesced: AtomicU64,
    pub(super) fills: AtomicU64,
    pub(super) fills_refused: AtomicU64,
    pub(super) refreshes: AtomicU64,
    pub(super) voids: AtomicU64,
    pub(super) voids_unconfirmed: AtomicU64,
    pub(super) distrusts: AtomicU64,
    pub(super) log_entries: AtomicU64,
}

impl Counts {
    pub(super) fn snapshot(&self) -> CacheStats {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let reads = self.reads.total();
        CacheStats {
            hits: reads.hits(),
            near_hits: reads.near,
            far_hits: reads.far,
            misses: reads.loaded,
            coalesced: get(&self.coalesced),
            stale_served: reads.late,
            fills: get(&self.fills),
            fills_refused: get(&self.fills_refused),
            refreshes: get(&self.refreshes),
            voids: get(&self.voids),
            voids_unconfirmed: get(&self.voids_unconfirmed),
            distrusts: get(&self.distrusts),
            log_entries: get(&self.log_entries),
        }
    }
}

pub(super) fn increment(count: &AtomicU64) {
    increment_by(count, 1);
}

pub(super) fn increment_by(count: &AtomicU64, by: u64) {
    count.fetch_add(by, Ordering::Relaxed);
}
