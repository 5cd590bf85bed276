//! Random schedules of readers and writers, step by step, against the definition of stale.
//!
//! Every actor's work is cut where another may come between: a reader looks up, loads and fills; a
//! writer takes its ticket, commits and voids. A schedule says whose next step comes next. After
//! each step whatever the backend would answer is held against what was written.

use std::sync::Arc;

use alacena::cache::{CacheBackend, Change, Entry, Key, Lookup, Mode, Ticket, Voided};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::source::{PAGES, POLICY, START, page, row};

const KEYS: usize = 3;
const READERS: usize = 3;
const WRITERS: usize = 3;
const CASES: u32 = 600;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The reader's next step, on this key if it begins anew.
    Reader {
        who: usize,
        key: usize,
        refresh: bool,
    },
    /// The writer's next step; a new write is of this key, and is a deletion or not.
    Writer {
        who: usize,
        key: usize,
        deletes: bool,
    },
    /// The writer's process forgets its ticket, as when the far tier did not confirm it.
    LoseTicket { who: usize },
    /// Everything is distrusted.
    Distrust,
    /// An operator clears everything.
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..READERS, 0..KEYS, any::<bool>())
            .prop_map(|(who, key, refresh)| Step::Reader { who, key, refresh }),
        8 => (0..WRITERS, 0..KEYS, any::<bool>())
            .prop_map(|(who, key, deletes)| Step::Writer { who, key, deletes }),
        1 => (0..WRITERS).prop_map(|who| Step::LoseTicket { who }),
        1 => Just(Step::Distrust),
        1 => Just(Step::Clear),
    ]
}

