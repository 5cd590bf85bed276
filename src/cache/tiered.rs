use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::backend::{BackendStats, CacheBackend, Filled, Lookup, Mode, Ticket, Tier, Voided};
use super::change::{Change, Clear};
use super::clock::Timestamp;
use super::counters::Count;
use super::entry::Entry;
use super::key::Key;
use super::log::LogBatch;
use super::memory::MemoryBackend;

/// Two tiers: this process's memory in front of a store that instances share.
///
/// It keeps to one order in everything (rule 7): *far before near*. What is voided is voided far,
/// then near; a ticket is taken near, and only then is far looked into. The other way round, a near
/// miss between the two would copy the old far value under a fresh near ticket.
///
/// Far may be away or doubtful at any time, which it says by handing out no tickets. Then near goes
/// on alone.
pub struct TieredBackend {
    name: &'static str,
    near: Arc<MemoryBackend>,
    far: Arc<dyn CacheBackend>,
    reads: NearReads,
}

/// When a read may be answered from near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NearReads {
    Always,
    /// Near is filled and voided all the same, so that it is warm when it is needed.
    WhileFarIsNotTrusted,
}

impl TieredBackend {
    /// Near first, then far.
    pub fn near_first(near: Arc<MemoryBackend>, far: Arc<dyn CacheBackend>) -> Self {
        Self {
            name: "tiered",
            near,
            far,
            reads: NearReads::Always,
        }
    }

    /// Far, and near while far is not trusted.
    pub fn far_first(near: Arc<MemoryBackend>, far: Arc<dyn CacheBackend>) -> Self {
        Self {
            name: far.name(),
            near,
            far,
            reads: NearReads::WhileFarIsNotTrusted,
        }
    }

    fn reads_near(&self, key: &Key) -> bool {
        self.reads == NearReads::Always || !self.far.serves(key)
    }

    /// Copies what far has, unless near has just that.
    async fn copy(&self, ticket: Option<Ticket>, copy: Option<&Entry>, entry: &Entry) {
        let is_there = copy.is_some_and(|copy| copy.stored() == entry.stored());
        if let Some(ticket) = ticket.filter(|_| !is_there) {
            self.near.fill(ticket, entry.clone()).await;
        }
    }
}

#[async_trait]
impl CacheBackend for TieredBackend {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_available(&self) -> bool {
        self.near.is_available()
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.far.trouble()
    }

    fn peek(&self, key: &Key, now: Timestamp) -> Option<Entry> {
        if self.reads_near(key) {
            self.near.peek(key, now)
        } else {
            None
        }
    }

    async fn lookup(&self, key: &Key, mode: Mode, now: Timestamp) -> Lookup {
        // The near ticket before anything else (rule 7).
        let (copy, near) = match self.near.lookup(key, mode, now).await {
            Lookup::Hit(entry, tier) if self.reads_near(key) => return Lookup::Hit(entry, tier),
            // While far is trusted, what near has is only worth being compared with.
            Lookup::Hit(entry, _) => (Some(entry), self.near.ticket(key).await),
            Lookup::Stale(entry, _, ticket) => (Some(entry), ticket),
            Lookup::Miss(ticket) => (None, ticket),
        };
        let (found, far) = match self.far.lookup(key, mode, now).await {
            Lookup::Hit(entry, tier) => {
                self.copy(near, copy.as_ref(), &entry).await;
                return Lookup::Hit(entry, tier);
            }
            Lookup::Stale(entry, tier, ticket) => (Some((entry, tier)), ticket),
            Lookup::Miss(ticket) => {
                // Where far was no help, company is worth more than being told of the last write of
                // another instance: what near has got since this look began is as new as what
                // whoever boards a flight of the same near epoch gets.
                if let (None, Mode::Read, Some(near)) = (&ticket, mode, &near)
                    && let Some(entry) = self.near.stored_since(near, now)
                {
                    return Lookup::Hit(entry, Tier::Near);
                }
                // It may have come to be distrusted meanwhile.
                let copy = copy.filter(|_| self.reads_near(key));
                if let (Some(copy), Mode::Read) = (&copy, mode)
                    && copy.is_fresh(now)
                {
                    return Lookup::Hit(copy.clone(), Tier::Near);
                }
                (copy.map(|copy| (copy, Tier::Near)), ticket)
            }
        };
        let ticket = near.map(|near| near.with_far(far));
        match found {
            Some((entry, tier)) => Lookup::Stale(entry, tier, ticket),
            None => Lookup::Miss(ticket),
        }
    }

