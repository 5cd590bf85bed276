use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prometheus_client::metrics::histogram::Histogram;

use crate::cache::{Cache, Clock, Entry, Key, Progress, Tier};

/// How many keys are taken from each tier at once, to be compared one after the other.
const BATCH: usize = 256;

/// How long the log may take to tell of a change that the database has told of already. Whoever takes
/// longer is out of touch, and says so elsewhere.
const PATIENCE: Duration = Duration::from_secs(5);

/// Upper bounds of the histogram of times to consistency, in seconds.
const BOUNDS: [f64; 8] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0];

/// What the source of truth says about a key; nothing for a key that it knows nothing of.
pub type Truth = Arc<dyn Fn(Key) -> BoxFuture<'static, Option<Told>> + Send + Sync>;

/// What should be under a key: the value, or that there is none. Or why nobody can tell.
pub type Told = Result<Option<Bytes>, String>;

/// Names the version of a value, for people to read.
pub type NameVersion = fn(&Key, Option<&Bytes>) -> String;

/// Compares what is cached with the source of truth, a few entries each second, and counts what does
/// not agree: after Meta's Polaris ("Cache made consistent", 2022).
///
/// A copy may be older than the database for the moment that a change is on its way to it. So what
/// does not agree is looked at again once this process has read the log anew: every change that the
/// database told of is applied then. A copy that is still there is inconsistent, whatever the reason.
/// It is reported, and voided.
pub struct Observer {
    /// Where the copies are.
    pub cache: Cache,
    /// How far the log is followed.
    pub progress: Arc<Progress>,
    /// The cache's clock.
    pub clock: Arc<dyn Clock>,
    /// What they should be.
    pub truth: Truth,
    /// How to speak of them.
    pub name_version: NameVersion,
    /// How many are compared each second.
    pub rate: f64,
    /// What came of it.
    pub stats: ObserverStats,
}

/// What an [`Observer`] has found. Clones share it.
#[derive(Clone, Debug)]
pub struct ObserverStats {
    checked: Arc<AtomicU64>,
    inconsistent: Arc<AtomicU64>,
    longest_micros: Arc<AtomicU64>,
    /// Seconds from when a copy was found to be older than the database to when it was gone.
    pub seconds_to_consistency: Histogram,
}

impl Default for ObserverStats {
    fn default() -> Self {
        Self {
            checked: Arc::default(),
            inconsistent: Arc::default(),
            longest_micros: Arc::default(),
            seconds_to_consistency: Histogram::new(BOUNDS),
        }
    }
}

impl ObserverStats {
    /// Keys compared.
    pub fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    /// Copies that did not agree though nothing was on its way to them.
    pub fn inconsistent(&self) -> u64 {
        self.inconsistent.load(Ordering::Relaxed)
    }

    /// The longest that a copy was found to be older than the database.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_micros.load(Ordering::Relaxed))
    }

    fn consistent_after(&self, time: Duration) {
        self.seconds_to_consistency.observe(time.as_secs_f64());
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.longest_micros.fetch_max(micros, Ordering::Relaxed);
    }
}

impl Observer {
    /// Observes for as long as it is polled.
    pub async fn observe(self) {
        if self.rate <= 0.0 {
            return;
        }
        let pause = Duration::from_secs_f64(1.0 / self.rate);
        let mut keys = VecDeque::new();
        loop {
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            if keys.is_empty() {
                keys = self.sample().await;
            }
            if let Some(key) = keys.pop_front() {
                self.check(&key).await;
            }
        }
    }

    async fn sample(&self) -> VecDeque<Key> {
        let mut keys = self.cache.sample(BATCH).await;
        fastrand::shuffle(&mut keys);
        keys.into()
    }

    async fn check(&self, key: &Key) {
        let copies = self.cache.copies(key).await;
        if copies.is_empty() {
            return;
        }
        let Some(Ok(truth)) = (self.truth)(key.clone()).await else {
            return;
        };
        self.stats.checked.fetch_add(1, Ordering::Relaxed);
        let differs = |(_, entry): &(Tier, Entry)| entry.value() != truth.as_ref();
        let suspects: Vec<_> = copies.into_iter().filter(differs).collect();
        if suspects.is_empty() {
            return;
        }
        let found = Instant::now();
        // A look at the log that begins from now on tells of every change that the database told of.
        let told_until = self.clock.now();
        if !self.progress.looked_after(told_until, PATIENCE).await {
            return;
        }
        let left = self.cache.copies(key).await;
        let lasting: Vec<_> = suspects
            .into_iter()
            .filter(|suspect| left.contains(suspect))
            .collect();
        if lasting.is_empty() {
            self.stats.consistent_after(found.elapsed());
            return;
        }
        for (tier, entry) in lasting {
            self.stats.inconsistent.fetch_add(1, Ordering::Relaxed);
            log::error!(
                "inconsistent: {key} is {} in the {} tier, and {} in the database; it is removed",
                (self.name_version)(key, entry.value()),
                tier.name(),
                (self.name_version)(key, truth.as_ref()),
            );
        }
        self.cache.remove(key).await;
    }
}
