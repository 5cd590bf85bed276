//! Reads minute by minute, over the last day.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::clock::{Clock, Timestamp};
use super::front::Cache;
use super::reads::{ByKind, KINDS, Reads, sum};

const MINUTE: u64 = 60_000;

const MINUTES: usize = ReadHistory::MINUTES;

/// A minute of the service's clock, and what was read in it. That clock was the wall clock's when the
/// service started, and has not been set since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minute {
    /// When it began.
    pub at: Timestamp,
    /// What was read.
    pub reads: Reads,
    /// Whether it is over.
    pub is_complete: bool,
}

/// What a cache's reads were like of late.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// When it was asked for, which is its end.
    pub until: Timestamp,
    /// All minutes since the cache was made, up to as many as were asked for, the oldest first.
    pub minutes: Vec<Minute>,
}

/// The most remarkable among some minutes in which something was read. The one that runs counts too,
/// however little it says: so the rate of all of them lies between the best and the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extremes {
    /// Whose hit rate was highest; of several the latest.
    pub peak: Option<Minute>,
    /// Whose hit rate was lowest; of several the latest.
    pub lowest: Option<Minute>,
    /// In which most was read.
    pub busiest: Option<Minute>,
}

impl Extremes {
    /// Those of these minutes.
    pub fn of(minutes: &[Minute]) -> Self {
        let rate = |minute: &Minute| minute.reads.hit_rate().unwrap_or_default();
        let read = || minutes.iter().filter(|minute| minute.reads.total() > 0);
        Self {
            peak: read()
                .max_by(|one, other| rate(one).total_cmp(&rate(other)))
                .copied(),
            // Of equals, `min_by` would answer the first.
            lowest: read()
                .rev()
                .min_by(|one, other| rate(one).total_cmp(&rate(other)))
                .copied(),
            busiest: read().max_by_key(|minute| minute.reads.total()).copied(),
        }
    }
}

/// The reads of a [`Cache`], minute by minute over a day, in memory that does not grow. Clones share
/// it.
///
/// The cache counts from its beginning and knows of no minutes. Once a minute the difference is
/// noted: so a history costs reads nothing.
#[derive(Clone)]
pub struct ReadHistory {
    cache: Cache,
    clock: Arc<dyn Clock>,
    ring: Arc<Mutex<Ring>>,
}

impl ReadHistory {
    /// How many minutes are kept: a day.
    pub const MINUTES: usize = 24 * 60;

    /// The history of this cache from now on.
    pub fn of(cache: Cache, clock: Arc<dyn Clock>) -> Self {
        let ring = Ring::new(clock.now(), cache.reads().by_kind());
        Self {
            cache,
            clock,
            ring: Arc::new(Mutex::new(ring)),
        }
    }

    /// Notes what was read whenever a minute of the clock is over, for as long as it is polled.
    pub async fn keep(self) {
        loop {
            let left = MINUTE - self.clock.now().millis() % MINUTE;
            tokio::time::sleep(Duration::from_millis(left)).await;
            self.noted(|_, _, _| ());
        }
    }

    /// The last minutes, the running one among them.
    pub fn window(&self, minutes: usize) -> Window {
        self.noted(|ring, until, counts| Window {
            until,
            minutes: ring.last(minutes, counts, |reads| sum(*reads)),
        })
    }

    /// The same, and for each kind of key that was ever read its minutes.
    pub fn by_kind(&self, minutes: usize) -> (Window, Vec<(String, Vec<Minute>)>) {
        self.noted(|ring, until, counts| {
            let last = |place: usize| ring.last(minutes, counts, |reads| reads[place]);
            let kinds = self.cache.reads().kinds();
            let kinds = kinds.map(|(place, name)| (name.to_owned(), last(place)));
            let window = Window {
                until,
                minutes: ring.last(minutes, counts, |reads| sum(*reads)),
            };
            (window, kinds.collect())
        })
    }

    /// Brings the ring up to the present, and looks at it.
    fn noted<T>(&self, look: impl FnOnce(&Ring, Timestamp, &ByKind) -> T) -> T {
        // Locked before anything is looked at, so that neither time nor counts go back.
        let mut ring = self.ring.lock();
        let (now, counts) = (self.clock.now(), self.cache.reads().by_kind());
        ring.note(now, &counts);
        look(&ring, now, &counts)
    }
}

/// The minutes themselves.
struct Ring {
    /// Each at its number modulo [`MINUTES`].
    minutes: Box<[ByKind]>,
    /// The number of the first minute, counted from the Unix epoch, as of all.
    first: u64,
    /// The number of the minute that runs.
    running: u64,
    /// What had been counted when it began.
    counted: ByKind,
}

impl Ring {
    fn new(now: Timestamp, counts: ByKind) -> Self {
        let running = now.millis() / MINUTE;
        Self {
            minutes: vec![ByKind::default(); MINUTES].into(),
            first: running,
            running,
            counted: counts,
        }
    }

