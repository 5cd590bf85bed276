//! A source of truth that does what a test tells it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alacena::cache::{
    Cache, CacheBackend, Group, Key, ManualClock, Mode, Policy, Read, SourceError, Tasks, Timestamp,
};
use bytes::Bytes;
use tokio::sync::Semaphore;

/// The group of the keys that [`page`] makes.
pub const PAGES: Group = Group::new("rows:list");

/// The key of a row.
pub fn row(id: i64) -> Key {
    Key::of_id("row", id)
}

/// The key of a page of rows.
pub fn page(number: i64) -> Key {
    Key::of_id(PAGES.name(), number).in_group(PAGES)
}

/// Where every test's clock starts.
pub const START: Timestamp = Timestamp::from_millis(1_000_000);

/// One minute, no jitter, nothing eager.
pub const POLICY: Policy = Policy {
    ttl: Duration::from_secs(60),
    negative_ttl: Duration::from_secs(10),
    jitter: 0.0,
    eager_refresh: 0.0,
    stale_limit: Duration::from_secs(30),
    patience: Policy::BRIEFLY,
};

/// How a source fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It cannot be asked.
    Away,
    /// It refused: nothing was changed.
    Refused,
    /// It did not say whether it committed.
    Unknown,
    /// The work ended without an answer.
    Interrupted,
}

impl SourceError for Failure {
    fn is_outage(&self) -> bool {
        *self == Self::Away
    }

    fn may_have_committed(&self) -> bool {
        matches!(self, Self::Unknown | Self::Interrupted)
    }

    fn interrupted() -> Self {
        Self::Interrupted
    }
}

/// A table of rows, each of which can be read slowly.
#[derive(Clone, Default)]
pub struct Source {
    rows: Arc<Mutex<HashMap<String, &'static str>>>,
    failure: Arc<Mutex<Option<Failure>>>,
    loads: Arc<AtomicUsize>,
}

/// Holds loads back after they have read and before they answer.
#[derive(Clone)]
pub struct Gate {
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    /// A gate that is shut.
    pub fn shut() -> Self {
        Self {
            arrived: Arc::new(Semaphore::new(0)),
            open: Arc::new(Semaphore::new(0)),
        }
    }

    /// Waits until somebody stands at the gate.
    pub async fn arrival(&self) {
        self.arrived
            .acquire()
            .await
            .expect("the gate is never closed for good")
            .forget();
    }

    /// Lets one through.
    pub fn open(&self) {
        self.open.add_permits(1);
    }

    /// Stands at the gate until it is opened.
    pub async fn pass(&self) {
        self.arrived.add_permits(1);
        self.open
            .acquire()
            .await
            .expect("the gate is never closed for good")
            .forget();
    }
}

impl Source {
    /// Puts a row.
    pub fn put(&self, key: &Key, value: &'static str) {
        self.rows().insert(key.name().to_owned(), value);
    }

    /// Takes a row away.
    pub fn delete(&self, key: &Key) {
        self.rows().remove(key.name());
    }

    /// From now on every load fails like this, or none does.
    pub fn fail(&self, failure: Option<Failure>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// How often it was asked.
    pub fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    fn rows(&self) -> std::sync::MutexGuard<'_, HashMap<String, &'static str>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A load of the row, which stands at the gate with what it has read.
    pub fn load(
        &self,
        key: &Key,
        gate: Option<&Gate>,
    ) -> impl Future<Output = Result<Option<Bytes>, Failure>> + Send + 'static {
        let (source, key, gate) = (self.clone(), key.name().to_owned(), gate.cloned());
        async move {
            source.loads.fetch_add(1, Ordering::SeqCst);
            let failure = *source
                .failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let value = source
                .rows()
                .get(&key)
                .map(|value| Bytes::from_static(value.as_bytes()));
            if let Some(gate) = gate {
                gate.pass().await;
            }
            failure.map_or(Ok(value), Err)
        }
    }
}

/// A cache over a backend and a source, and a clock that is moved by hand.
#[derive(Clone)]
pub struct Bench {
    /// The cache.
    pub cache: Cache,
    /// Its source.
    pub source: Source,
    /// Its clock.
    pub clock: ManualClock,
}

impl Bench {
    /// A cache on this backend.
    pub fn new(backend: Arc<dyn CacheBackend>) -> Self {
        let clock = ManualClock::at(START);
        let tasks = Tasks::on_current_runtime();
        let cache = Cache::new(backend, Arc::new(clock.clone()), tasks);
        Self {
            cache,
            source: Source::default(),
            clock,
        }
    }

    /// Reads through the cache.
    ///
    /// # Errors
    /// The source's.
    pub async fn read(
        &self,
        key: &Key,
        mode: Mode,
        gate: Option<&Gate>,
    ) -> Result<Read<Bytes>, Failure> {
        self.read_with(key, POLICY, mode, gate).await
    }

    /// Reads through the cache with a policy of one's own.
    ///
    /// # Errors
    /// The source's.
    pub async fn read_with(
        &self,
        key: &Key,
        policy: Policy,
        mode: Mode,
        gate: Option<&Gate>,
    ) -> Result<Read<Bytes>, Failure> {
        let load = self.source.load(key, gate);
        self.cache.read(key, policy, mode, move || load).await
    }

    /// What a plain read answers now, for tests in which the source does not fail.
    pub async fn value(&self, key: &Key) -> Option<Bytes> {
        self.read(key, Mode::Read, None)
            .await
            .expect("the source answers")
            .value
    }
}

/// Waits until `condition` holds. A condition that never comes fails the test.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(10);
    assert!(
        tokio::time::timeout(patience, waiting).await.is_ok(),
        "never came about: {what}"
    );
}
