//! A Redis that others use too.

use std::time::{Duration, Instant};

use alacena::cache::{CacheBackend, Clear, Timestamp, one_budget};
use alacena_lab::contract::source::{START, eventually, page, row};

use crate::support::{REDIS, Settings, ask, fill, hit, own_redis, trusted};

fn every() -> Clear {
    "*".parse().expect("a pattern")
}

#[tokio::test]
async fn keys_of_other_applications_are_not_touched() {
    let redis = own_redis().await;
    // Not even all the time of a request would be enough for it.
    let settings = Settings::at(&redis).budget(Duration::from_millis(60));
    let namespace = &settings.0.namespace;
    let foreign = [
        "user:7".to_owned(),
        "entry:row:1".to_owned(),
        namespace.clone(),
        format!("{namespace}:entry:row:1"),
        format!("{namespace}:3:entry:row:1"),
        format!("{namespace}x:3:log:entry:row:1"),
        format!("x{namespace}:3:log:entry:row:1"),
        format!("{namespace}:1:elsewhere"),
    ];
    for name in &foreign {
        ask(&redis, &["SET", name, "theirs"]);
    }
    // Filled by an instance that is in no hurry.
    let mut patient = settings.clone();
    patient.0.budget = Duration::from_secs(10);
    let filling = patient.far().await;
    let far = trusted(settings.far().await).await;
    for id in 0..7000 {
        fill(&filling, &row(id), "x").await;
    }
    fill(&filling, &page(1), "x").await;
    let token = ask(&redis, &["GET", &settings.token()]);
    let started = Instant::now();
    let cleared = one_budget(async { far.clear(&every()).await }).await;
    let took = started.elapsed();
    assert_eq!(cleared, 7001);
    assert!(took > settings.0.budget, "{took:?} is no test of it");
    assert_eq!(far.trouble(), None, "a clear is no burden");
    assert_eq!(ask(&redis, &["GET", &settings.token()]), token);
    assert_eq!(hit(&filling, &row(1)).await, None);
    // Neither by a drop of the namespace.
    far.distrust();
    eventually("the namespace is dropped", || {
        ask(&redis, &["GET", &settings.token()]) != token
    })
    .await;
    for name in &foreign {
        assert_eq!(ask(&redis, &["GET", name]), "theirs", "{name}");
    }
    let commands = ask(&redis, &["INFO", "commandstats"]);
    for forbidden in ["cmdstat_keys:", "cmdstat_flushdb:", "cmdstat_flushall:"] {
        assert!(!commands.contains(forbidden), "{commands}");
    }
}

#[tokio::test]
async fn two_namespaces_of_one_redis_do_not_see_each_other() {
    let (one, other) = (
        Settings::at(&REDIS).far().await,
        Settings::at(&REDIS).far().await,
    );
    fill(&one, &row(1), "one's").await;
    assert_eq!(hit(&other, &row(1)).await, None);
    assert_eq!(other.clear(&every()).await, 0);
    assert!(hit(&one, &row(1)).await.is_some());
}

#[tokio::test]
async fn instances_count_together() {
    let settings = Settings::at(&REDIS);
    let (one, other) = (settings.far().await, settings.far().await);
    let window = Duration::from_secs(60);
    assert_eq!(one.increment("c", 2, window, START).await.value, 2);
    // Whatever the clock of the other says.
    for now in [Timestamp::from_millis(0), START + window * 2] {
        let count = other.increment("c", 0, window, now).await;
        assert_eq!(count.value, 2);
        assert!(count.until.since(now) <= window, "{count:?}");
    }
}

#[tokio::test]
async fn what_is_dead_already_is_not_counted_as_cleared() {
    let settings = Settings::at(&REDIS);
    let far = settings.far().await;
    fill(&far, &row(1), "x").await;
    fill(&far, &page(1), "x").await;
    fill(&far, &page(2), "x").await;
    ask(&REDIS, &["DEL", &settings.name("group", "rows:list")]);
    assert_eq!(far.clear(&every()).await, 1);
    let left = ask(
        &REDIS,
        &[
            "EXISTS",
            &settings.entry(&page(1)),
            &settings.entry(&row(1)),
        ],
    );
    assert_eq!(left, "0");
}
