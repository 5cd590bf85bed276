//! Laws of the cache as services use it, on any backend. Where two things must happen in a certain
//! order, a gate holds one of them back.

use std::sync::Arc;
use std::time::Duration;

use alacena::cache::{
    CacheBackend, Cacheable, Change, Forward, Mode, Policy, Read, Source as From, Written,
};
use bytes::Bytes;

use super::source::{Bench, Failure, Gate, PAGES, POLICY, eventually, page, row};

type Backend = Arc<dyn CacheBackend>;

/// Writes a row through the cache, as a service does.
async fn write(bench: &Bench, id: i64, value: &'static str) {
    let source = bench.source.clone();
    let write = bench
        .cache
        .write(Change::of(row(id)).and_group(PAGES), async move {
            source.put(&row(id), value);
            Ok::<_, Failure>(
                Written::new(()).through(&Bytes::from_static(value.as_bytes()), POLICY),
            )
        });
    write.await.expect("the source commits");
}

fn spawn_read(
    bench: &Bench,
    key: alacena::cache::Key,
    mode: Mode,
    gate: Option<&Gate>,
) -> tokio::task::JoinHandle<Result<Read<Bytes>, Failure>> {
    let (bench, gate) = (bench.clone(), gate.cloned());
    tokio::spawn(async move { bench.read(&key, mode, gate.as_ref()).await })
}

/// A hundred readers, one load; all of them get its value.
pub async fn readers_that_miss_together_share_one_load(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "x");
    let gate = Gate::shut();
    let first = spawn_read(&bench, row(1), Mode::Read, Some(&gate));
    gate.arrival().await;
    let others: Vec<_> = (0..99)
        .map(|_| spawn_read(&bench, row(1), Mode::Read, None))
        .collect();
    eventually("all wait for the first", || {
        bench.cache.stats().coalesced == 99
    })
    .await;
    gate.open();
    for reader in others.into_iter().chain([first]) {
        let read = reader
            .await
            .expect("no reader panics")
            .expect("the source answers");
        assert_eq!(read.value, Some(Bytes::from_static(b"x")));
    }
    assert_eq!(bench.source.loads(), 1);
}

/// The bug that the ticket is for: load, write, then fill.
pub async fn a_fill_that_a_write_overtook_is_refused(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "old");
    let gate = Gate::shut();
    let reader = spawn_read(&bench, row(1), Mode::Read, Some(&gate));
    gate.arrival().await;
    write(&bench, 1, "new").await;
    gate.open();
    let read = reader.await.expect("no panic").expect("the source answers");
    assert_eq!(
        read.value,
        Some(Bytes::from_static(b"old")),
        "it began before the write"
    );
    assert!(
        matches!(read.source, From::Loaded { stored: false, .. }),
        "{:?}",
        read.source
    );
    assert_eq!(bench.value(&row(1)).await, Some(Bytes::from_static(b"new")));
}

/// Rule 4 of the idea.
pub async fn a_reader_after_a_write_joins_no_load_from_before_it(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "old");
    let gate = Gate::shut();
    let early = spawn_read(&bench, row(1), Mode::Read, Some(&gate));
    gate.arrival().await;
    let source = bench.source.clone();
    let removing = bench.cache.write(Change::of(row(1)), async move {
        source.put(&row(1), "new");
        Ok::<_, Failure>(Written::new(()))
    });
    removing.await.expect("the source commits");
    // The early load is still at its gate: whoever joined it would hang here.
    assert_eq!(bench.value(&row(1)).await, Some(Bytes::from_static(b"new")));
    gate.open();
    early.await.expect("no panic").expect("the source answers");
    assert_eq!(bench.value(&row(1)).await, Some(Bytes::from_static(b"new")));
}

/// A page that was loaded before its group was voided is not kept.
pub async fn a_group_voided_during_a_load_refuses_its_page(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&page(0), "old page");
    let gate = Gate::shut();
    let reader = spawn_read(&bench, page(0), Mode::Read, Some(&gate));
    gate.arrival().await;
    bench.source.put(&page(0), "new page");
    write(&bench, 1, "new").await;
    gate.open();
    reader.await.expect("no panic").expect("the source answers");
    assert_eq!(
        bench.value(&page(0)).await,
        Some(Bytes::from_static(b"new page"))
    );
}

