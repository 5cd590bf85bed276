//! Entries in a Redis that instances share, and everything that keeps it from being believed too
//! much.
//!
//! An entry is stored behind its *stamp*: the namespace's token and, for a key in a group, the
//! group's mark. It is a hit only while the stamp is the present one, so that changing or losing a
//! mark drops everything that carries it, in one operation and however many keys that are. One
//! `MGET` fetches the marks together with the entry: a hit is one round trip and no script.
//!
//! The *watermark* tells up to where in the change log everything is voided in this Redis. Whoever
//! connects anew replays the log from there; where it cannot, the token is changed.
//!
//! A *sequence number* for each connection epoch of each process counts the invalidations that Redis
//! acknowledged to it. The script that invalidates advances it, and each read compares it: what is read
//! comes from data in which everything is invalidated that this process knows to be. So a backup, a
//! replica that lags or another database behind the same connection answers nothing, and what memory has
//! copied stays good whatever becomes of Redis.
//!
//! A *lease* beside the key holds the id that tickets carry. Voiding deletes it, so a ticket from
//! before compares with nothing. It also says who loads the key, for others to wait.

mod clear;
mod follow;
mod limits;
mod link;
mod marks;
mod names;
mod recovery;
mod script;
mod seal;
mod settings;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_redis::redis::{self, Value, cmd};
use tokio::task::AbortHandle;

pub use settings::{RedisAddress, RedisServer, RedisServerError, RedisSettings};

use self::follow::Fence;
use self::limits::Limits;
use self::link::{Generation, Link, NoAnswer};
use self::marks::Marks;
use self::names::Names;
use self::recovery::Recovery;
use self::script::{Call, Script};
use self::seal::{HEAD, Sealer, Unsealed};
use self::stored::Stored;
use super::backend::{
    BackendStats, CacheBackend, FarStats, Filled, Lease, Lookup, Mode, Ticket, Tier, Voided,
};
use super::change::{Change, Clear};
use super::clock::{Clock, Timestamp};
use super::counters::{Count, Counters};
use super::entry::Entry;
use super::key::{Group, Key};
use super::log::{ChangeLog, LogBatch};
use super::stats::increment;

/// What a void's script answers if it wrote nothing through.
const OVERTAKEN: i64 = 0;

/// How often a claim looks at an entry that came in between before it does without a ticket.
const CLAIMS: usize = 2;

/// Keeps entries in a Redis. Where that is away or doubtful, it keeps nothing: see
/// [`TieredBackend`](super::TieredBackend) for what goes on meanwhile.
pub struct RedisBackend {
    link: Arc<Link>,
    names: Names,
    marks: Arc<Marks>,
    sealer: Sealer,
    lease: Duration,
    limits: Limits,
    counters: Counters,
    forged: AtomicU64,
    /// Where the next sample begins.
    cursor: AtomicU64,
    keeper: AbortHandle,
}

impl RedisBackend {
    /// A backend that connects by itself, now and whenever the connection is lost. Each time, what it
    /// missed of the log's changes is made up for. The times of entries are by `clock`.
    ///
    /// # Errors
    /// Where the settings can never lead to a connection.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new(
        settings: &RedisSettings,
        log: Arc<dyn ChangeLog>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RedisServerError> {
        let link = Arc::new(Link::new(settings)?);
        let names = Names::new(&settings.namespace, &settings.log);
        let marks = Arc::new(Marks::new()?);
        let recovery = Recovery {
            link: Arc::clone(&link),
            names: names.clone(),
            marks: Arc::clone(&marks),
            log,
            clock,
        };
        Ok(Self {
            link,
            names,
            marks,
            sealer: Sealer::new(settings.secret),
            lease: settings.lease,
            limits: Limits::new(settings.max_entry),
            counters: Counters::new(),
            forged: AtomicU64::new(0),
            cursor: AtomicU64::new(0),
            keeper: tokio::spawn(recovery.keep()).abort_handle(),
        })
    }

    /// Waits until it is known whether Redis can be used.
    pub async fn tried(&self) {
        self.link.breaker().tried().await;
    }

