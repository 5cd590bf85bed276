use std::time::Duration;

use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;

use super::clock::Timestamp;

/// A counter's value, and when it will be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The value.
    pub value: i64,
    /// When it starts at zero again.
    pub until: Timestamp,
}

/// How many counters are kept; beyond, the least recently used is forgotten.
const CAPACITY: u64 = 100_000;

/// Counters in this process's memory.
pub(super) struct Counters(Moka<String, Count>);

impl Counters {
    pub(super) fn new() -> Self {
        // Not the default policy: TinyLFU may refuse a newcomer, and a refused counter counts
        // nothing.
        let counters = Moka::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(Duration::from_secs(24 * 3600));
        Self(counters.build())
    }

    pub(super) fn add(&self, name: &str, by: i64, window: Duration, now: Timestamp) -> Count {
        let mut count = Count {
            value: by.max(0),
            until: now + window,
        };
        self.0.entry_by_ref(name).and_compute_with(|old| {
            let old = old.map(moka::Entry::into_value);
            if let Some(old) = old.filter(|old| now < old.until) {
                count = Count {
                    value: old.value.saturating_add(by).max(0),
                    ..old
                };
            }
            // At zero it is as good as forgotten, and takes nobody's place.
            match count.value {
                0 => Op::Remove,
                _ => Op::Put(count),
            }
        });
        count
    }
}
