//! A cache backend on a stage: curtains where a schedule wants somebody to wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alacena::cache::{
    BackendStats, CacheBackend, Change, Clear, Count, Entry, Filled, Key, LogBatch, Lookup, Mode,
    Stale, Ticket, Tier, Timestamp, Voided,
};
use async_trait::async_trait;
use tokio::sync::oneshot;

/// What a fill does with its ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fills {
    /// As the trait demands.
    ByTicket,
    /// As every cache library does it: a bare `set` of what was loaded.
    Regardless,
}

/// A backend that waits at curtains, which are hung for one key and one operation each.
pub struct Staged {
    inner: Arc<dyn CacheBackend>,
    fills: Fills,
    /// How long every fill comes after its load, if no schedule says otherwise.
    delay: Duration,
    /// What was stored regardless of its ticket.
    set: Mutex<HashMap<String, Entry>>,
    curtains: Mutex<Vec<Curtain>>,
}

/// Where somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Between a load and its fill.
    Fill,
    /// Between a commit and its void.
    Void,
    /// Between what a lookup found and its answer.
    Found,
    /// Before what the change log tells of is voided.
    Apply,
}

struct Curtain {
    at: At,
    key: String,
    reached: oneshot::Sender<()>,
    opened: oneshot::Receiver<()>,
}

/// The other side of a curtain.
pub struct Cue {
    reached: oneshot::Receiver<()>,
    open: oneshot::Sender<()>,
}

impl Cue {
    /// Waits until somebody stands before the curtain. What is answered opens it.
    ///
    /// # Panics
    /// If nobody comes in time.
    pub async fn reached(self) -> oneshot::Sender<()> {
        let limit = Duration::from_secs(10);
        let reached = tokio::time::timeout(limit, self.reached).await;
        reached
            .expect("somebody comes to the curtain in time")
            .expect("the curtain hangs");
        self.open
    }
}

impl Staged {
    /// A stage for a backend.
    pub fn new(inner: Arc<dyn CacheBackend>) -> Arc<Self> {
        Self::with(inner, Fills::ByTicket, Duration::ZERO)
    }

    /// The same, with fills that come so long after their loads and mind their tickets, or do not.
    pub fn with(inner: Arc<dyn CacheBackend>, fills: Fills, delay: Duration) -> Arc<Self> {
        Arc::new(Self {
            inner,
            fills,
            delay,
            set: Mutex::default(),
            curtains: Mutex::default(),
        })
    }

    /// Hangs a curtain for the next such operation on a key.
    ///
    /// # Panics
    /// If another panicked while hanging one.
    pub fn hang(&self, at: At, key: &str) -> Cue {
        let (reached, when_reached) = oneshot::channel();
        let (open, opened) = oneshot::channel();
        self.curtains.lock().expect("no panics").push(Curtain {
            at,
            key: key.to_owned(),
            reached,
            opened,
        });
        Cue {
            reached: when_reached,
            open,
        }
    }

    async fn pass(&self, at: At, key: &str) {
        let curtain = {
            let mut curtains = self.curtains.lock().expect("no panics");
            let mine = |curtain: &Curtain| curtain.at == at && curtain.key == key;
            curtains.iter().position(mine).map(|at| curtains.remove(at))
        };
        let Some(Curtain {
            reached, opened, ..
        }) = curtain
        else {
            if at == At::Fill && !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            return;
        };
        let _ = reached.send(());
        let _ = opened.await;
    }

    fn set(&self, key: &Key, now: Timestamp) -> Option<Entry> {
        let set = self.set.lock().expect("no panics");
        set.get(key.name())
            .filter(|entry| entry.is_fresh(now))
            .cloned()
    }
}

#[async_trait]
impl CacheBackend for Staged {
    fn name(&self) -> &'static str {
        "staged"
    }

    fn peek(&self, key: &Key, now: Timestamp) -> Option<Entry> {
        self.set(key, now).or_else(|| self.inner.peek(key, now))
    }

    async fn lookup(&self, key: &Key, mode: Mode, now: Timestamp) -> Lookup {
        let found = match self.set(key, now) {
            Some(entry) if mode == Mode::Read => Lookup::Hit(entry, Tier::Near),
            _ => self.inner.lookup(key, mode, now).await,
        };
        self.pass(At::Found, key.name()).await;
        found
    }

    async fn ticket(&self, key: &Key) -> Option<Ticket> {
        self.inner.ticket(key).await
    }

    async fn renew(&self, ticket: &Ticket) {
        self.inner.renew(ticket).await;
    }

    async fn release(&self, ticket: Ticket) {
        self.inner.release(ticket).await;
    }

    async fn fill(&self, ticket: Ticket, entry: Entry) -> Filled {
        let key = ticket.key().clone();
        self.pass(At::Fill, key.name()).await;
        if self.fills == Fills::ByTicket {
            return self.inner.fill(ticket, entry).await;
        }
        let mut set = self.set.lock().expect("no panics");
        set.insert(key.name().to_owned(), entry);
        Filled::Stored
    }

    async fn void(&self, change: &Change, through: Option<(Ticket, Entry)>) -> Voided {
        for key in change.keys() {
            self.pass(At::Void, key.name()).await;
        }
        {
            let mut set = self.set.lock().expect("no panics");
            for key in change.keys() {
                set.remove(key.name());
            }
            for group in change.groups() {
                set.retain(|name, _| !name.starts_with(group.name()));
            }
        }
        self.inner.void(change, through).await
    }

    fn distrust(&self) {
        self.set.lock().expect("no panics").clear();
        self.inner.distrust();
    }

    async fn apply(&self, batch: &LogBatch) -> Voided {
        for entry in &batch.entries {
            if let Stale::Change(change) = &entry.stale {
                for key in change.keys() {
                    self.pass(At::Apply, key.name()).await;
                }
            }
        }
        // A bare `set` knows of no log.
        self.inner.apply(batch).await
    }

    async fn clear(&self, clear: &Clear) -> u64 {
        {
            let mut set = self.set.lock().expect("no panics");
            set.retain(|name, _| !clear.pattern().matches(name));
        }
        self.inner.clear(clear).await
    }

    async fn exists(&self, key: &Key, now: Timestamp) -> bool {
        self.set(key, now).is_some() || self.inner.exists(key, now).await
    }

    async fn sample(&self, most: usize) -> Vec<Key> {
        self.inner.sample(most).await
    }

    async fn copies(&self, key: &Key, now: Timestamp) -> Vec<(Tier, Entry)> {
        match self.set(key, now) {
            Some(entry) => vec![(Tier::Near, entry)],
            None => self.inner.copies(key, now).await,
        }
    }

    async fn increment(&self, counter: &str, by: i64, window: Duration, now: Timestamp) -> Count {
        self.inner.increment(counter, by, window, now).await
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

    async fn stats(&self) -> BackendStats {
        self.inner.stats().await
    }
}