    /// What is stored under the key, if it is live. `Err` if Redis was no help.
    async fn find(&self, key: &Key) -> Result<Option<Stored>, NoAnswer> {
        let generation = self.link.trusted()?;
        // What is acknowledged from now on need not be in the answer.
        let acknowledged = generation.acknowledged();
        let mut look = cmd("MGET");
        look.arg(generation.sequence());
        for mark in self.names.marks(key.group()) {
            look.arg(mark);
        }
        let look = look.arg(self.names.entry(key));
        let mut found = self.link.ask_for(&generation, look).await?;
        let stored = found.pop().and_then(Stored::parse);
        let [sequence, marks @ ..] = &found[..] else {
            return Err(self.link.senseless());
        };
        let sequence: Option<u64> = redis::from_redis_value_ref(sequence).unwrap_or_default();
        if sequence.is_none_or(|sequence| sequence < acknowledged) {
            return Err(self.link.is_other_data(&generation));
        }
        Ok(stored.filter(|stored| match marks {
            [token, group @ ..] => stored.is_of(token) && stored.is_in(group.first()),
            [] => false,
        }))
    }

    /// The live entries of keys whose groups are not known, at leisure.
    async fn entries(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>, NoAnswer> {
        let mut look = cmd("MGET");
        look.arg(self.names.token());
        for key in keys {
            look.arg(self.names.entry(key));
        }
        let mut found = self.link.ask_for_at_leisure(&look).await?.into_iter();
        let token = found.next().unwrap_or(Value::Nil);
        let opened: Vec<Option<(Stored, Unsealed)>> = keys
            .iter()
            .zip(found)
            .map(|(key, stored)| {
                let stored = Stored::parse(stored).filter(|stored| stored.is_of(&token))?;
                let unsealed = self.unseal(key, &stored)?;
                Some((stored, unsealed))
            })
            .collect();
        // The entry itself says which group it is in.
        let groups: BTreeSet<&Bytes> = opened
            .iter()
            .flatten()
            .filter(|(stored, _)| stored.has_group())
            .map(|(_, unsealed)| &unsealed.group)
            .collect();
        let mut marks = BTreeMap::new();
        if !groups.is_empty() {
            let mut look = cmd("MGET");
            for group in &groups {
                look.arg(self.names.group(&String::from_utf8_lossy(group)));
            }
            let found = self.link.ask_for_at_leisure(&look).await?;
            marks.extend(groups.into_iter().cloned().zip(found));
        }
        let live = |(stored, unsealed): (Stored, Unsealed)| {
            stored
                .is_in(marks.get(&unsealed.group))
                .then_some(unsealed.entry)
        };
        Ok(opened
            .into_iter()
            .map(|opened| opened.and_then(live))
            .collect())
    }

    /// The entry as it is stored under this ticket, with its times by the clock of Redis.
    fn seal(&self, ticket: &Ticket, entry: Entry) -> Vec<u8> {
        let key = ticket.key();
        let group = key.group();
        let group = group.as_ref().map(Group::name);
        let entry = entry.on_clock_ahead(self.link.clock_offset());
        self.sealer
            .seal(&self.names.entry(key), ticket.stamp(), group, &entry)
    }

    /// The entry that is stored, with its times by this process's clock, unless it does not verify.
    fn unseal(&self, key: &Key, stored: &Stored) -> Option<Unsealed> {
        let name = self.names.entry(key);
        let unsealed = self
            .sealer
            .unseal(&name, &stored.stamp, stored.sealed.clone())?;
        let entry = unsealed.entry.on_clock_ahead(-self.link.clock_offset());
        Some(Unsealed { entry, ..unsealed })
    }

    /// What the change log is applied to.
    fn target(&self) -> follow::Target<'_> {
        follow::Target {
            names: &self.names,
            marks: &self.marks,
        }
    }

    /// Begins the call of the script that invalidates.
    fn invalidation(&self, generation: &Generation, is_trusted: bool) -> Call {
        let fence = if is_trusted {
            Fence::Watermark(generation.seen())
        } else {
            Fence::Open
        };
        let call = follow::fenced(Script::Void.call(), &self.names, generation, fence);
        call.key(self.names.voided().to_owned())
    }