    async fn ticket(&self, key: &Key) -> Option<Ticket> {
        let near = self.near.ticket(key).await?;
        // Without a far ticket the far void will remove (recovery rule 2).
        Some(near.with_far(self.far.ticket(key).await))
    }

    async fn renew(&self, ticket: &Ticket) {
        if let Some(far) = ticket.far() {
            self.far.renew(far).await;
        }
    }

    async fn release(&self, ticket: Ticket) {
        if let (_, Some(far)) = ticket.split() {
            self.far.release(far).await;
        }
    }

    async fn fill(&self, ticket: Ticket, entry: Entry) -> Filled {
        let (near, far) = ticket.split();
        // What far refuses may have been overtaken by a write of another instance, which near
        // does not know of.
        if let Some(far) = far
            && self.far.fill(far, entry.clone()).await == Filled::Refused
        {
            return Filled::Refused;
        }
        self.near.fill(near, entry).await
    }

    async fn void(&self, change: &Change, through: Option<(Ticket, Entry)>) -> Voided {
        let (near, far) = match through {
            Some((ticket, entry)) => {
                let (near, far) = ticket.split();
                let far = far.map(|far| (far, entry.clone()));
                (Some((near, entry)), far)
            }
            None => (None, None),
        };
        // Near writes through what far does. Where far is not asked, near is on its own.
        let is_alone = far.is_none() && change.written().is_none_or(|key| !self.far.serves(key));
        let is_through = far.is_some();
        // Far first (rule 7). If it does not confirm, it distrusts itself before it says so: the
        // distrust before the near void, and that before the acknowledgement (recovery rule 4).
        let voided = self.far.void(change, far).await;
        let is_far = is_through && voided == Voided::Confirmed;
        let near = near.filter(|_| is_far || is_alone);
        let _ = self.near.void(change, near).await;
        voided
    }

    async fn apply(&self, batch: &LogBatch) -> Voided {
        // Far first, or marked as unconfirmed; then near (rule 7, recovery rule 4).
        let voided = self.far.apply(batch).await;
        let _ = self.near.apply(batch).await;
        voided
    }

    fn distrust(&self) {
        self.far.distrust();
        self.near.distrust();
    }

    async fn clear(&self, clear: &Clear) -> u64 {
        let far = self.far.clear(clear).await;
        // Most keys are in both tiers.
        self.near.clear(clear).await.max(far)
    }

    async fn exists(&self, key: &Key, now: Timestamp) -> bool {
        (self.reads_near(key) && self.near.exists(key, now).await)
            || self.far.exists(key, now).await
    }

    async fn sample(&self, most: usize) -> Vec<Key> {
        let mut keys = self.near.sample(most).await;
        keys.extend(self.far.sample(most).await);
        keys
    }

    async fn copies(&self, key: &Key, now: Timestamp) -> Vec<(Tier, Entry)> {
        let mut copies = self.near.copies(key, now).await;
        copies.extend(self.far.copies(key, now).await);
        copies
    }

    async fn increment(&self, counter: &str, by: i64, window: Duration, now: Timestamp) -> Count {
        self.far.increment(counter, by, window, now).await
    }

    async fn stats(&self) -> BackendStats {
        BackendStats {
            far: self.far.stats().await.far,
            ..self.near.stats().await
        }
    }
}
