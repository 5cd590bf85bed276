//! When Redis is asked, how long it is waited for, and when it is trusted again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alacena::cache::{
    CacheBackend, Change, Filled, LogBatch, LogEntry, Lookup, MemoryBackend, Mode, Position, Stale,
    TieredBackend, Voided, Watermark, one_budget,
};
use alacena_lab::contract::source::{PAGES, START, page, row};
use alacena_lab::proxy::{Direction, Fault, Proxy};
use alacena_lab::servers::Redis;
use alacena_lab::staged::{At, Staged};
use bytes::Bytes;
use tokio::task::block_in_place;

use crate::support::{
    LogHolder, Settings, ask, entry, eventually, fill, hit, is_trusted, miss, own_redis,
};

const BUDGET: Duration = Duration::from_millis(200);

/// A Redis of one's own behind a proxy.
struct Scene {
    redis: Redis,
    proxy: Proxy,
    settings: Settings,
}

impl Scene {
    async fn set() -> Self {
        let redis = own_redis().await;
        let proxy = Proxy::start(redis.address()).await.expect("a proxy");
        let settings = Settings::at_url(&format!("redis://{}", proxy.address())).budget(BUDGET);
        Self {
            redis,
            proxy,
            settings,
        }
    }

    /// Another instance, whom the proxy's faults do not touch.
    fn elsewhere(&self) -> Settings {
        let mut settings = Settings::at(&self.redis);
        settings.0.namespace.clone_from(&self.settings.0.namespace);
        settings
    }

    fn token(&self) -> String {
        ask(&self.redis, &["GET", &self.settings.token()])
    }
}

async fn failures(backend: &impl CacheBackend) -> u64 {
    backend.stats().await.far.expect("it has a Redis").failures
}

