//! Values that a Redis does not take, or does not give back, and what the other keys have of it.

use std::sync::Arc;
use std::time::Duration;

use alacena::cache::{CacheBackend, Entry, Filled, Key, Lookup, Mode};
use alacena_lab::contract::source::{POLICY, START, row};
use alacena_lab::proxy::{Direction, Fault, Proxy};
use alacena_lab::servers::Redis;
use bytes::Bytes;

use crate::support::{Settings, ask, eventually, fill, hit, is_trusted, own_redis};

const OTHERS: i64 = 50;

fn large(size: usize) -> Entry {
    POLICY.entry(Some(Bytes::from(vec![b'x'; size])), START)
}

/// What a read of a large value does: the load is stored where it can be.
async fn read(backend: &impl CacheBackend, key: &Key, size: usize) -> bool {
    match backend.lookup(key, Mode::Read, START).await {
        Lookup::Hit(..) => true,
        Lookup::Stale(_, _, ticket) | Lookup::Miss(ticket) => {
            if let Some(ticket) = ticket {
                let filled = backend.fill(ticket, large(size)).await;
                assert_ne!(filled, Filled::Refused);
            }
            false
        }
    }
}

/// How often Redis was given up.
async fn others_are_hits(backend: &impl CacheBackend, hits: &mut u32) {
    for id in 0..OTHERS {
        *hits += u32::from(hit(backend, &row(id)).await.is_some());
    }
}

fn connections(redis: &Redis) -> u64 {
    crate::support::figure(redis, "stats", "total_connections_received")
}

/// Reads large pages in turn with other keys, while something keeps Redis from serving those; answers
/// what share of the others were hits, and how many pages were.
async fn turn_pages(settings: &Settings, size: usize, pages: i64) -> (f64, u32) {
    let backend = settings.redis().await;
    for id in 0..OTHERS {
        fill(&backend, &row(id), "x").await;
    }
    let (mut hits, mut page_hits) = (0, 0);
    const ROUNDS: u32 = 20;
    for round in 0..ROUNDS {
        let page = row(1000 + i64::from(round) % pages);
        page_hits += u32::from(read(&backend, &page, size).await);
        others_are_hits(&backend, &mut hits).await;
    }
    is_trusted(&backend).await;
    (
        f64::from(hits) / f64::from(ROUNDS) / OTHERS as f64,
        page_hits,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_above_the_limit_is_not_sent_and_is_read_from_memory() {
    let redis = own_redis().await;
    let backend = Settings::at(&redis).redis().await;
    let page = row(1000);
    let before = connections(&redis);
    assert!(!read(&backend, &page, (512 << 10) + 1).await);
    for _ in 0..10 {
        assert!(read(&backend, &page, 0).await, "memory has it");
    }
    let small = row(1001);
    assert!(!read(&backend, &small, 500 << 10).await);
    assert!(read(&backend, &small, 0).await);
    assert_eq!(connections(&redis), before);
    assert_eq!(backend.trouble(), None);
    let stored = ask(&redis, &["KEYS", "*entry:row:100*"]);
    assert_eq!(stored.lines().count(), 1, "{stored}");
}

/// Redis closes the connection of a client that sends it a larger value than it takes.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_redis_refuses_cost_other_keys_next_to_nothing() {
    let redis = own_redis().await;
    ask(&redis, &["CONFIG", "SET", "proto-max-bulk-len", "1048576"]);
    let mut settings = Settings::at(&redis);
    settings.0.max_entry = 64 << 20;
    let before = connections(&redis);
    let (others, pages) = turn_pages(&settings, 2 << 20, 10).await;
    assert_eq!(others, 1.0, "memory answers meanwhile");
    assert_eq!(pages, 10, "each from the second time on");
    // Two connections at first, and two after the first page.
    let opened = connections(&redis) - before;
    assert!(opened <= 6, "{opened}");
}

/// Redis closes the connection of a client that is sent more than it has room for.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_redis_cannot_send_back_cost_other_keys_next_to_nothing() {
    let redis = own_redis().await;
    let limit = [
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "normal 100kb 0 0",
    ];
    ask(&redis, &limit);
    let settings = Settings::at(&redis);
    let before = connections(&redis);
    let (others, _) = turn_pages(&settings, 400 << 10, 4).await;
    assert_eq!(others, 1.0, "memory answers meanwhile");
    let opened = connections(&redis) - before;
    assert!(opened <= 8, "{opened}");
}

/// A value that takes longer than a request may wait is late, and no sign of an outage.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_take_too_long_do_not_open_the_breaker() {
    let redis = own_redis().await;
    let proxy = Proxy::start(redis.address()).await.expect("a proxy");
    let settings = Settings::at_url(&format!("redis://{}", proxy.address()));
    let settings = settings.budget(Duration::from_millis(400));
    let backend = Arc::new(settings.tiered().await);
    // Half a second for each.
    proxy.set(
        Direction::ToServer,
        Fault::Throttle {
            bytes_per_second: 400 << 10,
        },
    );
    for id in 0..10 {
        read(&*backend, &row(1000 + id), 200 << 10).await;
    }
    assert_eq!(backend.trouble(), None);
    for id in 0..10 {
        assert!(read(&*backend, &row(1000 + id), 0).await, "memory has it");
    }
    proxy.heal();
    eventually("what was under way is over", || backend.trouble().is_none()).await;
}
