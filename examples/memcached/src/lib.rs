//! Alacena's entries in a memcached that instances share: a backend from outside its crate, which
//! keeps the same contract as those within (`tests/contract.rs`).
//!
//! memcached compares and swaps one item at a time, and that is enough: everything that decides about
//! a key is in *one item*, its entry and the *epoch* that tickets carry. A ticket is good while the
//! item is there, has its epoch and the present *marks*; a void deletes the item, or swaps it for one
//! of a new epoch. What memcached loses (by eviction, by a restart) takes the right to fill with it.
//!
//! A *mark* is random, made by whoever finds none: the namespace has one, and each group. Changing it
//! makes everything older invisible, in one operation.

mod item;
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alacena::cache::{
    BackendStats, CacheBackend, Change, Clear, Count, Entry, FarStats, Filled, Key, LogBatch,
    Lookup, Mode, NullBackend, Stale, Ticket, Tier, Timestamp, Voided,
};
use async_trait::async_trait;

use self::item::{Item, Names, Sealer, Stamp};
use self::server::{Found, NoAnswer, Server, When};

/// How a [`MemcachedBackend`] is made.
#[derive(Clone, Debug)]
pub struct MemcachedSettings {
    /// Host and port.
    pub address: String,
    /// Begins every name in the memcached; letters, digits and hyphens. Instances share it.
    pub namespace: String,
    /// How long one command may take.
    pub budget: Duration,
    /// What entries are authenticated with. Instances share it.
    pub secret: [u8; 32],
}

/// Keeps entries in a memcached. Stands behind a memory of one's own in a
/// [`TieredBackend`](alacena::cache::TieredBackend).
pub struct MemcachedBackend {
    server: Server,
    names: Names,
    sealer: Sealer,
    /// Counts whatever this memcached may have missed (recovery rule 1). It begins with one: nobody
    /// knows what was changed before.
    doubts: AtomicU64,
    /// So many of them are settled, by a new mark of the namespace.
    settled: AtomicU64,
    forged: AtomicU64,
    /// Counters are counted here too: a memcached that forgets must not give anybody a new start.
    here: NullBackend,
}

/// A ticket lasts so long: as long as an item without an entry is kept.
const TICKET: Duration = Duration::from_secs(120);

/// What has no end of its own lasts as long as memcached keeps it.
const LONG: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long it is remembered that a change was voided: longer than any log is behind.
const NOTED: Duration = Duration::from_secs(3600);

/// How often something is tried anew that others came in between of.
const TRIES: usize = 100;

/// What is known of a key at one moment.
struct Seen {
    item: Item,
    unique: u64,
}

impl MemcachedBackend {
    /// A backend that connects when it is first asked.
    pub fn new(settings: MemcachedSettings) -> Self {
        Self {
            server: Server::new(settings.address, settings.budget),
            names: Names(settings.namespace),
            sealer: Sealer::new(settings.secret),
            doubts: AtomicU64::new(1),
            settled: AtomicU64::new(0),
            forged: AtomicU64::new(0),
            here: NullBackend::new(),
        }
    }

    /// The memcached, once there is no doubt about it: what it may have missed is made invisible by a
    /// new mark, before anything else is asked.
    async fn trusted(&self) -> Result<&Server, NoAnswer> {
        loop {
            let doubts = self.doubts.load(Ordering::SeqCst);
            if self.settled.load(Ordering::SeqCst) == doubts {
                return Ok(&self.server);
            }
            let token = self.names.token();
            let mark = random::<16>()?;
            let stored = self.server.store(When::Always, &token, LONG, &mark);
            if !stored.await? {
                return Err(NoAnswer);
            }
            // As many as there were before: another may have come meanwhile.
            self.settled.fetch_max(doubts, Ordering::SeqCst);
        }
    }

    fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::SeqCst);
    }

    /// The names of the marks of a key.
    fn marks(&self, key: &Key) -> Vec<String> {
        let group = key.group().map(|group| self.names.group(group.name()));
        [Some(self.names.token()), group]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The key's item as it is, if there is one, and the present marks, which are made if they are
    /// missing.
    async fn look(&self, key: &Key) -> Result<(Option<Seen>, Stamp), NoAnswer> {
        let server = self.trusted().await?;
        let marks = self.marks(key);
        let stored_as = self.names.item(key);
        // Marks before the item: what is read under an older mark is seen to be old.
        let names: Vec<String> = marks.iter().chain([&stored_as]).cloned().collect();
        for _ in 0..TRIES {
            let mut found = server.get(&names).await?;
            let item = found.pop().flatten();
            let mut stamp = [0; 32];
            let mut is_complete = true;
            for ((name, mark), place) in marks.iter().zip(&found).zip(stamp.chunks_exact_mut(16)) {
                match mark {
                    Some(Found { bytes, .. }) if bytes.len() == 16 => place.copy_from_slice(bytes),
                    Some(_) => server.delete(std::slice::from_ref(name)).await?,
                    None => {
                        server
                            .store(When::Absent, name, LONG, &random::<16>()?)
                            .await?;
                    }
                }
                is_complete &= mark.as_ref().is_some_and(|mark| mark.bytes.len() == 16);
            }
            if !is_complete {
                continue;
            }
            let Some(Found { bytes, unique }) = item else {
                return Ok((None, stamp));
            };
            match self.sealer.unseal(&stored_as, &bytes) {
                Some(item) => return Ok((Some(Seen { item, unique }), stamp)),
                None => {
                    self.forged.fetch_add(1, Ordering::Relaxed);
                    server.delete(std::slice::from_ref(&stored_as)).await?;
                }
            }
        }
        Err(NoAnswer)
    }

    /// The key's item under the present marks, which is made if it is missing or older.
    async fn claim(&self, key: &Key) -> Result<Item, NoAnswer> {
        for _ in 0..TRIES {
            let (seen, stamp) = self.look(key).await?;
            let when = match seen {
                Some(Seen { item, .. }) if item.stamp == stamp => return Ok(item),
                Some(Seen { unique, .. }) => When::Is(unique),
                None => When::Absent,
            };
            let item = Item {
                epoch: u128::from_ne_bytes(random()?),
                stamp,
                order: 0,
                name: key.name().to_owned(),
                group: key.group().map_or("", |group| group.name()).to_owned(),
                entry: None,
            };
            if self.put(when, key, TICKET, &item).await? {
                return Ok(item);
            }
        }
        Err(NoAnswer)
    }

    async fn put(
        &self,
        when: When,
        key: &Key,
        life: Duration,
        item: &Item,
    ) -> Result<bool, NoAnswer> {
        let stored_as = self.names.item(key);
        let sealed = self.sealer.seal(&stored_as, item);
        self.server.store(when, &stored_as, life, &sealed).await
    }

    async fn ticket_of(&self, key: &Key, item: &Item) -> Result<Ticket, NoAnswer> {
        let name = self.names.tickets();
        let order = match self.server.increment(&name).await? {
            Some(order) => order,
            None => {
                // Later than any number before it was lost.
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                let start = since.unwrap_or_default().as_micros().to_string();
                self.server
                    .store(When::Absent, &name, LONG, start.as_bytes())
                    .await?;
                self.server.increment(&name).await?.ok_or(NoAnswer)?
            }
        };
        Ok(Ticket::new(key.clone(), item.epoch, order))
    }

    /// Swaps the item of a good ticket for another, unless something comes between. `change` makes the
    /// new one, or refuses.
    async fn swap(
        &self,
        ticket: &Ticket,
        life: Duration,
        change: impl Fn(Item) -> Option<Item>,
    ) -> Result<bool, NoAnswer> {
        for _ in 0..TRIES {
            let (seen, stamp) = self.look(ticket.key()).await?;
            let Some(Seen { item, unique }) = seen else {
                return Ok(false);
            };
            let is_good = item.epoch == ticket.epoch() && item.stamp == stamp;
            let Some(item) = Some(item).filter(|_| is_good).and_then(&change) else {
                return Ok(false);
            };
            if self
                .put(When::Is(unique), ticket.key(), life, &item)
                .await?
            {
                return Ok(true);
            }
        }
        Err(NoAnswer)
    }

    /// Voids keys, then groups. Answers whether what was to be stored was overtaken.
    async fn void_all(
        &self,
        change: &Change,
        through: Option<(Ticket, Entry)>,
    ) -> Result<bool, NoAnswer> {
        let server = self.trusted().await?;
        let mut stored = None;
        let mut is_overtaken = false;
        if let Some((ticket, entry)) = through {
            // A new epoch: a void destroys every ticket (rule 3).
            let epoch = u128::from_ne_bytes(random()?);
            let life = life(&entry);
            let swapped = self.swap(&ticket, life, |item| {
                Some(Item {
                    epoch,
                    order: ticket.order(),
                    entry: Some(entry.clone()),
                    ..item
                })
            });
            if swapped.await? {
                stored = Some(self.names.item(ticket.key()));
            } else {
                is_overtaken = true;
            }
        }
        let stale = self.stale(change);
        let others: Vec<String> = stale
            .iter()
            .filter(|name| Some(*name) != stored.as_ref())
            .cloned()
            .collect();
        server.delete(&others).await?;
        if let Some(position) = change.position() {
            for name in &stale {
                let note = self.names.voided(position.number(), name);
                server.store(When::Always, &note, NOTED, b"").await?;
            }
        }
        Ok(is_overtaken)
    }

    /// What is deleted to void a change: items, and the marks of groups.
    fn stale(&self, change: &Change) -> Vec<String> {
        let keys = change.keys().map(|key| self.names.item(key));
        let groups = change.groups().iter();
        keys.chain(groups.map(|group| self.names.group(group.name())))
            .collect()
    }

    /// Voids what the log tells of, but for what its writer has voided here.
    async fn apply_all(&self, batch: &LogBatch) -> Result<(), NoAnswer> {
        let server = self.trusted().await?;
        let mut stale = Vec::new();
        for entry in &batch.entries {
            match &entry.stale {
                Stale::Change(change) => {
                    let names = self.stale(change).into_iter();
                    stale.extend(names.map(|name| {
                        let note = self.names.voided(entry.position.number(), &name);
                        (note, name)
                    }));
                }
                // One that its instance could not do here: then everything goes, with the token.
                Stale::Cleared(clear) => stale.push((self.note_of(clear), self.names.token())),
            }
        }
        let (notes, names): (Vec<String>, Vec<String>) = stale.into_iter().unzip();
        let notes = server.get(&notes).await?;
        let left = names
            .into_iter()
            .zip(notes)
            .filter(|(_, note)| note.is_none());
        let left: Vec<String> = left.map(|(name, _)| name).collect();
        server.delete(&left).await
    }

    /// What a clear is noted as, once it is done.
    fn note_of(&self, clear: &Clear) -> String {
        self.names.voided(clear.id().unsigned_abs(), "clear")
    }

    /// Removes the items that match, and notes that. Answers how many had a live entry.
    async fn remove(&self, clear: &Clear) -> Result<u64, NoAnswer> {
        let server = self.trusted().await?;
        let names = server.names().await?;
        let names: Vec<String> = names
            .into_iter()
            .filter(|name| self.names.is_item(name))
            .collect();
        let items = server.get(&names).await?;
        let mut cleared = 0;
        let mut matching = Vec::new();
        for (name, found) in names.into_iter().zip(items) {
            let item = found.and_then(|found| self.sealer.unseal(&name, &found.bytes));
            let Some(item) = item.filter(|item| clear.pattern().matches(&item.name)) else {
                continue;
            };
            cleared += u64::from(item.entry.is_some() && self.is_live(&item).await?);
            matching.push(name);
        }
        server.delete(&matching).await?;
        let note = self.note_of(clear);
        server.store(When::Always, &note, NOTED, b"").await?;
        Ok(cleared)
    }

    /// Whether an item has the present marks, for whoever does not know its group.
    async fn is_live(&self, item: &Item) -> Result<bool, NoAnswer> {
        let group = Some(&item.group).filter(|group| !group.is_empty());
        let group = group.map(|group| self.names.group(group));
        let marks: Vec<String> = [Some(self.names.token()), group]
            .into_iter()
            .flatten()
            .collect();
        let present = self.server.get(&marks).await?;
        let mut marks = present.iter().zip(item.stamp.chunks_exact(16));
        Ok(marks.all(|(present, mark)| {
            present
                .as_ref()
                .is_some_and(|present| present.bytes == mark)
        }))
    }

    async fn count(
        &self,
        counter: &str,
        by: i64,
        window: Duration,
        now: Timestamp,
    ) -> Result<Count, NoAnswer> {
        let name = self.names.counter(counter);
        for _ in 0..TRIES {
            let found = self
                .server
                .get(std::slice::from_ref(&name))
                .await?
                .pop()
                .flatten();
            let when = found
                .as_ref()
                .map_or(When::Absent, |found| When::Is(found.unique));
            let old = found.and_then(|found| {
                let text = String::from_utf8(found.bytes.to_vec()).ok()?;
                let (value, until) = text.split_once(' ')?;
                let until = Timestamp::from_millis(until.parse().ok()?);
                Some((value.parse::<i64>().ok()?, until))
            });
            let old = old.filter(|(value, until)| *value > 0 && now < *until);
            let (old, until) = old.unwrap_or((0, now + window));
            let value = old.saturating_add(by).max(0);
            let text = format!("{value} {}", until.millis());
            if self
                .server
                .store(when, &name, window, text.as_bytes())
                .await?
            {
                return Ok(Count { value, until });
            }
            // Those who came between may do so again at the same pace.
            tokio::time::sleep(Duration::from_micros(fastrand::u64(..500))).await;
        }
        Err(NoAnswer)
    }
}