#[tokio::test(flavor = "multi_thread")]
async fn one_void_that_was_not_confirmed_is_enough() {
    for fault in [Fault::Hang, Fault::Cut, Fault::Reset, Fault::Garbage] {
        let scene = Scene::set().await;
        let redis = scene.settings.redis().await;
        fill(&redis, &row(1), "old").await;
        fill(&redis, &row(2), "kept").await;
        scene.proxy.set(Direction::ToClient, fault);
        let voided = redis.void(&Change::of(row(1)), None).await;
        assert_eq!(voided, Voided::Unconfirmed, "{fault:?}");
        assert!(redis.trouble().is_some(), "{fault:?}");
        // Near goes on at once, and has what it had.
        assert_eq!(hit(&redis, &row(1)).await, None, "{fault:?}");
        assert_eq!(
            hit(&redis, &row(2)).await,
            Some(Bytes::from_static(b"kept"))
        );
        assert!(redis.peek(&row(2), START).is_some(), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_voided_while_redis_did_not_hear_is_not_there_when_it_does() {
    for tiered in [false, true] {
        let scene = Scene::set().await;
        let backend = if tiered {
            scene.settings.tiered().await
        } else {
            scene.settings.redis().await
        };
        for key in [row(1), page(1), row(2)] {
            fill(&backend, &key, "old").await;
        }
        let token = scene.token();
        scene.proxy.set(Direction::ToServer, Fault::Hang);
        let change = Change::of(row(1)).and_group(PAGES);
        let voided = backend.void(&change, None).await;
        assert_eq!(voided, Voided::Unconfirmed);
        // Skipped, no longer even tried.
        let sent = backend.stats().await.far.expect("it has a Redis").commands;
        assert_eq!(
            backend.void(&Change::of(row(2)), None).await,
            Voided::Unconfirmed
        );
        assert_eq!(
            backend.stats().await.far.expect("it has a Redis").commands,
            sent
        );
        // What the proxy held back is lost with its connections.
        scene.proxy.set(Direction::Both, Fault::Cut);
        scene.proxy.heal();
        is_trusted(&backend).await;
        assert_ne!(scene.token(), token, "the namespace was dropped");
        for key in [row(1), page(1), row(2)] {
            assert_eq!(hit(&backend, &key).await, None, "{key:?}");
        }
        fill(&backend, &row(1), "new").await;
        assert_eq!(
            hit(&backend, &row(1)).await,
            Some(Bytes::from_static(b"new"))
        );
    }
}

/// Recovery rule 1: a counter, not a flag.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_void_lost_during_a_recovery_makes_it_start_over() {
    let mut scene = Scene::set().await;
    scene.settings.0.connect_timeout = Duration::from_millis(300);
    let other = scene.elsewhere().far().await;
    let holder = LogHolder::new();
    // Holds the recovery back between its note of the doubts and its end.
    let backend = scene.settings.clone().log(holder.log.clone()).untried();
    holder.reached();
    fill(&other, &row(1), "old").await;
    scene.proxy.set(Direction::ToServer, Fault::Hang);
    holder.write(1, Change::of(row(1)));
    let voided = backend.void(&Change::of(row(1)), None).await;
    assert_eq!(voided, Voided::Unconfirmed);
    assert_eq!(
        hit(&other, &row(1)).await,
        Some(Bytes::from_static(b"old")),
        "it got lost"
    );
    scene.proxy.set(Direction::Both, Fault::Cut);
    scene.proxy.heal();
    // The reading that is held tells of nothing, the next of the change.
    holder.answer();
    holder.answer();
    is_trusted(&backend).await;
    assert_eq!(hit(&backend, &row(1)).await, None);
    assert_eq!(hit(&other, &row(1)).await, None, "it is gone for all");
    fill(&backend, &row(1), "new").await;
}

/// Voids are right at any time, so they are sent as soon as there is a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_void_confirmed_during_a_recovery_does_not_disturb_it() {
    let scene = Scene::set().await;
    let holder = LogHolder::new();
    let backend = scene.settings.clone().log(holder.log.clone()).untried();
    holder.reached();
    assert!(backend.trouble().is_some());
    let voided = backend.void(&Change::of(row(1)), None).await;
    assert_eq!(voided, Voided::Confirmed);
    assert!(
        backend.ticket(&row(1)).await.is_none(),
        "nothing is asked yet"
    );
    // A second attempt would wait for a second answer.
    holder.answer();
    is_trusted(&backend).await;
}

/// Recovery rule 6: what an old connection failed to do is not done on the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_with_old_data_is_not_believed() {
    for tiered in [false, true] {
        let mut redis = own_redis().await;
        let settings = Settings::at(&redis).budget(BUDGET);
        let backend = if tiered {
            settings.tiered().await
        } else {
            settings.redis().await
        };
        fill(&backend, &row(1), "old").await;
        let token = ask(&redis, &["GET", &settings.token()]);
        let snapshot = block_in_place(|| redis.snapshot()).expect("a snapshot");
        assert_eq!(
            backend.void(&Change::of(row(1)), None).await,
            Voided::Confirmed
        );
        block_in_place(|| redis.start_from(&snapshot)).expect("it starts");
        let there = ask(&redis, &["EXISTS", &settings.entry(&row(1))]);
        assert_eq!(there, "1", "the old entry is back");
        eventually("the namespace is dropped", || {
            ask(&redis, &["GET", &settings.token()]) != token
        })
        .await;
        is_trusted(&backend).await;
        assert_eq!(hit(&backend, &row(1)).await, None);
        assert_eq!(
            ask(&redis, &["EXISTS", &settings.entry(&row(1))]),
            "1",
            "dropped, not deleted"
        );
    }
}

/// Recovery rule 2: a ticket that was not confirmed writes nothing through, whatever Redis made of
/// the request for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_without_a_confirmed_ticket_removes() {
    let scene = Scene::set().await;
    let backend = scene.settings.redis().await;
    fill(&backend, &row(1), "old").await;
    // The request arrives, its answer does not: the lease is there, and nobody has it.
    scene.proxy.set(Direction::ToClient, Fault::Hang);
    let ticket = backend.ticket(&row(1)).await;
    let ticket = ticket.expect("a near ticket");
    assert!(ticket.far().is_none());
    scene.proxy.heal();
    assert_eq!(
        ask(&scene.redis, &["EXISTS", &scene.settings.lease_of(&row(1))]),
        "1"
    );
    let voided = backend
        .void(&Change::of(row(1)), Some((ticket, entry("new"))))
        .await;
    assert_eq!(voided, Voided::Confirmed);
    let names = [
        scene.settings.entry(&row(1)),
        scene.settings.lease_of(&row(1)),
    ];
    assert_eq!(ask(&scene.redis, &["EXISTS", &names[0], &names[1]]), "0");
}

