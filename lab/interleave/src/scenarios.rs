//! What is interleaved, and what must hold in each interleaving. Each scenario is run by shuttle.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;

use super::backend::{CacheBackend, Lookup, Mode};
use super::breaker::Breaker;
use super::change::{Change, Clear};
use super::clock::Timestamp;
use super::entry::Entry;
use super::flight::Flights;
use super::key::{Group, Key};
use super::log::{LogBatch, LogEntry, Position, Stale, Watermark};
use super::memory::MemoryBackend;
use super::policy::Policy;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const PAGES: Group = Group::new("rows:list");

fn row() -> Key {
    Key::of_id("row", 1)
}

fn page() -> Key {
    Key::of_text("rows:list", "0:100").in_group(PAGES)
}

fn entry(version: u64) -> Entry {
    let value = Bytes::copy_from_slice(&version.to_be_bytes());
    Policy::lasting(std::time::Duration::from_secs(60)).entry(Some(value), NOW)
}

fn version(entry: &Entry) -> u64 {
    entry.value().map_or(0, |value| value.clone().get_u64())
}

/// A source of truth, and the memory in front of it.
struct Service {
    memory: MemoryBackend,
    committed: AtomicU64,
    /// The latest version whose writer was answered.
    acknowledged: AtomicU64,
}

impl Service {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            memory: MemoryBackend::new(1 << 20),
            committed: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
        })
    }

    /// Reads a key as `Cache::read` does, and holds the answer against what was acknowledged before.
    fn read(&self, key: &Key) {
        let owed = self.acknowledged.load(Ordering::SeqCst);
        if let Some(found) = self.memory.peek(key, NOW) {
            let found = version(&found);
            assert!(found >= owed, "version {found} is answered, {owed} is owed");
            return;
        }
        match block_on(self.memory.lookup(key, Mode::Read, NOW)) {
            Lookup::Hit(found, _) => {
                let found = version(&found);
                assert!(found >= owed, "version {found} is found, {owed} is owed");
            }
            Lookup::Stale(_, _, token) | Lookup::Miss(token) => {
                let loaded = self.committed.load(Ordering::SeqCst);
                if let Some(token) = token {
                    block_on(self.memory.fill(token, entry(loaded)));
                }
            }
        }
    }

    /// Writes a row as `Cache::write` does.
    fn write(&self, is_through: bool) {
        let token = block_on(self.memory.ticket(&row()));
        let version = self.committed.fetch_add(1, Ordering::SeqCst) + 1;
        let change = Change::of(row())
            .and_group(PAGES)
            .committed(Some(Position::new(version)));
        let through = token.filter(|_| is_through);
        let through = through.map(|token| (token, self::entry(version)));
        let _ = block_on(self.memory.void(&change, through));
        self.acknowledged.fetch_max(version, Ordering::SeqCst);
    }

    /// Applies everything that is committed, as the tailer does. What it has applied is owed from then on.
    fn follow(&self) {
        let end = self.committed.load(Ordering::SeqCst);
        let entries = (1..=end).map(|version| LogEntry {
            position: Position::new(version),
            stale: Stale::Change(Change::of(row()).and_group(PAGES)),
        });
        let until = Watermark::new(Position::new(end + 1), "of the test");
        let batch = LogBatch {
            entries: entries.collect(),
            until,
        };
        let _ = block_on(self.memory.apply(&batch));
        self.acknowledged.fetch_max(end, Ordering::SeqCst);
    }
}

fn together(threads: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = threads.into_iter().map(thread::spawn).collect();
    for thread in threads {
        thread.join().expect("no thread panics");
    }
}

/// INV-1, INV-2: readers and writers of a row and of a page of its group, and a tailer.
pub fn readers_and_writers_of_a_stripe() {
    let service = Service::new();
    let of = |work: fn(&Service)| -> Box<dyn FnOnce() + Send> {
        let service = Arc::clone(&service);
        Box::new(move || work(&service))
    };
    together(vec![
        of(|service| {
            service.read(&row());
            service.read(&row());
        }),
        of(|service| {
            service.read(&page());
            service.read(&page());
        }),
        of(|service| service.write(true)),
        of(|service| service.write(false)),
        of(Service::follow),
    ]);
    service.read(&row());
    service.read(&page());
}