/// `no-cache` is answered by a load that began after it arrived.
pub async fn a_no_cache_read_joins_no_load_from_before_it(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "old");
    let gate = Gate::shut();
    let early = spawn_read(&bench, row(1), Mode::Read, Some(&gate));
    gate.arrival().await;
    // Changed behind the service's back: nothing voids.
    bench.source.put(&row(1), "new");
    let fresh = bench
        .read(&row(1), Mode::Refresh, None)
        .await
        .expect("the source answers");
    assert_eq!(fresh.value, Some(Bytes::from_static(b"new")));
    gate.open();
    early.await.expect("no panic").expect("the source answers");
    let after = bench.value(&row(1)).await;
    assert_eq!(
        after,
        Some(Bytes::from_static(b"new")),
        "what no-cache brought stays"
    );
}

/// An error reaches all who wait, and nobody after them.
pub async fn a_load_that_fails_is_not_kept_and_fails_for_all_aboard(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "x");
    bench.source.fail(Some(Failure::Refused));
    let gate = Gate::shut();
    let first = spawn_read(&bench, row(1), Mode::Read, Some(&gate));
    gate.arrival().await;
    let second = spawn_read(&bench, row(1), Mode::Read, None);
    eventually("the second waits or fails", || {
        second.is_finished() || bench.cache.stats().coalesced == 1
    })
    .await;
    gate.open();
    for reader in [first, second] {
        assert_eq!(
            reader.await.expect("no panic").err(),
            Some(Failure::Refused)
        );
    }
    bench.source.fail(None);
    assert_eq!(bench.value(&row(1)).await, Some(Bytes::from_static(b"x")));
}

/// A load that panics is one that ended without an answer; the next is a new one.
pub async fn a_load_that_panics_leaves_nobody_waiting(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "x");
    let panicking = {
        let cache = bench.cache.clone();
        tokio::spawn(async move {
            let load = || async { panic!("a bug in a load") };
            cache
                .read::<Bytes, Failure, _>(&row(1), POLICY, Mode::Read, load)
                .await
        })
    };
    match panicking.await {
        Ok(outcome) => assert_eq!(outcome.err(), Some(Failure::Interrupted)),
        // Without a ticket the load ran in the reader itself.
        Err(error) => assert!(error.is_panic()),
    }
    assert_eq!(bench.value(&row(1)).await, Some(Bytes::from_static(b"x")));
}

/// Rule 5 of the idea: once committed, voided, whoever is gone.
pub async fn a_writer_who_hangs_up_after_the_commit_still_voids(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "old");
    bench.value(&row(1)).await;
    let gate = Gate::shut();
    let writer = {
        let (bench, gate) = (bench.clone(), gate.clone());
        tokio::spawn(async move {
            let source = bench.source.clone();
            let write = bench.cache.write(Change::of(row(1)), async move {
                source.put(&row(1), "new");
                gate.pass().await;
                Ok::<_, Failure>(Written::new(()))
            });
            write.await
        })
    };
    gate.arrival().await;
    writer.abort();
    assert!(writer.await.is_err_and(|error| error.is_cancelled()));
    gate.open();
    eventually("the void", || bench.cache.stats().voids == 1).await;
    eventually_reads(&bench, "new").await;
}

/// Rule 5 of the idea: a guard that distrusts what a write left unfinished.
pub async fn a_write_that_panics_after_its_commit_distrusts_everything(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "old");
    bench.value(&row(1)).await;
    let source = bench.source.clone();
    let write = bench
        .cache
        .write::<(), Failure>(Change::of_something_new(), async move {
            source.put(&row(1), "new");
            panic!("a bug after the commit");
        });
    assert_eq!(write.await.err(), Some(Failure::Interrupted));
    assert_eq!(bench.cache.stats().distrusts, 1);
    assert_eq!(bench.value(&row(1)).await, Some(Bytes::from_static(b"new")));
}

/// Rule 3 of the idea.
pub async fn a_commit_of_unknown_outcome_voids(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "old");
    bench.value(&row(1)).await;
    let source = bench.source.clone();
    let write = bench
        .cache
        .write::<(), Failure>(Change::of(row(1)), async move {
            source.put(&row(1), "new");
            Err(Failure::Unknown)
        });
    assert_eq!(write.await.err(), Some(Failure::Unknown));
    assert_eq!(bench.value(&row(1)).await, Some(Bytes::from_static(b"new")));
    assert_eq!(
        bench.cache.stats().distrusts,
        0,
        "it was known what might have changed"
    );
}

