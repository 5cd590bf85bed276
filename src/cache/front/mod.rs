mod load;
mod write;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::load::Loaded;
use super::backend::{BackendStats, CacheBackend, Copied, Lookup, Mode, Tier, Voided};
use super::cached::Cacheable;
use super::change::{Change, Clear};
use super::clock::{Clock, Timestamp};
use super::counters::Count;
use super::entry::Entry;
use super::flight::Flights;
use super::key::Key;
use super::log::{LogBatch, Position};
use super::policy::Policy;
use super::progress::Progress;
use super::reads::ReadCounters;
use super::source::{Forward, Hit, Read, Source, SourceError};
use super::stats::{CacheStats, Counts, increment, increment_by};
use super::tasks::Tasks;

/// The cache as services use it: typed, coalescing, and safe by construction.
///
/// Clones share everything.
#[derive(Clone)]
pub struct Cache {
    backend: Arc<dyn CacheBackend>,
    clock: Arc<dyn Clock>,
    flights: Flights,
    tasks: Tasks,
    counts: Arc<Counts>,
    counts_reads: bool,
    progress: Option<Arc<Progress>>,
}

/// How long a load is waited for while the log cannot be read, before a copy answers: then the
/// source is most likely away.
const BRIEFLY: Duration = Duration::from_millis(100);

impl Cache {
    /// A cache on this backend.
    pub fn new(backend: Arc<dyn CacheBackend>, clock: Arc<dyn Clock>, tasks: Tasks) -> Self {
        Self {
            backend,
            clock,
            flights: Flights::default(),
            tasks,
            counts: Arc::default(),
            counts_reads: true,
            progress: None,
        }
    }

    /// The same cache, in which somebody [applies](Self::apply) what the change log tells of. While
    /// they cannot, what is cached counts as past its time.
    pub fn following(self, progress: Arc<Progress>) -> Self {
        Self {
            progress: Some(progress),
            ..self
        }
    }

    /// The same cache with counts of its own, for reads that are not the user's, such as the
    /// check of who is calling.
    pub fn counting_apart(&self) -> Self {
        Self {
            counts: Arc::default(),
            ..self.clone()
        }
    }

    /// The same cache and counts, but reads are counted as neither hit nor miss: for those that are
    /// part of another, which [`count`](Self::count) counts as a whole.
    pub fn not_counting_reads(&self) -> Self {
        Self {
            counts_reads: false,
            ..self.clone()
        }
    }

    /// A fresh value that is at hand without waiting: the hot path. `None` sends the caller to
    /// [`read`](Self::read), which also looks after entries that want a refresh.
    #[inline]
    pub fn peek<T: Cacheable>(&self, key: &Key) -> Option<Hit<T>> {
        let now = self.clock.now();
        if self.out_of_touch(now).is_some() {
            return None;
        }
        let entry = self
            .backend
            .peek(key, now)
            .filter(|entry| !entry.wants_refresh(now))?;
        let hit = hit(&entry, Tier::Near, entry.fresh_until, now)?;
        log::debug!("hit {key}");
        self.count(key.kind(), hit.source);
        Some(hit)
    }

