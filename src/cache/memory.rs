use std::collections::HashSet;
use std::hash::Hash;
use std::time::{Duration, Instant};

use ahash::RandomState;
use async_trait::async_trait;
use moka::Expiry;
use moka::sync::Cache as Moka;

use super::backend::{BackendStats, CacheBackend, Filled, Lookup, Mode, Ticket, Tier, Voided};
use super::change::{Change, Clear};
use super::clock::Timestamp;
use super::counters::{Count, Counters};
use super::entry::Entry;
use super::key::{Group, Key};
use super::log::{LogBatch, LogEntry, Position, Stale};
use super::sync::{AtomicU64, Mutex, Ordering, STRIPES};

/// How many generations the groups share.
const GENERATIONS: usize = 256;

/// What an entry takes besides its key and its bytes: the slot, and moka's own bookkeeping.
const OVERHEAD: usize = 256;

/// How many keys a clear looks at before it lets others go on.
const CLEARED_AT_ONCE: usize = 64;

/// Keeps entries in this process's memory, in moka.
///
/// Each key belongs to a *stripe*, whose epoch every void of one of its keys raises. A ticket is
/// the epoch at the time of the miss, and a fill compares and inserts under the stripe's lock.
/// moka's own loading (`get_with`) is not used: an `invalidate` during its load is lost.
///
/// The pages of a group carry the group's generation. Voiding the group raises it, and every page
/// stored under an older one is no hit any more.
pub struct MemoryBackend {
    entries: Moka<Key, Slot, RandomState>,
    hasher: RandomState,
    stripes: Box<[Mutex<u64>]>,
    generations: Box<[AtomicU64]>,
    /// Raised by `distrust`: a slot of an earlier era is no hit.
    era: AtomicU64,
    /// Tickets handed out so far.
    tickets: AtomicU64,
    counters: Counters,
    /// Changes that were voided here, and that the log has not told of yet. To void them once more
    /// would cost what was stored since.
    voided: Mutex<Noted>,
}

/// Changes that were voided here, by position and by what they were of: a transaction may change more
/// than its writer knows of.
#[derive(Default)]
struct Noted {
    voided: HashSet<(Position, Key)>,
    settled: Position,
}

impl Noted {
    /// More than so many are forgotten, as where a long transaction holds up what is settled: to void
    /// once more is always safe.
    const MOST: usize = 100_000;

    fn note(&mut self, change: &Change) {
        let Some(position) = change.position() else {
            return;
        };
        if self.voided.len() > Self::MOST {
            self.voided.clear();
        }
        let keys = change.keys().map(|key| (position, key.clone()));
        self.voided.extend(keys);
    }

    fn has(&self, position: Position, change: &Change) -> bool {
        let written = change.written();
        written.is_some_and(|key| self.voided.contains(&(position, key.clone())))
    }

    /// The log tells of nothing before this any more.
    fn settle(&mut self, settled: Position) {
        if self.settled != settled {
            self.settled = settled;
            self.voided.retain(|(position, _)| *position >= settled);
        }
    }
}

/// An entry, and what must still be so for it to be true.
#[derive(Clone)]
struct Slot {
    entry: Entry,
    /// Of the ticket it was stored under.
    order: u64,
    /// How many tickets there had been when it was stored.
    inserted: u64,
    group: Option<Group>,
    generation: u64,
    era: u64,
}

/// Lets moka drop an entry once it may not even be served stale. Whether an entry is fresh is
/// decided by the times it carries.
struct KeepUntil;

impl KeepUntil {
    fn life(slot: &Slot) -> Duration {
        slot.entry.keep_until().since(slot.entry.stored())
    }
}

impl Expiry<Key, Slot> for KeepUntil {
    fn expire_after_create(&self, _: &Key, slot: &Slot, _: Instant) -> Option<Duration> {
        Some(Self::life(slot))
    }

    fn expire_after_update(
        &self,
        _: &Key,
        slot: &Slot,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(Self::life(slot))
    }
}

impl MemoryBackend {
    /// Keeps up to about `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        let hasher = RandomState::new();
        let entries = Moka::builder()
            .max_capacity(capacity)
            .weigher(|key: &Key, slot: &Slot| {
                let bytes = slot.entry.value().map_or(0, bytes::Bytes::len);
                u32::try_from(key.name().len() + bytes + OVERHEAD).unwrap_or(u32::MAX)
            })
            .expire_after(KeepUntil)
            .build_with_hasher(hasher.clone());
        Self {
            entries,
            hasher,
            stripes: (0..STRIPES).map(|_| Mutex::new(0)).collect(),
            generations: (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect(),
            era: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            counters: Counters::new(),
            voided: Mutex::default(),
        }
    }