    /// The entry as it may be used at `now`, unless it does not verify: then it is invalidated.
    async fn open(&self, key: &Key, stored: &Stored, now: Timestamp) -> Option<Entry> {
        let unsealed = self.unseal(key, stored);
        if unsealed.is_none() {
            log::debug!("{key} held what this service did not store there; removed");
            increment(&self.forged);
            let _ = self.void(&Change::of(key.clone()), None).await;
        }
        unsealed.and_then(|unsealed| unsealed.entry.clamped(now))
    }

    /// A ticket for a reader who will load the key and has `seen` the entry with this head, or none.
    /// Nothing if another was stored since.
    async fn claim_load(&self, key: &Key, seen: &[u8]) -> Result<Option<Ticket>, NoAnswer> {
        let call = self.claim(key).bytes("1").bytes(seen);
        match self.link.call(&call).await? {
            Value::Array(nothing) if nothing.is_empty() => Ok(None),
            answer => self.ticket_of(key, &answer).map(Some),
        }
    }

    fn claim(&self, key: &Key) -> Call {
        Script::Claim
            .call()
            .keys(self.names.of_key(key))
            .keys(self.names.marks(key.group()))
            .bytes(self.marks.draw())
            .millis(self.lease)
    }

    fn ticket_of(&self, key: &Key, answer: &Value) -> Result<Ticket, NoAnswer> {
        let (id, order, is_awaited, stamp): (Vec<u8>, u64, bool, Bytes) =
            redis::from_redis_value_ref(answer).map_err(|_| self.link.senseless())?;
        let id = id.try_into().map_err(|_| self.link.senseless())?;
        let lease = Lease {
            life: self.lease,
            is_awaited,
        };
        let ticket = Ticket::new(key.clone(), u128::from_be_bytes(id), order);
        Ok(ticket.leased(lease).stamped(stamp))
    }
}

/// How long Redis keeps an entry: as long as it may answer at all. Redis takes no zero.
fn life(entry: &Entry) -> Duration {
    let life = entry.keep_until.since(entry.stored);
    life.max(Duration::from_millis(1))
}

/// A field of what Redis tells of itself.
fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = info.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| *field == name)?;
    Some(value.trim())
}

/// A miss, or an entry past its time.
fn not_fresh(entry: Option<Entry>, ticket: Option<Ticket>, now: Timestamp) -> Lookup {
    match entry.filter(|entry| entry.is_kept(now)) {
        Some(entry) => Lookup::Stale(entry, Tier::Far, ticket),
        None => Lookup::Miss(ticket),
    }
}

#[async_trait]
impl CacheBackend for RedisBackend {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn is_available(&self) -> bool {
        self.link.breaker().is_closed()
    }

    fn serves(&self, key: &Key) -> bool {
        self.is_available() && !self.limits.is_set_aside(key)
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.link.breaker().reason()
    }

    fn peek(&self, _: &Key, _: Timestamp) -> Option<Entry> {
        None
    }

    async fn lookup(&self, key: &Key, mode: Mode, now: Timestamp) -> Lookup {
        if self.limits.is_set_aside(key) || !self.is_small_if_suspect(key).await {
            return Lookup::Miss(None);
        }
        for _ in 0..CLAIMS {
            let stored = match self.find(key).await {
                Ok(stored) => stored,
                Err(why) => {
                    if let NoAnswer::Late(_) | NoAnswer::Lost(_) = why {
                        self.limits.suspect(key);
                    }
                    return Lookup::Miss(None);
                }
            };
            let entry = match &stored {
                Some(stored) => self.open(key, stored, now).await,
                None => None,
            };
            if mode == Mode::Refresh {
                return not_fresh(entry, self.ticket(key).await, now);
            }
            if let Some(entry) = entry.as_ref().filter(|entry| entry.is_fresh(now)) {
                return Lookup::Hit(entry.clone(), Tier::Far);
            }
            let head = stored.map(|stored| stored.sealed.slice(..HEAD.min(stored.sealed.len())));
            match self.claim_load(key, &head.unwrap_or_default()).await {
                Ok(Some(ticket)) => return not_fresh(entry, Some(ticket), now),
                Ok(None) => {}
                Err(_) => return not_fresh(entry, None, now),
            }
        }
        Lookup::Miss(None)
    }