    /// Reads through the cache: a fresh entry, or else what `load` brings, stored for the next.
    ///
    /// Readers that miss together share one load, unless a write came between them. `load` runs
    /// in a task of its own, so that a first caller who hangs up does not make the others wait
    /// anew. With [`Mode::Refresh`] the answer is from a load that began after this call.
    ///
    /// # Errors
    /// What `load` answers. While the source is away, an entry within its stale limit answers
    /// instead.
    pub async fn read<T, E, F>(
        &self,
        key: &Key,
        policy: Policy,
        mode: Mode,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Read<T>, E>
    where
        T: Cacheable,
        E: SourceError,
        F: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        let now = self.clock.now();
        let lost = self.out_of_touch(now);
        let look = if lost.is_some() { Mode::Refresh } else { mode };
        let (stale, ticket, reason) = match self.backend.lookup(key, look, now).await {
            Lookup::Hit(entry, tier) => match hit(&entry, tier, entry.fresh_until, now) {
                Some(hit) => {
                    log::debug!("hit {key}");
                    self.count(key.kind(), hit.source);
                    if entry.wants_refresh(now) {
                        self.refresh(key, &entry, policy, load);
                    }
                    return Ok(hit);
                }
                None => {
                    // Not a value of this type: nobody can use it, so it goes.
                    log::warn!("{key} held bytes that are no such value; removed");
                    self.remove(key).await;
                    (None, self.backend.ticket(key).await, Forward::Miss)
                }
            },
            Lookup::Stale(entry, tier, ticket) => (Some((entry, tier)), ticket, Forward::Stale),
            Lookup::Miss(Some(ticket)) => (None, Some(ticket), Forward::Miss),
            Lookup::Miss(None) => (None, None, Forward::Bypass),
        };
        log::debug!("miss {key}");
        let reason = if mode == Mode::Refresh && reason != Forward::Bypass {
            Forward::Request
        } else {
            reason
        };
        // What may answer if the source is away.
        let kept = stale.filter(|(entry, _)| {
            let is_within = |lost: Timestamp| now.since(lost) < policy.stale_limit;
            mode == Mode::Read && entry.is_kept(now) && lost.is_none_or(is_within)
        });
        let loading = self.load(key, policy, mode, ticket, load);
        let loaded = if lost.is_some() && kept.is_some() {
            tokio::time::timeout(BRIEFLY, loading).await.ok()
        } else {
            Some(loading.await)
        };
        let is_late = loaded.is_none();
        let error = match loaded.unwrap_or_else(|| Err(E::interrupted())) {
            Ok((Loaded { value, stored }, collapsed)) => {
                let source = Source::Loaded {
                    reason,
                    stored,
                    collapsed,
                };
                self.count(key.kind(), source);
                return Ok(Read { value, source });
            }
            Err(error) => error,
        };
        let is_away = is_late || error.is_outage();
        let kept = kept.filter(|_| is_away).and_then(|(entry, tier)| {
            let end = lost.map_or(entry.fresh_until, |lost| lost.min(entry.fresh_until));
            hit(&entry, tier, end, now)
        });
        let Some(kept) = kept else {
            let source = Source::Loaded {
                reason,
                stored: false,
                collapsed: false,
            };
            self.count(key.kind(), source);
            return Err(error);
        };
        log::debug!("hit {key}, past its time: the source is away");
        self.count(key.kind(), kept.source);
        Ok(kept)
    }

    /// Since when the change log cannot be read, if that is too long to say what is stale.
    #[inline]
    fn out_of_touch(&self, now: Timestamp) -> Option<Timestamp> {
        self.progress.as_ref()?.out_of_touch(now)
    }

    /// Whether the change at this position of the log is voided here. Waits a while until it is.
    pub async fn has_passed(&self, position: Position) -> bool {
        match &self.progress {
            Some(progress) => progress.passed(position).await,
            None => false,
        }
    }

    /// Waits up to `patience` until whatever is committed by now is voided here. Answers whether it
    /// is.
    pub async fn catches_up(&self, patience: Duration) -> bool {
        match &self.progress {
            Some(progress) => progress.looked_after(self.clock.now(), patience).await,
            None => false,
        }
    }

    /// Makes stale what the change log tells of. Whoever follows the log may move on after it,
    /// whatever it answers: a tier that did not confirm is not trusted any more.
    pub async fn apply(&self, batch: &LogBatch) {
        increment_by(&self.counts.log_entries, batch.entries.len() as u64);
        if self.backend.apply(batch).await == Voided::Unconfirmed {
            increment(&self.counts.voids_unconfirmed);
        }
    }

    /// Drops every copy and every ticket: it is not known what went stale.
    pub fn distrust(&self, why: &str) {
        log::warn!("everything cached is distrusted: {why}");
        increment(&self.counts.distrusts);
        self.backend.distrust();
    }

    /// Counts a read of a key of this [kind](Key::kind) by its outcome. Reads count themselves, unless
    /// this cache is [not counting them](Self::not_counting_reads) because they are part of another.
    #[inline]
    pub fn count(&self, kind: &str, source: Source) {
        if self.counts_reads {
            self.counts.reads.increment(kind, source);
        }
    }

    /// What was read so far.
    pub(super) fn reads(&self) -> &ReadCounters {
        &self.counts.reads
    }