/// How long memcached keeps an entry: as long as it may answer at all.
fn life(entry: &Entry) -> Duration {
    entry.keep_until().since(entry.stored())
}

fn random<const N: usize>() -> Result<[u8; N], NoAnswer> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| NoAnswer)?;
    Ok(bytes)
}

#[async_trait]
impl CacheBackend for MemcachedBackend {
    fn name(&self) -> &'static str {
        "memcached"
    }

    fn is_available(&self) -> bool {
        self.settled.load(Ordering::SeqCst) == self.doubts.load(Ordering::SeqCst)
    }

    fn trouble(&self) -> Option<Arc<str>> {
        (!self.is_available()).then(|| "memcached has not answered since it was doubted".into())
    }

    fn peek(&self, _: &Key, _: Timestamp) -> Option<Entry> {
        None
    }

    async fn lookup(&self, key: &Key, mode: Mode, now: Timestamp) -> Lookup {
        let looking = async {
            let item = self.claim(key).await?;
            match &item.entry {
                Some(entry) if mode == Mode::Read && entry.is_fresh(now) => {
                    Ok(Lookup::Hit(entry.clone(), Tier::Far))
                }
                kept => {
                    let ticket = Some(self.ticket_of(key, &item).await?);
                    let kept = kept.as_ref().filter(|entry| entry.is_kept(now));
                    Ok::<_, NoAnswer>(match kept {
                        Some(entry) => Lookup::Stale(entry.clone(), Tier::Far, ticket),
                        None => Lookup::Miss(ticket),
                    })
                }
            }
        };
        looking.await.unwrap_or(Lookup::Miss(None))
    }

    async fn ticket(&self, key: &Key) -> Option<Ticket> {
        let item = self.claim(key).await.ok()?;
        self.ticket_of(key, &item).await.ok()
    }

    async fn fill(&self, ticket: Ticket, entry: Entry) -> Filled {
        let filled = self.swap(&ticket, life(&entry), |item| {
            (item.order <= ticket.order()).then(|| Item {
                order: ticket.order(),
                entry: Some(entry.clone()),
                ..item
            })
        });
        match filled.await {
            Ok(true) => Filled::Stored,
            Ok(false) => Filled::Refused,
            Err(NoAnswer) => Filled::Failed,
        }
    }

    async fn void(&self, change: &Change, through: Option<(Ticket, Entry)>) -> Voided {
        match self.void_all(change, through).await {
            Ok(false) => Voided::Confirmed,
            Ok(true) => Voided::Overtaken,
            Err(NoAnswer) => {
                self.doubt();
                Voided::Unconfirmed
            }
        }
    }

    async fn apply(&self, batch: &LogBatch) -> Voided {
        match self.apply_all(batch).await {
            Ok(()) => Voided::Confirmed,
            Err(NoAnswer) => {
                self.doubt();
                Voided::Unconfirmed
            }
        }
    }

    fn distrust(&self) {
        self.doubt();
    }

    async fn clear(&self, clear: &Clear) -> u64 {
        match self.remove(clear).await {
            Ok(cleared) => cleared,
            Err(NoAnswer) => {
                // What was to go may still be there: so everything goes.
                self.doubt();
                0
            }
        }
    }

    async fn exists(&self, key: &Key, now: Timestamp) -> bool {
        let copies = self.copies(key, now).await;
        !copies.is_empty()
    }

    async fn copies(&self, key: &Key, now: Timestamp) -> Vec<(Tier, Entry)> {
        let Ok((Some(Seen { item, .. }), _)) = self.look(key).await else {
            return Vec::new();
        };
        let is_live = self.is_live(&item).await.unwrap_or(false);
        let entry = item.entry.filter(|entry| is_live && entry.is_fresh(now));
        entry.map(|entry| (Tier::Far, entry)).into_iter().collect()
    }

    async fn increment(&self, counter: &str, by: i64, window: Duration, now: Timestamp) -> Count {
        let here = self.here.increment(counter, by, window, now).await;
        match self.count(counter, by, window, now).await {
            Ok(there) if there.value >= here.value => there,
            _ => here,
        }
    }

    async fn stats(&self) -> BackendStats {
        let figures = self.server.figures(["bytes", "curr_connections"]).await;
        let [used_memory, connected_clients] = figures.unwrap_or_default();
        BackendStats {
            far: Some(FarStats {
                used_memory,
                connected_clients,
                commands: self.server.commands.load(Ordering::Relaxed),
                failures: self.server.failures.load(Ordering::Relaxed),
                forged: self.forged.load(Ordering::Relaxed),
                ..FarStats::default()
            }),
            ..BackendStats::default()
        }
    }
}