    fn place(minute: u64) -> usize {
        (minute % MINUTES as u64) as usize
    }

    /// Ends the running minute if it is over. What came since then belongs to it: where this is called
    /// late, nobody knows when it came, and the minutes in between are empty.
    fn note(&mut self, now: Timestamp, counts: &ByKind) {
        let minute = now.millis() / MINUTE;
        if minute <= self.running {
            return;
        }
        self.minutes[Self::place(self.running)] = difference(counts, &self.counted);
        for skipped in (self.running + 1..minute).rev().take(MINUTES) {
            self.minutes[Self::place(skipped)] = ByKind::default();
        }
        self.running = minute;
        self.counted = *counts;
    }

    /// So many minutes, the running one last, each with these of its reads.
    fn last(&self, most: usize, counts: &ByKind, of: impl Fn(&ByKind) -> Reads) -> Vec<Minute> {
        let known = self.running - self.first;
        let over = known.min(most.min(MINUTES).saturating_sub(1) as u64);
        let minute = |number: u64, reads: &ByKind, is_complete| Minute {
            at: Timestamp::from_millis(number * MINUTE),
            reads: of(reads),
            is_complete,
        };
        let over = self.running - over..self.running;
        let over = over.map(|number| minute(number, &self.minutes[Self::place(number)], true));
        let running = minute(self.running, &difference(counts, &self.counted), false);
        over.chain([running]).collect()
    }
}