    /// A fresh entry that was stored after this ticket of its key was taken.
    pub(super) fn stored_since(&self, ticket: &Ticket, now: Timestamp) -> Option<Entry> {
        self.get(ticket.key())
            .filter(|slot| slot.inserted > ticket.order())
            .map(|slot| slot.entry)
            .filter(|entry| entry.is_fresh(now))
    }

    fn stripe(&self, key: &Key) -> &Mutex<u64> {
        &self.stripes[self.index(key, STRIPES)]
    }

    fn generation(&self, group: Group) -> &AtomicU64 {
        &self.generations[self.index(group, GENERATIONS)]
    }

    fn index(&self, value: impl Hash, of: usize) -> usize {
        self.hasher.hash_one(value) as usize % of
    }

    fn generation_of(&self, group: Option<Group>) -> u64 {
        group.map_or(0, |group| self.generation(group).load(Ordering::SeqCst))
    }

    /// A ticket for the key. Its epoch is the stripe's in the upper half, the group's generation in
    /// the lower.
    fn new_ticket(&self, key: &Key) -> Ticket {
        let epoch = *self.stripe(key).lock();
        let epoch = pack(epoch, self.generation_of(key.group()));
        Ticket::new(
            key.clone(),
            epoch,
            self.tickets.fetch_add(1, Ordering::SeqCst),
        )
    }

    /// The slot under the key, unless its group was voided or everything distrusted since.
    fn get(&self, key: &Key) -> Option<Slot> {
        self.entries.get(key).filter(|slot| {
            slot.generation == self.generation_of(slot.group)
                && slot.era == self.era.load(Ordering::SeqCst)
        })
    }

    /// Voids one key: value and tickets. Stores `through` in the same step if no other void came
    /// since its ticket was taken, so that of overlapping writers none leaves the older value.
    /// Answers whether one did.
    fn void_key(&self, key: &Key, through: Option<(Ticket, Entry)>) -> bool {
        let mut epoch = self.stripe(key).lock();
        let generation = self.generation_of(key.group());
        let present = pack(*epoch, generation);
        *epoch += 1;
        let is_through = through.is_some();
        match through.filter(|(ticket, _)| ticket.epoch() == present) {
            Some((ticket, entry)) => {
                self.insert(&ticket, entry, generation);
                false
            }
            None => {
                self.entries.invalidate(key);
                is_through
            }
        }
    }

    /// Voids a change: keys, then groups. Answers whether what was to be stored was overtaken.
    fn void_all(&self, change: &Change, mut through: Option<(Ticket, Entry)>) -> bool {
        let mut is_overtaken = false;
        for key in change.keys() {
            let mine = through.take_if(|(ticket, _)| ticket.key() == key);
            is_overtaken |= self.void_key(key, mine);
        }
        for group in change.groups() {
            self.generation(*group).fetch_add(1, Ordering::SeqCst);
        }
        is_overtaken
    }

    /// Only ever called with the key's stripe locked: `distrust` relies on it.
    fn insert(&self, ticket: &Ticket, entry: Entry, generation: u64) {
        let key = ticket.key();
        let slot = Slot {
            entry,
            order: ticket.order(),
            inserted: self.tickets.load(Ordering::SeqCst),
            group: key.group(),
            generation,
            era: self.era.load(Ordering::SeqCst),
        };
        self.entries.insert(key.clone(), slot);
    }
}

fn pack(epoch: u64, generation: u64) -> u128 {
    (u128::from(epoch) << 64) | u128::from(generation)
}

#[async_trait]
impl CacheBackend for MemoryBackend {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn is_available(&self) -> bool {
        true
    }

    fn peek(&self, key: &Key, now: Timestamp) -> Option<Entry> {
        self.get(key)
            .map(|slot| slot.entry)
            .filter(|entry| entry.is_fresh(now))
    }