    /// Removes the keys that match, in every tier, to the end even if the caller is gone. Answers
    /// how many there were.
    pub async fn clear(&self, clear: Clear) -> u64 {
        let backend = Arc::clone(&self.backend);
        let task = self.tasks.spawn(async move { backend.clear(&clear).await });
        task.await.unwrap_or_default()
    }

    /// Some of the keys that are cached, others each time.
    pub async fn sample(&self, most: usize) -> Vec<Key> {
        self.backend.sample(most).await
    }

    /// What is under the key in each tier and answers reads there.
    pub async fn copies(&self, key: &Key) -> Vec<(Tier, Entry)> {
        self.backend.copies(key, self.clock.now()).await
    }

    /// Where the key is, and which copy answers reads at present.
    pub async fn locate(&self, key: &Key) -> Vec<Copied> {
        let copies = self.copies(key).await;
        let now = self.clock.now();
        // A tier may have copies that are read only while another is not trusted.
        let answering = if self.out_of_touch(now).is_some() {
            None
        } else if self.backend.peek(key, now).is_some() {
            Some(Tier::Near)
        } else {
            Some(Tier::Far)
        };
        let copied = |(tier, entry): (Tier, Entry)| Copied {
            tier,
            age: now.since(entry.stored()),
            ttl: entry.fresh_until().since(now),
            size: entry.value().map(Bytes::len),
            answers_reads: answering == Some(tier),
        };
        copies.into_iter().map(copied).collect()
    }

    /// Removes a key whose copies are wrong.
    pub async fn remove(&self, key: &Key) {
        let _ = self.backend.void(&Change::of(key.clone()), None).await;
    }

    /// Whether a key has an entry that answers reads.
    pub async fn exists(&self, key: &Key) -> bool {
        self.backend.exists(key, self.clock.now()).await
    }

    /// Adds to a counter that is forgotten `window` after its start; answers its new value and
    /// how long it will be remembered.
    pub async fn increment(&self, counter: &str, by: i64, window: Duration) -> (i64, Duration) {
        let now = self.clock.now();
        let Count { value, until } = self.backend.increment(counter, by, window, now).await;
        (value, until.since(now))
    }

    /// Whether the backend keeps anything at all at present.
    pub fn is_available(&self) -> bool {
        self.backend.is_available()
    }

    /// Why the cache does less than it could, if it does.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.log_trouble().or_else(|| self.backend_trouble())
    }

    /// Why what is cached counts as past its time, if it does.
    pub fn log_trouble(&self) -> Option<Arc<str>> {
        let now = self.clock.now();
        let seconds = now.since(self.out_of_touch(now)?).as_secs();
        Some(format!("the change log could not be read for {seconds} s").into())
    }

    /// Why the backend does less than it could, if it does.
    pub fn backend_trouble(&self) -> Option<Arc<str>> {
        self.backend.trouble()
    }

    /// How far the change log is followed, if it is, and how long ago it was looked at.
    pub fn followed(&self) -> Option<(Position, Duration)> {
        let progress = self.progress.as_ref()?;
        let age = self.clock.now().since(progress.looked());
        Some((progress.position(), age))
    }

    /// How many tasks there are on the runtime that loads and writes run on.
    pub fn tasks(&self) -> usize {
        self.tasks.alive()
    }

    /// The backend's name.
    pub fn backend_name(&self) -> &'static str {
        self.backend.name()
    }

    /// What this cache has done.
    pub fn stats(&self) -> CacheStats {
        self.counts.snapshot()
    }

    /// What its backend knows of itself.
    pub async fn backend_stats(&self) -> BackendStats {
        self.backend.stats().await
    }
}

/// A read's answer out of an entry that is good until `end`; `None` if the entry holds no `T`.
fn hit<T: Cacheable>(entry: &Entry, tier: Tier, end: Timestamp, now: Timestamp) -> Option<Hit<T>> {
    let value = match entry.value() {
        Some(bytes) => Some(T::from_bytes(bytes)?),
        None => None,
    };
    let ttl = end.seconds_from(now);
    Some(Read {
        value,
        source: Source::Hit { tier, ttl },
    })
}

/// The bytes themselves can be kept as they are.
impl Cacheable for Bytes {
    fn to_bytes(&self) -> Bytes {
        self.clone()
    }

    fn from_bytes(bytes: &Bytes) -> Option<Self> {
        Some(bytes.clone())
    }
}
