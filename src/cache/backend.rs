use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::change::{Change, Clear};
use super::clock::Timestamp;
use super::counters::Count;
use super::entry::Entry;
use super::key::Key;
use super::log::{LogBatch, Stale};

/// The right to store one value under one key, until anything voids that key.
///
/// It cannot be cloned: what was loaded once is stored at most once.
#[derive(Debug)]
pub struct Ticket {
    key: Key,
    epoch: u128,
    order: u64,
    stamp: Bytes,
    lease: Option<Lease>,
    far: Option<Box<Ticket>>,
}

/// A ticket's term, where tickets have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// It ends so long after it was handed out, or last [renewed](CacheBackend::renew).
    pub life: Duration,
    /// Whether another is loading the value already, most likely. Whoever has such a ticket may
    /// wait for them, and may as well load.
    pub is_awaited: bool,
}

impl Ticket {
    /// For backends: a ticket for `key`, good while the key is in `epoch`, and taken after every
    /// ticket of the key that has a lower `order`.
    pub fn new(key: Key, epoch: u128, order: u64) -> Self {
        Self {
            key,
            epoch,
            order,
            stamp: Bytes::new(),
            lease: None,
            far: None,
        }
    }

    /// For backends: the same ticket with the version tags that the entry will carry.
    pub fn stamped(self, stamp: Bytes) -> Self {
        Self { stamp, ..self }
    }

    /// For backends: the same ticket, for a term.
    pub fn leased(self, lease: Lease) -> Self {
        Self {
            lease: Some(lease),
            ..self
        }
    }

    /// For backends of two tiers: the right to store in both. Without the far one, in near alone.
    pub fn with_far(self, far: Option<Self>) -> Self {
        Self {
            far: far.map(Box::new),
            ..self
        }
    }

    /// The tickets that [`with_far`](Self::with_far) made one of.
    pub fn split(mut self) -> (Self, Option<Self>) {
        let far = self.far.take();
        (self, far.map(|far| *far))
    }

    /// The far one of the two.
    pub fn far(&self) -> Option<&Self> {
        self.far.as_deref()
    }

    /// The key it is for.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Two tickets of one key have the same epoch only if nothing voided the key between them.
    /// Loads under the same epoch may therefore be shared (recovery rule 8).
    ///
    /// A ticket for two tiers has both epochs in it: the far one is drawn at random.
    pub fn epoch(&self) -> u128 {
        self.epoch ^ self.far.as_ref().map_or(0, |far| far.epoch)
    }

    /// What was loaded under a later ticket is not overwritten under an earlier one.
    pub fn order(&self) -> u64 {
        self.order
    }

    /// The version tags that an entry stored under it carries.
    pub fn stamp(&self) -> &Bytes {
        &self.stamp
    }

    /// Its term, or its far one's.
    pub fn lease(&self) -> Option<Lease> {
        self.lease.or_else(|| self.far.as_ref()?.lease)
    }
}

/// What a lookup is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To answer a read: a fresh entry is a hit.
    Read,
    /// To load the value anew whatever is there: an entry is at most stale.
    Refresh,
}

/// Which tier an entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// This process's memory.
    Near,
    /// A server that instances share.
    Far,
}

impl Tier {
    /// The name that `Cache-Status` and the log use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }
}

/// What is known of a copy without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Where it is.
    pub tier: Tier,
    /// Since when.
    pub age: Duration,
    /// How long it will answer reads.
    pub ttl: Duration,
    /// Bytes of the value; none where the copy says that there is no such thing.
    pub size: Option<usize>,
    /// Whether it is the one that reads get at present.
    pub answers_reads: bool,
}

/// What a lookup found.
#[derive(Debug)]
pub enum Lookup {
    /// A fresh entry.
    Hit(Entry, Tier),
    /// An entry past its TTL, or one that is to be refreshed. It may answer only while the source
    /// is away.
    Stale(Entry, Tier, Option<Ticket>),
    /// Nothing. Without a ticket, what is loaded cannot be stored.
    Miss(Option<Ticket>),
}

/// What became of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The entry is handed to the store, which may still evict it at any time.
    Stored,
    /// The ticket is good no more: the key was voided since, or the ticket was lost.
    Refused,
    /// The backend could not store it, or did not say.
    Failed,
}

/// Whether every tier is known to have dropped what was voided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Voided {
    /// All of them have.
    Confirmed,
    /// All of them have; and what was handed through is not stored, since another void came before.
    Overtaken,
    /// A tier did not answer. The backend no longer trusts it.
    Unconfirmed,
}

/// What a backend knows of itself: of this process's memory, and of a server it shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendStats {
    /// Entries kept, approximately.
    pub entries: u64,
    /// Bytes they take, approximately.
    pub used_memory: u64,
    /// The shared server, and what went to it.
    pub far: Option<FarStats>,
}