    async fn lookup(&self, key: &Key, mode: Mode, now: Timestamp) -> Lookup {
        // The ticket before the look: a void between the two must spoil it.
        let ticket = self.new_ticket(key);
        match self.get(key) {
            Some(slot) if mode == Mode::Read && slot.entry.is_fresh(now) => {
                Lookup::Hit(slot.entry, Tier::Near)
            }
            Some(slot) if slot.entry.is_kept(now) => {
                Lookup::Stale(slot.entry, Tier::Near, Some(ticket))
            }
            _ => Lookup::Miss(Some(ticket)),
        }
    }

    async fn ticket(&self, key: &Key) -> Option<Ticket> {
        Some(self.new_ticket(key))
    }

    async fn fill(&self, ticket: Ticket, entry: Entry) -> Filled {
        let key = ticket.key();
        let epoch = self.stripe(key).lock();
        let generation = self.generation_of(key.group());
        let is_late = || {
            self.get(key)
                .is_some_and(|slot| slot.order > ticket.order())
        };
        if ticket.epoch() != pack(*epoch, generation) || is_late() {
            return Filled::Refused;
        }
        // A group voided from here on raises the generation past the one stored.
        self.insert(&ticket, entry, generation);
        Filled::Stored
    }

    async fn void(&self, change: &Change, through: Option<(Ticket, Entry)>) -> Voided {
        let is_overtaken = self.void_all(change, through);
        self.voided.lock().note(change);
        if is_overtaken {
            Voided::Overtaken
        } else {
            Voided::Confirmed
        }
    }

    async fn apply(&self, batch: &LogBatch) -> Voided {
        for LogEntry { position, stale } in &batch.entries {
            match stale {
                Stale::Change(change) => {
                    // Locked for as long as it takes: a writer who voids it at the same time is not
                    // acknowledged before this is over.
                    let voided = self.voided.lock();
                    if !voided.has(*position, change) {
                        self.void_all(change, None);
                    }
                }
                Stale::Cleared(clear) => {
                    self.clear(clear).await;
                }
            }
        }
        self.voided.lock().settle(batch.until.position());
        Voided::Confirmed
    }

    fn distrust(&self) {
        // Epochs before the era: whoever fills holds a stripe's lock, so what slipped in before
        // its epoch rose still carries the era that ends here.
        for stripe in &self.stripes {
            *stripe.lock() += 1;
        }
        self.era.fetch_add(1, Ordering::SeqCst);
        self.entries.invalidate_all();
        *self.voided.lock() = Noted::default();
    }

    async fn clear(&self, clear: &Clear) -> u64 {
        for stripe in &self.stripes {
            *stripe.lock() += 1;
        }
        let keys: Vec<_> = self.entries.iter().map(|(key, _)| key).collect();
        let mut cleared = 0;
        for some in keys.chunks(CLEARED_AT_ONCE) {
            for key in some
                .iter()
                .filter(|key| clear.pattern().matches(key.name()))
            {
                cleared += u64::from(self.get(key).is_some());
                self.void_key(key, None);
            }
            // Requests share this thread.
            tokio::task::yield_now().await;
        }
        cleared
    }

    async fn exists(&self, key: &Key, now: Timestamp) -> bool {
        self.peek(key, now).is_some()
    }

    async fn sample(&self, most: usize) -> Vec<Key> {
        // It looks at every entry once, which takes a while.
        let entries = self.entries.clone();
        let sampled = tokio::task::spawn_blocking(move || {
            let mut keys = Vec::with_capacity(most);
            // Reservoir sampling (Vitter's algorithm R, 1985).
            for (seen, (key, _)) in entries.iter().enumerate() {
                if seen < most {
                    keys.push(Key::clone(&key));
                } else if let Some(place) = keys.get_mut(fastrand::usize(..=seen)) {
                    *place = Key::clone(&key);
                }
            }
            keys
        });
        sampled.await.unwrap_or_default()
    }

    async fn copies(&self, key: &Key, now: Timestamp) -> Vec<(Tier, Entry)> {
        let copy = self.peek(key, now);
        copy.map(|entry| (Tier::Near, entry)).into_iter().collect()
    }

    async fn increment(&self, counter: &str, by: i64, window: Duration, now: Timestamp) -> Count {
        self.counters.add(counter, by, window, now)
    }

    async fn stats(&self) -> BackendStats {
        self.entries.run_pending_tasks();
        BackendStats {
            entries: self.entries.entry_count(),
            used_memory: self.entries.weighted_size(),
            ..BackendStats::default()
        }
    }
}
