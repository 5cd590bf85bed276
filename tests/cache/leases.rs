//! Leases: what a ticket is worth in a Redis that may lose it, and who loads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alacena::cache::{
    Cache, CacheBackend, Change, Filled, Key, Lookup, ManualClock, Mode, Policy, RedisBackend,
    Tasks, Voided,
};
use alacena_lab::contract::source::{
    Bench, Failure, Gate, PAGES, POLICY, START, Source, eventually, page, row,
};
use alacena_lab::servers::Redis;
use bytes::Bytes;

use crate::support::{REDIS, Settings, ask, entry, figure, fill, hit, is_trusted, miss, own_redis};

/// An instance on a source that it shares with others.
async fn instance(settings: &Settings, source: &Source) -> Bench {
    let clock = ManualClock::at(START);
    let backend = Arc::new(settings.redis().await);
    let tasks = Tasks::on_current_runtime();
    Bench {
        cache: Cache::new(backend, Arc::new(clock.clone()), tasks),
        source: source.clone(),
        clock,
    }
}

/// Longer than a busy machine may take for a load.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a read answers that waits this long for what another instance loads.
async fn patient(bench: &Bench, key: &Key) -> Option<Bytes> {
    let policy = Policy {
        patience: PATIENCE,
        ..POLICY
    };
    let read = bench.read_with(key, policy, Mode::Read, None).await;
    read.expect("the source answers").value
}

#[tokio::test]
async fn a_lease_lost_by_eviction_refuses_its_fill() {
    let settings = Settings::at(&REDIS);
    let redis = settings.far().await;
    let ticket = miss(&redis, &row(1)).await;
    assert_eq!(ask(&REDIS, &["DEL", &settings.lease_of(&row(1))]), "1");
    assert_eq!(redis.fill(ticket, entry("x")).await, Filled::Refused);
    assert_eq!(hit(&redis, &row(1)).await, None);
}

/// Fills a Redis that has room for some of it. Answers how many are left.
async fn overfill(redis: &Redis, policy: &str) -> (RedisBackend, u32) {
    let most = figure(redis, "memory", "used_memory") + (8 << 20);
    ask(redis, &["CONFIG", "SET", "maxmemory", &most.to_string()]);
    ask(redis, &["CONFIG", "SET", "maxmemory-policy", policy]);
    let far = Settings::at(redis).far().await;
    let value: &str = "x".repeat(4000).leak();
    for id in 0..4000 {
        // Its lease may be evicted before it comes to that, and Redis may be recovering.
        let found = far.lookup(&row(id), Mode::Read, START).await;
        if let Lookup::Miss(Some(ticket)) = found {
            far.fill(ticket, entry(value)).await;
        }
    }
    let mut hits = 0;
    for id in 0..4000 {
        let found = hit(&far, &row(id)).await;
        hits += u32::from(found.is_some());
        assert!(found.is_none_or(|found| found == *value), "{policy}");
    }
    let stats = far.stats().await.far.expect("it has a Redis");
    assert_eq!(stats.eviction_policy.as_deref(), Some(policy));
    assert_eq!(stats.forged, 0, "{policy}");
    (far, hits)
}

/// What invalidation relies on has no TTL.
#[tokio::test]
async fn a_redis_that_evicts_keys_with_a_ttl_loses_entries_and_nothing_else() {
    for policy in [
        "volatile-lru",
        "volatile-lfu",
        "volatile-ttl",
        "volatile-random",
    ] {
        let redis = own_redis().await;
        let (far, hits) = overfill(&redis, policy).await;
        assert!(figure(&redis, "stats", "evicted_keys") > 1000, "{policy}");
        assert!((1..4000).contains(&hits), "{policy}: {hits}");
        let stats = far.stats().await.far.expect("it has a Redis");
        assert_eq!(stats.failures, 0, "{policy}");
        assert_eq!(far.trouble(), None, "{policy}");
    }
}

/// The watermark may go with the rest, however often it is used: the clock of Redis' LRU has seconds.
#[tokio::test]
async fn a_redis_that_evicts_any_key_is_recovered_where_it_lost_more_than_entries() {
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
        let redis = own_redis().await;
        let (far, _) = overfill(&redis, policy).await;
        assert!(figure(&redis, "stats", "evicted_keys") > 0, "{policy}");
        ask(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
        is_trusted(&far).await;
        fill(&far, &row(5000), "x").await;
    }
}