/// A server that instances share, and what went to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FarStats {
    /// Bytes that it takes, with all that anybody keeps there. 0 while it is not asked.
    pub used_memory: u64,
    /// Connections that it has, from anybody. 0 while it is not asked.
    pub connected_clients: u64,
    /// Commands sent.
    pub commands: u64,
    /// Those that failed or were not answered in time.
    pub failures: u64,
    /// Entries that were not what this service had stored there. They were refused and removed.
    pub forged: u64,
    /// What it removes when it is full (`maxmemory-policy`), if it may become full.
    pub eviction_policy: Option<Arc<str>>,
}

/// Where entries are kept.
///
/// Every backend keeps these rules, which the contract suite in `lab/` checks:
///
/// 1. A ticket taken before a key, or its group, was voided never fills it.
/// 2. A void writes through only under a ticket that is still good; otherwise it removes.
/// 3. A void destroys every ticket of the key, those of readers and those of writers.
/// 4. Where state that a ticket needs was lost, the fill is refused: the safe direction is always
///    "not cached".
/// 5. Loads under tickets of one epoch may end in any order: what was loaded under the latest
///    stays.
/// 6. What the change log tells of voids like a write's own void, value and tickets. What was voided
///    at its [position](Change::position) already need not be voided again.
/// 7. No failure reaches the caller: what cannot be looked up is a miss without a ticket.
#[async_trait]
pub trait CacheBackend: Send + Sync + 'static {
    /// The name that configuration and statistics use.
    fn name(&self) -> &'static str;

    /// Whether the backend keeps anything at all at present.
    fn is_available(&self) -> bool;

    /// Whether it may answer reads of this key at present.
    fn serves(&self, _: &Key) -> bool {
        self.is_available()
    }

    /// Why it does less than it could, if it does.
    fn trouble(&self) -> Option<Arc<str>> {
        None
    }

    /// A fresh entry that is at hand without waiting. The hot path: no future, no lock.
    fn peek(&self, key: &Key, now: Timestamp) -> Option<Entry>;

    /// Looks a key up, and hands out a ticket where it has nothing fresh.
    async fn lookup(&self, key: &Key, mode: Mode, now: Timestamp) -> Lookup;

    /// A ticket for a writer, to be taken before its transaction begins.
    async fn ticket(&self, key: &Key) -> Option<Ticket>;

    /// Renews a ticket's lease: its holder is still loading. Without this a ticket may end before
    /// the load does, which costs a fill.
    async fn renew(&self, _: &Ticket) {}

    /// Gives back a ticket that nothing will be stored under, so that nobody waits for it.
    async fn release(&self, _: Ticket) {}

    /// Stores what was loaded, if the ticket is still good.
    async fn fill(&self, ticket: Ticket, entry: Entry) -> Filled;

    /// Makes everything in `change` stale, after the commit and before its acknowledgement.
    /// `through` is stored in the same step if its ticket is still good.
    async fn void(&self, change: &Change, through: Option<(Ticket, Entry)>) -> Voided;

    /// Makes stale what the change log names, by any writer (recovery rules 3, 5 and 7). A store
    /// that instances share does a clear that it has not noted as done.
    async fn apply(&self, batch: &LogBatch) -> Voided {
        let mut worst = Voided::Confirmed;
        for entry in &batch.entries {
            match &entry.stale {
                Stale::Change(change) => {
                    if self.void(change, None).await == Voided::Unconfirmed {
                        worst = Voided::Unconfirmed;
                    }
                }
                Stale::Cleared(clear) => {
                    self.clear(clear).await;
                }
            }
        }
        worst
    }

    /// Drops every copy and every ticket at once, without waiting: for when it is not known what
    /// went stale.
    fn distrust(&self);

    /// Removes the keys that match, and refuses every load of them under way. Answers how many
    /// there were. Counters stay. Where it cannot be done, the change log has it done: see
    /// [`apply`](Self::apply).
    async fn clear(&self, clear: &Clear) -> u64;

    /// Whether there is an entry under the key that answers reads.
    async fn exists(&self, key: &Key, now: Timestamp) -> bool;

    /// Some of the keys that it has, of each tier up to about so many, others each time: for whoever
    /// looks after what is kept. A sample may be empty.
    async fn sample(&self, _: usize) -> Vec<Key> {
        Vec::new()
    }

    /// What is under the key in each tier and answers reads there.
    async fn copies(&self, _: &Key, _: Timestamp) -> Vec<(Tier, Entry)> {
        Vec::new()
    }

    /// Adds to a counter and answers its new value. A counter starts at zero, never goes below, and
    /// is forgotten `window` after it left zero. Counters are not entries: nothing voids or clears them.
    async fn increment(&self, counter: &str, by: i64, window: Duration, now: Timestamp) -> Count;

    /// What the backend knows of itself.
    async fn stats(&self) -> BackendStats;
}