fn difference(counts: &ByKind, earlier: &ByKind) -> ByKind {
    std::array::from_fn::<_, KINDS, _>(|kind| counts[kind] - earlier[kind])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::backend::Tier;
    use crate::cache::clock::ManualClock;
    use crate::cache::null::NullBackend;
    use crate::cache::source::Source;
    use crate::cache::tasks::Tasks;

    /// Some noon.
    const NOON: u64 = 29_000_000 * MINUTE;

    fn counts(near: u64, loaded: u64) -> ByKind {
        let mut counts = ByKind::default();
        counts[0] = Reads {
            near,
            loaded,
            ..Reads::default()
        };
        counts
    }

    fn at(minutes: u64, seconds: u64) -> Timestamp {
        Timestamp::from_millis(NOON + minutes * MINUTE + seconds * 1000)
    }

    /// Minutes after noon, with what was read in each.
    fn seen(ring: &Ring, most: usize, counts: &ByKind) -> Vec<(u64, u64, bool)> {
        let told = ring.last(most, counts, |reads| sum(*reads)).into_iter();
        told.map(|minute| {
            let number = (minute.at.millis() - NOON) / MINUTE;
            (number, minute.reads.total(), minute.is_complete)
        })
        .collect()
    }

    #[test]
    fn what_is_read_belongs_to_the_minute_that_runs() {
        let mut ring = Ring::new(at(0, 30), counts(5, 0));
        ring.note(at(0, 59), &counts(6, 1));
        assert_eq!(seen(&ring, 9, &counts(6, 1)), [(0, 2, false)]);
        ring.note(at(1, 0), &counts(7, 1));
        ring.note(at(1, 0), &counts(7, 1));
        assert_eq!(seen(&ring, 9, &counts(9, 1)), [(0, 3, true), (1, 2, false)]);
        assert_eq!(seen(&ring, 1, &counts(9, 1)), [(1, 2, false)]);
        // Late: what came meanwhile is the minute's that ran when it was last looked.
        ring.note(at(4, 20), &counts(9, 9));
        let expected = [
            (0, 3, true),
            (1, 10, true),
            (2, 0, true),
            (3, 0, true),
            (4, 0, false),
        ];
        assert_eq!(seen(&ring, 9, &counts(9, 9)), expected);
    }

    #[test]
    fn the_oldest_minute_makes_room_for_the_newest() {
        let mut ring = Ring::new(at(0, 0), counts(0, 0));
        let last = MINUTES as u64 + 7;
        for minute in 1..=last {
            ring.note(at(minute, 0), &counts(minute, 0));
        }
        let told = seen(&ring, usize::MAX, &counts(last, 5));
        assert_eq!(told.len(), MINUTES);
        assert_eq!(
            (told[0], told[MINUTES - 1]),
            ((8, 1, true), (last, 5, false))
        );
        assert!(told[..MINUTES - 1].iter().all(|(_, reads, _)| *reads == 1));
        // Two days without a look leave nothing of the days before.
        ring.note(at(last + 3000, 0), &counts(last, 5));
        let told = seen(&ring, MINUTES, &counts(last, 6));
        assert_eq!(sum_of(&told), 1);
    }

    fn sum_of(minutes: &[(u64, u64, bool)]) -> u64 {
        minutes.iter().map(|(_, reads, _)| reads).sum()
    }

    proptest! {
        #[test]
        fn minutes_add_up_to_what_was_counted(
            start in 0..120_u64,
            steps in proptest::collection::vec((0..400_u64, 0..9_u64, 0..9_u64), 0..60),
        ) {
            let (mut seconds, mut near, mut loaded) = (start, 3, 4);
            let mut ring = Ring::new(at(0, seconds), counts(near, loaded));
            for (pause, hits, misses) in steps {
                (near, loaded) = (near + hits, loaded + misses);
                seconds += pause;
                ring.note(at(0, seconds), &counts(near, loaded));
                let told = seen(&ring, MINUTES, &counts(near, loaded));
                prop_assert_eq!(sum_of(&told), near + loaded - 7);
                let minutes: Vec<u64> = told.iter().map(|(minute, ..)| *minute).collect();
                let expected: Vec<u64> = (start / 60..=seconds / 60).collect();
                prop_assert_eq!(minutes, expected, "each minute once, in order");
                let running = told.iter().filter(|(.., is_complete)| !is_complete).count();
                prop_assert_eq!(running, 1);
            }
        }
    }

    #[tokio::test]
    async fn a_history_tells_of_all_kinds_and_of_each() {
        let clock = ManualClock::at(at(0, 10));
        let clocks = || Arc::new(clock.clone());
        let cache = Cache::new(
            Arc::new(NullBackend::new()),
            clocks(),
            Tasks::on_current_runtime(),
        );
        cache.count(
            "before",
            Source::Hit {
                tier: Tier::Near,
                ttl: 1,
            },
        );
        let history = ReadHistory::of(cache.clone(), clocks());
        cache.count(
            "user",
            Source::Hit {
                tier: Tier::Near,
                ttl: 1,
            },
        );
        cache.counting_apart().count(
            "user",
            Source::Hit {
                tier: Tier::Near,
                ttl: 1,
            },
        );
        clock.advance(Duration::from_secs(60));
        history.window(1);
        cache.count(
            "product",
            Source::Hit {
                tier: Tier::Far,
                ttl: -1,
            },
        );
        let (window, kinds) = history.by_kind(MINUTES);
        assert_eq!(window, history.window(MINUTES));
        assert_eq!(window.until, at(1, 10));
        let reads = |minutes: &[Minute]| {
            minutes
                .iter()
                .map(|minute| minute.reads.total())
                .collect::<Vec<_>>()
        };
        assert_eq!(reads(&window.minutes), [1, 1]);
        let kinds: Vec<_> = kinds
            .iter()
            .map(|(name, minutes)| (&name[..], reads(minutes)))
            .collect();
        let expected = [
            ("before", vec![0, 0]),
            ("user", vec![1, 0]),
            ("product", vec![0, 1]),
        ];
        assert_eq!(kinds, expected);
    }

    /// A clock that runs, from shortly before a minute's end.
    struct Shortly(std::time::Instant);

    impl Clock for Shortly {
        fn now(&self) -> Timestamp {
            at(0, 59) + Duration::from_millis(950) + self.0.elapsed()
        }
    }

    #[tokio::test]
    async fn a_minute_ends_though_nobody_looks() {
        let clock: Arc<dyn Clock> = Arc::new(Shortly(std::time::Instant::now()));
        let backend = Arc::new(NullBackend::new());
        let cache = Cache::new(backend, Arc::clone(&clock), Tasks::on_current_runtime());
        let history = ReadHistory::of(cache.clone(), clock);
        cache.count(
            "user",
            Source::Hit {
                tier: Tier::Near,
                ttl: 1,
            },
        );
        let kept = tokio::spawn(history.clone().keep());
        let noted = async {
            while history.ring.lock().running == NOON / MINUTE {
                tokio::task::yield_now().await;
            }
        };
        let noted = tokio::time::timeout(Duration::from_secs(20), noted).await;
        noted.expect("the task notes the minute");
        let told = seen(&history.ring.lock(), MINUTES, &cache.reads().by_kind());
        assert_eq!(told, [(0, 1, true), (1, 0, false)]);
        kept.abort();
    }

    #[test]
    fn the_best_and_the_worst_are_among_the_minutes_that_had_reads() {
        let minute = |number, near, loaded, is_complete| Minute {
            at: at(number, 0),
            reads: Reads {
                near,
                loaded,
                ..Reads::default()
            },
            is_complete,
        };
        let minutes = [
            minute(0, 1, 1, true),
            minute(1, 0, 0, true),
            minute(2, 9, 1, true),
            minute(3, 2, 2, true),
            minute(4, 99, 0, false),
        ];
        let Extremes {
            peak,
            lowest,
            busiest,
        } = Extremes::of(&minutes);
        assert_eq!(
            (peak, lowest, busiest),
            (Some(minutes[4]), Some(minutes[3]), Some(minutes[4]))
        );
        let none = Extremes {
            peak: None,
            lowest: None,
            busiest: None,
        };
        assert_eq!(Extremes::of(&minutes[1..2]), none);
    }
}
