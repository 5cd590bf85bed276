//! A Redis that lies: entries that this service did not store under that key.

use std::time::Duration;

use alacena::cache::{CacheBackend, Change, Lookup, Mode};
use alacena_lab::contract::source::{PAGES, POLICY, START, page, row};
use bytes::Bytes;

use crate::support::{REDIS, Settings, ask, fill, hit};

/// Bytes of a stamp: a digit, and a mark.
const STAMP: usize = 1 + 16;

#[tokio::test]
async fn an_entry_that_was_tampered_with_is_a_miss_is_counted_and_removed() {
    let settings = Settings::at(&REDIS);
    let far = settings.far().await;
    let name = settings.entry(&row(1));
    let forgeries = [
        // A byte of the value, of a time, of the head.
        ["SETRANGE", &name, "90", "X"],
        ["SETRANGE", &name, "40", "X"],
        ["SETRANGE", &name, "20", "X"],
        // Too long.
        ["APPEND", &name, "X", ""],
    ];
    for (forgery, count) in forgeries.iter().zip(1..) {
        fill(
            &far,
            &row(1),
            "a value of some length, so that there is room for changes",
        )
        .await;
        let words: Vec<&str> = forgery
            .iter()
            .copied()
            .filter(|word| !word.is_empty())
            .collect();
        ask(&REDIS, &words);
        assert_eq!(hit(&far, &row(1)).await, None, "{words:?}");
        let stats = far.stats().await.far.expect("it has a Redis");
        assert_eq!((stats.forged, stats.failures), (count, 0), "{words:?}");
        assert_eq!(ask(&REDIS, &["EXISTS", &name]), "0", "{words:?}");
        // And it is as if it had never been.
        let _ = far.void(&Change::of(row(1)), None).await;
    }
}

#[tokio::test]
async fn an_entry_of_another_key_or_service_is_refused() {
    let settings = Settings::at(&REDIS);
    let far = settings.far().await;
    fill(&far, &row(1), "admin").await;
    ask(
        &REDIS,
        &["COPY", &settings.entry(&row(1)), &settings.entry(&row(2))],
    );
    assert_eq!(hit(&far, &row(2)).await, None);
    assert!(hit(&far, &row(1)).await.is_some());

    // With another secret, and so with another namespace's keys.
    let mut other = settings.clone();
    other.0.secret = [8; 32];
    let stranger = other.far().await;
    fill(&stranger, &row(3), "admin").await;
    assert_eq!(hit(&far, &row(3)).await, None);
    let stats = far.stats().await.far.expect("it has a Redis");
    assert_eq!(stats.forged, 2);
}

/// What someone who can write to Redis kept of an entry: under other version tags it is nothing.
#[tokio::test]
async fn an_entry_is_bound_to_the_tags_it_was_stored_under() {
    let settings = Settings::at(&REDIS);
    let far = settings.far().await;
    fill(&far, &page(1), "admin").await;
    let name = settings.entry(&page(1));
    let kept = format!("{name}:kept");
    ask(&REDIS, &["COPY", &name, &kept]);
    let change = Change::of(page(1)).and_group(PAGES);
    let _ = far.void(&change, None).await;
    fill(&far, &page(1), "user").await;
    // The old entry behind the present tags.
    let forge = "local kept, tags = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
        local length = tonumber(ARGV[1])
        redis.call('SET', KEYS[2], tags:sub(1, length) .. kept:sub(length + 1))";
    let length = (STAMP + 16).to_string();
    ask(&REDIS, &["EVAL", forge, "2", &kept, &name, &length]);
    assert_eq!(hit(&far, &page(1)).await, None);
    assert_eq!(far.stats().await.far.expect("it has a Redis").forged, 1);
    // And with its own tags, which are not the present ones any more.
    ask(&REDIS, &["COPY", &kept, &name, "REPLACE"]);
    assert_eq!(hit(&far, &page(1)).await, None);
}

