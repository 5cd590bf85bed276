use std::time::Duration;

use async_trait::async_trait;

use super::backend::{BackendStats, CacheBackend, Filled, Lookup, Mode, Ticket, Voided};
use super::change::{Change, Clear};
use super::clock::Timestamp;
use super::counters::{Count, Counters};
use super::entry::Entry;
use super::key::Key;

/// Keeps nothing: every lookup is a miss without a ticket. The "without cache" side of every
/// comparison. Counters are still counted, since what they protect does not depend on caching.
pub struct NullBackend {
    counters: Counters,
}

impl NullBackend {
    /// A backend that keeps nothing.
    pub fn new() -> Self {
        Self {
            counters: Counters::new(),
        }
    }
}

impl Default for NullBackend {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl CacheBackend for NullBackend {
    fn name(&self) -> &'static str {
        "off"
    }

    fn is_available(&self) -> bool {
        false
    }

    fn peek(&self, _: &Key, _: Timestamp) -> Option<Entry> {
        None
    }

    async fn lookup(&self, _: &Key, _: Mode, _: Timestamp) -> Lookup {
        Lookup::Miss(None)
    }

    async fn ticket(&self, _: &Key) -> Option<Ticket> {
        None
    }

    async fn fill(&self, _: Ticket, _: Entry) -> Filled {
        Filled::Refused
    }

    async fn void(&self, _: &Change, _: Option<(Ticket, Entry)>) -> Voided {
        Voided::Confirmed
    }

    fn distrust(&self) {}

    async fn clear(&self, _: &Clear) -> u64 {
        0
    }

    async fn exists(&self, _: &Key, _: Timestamp) -> bool {
        false
    }

    async fn increment(&self, counter: &str, by: i64, window: Duration, now: Timestamp) -> Count {
        self.counters.add(counter, by, window, now)
    }

    async fn stats(&self) -> BackendStats {
        BackendStats::default()
    }
}