/// A backend of two tiers whose far one waits at curtains, with an old value in far alone.
async fn staged(scene: &Scene) -> (Arc<Staged>, Arc<TieredBackend>) {
    let far = Arc::new(scene.settings.far().await);
    fill(&*far, &row(1), "old").await;
    let far = Staged::new(far);
    let near = Arc::new(MemoryBackend::new(1 << 20));
    let tiered = TieredBackend::near_first(near, far.clone());
    (far, Arc::new(tiered))
}

/// Rule 7: the near ticket is taken before far is looked into.
#[tokio::test(flavor = "multi_thread")]
async fn a_far_value_that_a_void_overtakes_on_its_way_is_not_copied() {
    let scene = Scene::set().await;
    let (far, tiered) = staged(&scene).await;
    let cue = far.hang(At::Found, row(1).name());
    let reading = tokio::spawn({
        let tiered = Arc::clone(&tiered);
        async move { hit(&*tiered, &row(1)).await }
    });
    let open = cue.reached().await;
    assert_eq!(
        tiered.void(&Change::of(row(1)), None).await,
        Voided::Confirmed
    );
    open.send(()).expect("the reader waits");
    let read = reading.await.expect("no panic");
    assert_eq!(
        read,
        Some(Bytes::from_static(b"old")),
        "it began before the void ended"
    );
    assert_eq!(hit(&*tiered, &row(1)).await, None);
}

/// Rule 7: far is voided before near, by a writer and by what the log tells of (recovery rule 4).
#[tokio::test(flavor = "multi_thread")]
async fn what_is_copied_from_far_before_its_void_goes_with_it() {
    copies_go_with_the_void(At::Void).await;
    copies_go_with_the_void(At::Apply).await;
}

async fn copies_go_with_the_void(at: At) {
    let scene = Scene::set().await;
    let (far, tiered) = staged(&scene).await;
    let cue = far.hang(at, row(1).name());
    let voiding = tokio::spawn({
        let tiered = Arc::clone(&tiered);
        let change = Change::of(row(1));
        async move {
            if at == At::Void {
                return tiered.void(&change, None).await;
            }
            let entry = LogEntry {
                position: Position::new(100),
                stale: Stale::Change(change),
            };
            let batch = LogBatch {
                entries: vec![entry],
                until: Watermark::parse("101").expect("a watermark"),
            };
            tiered.apply(&batch).await
        }
    });
    let open = cue.reached().await;
    // Not acknowledged yet: the old value may answer, and is copied.
    assert_eq!(
        hit(&*tiered, &row(1)).await,
        Some(Bytes::from_static(b"old"))
    );
    assert!(tiered.peek(&row(1), START).is_some());
    open.send(()).expect("the void waits");
    assert_eq!(voiding.await.expect("no panic"), Voided::Confirmed);
    assert_eq!(hit(&*tiered, &row(1)).await, None);
}

/// The budget: one for all that a request does, whatever it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_once_for_a_redis_that_hangs() {
    let budget = Duration::from_secs(2);
    let scene = Scene::set().await;
    let backend = scene.settings.clone().budget(budget).redis().await;
    scene.proxy.set(Direction::Both, Fault::Hang);
    let started = Instant::now();
    one_budget(async {
        for id in 0..4 {
            let found = backend.lookup(&row(id), Mode::Read, START).await;
            let Lookup::Miss(Some(ticket)) = found else {
                panic!("{found:?}")
            };
            assert_eq!(
                backend.fill(ticket, entry("x")).await,
                Filled::Stored,
                "in near"
            );
        }
        assert_eq!(failures(&backend).await, 1, "it was asked once");
        let _ = backend.void(&Change::of(row(1)), None).await;
    })
    .await;
    let waited = started.elapsed();
    assert!(waited >= budget / 2, "{waited:?}");
    assert!(
        waited < budget * 2,
        "{waited:?} is more than a budget and what it takes besides"
    );
}