/// Puts fresh backends to random schedules.
///
/// # Panics
/// With the shortest schedule found after which a backend would answer something stale.
pub fn check(make: impl AsyncFn() -> Arc<dyn CacheBackend>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let schedules = proptest::collection::vec(step(), 1..60);
    let outcome = TestRunner::new(config).run(&schedules, |steps| {
        runtime.block_on(async { Play::new(make().await).run(&steps).await })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// A write: which number it has, and when it began and was acknowledged.
#[derive(Clone, Copy)]
struct Write {
    began: usize,
    acknowledged: Option<usize>,
}

enum Reader {
    Idle,
    LookedUp {
        key: usize,
        ticket: Option<Ticket>,
    },
    Loaded {
        ticket: Option<Ticket>,
        number: usize,
    },
}

enum Writer {
    Idle,
    Ticketed {
        key: usize,
        deletes: bool,
        began: usize,
        ticket: Option<Ticket>,
    },
    Committed {
        key: usize,
        deletes: bool,
        number: usize,
        ticket: Option<Ticket>,
    },
}

struct Play {
    backend: Arc<dyn CacheBackend>,
    now: usize,
    /// The writes of each key in the order of their commits. The first put what was there.
    writes: [Vec<Write>; KEYS],
    readers: [Reader; READERS],
    writers: [Writer; WRITERS],
    /// A backend that was told to distrust everything may not confirm voids for a while.
    is_distrusted: bool,
}

/// The last key is a page of a group, which every write voids.
fn key(index: usize) -> Key {
    if index == KEYS - 1 {
        page(0)
    } else {
        row(index as i64)
    }
}

fn entry(number: usize, deletes: bool) -> Entry {
    let mut bytes = BytesMut::new();
    bytes.put_u64(number as u64);
    bytes.put_u8(u8::from(deletes));
    POLICY.entry(Some(bytes.freeze()), START)
}

fn number(bytes: &Bytes) -> usize {
    bytes.clone().get_u64() as usize
}

impl Play {
    fn new(backend: Arc<dyn CacheBackend>) -> Self {
        let first = Write {
            began: 0,
            acknowledged: Some(0),
        };
        Self {
            backend,
            now: 0,
            writes: std::array::from_fn(|_| vec![first]),
            readers: std::array::from_fn(|_| Reader::Idle),
            writers: std::array::from_fn(|_| Writer::Idle),
            is_distrusted: false,
        }
    }

    async fn run(mut self, steps: &[Step]) -> Result<(), TestCaseError> {
        for step in steps {
            self.now += 1;
            match *step {
                Step::Reader { who, key, refresh } => self.read(who, key, refresh).await,
                Step::Writer { who, key, deletes } => self.write(who, key, deletes).await,
                Step::LoseTicket { who } => {
                    if let Writer::Ticketed { ticket, .. } | Writer::Committed { ticket, .. } =
                        &mut self.writers[who]
                    {
                        *ticket = None;
                    }
                }
                Step::Distrust => {
                    self.backend.distrust();
                    self.is_distrusted = true;
                }
                Step::Clear => {
                    self.backend.clear(&"*".parse().expect("a pattern")).await;
                }
            }
            self.look().await?;
        }
        Ok(())
    }

    async fn read(&mut self, who: usize, index: usize, refresh: bool) {
        let state = std::mem::replace(&mut self.readers[who], Reader::Idle);
        self.readers[who] = match state {
            Reader::Idle => {
                let mode = if refresh { Mode::Refresh } else { Mode::Read };
                match self.backend.lookup(&key(index), mode, START).await {
                    Lookup::Hit(..) => Reader::Idle,
                    Lookup::Stale(_, _, ticket) | Lookup::Miss(ticket) => {
                        Reader::LookedUp { key: index, ticket }
                    }
                }
            }
            Reader::LookedUp { key, ticket } => Reader::Loaded {
                ticket,
                number: self.writes[key].len() - 1,
            },
            Reader::Loaded { ticket, number } => {
                if let Some(ticket) = ticket {
                    self.backend.fill(ticket, entry(number, false)).await;
                }
                Reader::Idle
            }
        };
    }

    async fn write(&mut self, who: usize, index: usize, deletes: bool) {
        let state = std::mem::replace(&mut self.writers[who], Writer::Idle);
        self.writers[who] = match state {
            Writer::Idle => {
                let ticket = self.backend.ticket(&key(index)).await;
                Writer::Ticketed {
                    key: index,
                    deletes,
                    began: self.now,
                    ticket,
                }
            }
            Writer::Ticketed {
                key,
                deletes,
                began,
                ticket,
            } => {
                self.writes[key].push(Write {
                    began,
                    acknowledged: None,
                });
                let number = self.writes[key].len() - 1;
                Writer::Committed {
                    key,
                    deletes,
                    number,
                    ticket,
                }
            }
            Writer::Committed {
                key: index,
                deletes,
                number,
                ticket,
            } => {
                let change = if index == KEYS - 1 {
                    Change::of(key(index)).and_group(PAGES)
                } else {
                    Change::of(key(index))
                };
                let through = ticket.map(|ticket| (ticket, entry(number, deletes)));
                // So may one that has found out by itself that something was lost, or does so now.
                let is_in_doubt = self.is_distrusted || self.backend.trouble().is_some();
                let voided = self.backend.void(&change, through).await;
                let finds_out = || self.backend.trouble().is_some();
                assert!(voided != Voided::Unconfirmed || is_in_doubt || finds_out());
                self.writes[index][number].acknowledged = Some(self.now);
                Writer::Idle
            }
        };
    }

    /// Holds whatever would be answered now against what was written.
    async fn look(&self) -> Result<(), TestCaseError> {
        for (index, writes) in self.writes.iter().enumerate() {
            let peeked = self.backend.peek(&key(index), START);
            let looked = match self.backend.lookup(&key(index), Mode::Read, START).await {
                Lookup::Hit(entry, _) => Some(entry),
                _ => None,
            };
            let in_flight = self
                .writers
                .iter()
                .any(|writer| matches!(writer, Writer::Committed { key, .. } if *key == index));
            for entry in [peeked, looked].into_iter().flatten() {
                let Some(bytes) = entry.value() else { continue };
                let number = number(bytes);
                let own = writes[number].acknowledged;
                let stale = writes.iter().any(|other| {
                    own.is_some_and(|own| other.began > own)
                        && other
                            .acknowledged
                            .is_some_and(|acknowledged| acknowledged < self.now + 1)
                });
                prop_assert!(
                    !stale,
                    "{} answers write {number}, replaced since",
                    key(index)
                );
                // Stronger: nothing older than the last commit stays once its void is through.
                let last = writes.len() - 1;
                prop_assert!(
                    in_flight || number == last,
                    "{} keeps write {number}, and {last} is the last",
                    key(index)
                );
            }
        }
        Ok(())
    }
}