#[tokio::test]
async fn a_redis_that_is_full_and_evicts_nothing_is_not_used_until_it_has_room() {
    let redis = own_redis().await;
    let (far, hits) = overfill(&redis, "noeviction").await;
    assert_eq!(hits, 0, "it is not used");
    let reason = far.trouble().expect("it is full");
    assert!(reason.contains("OOM"), "{reason}");
    ask(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
    is_trusted(&far).await;
    fill(&far, &row(5000), "x").await;
}

#[tokio::test]
async fn an_expired_lease_refuses_its_fill() {
    let settings = Settings::at(&REDIS).lease(Duration::from_millis(20));
    let redis = settings.far().await;
    let ticket = miss(&redis, &row(1)).await;
    let name = settings.lease_of(&row(1));
    eventually("the lease expires", || {
        ask(&REDIS, &["EXISTS", &name]) == "0"
    })
    .await;
    assert_eq!(redis.fill(ticket, entry("x")).await, Filled::Refused);
    assert_eq!(hit(&redis, &row(1)).await, None);
}

#[tokio::test]
async fn a_stolen_lease_refuses_its_fill_and_its_write_through() {
    let settings = Settings::at(&REDIS);
    let redis = settings.far().await;
    let reader = miss(&redis, &row(1)).await;
    let writer = redis.ticket(&row(1)).await.expect("a ticket");
    let lease = settings.lease_of(&row(1));
    ask(&REDIS, &["HSET", &lease, "id", "somebody else's!"]);
    assert_eq!(redis.fill(reader, entry("x")).await, Filled::Refused);
    let through = Some((writer, entry("x")));
    let voided = redis.void(&Change::of(row(1)), through).await;
    assert_eq!(voided, Voided::Overtaken);
    assert_eq!(hit(&redis, &row(1)).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_outlives_a_long_load_because_its_holder_renews_it() {
    let settings = Settings::at(&REDIS).lease(Duration::from_secs(3));
    let source = Source::default();
    source.put(&row(1), "x");
    let bench = instance(&settings, &source).await;
    let gate = Gate::shut();
    let loading = tokio::spawn({
        let (bench, gate) = (bench.clone(), gate.clone());
        async move { bench.read(&row(1), Mode::Read, Some(&gate)).await }
    });
    gate.arrival().await;
    // Renewed again and again: its term begins anew, and anew.
    let name = settings.lease_of(&row(1));
    let left = || {
        ask(&REDIS, &["PTTL", &name])
            .parse::<i64>()
            .expect("a number")
    };
    for _ in 0..3 {
        eventually("time passes", || (0..2400).contains(&left())).await;
        eventually("the lease is renewed", || left() > 2400).await;
    }
    gate.open();
    loading
        .await
        .expect("no panic")
        .expect("the source answers");
    bench.value(&row(1)).await;
    assert_eq!(source.loads(), 1, "what was loaded is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_loads_another_waits_for() {
    let settings = Settings::at(&REDIS);
    let source = Source::default();
    source.put(&row(1), "x");
    let (one, other) = tokio::join!(instance(&settings, &source), instance(&settings, &source));
    let gate = Gate::shut();
    let loading = tokio::spawn({
        let (one, gate) = (one.clone(), gate.clone());
        async move { one.read(&row(1), Mode::Read, Some(&gate)).await }
    });
    gate.arrival().await;
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let other = other.clone();
            tokio::spawn(async move { patient(&other, &row(1)).await })
        })
        .collect();
    eventually("the others wait together", || {
        other.cache.stats().coalesced == 19
    })
    .await;
    gate.open();
    loading
        .await
        .expect("no panic")
        .expect("the source answers");
    for reader in waiting {
        assert_eq!(
            reader.await.expect("no panic"),
            Some(Bytes::from_static(b"x"))
        );
    }
    assert_eq!(source.loads(), 1);
}

/// Of readers who miss together, one has the ticket that others wait for, and another may be the
/// one who loads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_of_one_instance_never_wait_for_each_others_tickets() {
    let settings = Settings::at(&REDIS);
    let source = Source::default();
    let bench = instance(&settings, &source).await;
    for id in 0..100 {
        source.put(&row(id), "x");
        let started = Instant::now();
        let readers = (0..8).map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move { patient(&bench, &row(id)).await })
        });
        for reader in readers.collect::<Vec<_>>() {
            reader.await.expect("no panic");
        }
        // Whoever waits for a ticket that nobody loads under waits longer.
        if started.elapsed() < PATIENCE / 2 {
            continue;
        }
        let lease = ask(&REDIS, &["HGET", &settings.lease_of(&row(id)), "loader"]);
        panic!("{:?} for one read; loader {lease:?}", started.elapsed());
    }
    assert_eq!(source.loads(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_died_loading_is_not_waited_for_long() {
    let settings = Settings::at(&REDIS);
    let dead = settings.redis().await;
    let _never_used = miss(&dead, &row(1)).await;
    let source = Source::default();
    source.put(&row(1), "x");
    let bench = instance(&settings, &source).await;
    // Two instances' recoveries dropped the namespace, but not the leases that came after.
    let _never_used = miss(&dead, &row(1)).await;
    let started = Instant::now();
    assert_eq!(bench.value(&row(1)).await, Some(Bytes::from_static(b"x")));
    // The lease would live a minute.
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(bench.value(&row(1)).await, Some(Bytes::from_static(b"x")));
    assert_eq!(source.loads(), 1, "it stored what it loaded in the end");
}

#[tokio::test]
async fn a_load_that_has_nothing_to_store_keeps_nobody_waiting() {
    let settings = Settings::at(&REDIS);
    let source = Source::default();
    let bench = instance(&settings, &source).await;
    source.fail(Some(Failure::Refused));
    bench
        .read(&row(1), Mode::Read, None)
        .await
        .expect_err("refused");
    let other = settings.far().await;
    // The second ticket is the first since that instance dropped the namespace.
    bench
        .read(&row(1), Mode::Read, None)
        .await
        .expect_err("refused");
    let ticket = miss(&other, &row(1)).await;
    assert!(ticket.lease().is_some_and(|lease| !lease.is_awaited));
}

#[tokio::test]
async fn a_write_through_one_instance_is_seen_by_readers_of_far_in_another() {
    let settings = Settings::at(&REDIS);
    let (one, other) = (settings.redis().await, settings.redis().await);
    fill(&one, &row(1), "old").await;
    assert_eq!(hit(&other, &row(1)).await, Some(Bytes::from_static(b"old")));
    let late = miss(&one, &row(2)).await;
    let late_page = miss(&one, &page(1)).await;
    let writer = other.ticket(&row(1)).await.expect("a ticket");
    let change = Change::of(row(1)).and(row(2)).and_group(PAGES);
    let voided = other.void(&change, Some((writer, entry("new")))).await;
    assert_eq!(voided, Voided::Confirmed);
    assert_eq!(hit(&one, &row(1)).await, Some(Bytes::from_static(b"new")));
    // Neither in far nor in near: what was loaded before is not stored anywhere.
    assert_eq!(one.fill(late, entry("old")).await, Filled::Refused);
    assert_eq!(one.fill(late_page, entry("old")).await, Filled::Refused);
    one.distrust();
    assert!(one.peek(&row(2), START).is_none());
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_sent_again() {
    let redis = own_redis().await;
    let far = Settings::at(&redis).far().await;
    for id in 0..4 {
        ask(&redis, &["SCRIPT", "FLUSH"]);
        let ticket = miss(&far, &row(id)).await;
        ask(&redis, &["SCRIPT", "FLUSH"]);
        assert_eq!(far.fill(ticket, entry("old")).await, Filled::Stored);
        ask(&redis, &["SCRIPT", "FLUSH"]);
        let writer = far.ticket(&row(id)).await.expect("a ticket");
        ask(&redis, &["SCRIPT", "FLUSH"]);
        let voided = far
            .void(&Change::of(row(id)), Some((writer, entry("new"))))
            .await;
        assert_eq!(voided, Voided::Confirmed);
        assert_eq!(hit(&far, &row(id)).await, Some(Bytes::from_static(b"new")));
    }
    let stats = far.stats().await.far.expect("it has a Redis");
    assert_eq!(stats.failures, 0, "nothing failed");
}

#[tokio::test]
async fn marks_that_redis_lost_drop_what_carries_them_and_nothing_comes_back() {
    let settings = Settings::at(&REDIS);
    let far = settings.far().await;
    fill(&far, &row(1), "x").await;
    fill(&far, &page(1), "x").await;
    // The group's mark: its pages.
    ask(&REDIS, &["DEL", &settings.name("group", PAGES.name())]);
    assert_eq!(hit(&far, &page(1)).await, None);
    assert!(hit(&far, &row(1)).await.is_some());
    fill(&far, &page(2), "x").await;
    assert_eq!(hit(&far, &page(1)).await, None, "the new mark is another");
    // The token: everything.
    let ticket = miss(&far, &row(2)).await;
    ask(&REDIS, &["DEL", &settings.token()]);
    assert_eq!(far.fill(ticket, entry("x")).await, Filled::Refused);
    for key in [row(1), page(1), page(2)] {
        assert_eq!(hit(&far, &key).await, None);
    }
    fill(&far, &row(3), "x").await;
    for key in [row(1), row(2), page(1), page(2)] {
        assert_eq!(hit(&far, &key).await, None, "the new token is another");
    }
}