/// A fill or a write-through that is under way does not outlive a drop of everything, nor a clear.
pub fn a_drop_of_everything_and_a_clear_beside_fills() {
    let service = Service::new();
    let of = |work: fn(&Service)| -> Box<dyn FnOnce() + Send> {
        let service = Arc::clone(&service);
        Box::new(move || work(&service))
    };
    together(vec![
        of(|service| {
            service.read(&row());
            service.read(&page());
        }),
        of(|service| service.read(&row())),
        // Changed where nothing tells of it: then everything is dropped.
        of(|service| {
            let version = service.committed.fetch_add(1, Ordering::SeqCst) + 1;
            service.memory.distrust();
            service.acknowledged.fetch_max(version, Ordering::SeqCst);
        }),
        of(|service| {
            let version = service.committed.fetch_add(1, Ordering::SeqCst) + 1;
            if let Ok(clear) = "row*".parse::<Clear>() {
                block_on(service.memory.clear(&clear));
                service.acknowledged.fetch_max(version, Ordering::SeqCst);
            }
        }),
    ]);
    service.read(&row());
    service.read(&page());
}

/// INV-4: of callers in one epoch one loads, all are answered, and a load that is abandoned leaves no
/// caller waiting.
pub fn callers_of_a_single_flight(is_abandoned: bool) {
    let flights = Flights::default();
    let loading = Arc::new(AtomicU64::new(0));
    let callers: Vec<Box<dyn FnOnce() + Send>> = (0..4)
        .map(|caller| -> Box<dyn FnOnce() + Send> {
            let (flights, loading) = (flights.clone(), Arc::clone(&loading));
            Box::new(move || {
                // The last one arrives after a write.
                let epoch = u128::from(caller == 3);
                let (waiter, guard) = flights.board(&row(), epoch);
                if let Some(guard) = guard {
                    if epoch == 0 {
                        let others = loading.fetch_add(1, Ordering::SeqCst);
                        assert_eq!(others, 0, "two load at the same time");
                        thread::yield_now();
                        loading.fetch_sub(1, Ordering::SeqCst);
                    }
                    if is_abandoned {
                        drop(guard);
                    } else {
                        guard.land(epoch);
                    }
                }
                let answer = block_on(waiter.landing::<u128>());
                let expected = (!is_abandoned).then_some(epoch);
                assert_eq!(answer, expected, "of its own epoch");
            })
        })
        .collect();
    together(callers);
    let (_, guard) = flights.board(&row(), 0);
    assert!(
        guard.is_some(),
        "a load that is over is joined by no caller"
    );
}

/// REC-1: a breaker that was tripped during a recovery is open after it, and its recovery is woken.
pub fn trips_during_a_recovery() {
    const TRIPS: u64 = 3;
    let breaker = Arc::new(Breaker::new("the store".into()));
    let start = breaker.doubts();
    assert!(breaker.close(start));
    // What the recovery has noted last.
    let noted_last = Arc::new(AtomicU64::new(start));
    let recovery: Box<dyn FnOnce() + Send> = {
        let (breaker, noted_last) = (Arc::clone(&breaker), Arc::clone(&noted_last));
        Box::new(move || {
            loop {
                block_on(breaker.opened());
                // Only this thread closes it.
                assert!(breaker.reason().is_some());
                let noted = breaker.doubts();
                thread::yield_now();
                noted_last.store(noted, Ordering::SeqCst);
                // The last trip is known to be the last here, not in the service.
                if breaker.close(noted) && noted == start + TRIPS {
                    break;
                }
            }
        })
    };
    let writers = (0..TRIPS).map(|_| -> Box<dyn FnOnce() + Send> {
        let (breaker, noted_last) = (Arc::clone(&breaker), Arc::clone(&noted_last));
        Box::new(move || {
            let before = breaker.doubts();
            breaker.doubt("an invalidation was not acknowledged");
            // It is closed again only by a recovery that noted this trip.
            if breaker.is_closed() {
                assert!(noted_last.load(Ordering::SeqCst) > before);
            }
        })
    });
    together(writers.chain([recovery]).collect());
    assert!(breaker.is_closed() && breaker.reason().is_none());
}
