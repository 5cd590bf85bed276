//! Laws of the look without waiting, for backends that have entries at hand.

use std::sync::Arc;
use std::time::Duration;

use alacena::cache::{CacheBackend, Cacheable, Mode, Policy};
use bytes::Bytes;

use super::source::{Bench, POLICY, row};

type Backend = Arc<dyn CacheBackend>;

/// What is fresh is at hand, until it wants a refresh, which only a read looks after.
pub async fn a_peek_finds_what_is_fresh_and_wants_no_refresh(backend: Backend) {
    let bench = Bench::new(backend);
    let eager = Policy {
        eager_refresh: 0.5,
        ..POLICY
    };
    bench.source.put(&row(1), "x");
    assert!(bench.cache.peek::<Bytes>(&row(1)).is_none());
    let read = bench.read_with(&row(1), eager, Mode::Read, None).await;
    read.expect("the source answers");
    let almost = POLICY.ttl / 2 - Duration::from_millis(1);
    bench.clock.advance(almost);
    assert!(bench.cache.peek::<Bytes>(&row(1)).is_some());
    bench.clock.advance(Duration::from_millis(1));
    assert!(
        bench.cache.peek::<Bytes>(&row(1)).is_none(),
        "a hit that wants a refresh says so"
    );
}

/// A type whose values are never one letter long.
#[derive(Clone)]
struct Long;

impl Cacheable for Long {
    fn to_bytes(&self) -> Bytes {
        Bytes::from_static(b"long")
    }

    fn from_bytes(bytes: &Bytes) -> Option<Self> {
        (bytes.len() > 1).then_some(Self)
    }
}

/// Bytes of another type are not what was asked for.
pub async fn a_peek_finds_values_of_its_own_type_only(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "x");
    bench.source.put(&row(2), "long");
    for id in [1, 2] {
        bench.value(&row(id)).await;
    }
    assert!(bench.cache.peek::<Long>(&row(1)).is_none());
    assert!(bench.cache.peek::<Long>(&row(2)).is_some());
}

/// A peek that finds something is a read; one that does not is none yet.
pub async fn a_peek_counts_as_a_hit_or_not_at_all(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "x");
    bench.value(&row(1)).await;
    let counts = || (bench.cache.stats().hits, bench.cache.stats().misses);
    assert_eq!(counts(), (0, 1));
    assert!(bench.cache.peek::<Bytes>(&row(1)).is_some());
    assert_eq!(counts(), (1, 1));
    assert!(bench.cache.peek::<Bytes>(&row(2)).is_none());
    assert_eq!(counts(), (1, 1));
    let apart = bench.cache.counting_apart();
    assert!(apart.peek::<Bytes>(&row(1)).is_some());
    assert_eq!(counts(), (1, 1));
    assert_eq!(apart.stats().hits, 1);
}
