//! A cache backend that dawdles now and then, where that is dangerous.
//!
//! Races between two steps are as rare as the time between them is short. Here it is some
//! milliseconds, now and then: enough for whole writes to pass between a load and its fill.

use std::sync::Arc;
use std::time::Duration;

use alacena::cache::{
    BackendStats, CacheBackend, Change, Clear, Count, Entry, Filled, Key, LogBatch, Lookup, Mode,
    Ticket, Tier, Timestamp, Voided,
};
use async_trait::async_trait;

/// The longest that it dawdles at once.
const LONGEST: Duration = Duration::from_millis(5);

/// What it learns of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// What the trait demands.
    Everything,
    /// Nothing of what the change log tells of: other instances' writes.
    ItsOwn,
    /// Nothing at all.
    Nothing,
}

/// A backend that now and then waits: between what a lookup found and its answer, between a load and
/// its fill, between a commit and its void, and before a writer's ticket.
pub struct Unsteady {
    inner: Arc<dyn CacheBackend>,
    hears: Hears,
}

impl Unsteady {
    /// In front of a backend.
    pub fn new(inner: Arc<dyn CacheBackend>, hears: Hears) -> Arc<Self> {
        Arc::new(Self { inner, hears })
    }
}

/// Dawdles once in so many times.
async fn dawdle(once_in: u32) {
    if fastrand::u32(..once_in) == 0 {
        tokio::time::sleep(LONGEST.mul_f64(fastrand::f64())).await;
    }
}

#[async_trait]
impl CacheBackend for Unsteady {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn is_available(&self) -> bool {
        self.inner.is_available()
    }

    fn serves(&self, key: &Key) -> bool {
        self.inner.serves(key)
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.inner.trouble()
    }

    fn peek(&self, key: &Key, now: Timestamp) -> Option<Entry> {
        self.inner.peek(key, now)
    }

    async fn lookup(&self, key: &Key, mode: Mode, now: Timestamp) -> Lookup {
        let found = self.inner.lookup(key, mode, now).await;
        dawdle(50).await;
        found
    }

    async fn ticket(&self, key: &Key) -> Option<Ticket> {
        dawdle(10).await;
        self.inner.ticket(key).await
    }

    async fn renew(&self, ticket: &Ticket) {
        self.inner.renew(ticket).await;
    }

    async fn release(&self, ticket: Ticket) {
        self.inner.release(ticket).await;
    }

    async fn fill(&self, ticket: Ticket, entry: Entry) -> Filled {
        dawdle(10).await;
        self.inner.fill(ticket, entry).await
    }

    async fn void(&self, change: &Change, through: Option<(Ticket, Entry)>) -> Voided {
        dawdle(10).await;
        match self.hears {
            Hears::Everything | Hears::ItsOwn => self.inner.void(change, through).await,
            Hears::Nothing => Voided::Confirmed,
        }
    }

    async fn apply(&self, batch: &LogBatch) -> Voided {
        match self.hears {
            Hears::Everything => self.inner.apply(batch).await,
            Hears::ItsOwn | Hears::Nothing => Voided::Confirmed,
        }
    }

    fn distrust(&self) {
        self.inner.distrust();
    }

    async fn clear(&self, clear: &Clear) -> u64 {
        self.inner.clear(clear).await
    }

    async fn exists(&self, key: &Key, now: Timestamp) -> bool {
        self.inner.exists(key, now).await
    }

    async fn sample(&self, most: usize) -> Vec<Key> {
        self.inner.sample(most).await
    }

    async fn copies(&self, key: &Key, now: Timestamp) -> Vec<(Tier, Entry)> {
        self.inner.copies(key, now).await
    }

    async fn increment(&self, counter: &str, by: i64, window: Duration, now: Timestamp) -> Count {
        self.inner.increment(counter, by, window, now).await
    }

    async fn stats(&self) -> BackendStats {
        self.inner.stats().await
    }
}