    async fn ticket(&self, key: &Key) -> Option<Ticket> {
        if self.limits.is_set_aside(key) {
            return None;
        }
        let call = self.claim(key).bytes("0").bytes("");
        let answer = self.link.call(&call).await.ok()?;
        self.ticket_of(key, &answer).ok()
    }

    async fn renew(&self, ticket: &Ticket) {
        let call = Script::Renew
            .call()
            .key(self.names.lease(ticket.key()))
            .bytes(ticket.epoch().to_be_bytes())
            .millis(self.lease);
        // A lease that is lost is found out by the fill.
        let _ = self.link.call_at_leisure(&call).await;
    }

    async fn release(&self, ticket: Ticket) {
        let call = Script::Release
            .call()
            .key(self.names.lease(ticket.key()))
            .bytes(ticket.epoch().to_be_bytes())
            .number(ticket.order());
        let link = Arc::clone(&self.link);
        tokio::spawn(async move { link.call_at_leisure(&call).await });
    }

    async fn fill(&self, ticket: Ticket, entry: Entry) -> Filled {
        let key = ticket.key();
        let (life, sealed) = (life(&entry), self.seal(&ticket, entry));
        let size = sealed.len();
        if !self.limits.takes(size) {
            self.limits.set_aside(key);
            self.release(ticket).await;
            return Filled::Failed;
        }
        let call = Script::Fill
            .call()
            .keys(self.names.of_key(key))
            .key(self.names.watermark().to_owned())
            .keys(self.names.marks(key.group()))
            .bytes(ticket.epoch().to_be_bytes())
            .number(ticket.order())
            .millis(life)
            .bytes(sealed);
        match self.link.call(&call).await {
            Ok(Value::Int(1)) => Filled::Stored,
            Ok(_) => Filled::Refused,
            Err(why) => {
                self.not_stored(key, size, &why);
                // Other instances need not wait for it any longer.
                self.release(ticket).await;
                Filled::Failed
            }
        }
    }

    async fn void(&self, change: &Change, through: Option<(Ticket, Entry)>) -> Voided {
        let written = through.as_ref().map(|(ticket, _)| ticket.key());
        let others = change.keys().filter(|key| written != Some(*key));
        let groups = change.groups().iter();
        let others: Vec<String> = others
            .flat_map(|key| self.names.of_key(key))
            .chain(groups.map(|group| self.names.group(group.name())))
            .collect();
        let through = through.map(|(ticket, entry)| {
            let (life, sealed) = (life(&entry), self.seal(&ticket, entry));
            (ticket, life, sealed)
        });
        let size = through.as_ref().map_or(0, |(_, _, sealed)| sealed.len());
        let is_through = through.is_some() && self.limits.takes(size);
        if through.is_none() && others.is_empty() {
            return Voided::Confirmed;
        }
        if let Some((ticket, ..)) = through.as_ref().filter(|_| !is_through) {
            self.limits.set_aside(ticket.key());
        }
        let position = change.position().map(|position| position.to_string());
        let position = position.unwrap_or_default();
        let call = |generation: &Generation, is_trusted| {
            let call = self.invalidation(generation, is_trusted);
            let Some((ticket, life, sealed)) = &through else {
                return call.keys(others).bytes(position).bytes("");
            };
            let written = self.names.of_key(ticket.key());
            let call = call.keys(written).keys(others).bytes(position);
            if is_through {
                call.bytes(ticket.epoch().to_be_bytes())
                    .millis(*life)
                    .bytes(&sealed[..])
            } else {
                call.bytes("")
            }
        };
        match self.link.invalidate(call).await {
            Ok(OVERTAKEN) if through.is_some() => Voided::Overtaken,
            Ok(_) => Voided::Confirmed,
            Err(why) => {
                if let Some((ticket, ..)) = through.as_ref().filter(|_| is_through) {
                    self.not_stored(ticket.key(), size, &why);
                }
                Voided::Unconfirmed
            }
        }
    }