/// Only the first few wait at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_few_failures_are_enough_and_the_next_are_not_even_tried() {
    for fault in [
        Fault::Hang,
        Fault::Delay {
            by: BUDGET * 2,
            jitter: BUDGET,
        },
        Fault::Throttle {
            bytes_per_second: 20,
        },
    ] {
        let scene = Scene::set().await;
        let backend = scene.settings.redis().await;
        scene.proxy.set(Direction::ToClient, fault);
        for id in 0..100 {
            miss(&backend, &row(id)).await;
        }
        // Five within a second are, on a busy machine a few more.
        let failures = failures(&backend).await;
        assert!((5..20).contains(&failures), "{fault:?}: {failures}");
        assert!(backend.trouble().is_some(), "{fault:?}");
        scene.proxy.heal();
        is_trusted(&backend).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_is_not_used_and_its_reason_is_told() {
    type Refusal = (
        &'static [&'static str],
        &'static [&'static [&'static str]],
        &'static [&'static [&'static str]],
    );
    let refusals: [Refusal; 4] = [
        (
            &["NOAUTH"],
            &[
                &["CONFIG", "SET", "requirepass", "secret"],
                &["CLIENT", "KILL", "TYPE", "normal"],
            ],
            &[&["CONFIG", "SET", "requirepass", ""]],
        ),
        (
            // The second is what a recovery finds.
            &["READONLY", "it is a replica"],
            &[&["REPLICAOF", "127.0.0.1", "1"]],
            &[&["REPLICAOF", "NO", "ONE"]],
        ),
        (
            &["OOM"],
            &[&["CONFIG", "SET", "maxmemory", "1"]],
            &[&["CONFIG", "SET", "maxmemory", "0"]],
        ),
        (
            // Redis closes what it has no room for.
            &["cannot connect"],
            &[
                &["CONFIG", "SET", "maxclients", "1"],
                &["CLIENT", "KILL", "TYPE", "normal"],
            ],
            &[&["CONFIG", "SET", "maxclients", "1000"]],
        ),
    ];
    for (reasons, begin, end) in refusals {
        let scene = Scene::set().await;
        let backend = scene.settings.redis().await;
        fill(&backend, &row(0), "kept").await;
        for words in begin {
            ask(&scene.redis, words);
        }
        for id in 1..20 {
            miss(&backend, &row(id)).await;
        }
        eventually(&format!("the reason is known: {reasons:?}"), || {
            let is_known = |why: Arc<str>| reasons.iter().any(|reason| why.contains(reason));
            backend.trouble().is_some_and(is_known)
        })
        .await;
        assert_eq!(
            hit(&backend, &row(0)).await,
            Some(Bytes::from_static(b"kept")),
            "{reasons:?}"
        );
        for words in end {
            ask(&scene.redis, words);
        }
        is_trusted(&backend).await;
        fill(&backend, &row(1), "x").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_never_there_is_used_once_it_appears() {
    let mut redis = own_redis().await;
    block_in_place(|| redis.kill()).expect("it dies");
    let mut settings = Settings::at(&redis).budget(BUDGET);
    settings.0.connect_timeout = Duration::from_millis(300);
    let backend = settings.tiered().await;
    let reason = backend.trouble().expect("it is away");
    assert!(reason.contains("refused"), "{reason}");
    fill(&backend, &row(1), "x").await;
    assert!(hit(&backend, &row(1)).await.is_some(), "near goes on");
    block_in_place(|| redis.start_again()).expect("it starts");
    is_trusted(&backend).await;
    assert!(backend.peek(&row(1), START).is_some(), "near stays warm");
    fill(&backend, &row(2), "x").await;
    assert_eq!(ask(&redis, &["EXISTS", &settings.entry(&row(2))]), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_go_on_without_redis_from_where_they_were() {
    let mut redis = own_redis().await;
    let settings = Settings::at(&redis).budget(BUDGET);
    let backend = settings.tiered().await;
    let window = Duration::from_secs(60);
    assert_eq!(backend.increment("c", 4, window, START).await.value, 4);
    block_in_place(|| redis.kill()).expect("it dies");
    assert_eq!(backend.increment("c", 1, window, START).await.value, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_instance_learns_that_redis_is_gone() {
    for hangs in [false, true] {
        let mut redis = own_redis().await;
        let mut settings = Settings::at(&redis).budget(BUDGET);
        settings.0.connect_timeout = Duration::from_millis(300);
        let backend = settings.tiered().await;
        let gone = block_in_place(|| if hangs { redis.freeze() } else { redis.kill() });
        gone.expect("it obeys");
        eventually("it knows", || backend.trouble().is_some()).await;
    }
}

/// Slower than a request's share of the budget, and faster than it takes to connect: it would be
/// trusted and doubted in turn, and the namespace dropped each time, for all instances.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_too_slow_to_be_of_use_is_not_used_now_and_then() {
    let scene = Scene::set().await;
    let backend = scene.settings.tiered().await;
    let slow = Fault::Delay {
        by: BUDGET * 3 / 4,
        jitter: Duration::ZERO,
    };
    scene.proxy.set(Direction::ToClient, slow);
    for id in 0..10 {
        miss(&backend, &row(id)).await;
    }
    assert!(backend.trouble().is_some());
    let token = scene.token();
    // As many attempts as there may be in a while.
    let connections = scene.proxy.traffic().connections;
    eventually("it was tried again", || {
        scene.proxy.traffic().connections >= connections + 6
    })
    .await;
    let sent = backend.stats().await.far.expect("it has a Redis").failures;
    for id in 10..100 {
        miss(&backend, &row(id)).await;
    }
    assert!(
        backend.trouble().is_some(),
        "an attempt must be as fast as what it is for"
    );
    assert_eq!(
        scene.token(),
        token,
        "whoever cannot use it, leaves it to others"
    );
    assert!(backend.stats().await.far.expect("it has a Redis").failures <= sent + 2);
    scene.proxy.heal();
    is_trusted(&backend).await;
}

/// Attempts go on for as long as Redis is too slow: a few a second, for days.
#[tokio::test(flavor = "multi_thread")]
async fn what_recoveries_in_vain_leave_behind_goes_by_itself() {
    let scene = Scene::set().await;
    // A round trip fits into a request's share of the budget, a read's three do not.
    let slow = Fault::Delay {
        by: BUDGET * 3 / 10,
        jitter: Duration::ZERO,
    };
    scene.proxy.set(Direction::ToClient, slow);
    let backend = scene.settings.tiered().await;
    eventually("it was tried again", || {
        scene.proxy.traffic().connections >= 6
    })
    .await;
    let reason = backend.trouble().expect("it is not used");
    assert!(reason.contains("too slow"), "{reason}");
    let left = ask(&scene.redis, &["KEYS", "*"]);
    assert!(left.contains("rehearsal"), "{left}");
    for name in left.lines() {
        let life = ask(&scene.redis, &["PTTL", name]);
        assert_ne!(life, "-1", "{name} stays");
    }
}

/// A write that another instance's write overtook is not written through in near either.
#[tokio::test(flavor = "multi_thread")]
async fn overlapping_writers_of_two_instances_leave_the_older_value_nowhere() {
    let scene = Scene::set().await;
    for tiered in [false, true] {
        let settings = scene.elsewhere();
        let (one, other) = if tiered {
            (settings.tiered().await, settings.tiered().await)
        } else {
            (settings.redis().await, settings.redis().await)
        };
        let first = one.ticket(&row(1)).await.expect("a ticket");
        let second = other.ticket(&row(1)).await.expect("a ticket");
        // The second committed later, and voids first.
        let newer = Some((second, entry("newer")));
        assert_eq!(
            other.void(&Change::of(row(1)), newer).await,
            Voided::Confirmed
        );
        let older = Some((first, entry("older")));
        assert_eq!(
            one.void(&Change::of(row(1)), older).await,
            Voided::Overtaken
        );
        assert_eq!(hit(&one, &row(1)).await, None);
        one.distrust();
        assert!(one.peek(&row(1), START).is_none());
    }
}