/// What certainly changed nothing makes nothing stale.
pub async fn a_write_that_was_refused_voids_nothing(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "x");
    bench.value(&row(1)).await;
    let refused = async { Err(Failure::Refused) };
    let write = bench
        .cache
        .write::<(), Failure>(Change::of(row(1)), refused);
    assert_eq!(write.await.err(), Some(Failure::Refused));
    assert_eq!(bench.cache.stats().voids, 0);
    assert_eq!(bench.value(&row(1)).await, Some(Bytes::from_static(b"x")));
}

/// Rule 3 of the idea, where nobody knows which key it would have been.
pub async fn a_creation_of_unknown_outcome_distrusts_everything(backend: Backend) {
    let bench = Bench::new(backend);
    assert_eq!(bench.value(&row(1)).await, None);
    let source = bench.source.clone();
    let write = bench
        .cache
        .write::<(), Failure>(Change::of_something_new(), async move {
            source.put(&row(1), "made");
            Err(Failure::Unknown)
        });
    assert_eq!(write.await.err(), Some(Failure::Unknown));
    assert_eq!(bench.cache.stats().distrusts, 1);
    assert_eq!(
        bench.value(&row(1)).await,
        Some(Bytes::from_static(b"made"))
    );
}

/// That there is nothing is known for the negative TTL, and not known any more after a write.
pub async fn an_absence_is_remembered_for_its_own_time(backend: Backend) {
    let bench = Bench::new(backend);
    assert_eq!(bench.value(&row(1)).await, None);
    bench.source.put(&row(1), "made behind the service's back");
    assert_eq!(bench.value(&row(1)).await, None);
    bench.clock.advance(POLICY.negative_ttl);
    assert!(bench.value(&row(1)).await.is_some());
    let never = Policy {
        negative_ttl: Duration::ZERO,
        ..POLICY
    };
    for _ in 0..2 {
        let read = bench.read_with(&row(2), never, Mode::Read, None).await;
        assert!(matches!(
            read.expect("answers").source,
            From::Loaded { stored: false, .. }
        ));
    }
    assert_eq!(bench.value(&row(3)).await, None);
    write(&bench, 3, "made").await;
    assert!(bench.value(&row(3)).await.is_some());
}

/// One load, in the background, while the old value answers.
pub async fn a_hit_near_its_end_is_loaded_anew_in_the_background(backend: Backend) {
    let bench = Bench::new(backend);
    let eager = Policy {
        eager_refresh: 0.5,
        ..POLICY
    };
    let read = async || {
        let read = bench.read_with(&row(1), eager, Mode::Read, None).await;
        read.expect("the source answers").value
    };
    bench.source.put(&row(1), "old");
    read().await;
    bench.source.put(&row(1), "new");
    bench
        .clock
        .advance(POLICY.ttl / 2 - Duration::from_millis(1));
    assert_eq!(read().await, Some(Bytes::from_static(b"old")));
    assert_eq!(bench.cache.stats().refreshes, 0);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(read().await, Some(Bytes::from_static(b"old")));
    eventually("the refresh", || bench.cache.stats().fills == 2).await;
    assert_eq!(read().await, Some(Bytes::from_static(b"new")));
    assert_eq!(bench.cache.stats().refreshes, 1);
    assert_eq!(bench.source.loads(), 2);
}

/// While the source is away, what is past its time answers, marked, up to its limit; `no-cache`
/// and what fails for another reason does not.
pub async fn an_outage_is_bridged_up_to_the_limit(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "x");
    bench.value(&row(1)).await;
    bench.source.fail(Some(Failure::Away));
    bench.clock.advance(POLICY.ttl + Duration::from_secs(12));
    let kept = bench
        .read(&row(1), Mode::Read, None)
        .await
        .expect("bridged");
    assert_eq!(kept.value, Some(Bytes::from_static(b"x")));
    assert!(
        matches!(kept.source, From::Hit { ttl: -12, .. }),
        "{:?}",
        kept.source
    );
    assert_eq!(bench.cache.stats().stale_served, 1);
    let fresh = bench.read(&row(1), Mode::Refresh, None).await;
    assert_eq!(fresh.err(), Some(Failure::Away));
    bench.source.fail(Some(Failure::Refused));
    let refused = bench.read(&row(1), Mode::Read, None).await;
    assert_eq!(refused.err(), Some(Failure::Refused));
    bench.source.fail(Some(Failure::Away));
    bench
        .clock
        .advance(POLICY.stale_limit - Duration::from_secs(12));
    let over = bench.read(&row(1), Mode::Read, None).await;
    assert_eq!(over.err(), Some(Failure::Away));
    bench.source.fail(None);
    assert!(bench.value(&row(1)).await.is_some());
}

