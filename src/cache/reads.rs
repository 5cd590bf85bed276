//! What became of reads, counted for each kind of key.

use std::ops::{AddAssign, Sub};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::backend::Tier;
use super::key::OTHER;
use super::source::Source;
use super::stats::{SHARDS, shard};

/// So many kinds of keys are counted apart. The last place is for all others together.
pub(super) const KINDS: usize = 16;

const OUTCOMES: usize = 4;

/// Reads, by where their answers came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// This process's memory.
    pub near: u64,
    /// A store that instances share.
    pub far: u64,
    /// Either of them, past the entry's time, because the source was away.
    pub late: u64,
    /// The source of truth.
    pub loaded: u64,
}

impl Reads {
    /// All of them.
    pub fn total(self) -> u64 {
        self.hits() + self.loaded
    }

    /// Those that the cache answered.
    pub fn hits(self) -> u64 {
        self.near + self.far + self.late
    }

    /// Hits among all reads, in percent with two decimals; nothing where there are no reads.
    pub fn hit_rate(self) -> Option<f64> {
        self.percent(self.hits())
    }

    /// What so many are among all reads, in percent with two decimals.
    pub fn percent(self, part: u64) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| (part as f64 / total as f64 * 10_000.0).round() / 100.0)
    }
}

impl AddAssign for Reads {
    fn add_assign(&mut self, other: Self) {
        self.near += other.near;
        self.far += other.far;
        self.late += other.late;
        self.loaded += other.loaded;
    }
}

impl Sub for Reads {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            near: self.near - other.near,
            far: self.far - other.far,
            late: self.late - other.late,
            loaded: self.loaded - other.loaded,
        }
    }
}

/// The reads of each kind, in the order in which the kinds first came.
pub(super) type ByKind = [Reads; KINDS];

/// Counts reads. A read costs one addition, to a cache line that no other core writes to.
#[derive(Debug)]
pub(super) struct ReadCounters {
    /// Compared one after the other: they are few, and the commonest come first soonest.
    kinds: [OnceLock<Box<str>>; KINDS - 1],
    shards: [CachePadded<[[AtomicU64; OUTCOMES]; KINDS]>; SHARDS],
}

impl Default for ReadCounters {
    fn default() -> Self {
        Self {
            kinds: Default::default(),
            shards: std::array::from_fn(|_| CachePadded::default()),
        }
    }
}

impl ReadCounters {
    #[inline]
    pub(super) fn increment(&self, kind: &str, source: Source) {
        let outcome = match source {
            Source::Hit { ttl, .. } if ttl < 0 => 2,
            Source::Hit { tier, .. } => match tier {
                Tier::Near => 0,
                Tier::Far => 1,
            },
            Source::Loaded { .. } => 3,
        };
        self.shards[shard()][self.index(kind)][outcome].fetch_add(1, Ordering::Relaxed);
    }

    fn index(&self, kind: &str) -> usize {
        if kind == OTHER {
            return KINDS - 1;
        }
        let is_it = |known: &OnceLock<Box<str>>| **known.get_or_init(|| kind.into()) == *kind;
        self.kinds.iter().position(is_it).unwrap_or(KINDS - 1)
    }

    /// The kinds that were ever read, each with its place in [`by_kind`](Self::by_kind).
    pub(super) fn kinds(&self) -> impl Iterator<Item = (usize, &str)> {
        let known = self.kinds.iter().map_while(OnceLock::get);
        let known = known.map(|kind| &**kind).enumerate();
        let others = self.by_kind()[KINDS - 1].total() > 0;
        known.chain(others.then_some((KINDS - 1, OTHER)))
    }

    pub(super) fn by_kind(&self) -> ByKind {
        let mut sums = ByKind::default();
        for shard in &self.shards {
            for (sum, counts) in sums.iter_mut().zip(shard.iter()) {
                let [near, far, late, loaded] =
                    counts.each_ref().map(|count| count.load(Ordering::Relaxed));
                *sum += Reads {
                    near,
                    far,
                    late,
                    loaded,
                };
            }
        }
        sums
    }

    pub(super) fn total(&self) -> Reads {
        sum(self.by_kind())
    }
}

pub(super) fn sum(reads: impl IntoIterator<Item = Reads>) -> Reads {
    let mut sum = Reads::default();
    for reads in reads {
        sum += reads;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::Key;
    use crate::cache::source::Forward;

    fn hit(tier: Tier, ttl: i64) -> Source {
        Source::Hit { tier, ttl }
    }

    const LOADED: Source = Source::Loaded {
        reason: Forward::Miss,
        stored: true,
        collapsed: false,
    };

    #[test]
    fn a_read_is_counted_by_its_kind_and_by_where_it_came_from() {
        let counters = ReadCounters::default();
        counters.increment("user", hit(Tier::Near, 0));
        counters.increment("user", hit(Tier::Near, -1));
        counters.increment("product", hit(Tier::Far, 7));
        counters.increment("user", LOADED);
        let kinds: Vec<_> = counters.kinds().collect();
        assert_eq!(kinds, [(0, "user"), (1, "product")]);
        let [user, product, ..] = counters.by_kind();
        let expected = Reads {
            near: 1,
            late: 1,
            loaded: 1,
            ..Reads::default()
        };
        assert_eq!(user, expected);
        assert_eq!(
            product,
            Reads {
                far: 1,
                ..Reads::default()
            }
        );
        assert_eq!(
            (user.hit_rate(), product.hit_rate()),
            (Some(66.67), Some(100.0))
        );
        assert_eq!(counters.total().total(), 4);
        assert_eq!(Reads::default().hit_rate(), None);
    }

    #[test]
    fn kinds_that_find_no_place_are_counted_together() {
        let counters = ReadCounters::default();
        for kind in 0..40 {
            counters.increment(&format!("kind-{kind}"), LOADED);
        }
        let kinds: Vec<_> = counters.kinds().collect();
        assert_eq!(kinds.len(), KINDS);
        assert_eq!((kinds[0], kinds[15]), ((0, "kind-0"), (15, OTHER)));
        assert_eq!(counters.by_kind()[15].loaded, 40 - 15);
    }

    #[test]
    fn keys_without_a_kind_take_no_place_of_one() {
        let counters = ReadCounters::default();
        for name in ["ana@example.com", "ben@example.com", "user:7"] {
            counters.increment(Key::named(name).kind(), LOADED);
        }
        let kinds: Vec<_> = counters.kinds().collect();
        assert_eq!(kinds, [(0, "user"), (KINDS - 1, OTHER)]);
        assert_eq!(counters.by_kind()[KINDS - 1].loaded, 2);
    }

    #[test]
    fn threads_that_count_at_once_lose_nothing() {
        let counters = ReadCounters::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for kind in ["a", "b", "c"].iter().cycle().take(3000) {
                        counters.increment(kind, LOADED);
                    }
                });
            }
        });
        assert_eq!(counters.kinds().count(), 3);
        assert_eq!(
            counters.by_kind().map(|reads| reads.loaded)[..4],
            [4000, 4000, 4000, 0]
        );
    }
}
