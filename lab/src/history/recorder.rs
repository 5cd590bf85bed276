//! How many clients at once write one history.

use std::fmt::Debug;
use std::hash::Hash;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{History, Read, Write};

/// Collects what clients do into one [`History`], on one clock that starts with it.
#[derive(Debug)]
pub struct Recorder<K, V> {
    shared: Arc<Shared<K, V>>,
}

#[derive(Debug)]
struct Shared<K, V> {
    origin: Instant,
    /// Locked once by each client, when it is dropped.
    events: Mutex<Vec<Event<K, V>>>,
}

#[derive(Debug)]
enum Event<K, V> {
    Write(K, Write<V>),
    Read(K, Read<V>),
}

impl<K, V> Default for Recorder<K, V> {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                origin: Instant::now(),
                events: Mutex::default(),
            }),
        }
    }
}

impl<K: Eq + Hash, V> Recorder<K, V> {
    /// A recorder without clients, whose time zero is now.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value that a register has from the start. Say so before any client writes it.
    pub fn initial(&self, key: K, value: V) {
        let write = Write {
            value,
            began: Duration::ZERO,
            acknowledged: Some(Duration::ZERO),
        };
        self.shared.append(&mut vec![Event::Write(key, write)]);
    }

    /// A log for one client. It may move to any thread or task, and its entries count once it is
    /// dropped.
    pub fn client(&self) -> ClientLog<K, V> {
        ClientLog {
            shared: Arc::clone(&self.shared),
            events: Vec::new(),
        }
    }

    /// All that the clients did.
    ///
    /// # Panics
    ///
    /// If a client has not been dropped yet: its entries would be missing.
    pub fn finish(self) -> History<K, V> {
        let shared = Arc::into_inner(self.shared)
            .expect("every client is dropped before the recorder finishes");
        let events = shared
            .events
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut history = History::new();
        for event in events {
            match event {
                Event::Write(key, write) => history.write(key, write),
                Event::Read(key, read) => history.read(key, read),
            }
        }
        history
    }
}

impl<K, V> Shared<K, V> {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn append(&self, events: &mut Vec<Event<K, V>>) {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .append(events);
    }
}

/// What one client does, one operation after the other. Noting an operation takes no lock.
#[derive(Debug)]
pub struct ClientLog<K, V> {
    shared: Arc<Shared<K, V>>,
    events: Vec<Event<K, V>>,
}

impl<K, V> ClientLog<K, V> {
    /// A write begins now. Call this before the request is sent.
    pub fn write(&mut self, key: K, value: V) -> PendingWrite<'_, K, V> {
        let began = self.shared.now();
        PendingWrite {
            log: self,
            write: Some((
                key,
                Write {
                    value,
                    began,
                    acknowledged: None,
                },
            )),
        }
    }

    /// A read begins now. Call this before the request is sent.
    pub fn read(&mut self, key: K) -> PendingRead<'_, K, V> {
        let began = self.shared.now();
        PendingRead {
            log: self,
            key,
            began,
        }
    }
}

impl<K, V> Drop for ClientLog<K, V> {
    fn drop(&mut self) {
        self.shared.append(&mut self.events);
    }
}

/// A write under way. Dropped without a word, its outcome is unknown: so it is for a client that
/// failed, hung up or was itself cut off.
#[must_use = "a write that is dropped is one of unknown outcome"]
#[derive(Debug)]
pub struct PendingWrite<'a, K, V> {
    log: &'a mut ClientLog<K, V>,
    write: Option<(K, Write<V>)>,
}

impl<K, V> PendingWrite<'_, K, V> {
    /// The answer has come: the write happened.
    pub fn acknowledged(mut self) {
        let now = self.log.shared.now();
        if let Some((_, write)) = &mut self.write {
            write.acknowledged = Some(now);
        }
    }

    /// The answer has come: the write did not happen and never will. Only for an answer that leaves
    /// no doubt (a refused precondition, a conflict), not for a timeout or a 500.
    pub fn refused(mut self) {
        self.write = None;
    }
}

impl<K, V> Drop for PendingWrite<'_, K, V> {
    fn drop(&mut self) {
        if let Some((key, write)) = mem::take(&mut self.write) {
            self.log.events.push(Event::Write(key, write));
        }
    }
}

/// A read under way. Dropped without an answer, it says nothing and is not counted.
#[must_use = "a read that is dropped is not recorded"]
#[derive(Debug)]
pub struct PendingRead<'a, K, V> {
    log: &'a mut ClientLog<K, V>,
    key: K,
    began: Duration,
}

impl<K, V> PendingRead<'_, K, V> {
    /// The answer has come.
    pub fn returned(self, value: V) {
        let ended = self.log.shared.now();
        self.log.events.push(Event::Read(
            self.key,
            Read {
                value,
                began: self.began,
                ended,
            },
        ));
    }
}