/// The others do not wait anew.
pub async fn a_first_caller_who_hangs_up_does_not_stop_the_load(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "x");
    let gate = Gate::shut();
    let first = spawn_read(&bench, row(1), Mode::Read, Some(&gate));
    gate.arrival().await;
    let second = spawn_read(&bench, row(1), Mode::Read, None);
    eventually("the second waits", || bench.cache.stats().coalesced == 1).await;
    first.abort();
    gate.open();
    let read = second.await.expect("no panic").expect("the source answers");
    assert_eq!(read.value, Some(Bytes::from_static(b"x")));
    assert_eq!(bench.source.loads(), 1);
}

/// An entry lives from (1 - jitter) times its TTL to its TTL, and not always the same.
pub async fn ttls_keep_within_their_jitter(backend: Backend) {
    let bench = Bench::new(backend);
    let jittery = Policy {
        jitter: 0.25,
        ..POLICY
    };
    let mut ttls = Vec::new();
    for id in 0..200 {
        bench.source.put(&row(id), "x");
        for _ in 0..2 {
            let read = bench.read_with(&row(id), jittery, Mode::Read, None).await;
            if let From::Hit { ttl, .. } = read.expect("the source answers").source {
                ttls.push(ttl);
            }
        }
    }
    assert_eq!(ttls.len(), 200);
    // Whole seconds, rounded down.
    assert!(ttls.iter().all(|ttl| (44..=60).contains(ttl)), "{ttls:?}");
    ttls.sort_unstable();
    ttls.dedup();
    assert!(ttls.len() > 5, "{ttls:?}");
}

/// Four bytes exactly.
#[derive(Clone)]
struct Four;

impl Cacheable for Four {
    fn to_bytes(&self) -> Bytes {
        Bytes::from_static(b"four")
    }

    fn from_bytes(bytes: &Bytes) -> Option<Self> {
        (bytes.as_ref() == b"four").then_some(Self)
    }
}

/// Bytes that are no such value are nobody's answer, and are replaced.
pub async fn bytes_of_another_type_are_a_miss(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "something else");
    bench.value(&row(1)).await;
    let load = || async { Ok::<_, Failure>(Some(Four)) };
    let read = bench
        .cache
        .read(&row(1), POLICY, Mode::Read, load)
        .await
        .expect("answers");
    assert!(read.value.is_some());
    assert!(
        matches!(read.source, From::Loaded { stored: true, .. }),
        "{:?}",
        read.source
    );
    let load = || async { Err::<Option<Four>, _>(Failure::Away) };
    let kept = bench.cache.read(&row(1), POLICY, Mode::Read, load).await;
    assert!(kept.is_ok_and(|kept| matches!(kept.source, From::Hit { .. })));
}

/// A read is one hit or one miss, however it came about.
pub async fn hits_and_misses_are_counted_once(backend: Backend) {
    let bench = Bench::new(backend);
    bench.source.put(&row(1), "x");
    let first = bench
        .read(&row(1), Mode::Read, None)
        .await
        .expect("answers");
    assert!(matches!(
        first.source,
        From::Loaded {
            reason: Forward::Miss,
            stored: true,
            ..
        }
    ));
    let counts = || (bench.cache.stats().hits, bench.cache.stats().misses);
    assert_eq!(counts(), (0, 1));
    bench.value(&row(1)).await;
    bench.value(&row(1)).await;
    assert_eq!(counts(), (2, 1));
    let refreshed = bench
        .read(&row(1), Mode::Refresh, None)
        .await
        .expect("answers");
    assert!(matches!(
        refreshed.source,
        From::Loaded {
            reason: Forward::Request,
            ..
        }
    ));
    assert_eq!(counts(), (2, 2));
    bench.clock.advance(POLICY.ttl);
    let expired = bench
        .read(&row(1), Mode::Read, None)
        .await
        .expect("answers");
    assert!(matches!(
        expired.source,
        From::Loaded {
            reason: Forward::Stale,
            ..
        }
    ));
    assert_eq!(counts(), (2, 3));
}

/// The void is counted just before it is sent: read until it has arrived.
async fn eventually_reads(bench: &Bench, value: &'static str) {
    let reading = async {
        while bench.value(&row(1)).await != Some(Bytes::from_static(value.as_bytes())) {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(10);
    assert!(
        tokio::time::timeout(patience, reading).await.is_ok(),
        "{value:?} was never read"
    );
}