    async fn apply(&self, batch: &LogBatch) -> Voided {
        if batch.entries.is_empty() {
            return Voided::Confirmed;
        }
        let applied = match self.link.connected() {
            Ok((generation, true)) => {
                let limit = self.link.budget();
                let seen = generation.seen();
                follow::apply(&self.link, &generation, self.target(), batch, seen, limit).await
            }
            // Only the log that a recovery reads tells whether a clear was done.
            Ok((_, false)) if batch.has_clear() => Err(NoAnswer::NotSent),
            // No reader relies on the watermark before a recovery has read it: it stays. What is removed
            // now spares that recovery another attempt. It advances the sequence number: a copy of the
            // data from before it must not pass for this one afterwards.
            Ok((generation, false)) => {
                let names = follow::stored_under(&self.names, batch);
                let call = self.invalidation(&generation, false);
                let call = call.keys(names).bytes("").bytes("");
                let share = self.link.share();
                let removed = self.link.call_on(&generation, &call, share).await;
                let removed =
                    removed.and_then(|answer| self.link.acknowledged(&generation, answer));
                removed.map(drop)
            }
            Err(why) => Err(why),
        };
        match applied {
            Ok(()) => Voided::Confirmed,
            Err(why) => {
                // Passed without a confirmed void (recovery rule 1).
                self.link
                    .doubt(&format!("change not invalidated in Redis: {why}"));
                Voided::Unconfirmed
            }
        }
    }

    fn distrust(&self) {
        self.link.doubt("it is not known what a write made stale");
    }

    async fn clear(&self, clear: &Clear) -> u64 {
        match self.remove(clear).await {
            Ok(removed) => removed,
            Err(why) => {
                // It is not noted as done, so the change log has everything dropped.
                log::info!("clear not completed in Redis: {why}");
                0
            }
        }
    }

    async fn exists(&self, key: &Key, now: Timestamp) -> bool {
        match self.entries(std::slice::from_ref(key)).await.as_deref() {
            Ok([Some(entry)]) => entry.is_fresh(now),
            _ => false,
        }
    }

    async fn sample(&self, most: usize) -> Vec<Key> {
        // On from where the last sample ended.
        let cursor = self.cursor.load(Ordering::Relaxed).to_string();
        let Ok((next, names)) = self.scan(cursor.as_bytes(), most).await else {
            return Vec::new();
        };
        let next = std::str::from_utf8(&next).ok();
        let next = next.and_then(|next| next.parse().ok()).unwrap_or(0);
        self.cursor.store(next, Ordering::Relaxed);
        let names = names.iter();
        names
            .filter_map(|name| self.names.key_of_entry(name))
            .collect()
    }

    async fn copies(&self, key: &Key, now: Timestamp) -> Vec<(Tier, Entry)> {
        let found = self.entries(std::slice::from_ref(key)).await;
        let found = found.unwrap_or_default().into_iter().flatten();
        let fresh = found.filter(|entry| entry.is_fresh(now));
        fresh.map(|entry| (Tier::Far, entry)).collect()
    }

    async fn increment(&self, counter: &str, by: i64, window: Duration, now: Timestamp) -> Count {
        // Here too: a Redis that goes, or forgets, must not give anybody a new start.
        let near = self.counters.add(counter, by, window, now);
        let call = Script::Count
            .call()
            .key(self.names.counter(counter))
            .number(by)
            .millis(window);
        let Ok(answer) = self.link.call(&call).await else {
            return near;
        };
        match redis::from_redis_value::<(i64, u64)>(answer) {
            // What this process has counted itself counts, whatever Redis has lost since.
            Ok((value, left)) if value >= near.value => Count {
                value,
                until: now + Duration::from_millis(left),
            },
            _ => near,
        }
    }

    async fn stats(&self) -> BackendStats {
        let mut far = FarStats {
            commands: self.link.commands(),
            failures: self.link.failures(),
            forged: self.forged.load(Ordering::Relaxed),
            eviction_policy: self.link.eviction_policy(),
            ..FarStats::default()
        };
        if let Ok(Value::BulkString(text)) = self.link.ask(&cmd("INFO")).await {
            let text = String::from_utf8_lossy(&text);
            let figure = |name: &str| info_field(&text, name)?.parse().ok();
            far.used_memory = figure("used_memory").unwrap_or_default();
            far.connected_clients = figure("connected_clients").unwrap_or_default();
        }
        BackendStats {
            far: Some(far),
            ..BackendStats::default()
        }
    }
}

impl Drop for RedisBackend {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}
