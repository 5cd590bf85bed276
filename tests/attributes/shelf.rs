//! A source of truth that is read and written through the attributes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alacena::cache::{
    Cache, Group, Key, ManualClock, MemoryBackend, Policy, Tasks, cached, invalidates,
};
use alacena_lab::contract::source::{Failure, Gate, START};
use bytes::Bytes;

pub(crate) const LIST: Group = Group::new("things:list");

pub(crate) const KEPT: Policy = Policy {
    negative_ttl: Duration::from_secs(10),
    ..Policy::lasting(Duration::from_secs(60))
};

/// Things by their ids, behind a cache.
#[derive(Clone)]
pub(crate) struct Shelf {
    pub(crate) cache: Cache,
    pub(crate) clock: ManualClock,
    things: Arc<Mutex<HashMap<i64, &'static str>>>,
    failure: Arc<Mutex<Option<Failure>>>,
    gate: Arc<Mutex<Option<Gate>>>,
    runs: Arc<AtomicUsize>,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::at(START);
        let backend = Arc::new(MemoryBackend::new(1 << 20));
        let tasks = Tasks::on_current_runtime();
        Self {
            cache: Cache::new(backend, Arc::new(clock.clone()), tasks),
            clock,
            things: Arc::default(),
            failure: Arc::default(),
            gate: Arc::default(),
            runs: Arc::default(),
        }
    }

    /// Puts a thing behind the cache's back.
    pub(crate) fn put(&self, id: i64, thing: &'static str) {
        of(&self.things).insert(id, thing);
    }

    /// From now on whatever is asked of it fails like this, once it has done its work.
    pub(crate) fn fail(&self, failure: Option<Failure>) {
        *of(&self.failure) = failure;
    }

    /// The next to ask stands at the gate with what it has read, or has done.
    pub(crate) fn hold_back(&self, gate: &Gate) {
        *of(&self.gate) = Some(gate.clone());
    }

    /// How many bodies have run.
    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    fn ran(&self) {
        self.runs.fetch_add(1, Ordering::SeqCst);
    }

    async fn answer<T>(&self, answer: T) -> Result<T, Failure> {
        self.ran();
        let failure = *of(&self.failure);
        let gate = of(&self.gate).take();
        if let Some(gate) = gate {
            gate.pass().await;
        }
        failure.map_or(Ok(answer), Err)
    }

    fn found(&self, id: i64) -> Option<Bytes> {
        let thing = of(&self.things).get(&id).copied();
        thing.map(|thing| Bytes::from_static(thing.as_bytes()))
    }

    /// The thing of this id.
    #[cached(key = "thing:{id}", policy = KEPT)]
    pub(crate) async fn thing(&self, id: i64) -> Result<Option<Bytes>, Failure> {
        self.answer(self.found(id)).await
    }

    /// The same, with no memory of what is not there.
    #[cached(key = "known:{id}", ttl = "1m")]
    pub(crate) async fn known(&self, id: i64) -> Result<Option<Bytes>, Failure> {
        self.answer(self.found(id)).await
    }

    /// How many things there are, in the group of lists.
    #[cached(prefix = "things:list", policy = KEPT, group = LIST)]
    pub(crate) async fn count(&self, at_least: usize) -> Result<Bytes, Failure> {
        let count = of(&self.things).len().max(at_least).to_string();
        self.answer(count.into()).await
    }

    /// What there is, without a way to fail.
    #[cached(prefix = "certain", ttl = "60s")]
    pub(crate) async fn certain(&self, name: String) -> Bytes {
        self.ran();
        assert_ne!(name, "panic", "a bug in a load");
        name.into()
    }

    /// The same, where there may be nothing.
    #[cached(prefix = "perhaps", ttl = "60s", negative_ttl = "1s")]
    pub(crate) async fn perhaps(&self, name: &str) -> Option<Bytes> {
        self.ran();
        assert_ne!(name, "panic", "a bug in a load");
        (!name.is_empty()).then(|| name.to_owned().into())
    }

    /// Puts a thing.
    #[invalidates(key = "thing:{id}", group = "things:list:*", through = &result, policy = KEPT)]
    pub(crate) async fn write(&self, id: i64, thing: &'static str) -> Result<Bytes, Failure> {
        if *of(&self.failure) != Some(Failure::Refused) {
            self.put(id, thing);
        }
        self.answer(Bytes::from_static(thing.as_bytes())).await
    }

    /// Takes a thing away.
    #[invalidates(change = made_stale(id), absent, policy = KEPT)]
    pub(crate) async fn remove(&self, id: i64) -> Result<(), Failure> {
        of(&self.things).remove(&id);
        self.answer(()).await
    }

    /// Puts a thing under an id that nobody knows before. Waits no longer than a moment.
    #[invalidates(
        key = Key::of_id("thing", result),
        group = LIST,
        patience = Duration::from_millis(100)
    )]
    pub(crate) async fn add(&self, thing: &'static str) -> Result<i64, Failure> {
        let id = 1 + of(&self.things).keys().max().copied().unwrap_or(0);
        self.put(id, thing);
        self.answer(id).await
    }
}

fn made_stale(id: i64) -> alacena::cache::Change {
    alacena::cache::Change::of(Key::of_id("thing", id)).and_group(LIST)
}

fn of<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