/// What remains: an entry of a key without a group can be put back as it was stored. Its times are
/// authenticated too, so it answers no longer than it would have.
#[tokio::test]
async fn an_entry_that_is_put_back_answers_until_its_own_time_and_no_longer() {
    let settings = Settings::at(&REDIS);
    let far = settings.far().await;
    fill(&far, &row(1), "admin").await;
    let name = settings.entry(&row(1));
    let kept = format!("{name}:kept");
    ask(&REDIS, &["COPY", &name, &kept]);
    let _ = far.void(&Change::of(row(1)), None).await;
    assert_eq!(hit(&far, &row(1)).await, None);
    ask(&REDIS, &["COPY", &kept, &name, "REPLACE"]);
    ask(&REDIS, &["PERSIST", &name]);
    let answers = async |now| far.lookup(&row(1), Mode::Read, now).await;
    let last = START + (POLICY.ttl - Duration::from_millis(1));
    assert!(matches!(answers(last).await, Lookup::Hit(..)));
    assert!(matches!(
        answers(START + POLICY.ttl).await,
        Lookup::Stale(..)
    ));
    let over = START + POLICY.ttl + POLICY.stale_limit;
    assert!(matches!(answers(over).await, Lookup::Miss(_)));
}

#[tokio::test]
async fn an_entry_of_another_format_is_not_even_looked_at() {
    let settings = Settings::at(&REDIS);
    let far = settings.far().await;
    fill(&far, &row(1), "x").await;
    let name = settings.entry(&row(1));
    let other_format = name.replace(":3:log:", ":2:log:");
    assert_ne!(name, other_format);
    ask(&REDIS, &["RENAME", &name, &other_format]);
    assert_eq!(hit(&far, &row(1)).await, None);
    let stats = far.stats().await.far.expect("it has a Redis");
    assert_eq!(stats.forged, 0);
}

#[tokio::test]
async fn what_is_no_entry_at_all_is_a_miss_and_is_overwritten() {
    let settings = Settings::at(&REDIS);
    let far = settings.far().await;
    for key in [row(1), page(1)] {
        let name = settings.entry(&key);
        for words in [
            ["SET", &name, ""],
            ["SET", &name, "2"],
            [
                "SET",
                &name,
                "not an entry, but long enough to have a stamp and a head in it",
            ],
            ["RPUSH", &name, "a list"],
        ] {
            ask(&REDIS, &["DEL", &name]);
            ask(&REDIS, &words);
            ask(&REDIS, &words);
            fill(&far, &key, "x").await;
            assert_eq!(
                hit(&far, &key).await,
                Some(Bytes::from_static(b"x")),
                "{words:?}"
            );
            let _ = far.void(&Change::of(key.clone()), None).await;
        }
    }
    let stats = far.stats().await.far.expect("it has a Redis");
    assert_eq!(stats.failures, 0);
}

#[tokio::test]
async fn a_lease_or_a_counter_that_is_none_is_as_good_as_none() {
    let settings = Settings::at(&REDIS);
    let far = settings.far().await;
    let lease = settings.lease_of(&row(1));
    let counter = settings.name("count", "c");
    let window = std::time::Duration::from_secs(60);
    for strange in [
        ["SET", "text", ""],
        ["RPUSH", "a list", ""],
        ["HSET", "id", "not an id"],
        ["HSET", "value", "many"],
    ] {
        let [command, one, other] = strange;
        for name in [&lease, &counter] {
            ask(&REDIS, &["DEL", name]);
            let words = [command, name, one, other];
            let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
            ask(&REDIS, &words);
        }
        fill(&far, &row(1), "x").await;
        assert!(hit(&far, &row(1)).await.is_some(), "{strange:?}");
        assert!(far.increment("c", 1, window, START).await.value >= 1);
        ask(&REDIS, &["DEL", &lease]);
        ask(&REDIS, &["SET", &lease, "text"]);
        let _ = far.void(&Change::of(row(1)), None).await;
    }
    assert_eq!(far.stats().await.far.expect("it has a Redis").failures, 0);
    assert_eq!(far.trouble(), None);
}

/// Whoever asks whether a key exists does not know its group, and must not take it for a forgery.
#[tokio::test]
async fn a_look_by_name_forges_nothing() {
    let settings = Settings::at(&REDIS);
    let far = settings.far().await;
    fill(&far, &page(1), "x").await;
    let by_name = alacena::cache::Key::named(page(1).name());
    assert!(far.exists(&by_name, START).await);
    assert!(hit(&far, &page(1)).await.is_some());
    let name = settings.entry(&page(1));
    let length: usize = ask(&REDIS, &["STRLEN", &name]).parse().expect("a number");
    assert!(length > 2 * STAMP, "a page carries two marks");
    assert_eq!(far.stats().await.far.expect("it has a Redis").forged, 0);
}
