//! Other data behind connections that stay: nothing is read from it, not for a moment.

use alacena::cache::{CacheBackend, Change, Voided};
use alacena_lab::contract::source::{START, row};
use alacena_lab::servers::Redis;
use bytes::Bytes;

use crate::following::TestLog;
use crate::support::{
    LogHolder, Settings, ask, eventually, figure, fill, hit, is_trusted, own_redis,
};

fn text(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

/// A Redis whose second database is a copy of the first, as a backup is.
pub(crate) fn copy(redis: &Redis) {
    for name in ask(redis, &["KEYS", "*"]).lines() {
        ask(redis, &["COPY", name, name, "DB", "1", "REPLACE"]);
    }
}

/// The watermark stands still while a transaction is open, so it is as far in the copy. The writer itself
/// is answered in the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_from_before_an_acknowledged_invalidation_answers_nothing() {
    for tiered in [false, true] {
        let redis = own_redis().await;
        let log = TestLog::shared();
        let settings = Settings::at(&redis).log(log.clone());
        let backend: Box<dyn CacheBackend> = if tiered {
            Box::new(settings.tiered().await)
        } else {
            Box::new(settings.redis().await)
        };
        let other = settings.redis().await;
        fill(&other, &row(1), "old").await;
        assert_eq!(hit(&*backend, &row(1)).await, text("old"));
        copy(&redis);
        log.write(Change::of(row(1)));
        let voided = backend.void(&Change::of(row(1)), None).await;
        assert_eq!(voided, Voided::Confirmed);
        ask(&redis, &["SWAPDB", "0", "1"]);
        assert_eq!(ask(&redis, &["EXISTS", &settings.entry(&row(1))]), "1");
        assert_eq!(hit(&*backend, &row(1)).await, None, "tiered: {tiered}");
        assert!(backend.trouble().is_some(), "at once");
        is_trusted(&*backend).await;
        assert_eq!(hit(&*backend, &row(1)).await, None);
        fill(&*backend, &row(1), "new").await;
    }
}

/// Exchanged, written, and exchanged back between two reads: what was invalidated in the copy is not in
/// what comes back.
#[tokio::test(flavor = "multi_thread")]
async fn an_invalidation_in_other_data_is_not_acknowledged() {
    let redis = own_redis().await;
    let log = TestLog::shared();
    let settings = Settings::at(&redis).log(log.clone());
    let backend = settings.tiered().await;
    fill(&backend, &row(1), "old").await;
    copy(&redis);
    // From here on the copy is other data.
    assert_eq!(
        backend.void(&Change::of(row(2)), None).await,
        Voided::Confirmed
    );
    log.write(Change::of(row(1)));
    ask(&redis, &["SWAPDB", "0", "1"]);
    let voided = backend.void(&Change::of(row(1)), None).await;
    ask(&redis, &["SWAPDB", "0", "1"]);
    assert_eq!(voided, Voided::Unconfirmed);
    assert_eq!(ask(&redis, &["EXISTS", &settings.entry(&row(1))]), "1");
    assert_eq!(hit(&backend, &row(1)).await, None);
    is_trusted(&backend).await;
    assert_eq!(hit(&backend, &row(1)).await, None);
}

/// Nor does the log's own invalidation move the watermark there.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_not_applied_to_other_data() {
    let redis = own_redis().await;
    let log = TestLog::shared();
    let settings = Settings::at(&redis).log(log.clone());
    let far = settings.far().await;
    copy(&redis);
    assert_eq!(far.void(&Change::of(row(2)), None).await, Voided::Confirmed);
    ask(&redis, &["SWAPDB", "0", "1"]);
    let before = ask(&redis, &["GET", &settings.watermark()]);
    let batch = log.write(Change::of(row(1)));
    assert_eq!(far.apply(&batch).await, Voided::Unconfirmed);
    assert_eq!(ask(&redis, &["GET", &settings.watermark()]), before);
}

/// A foreign FLUSHALL, or a connection that is killed, costs memory nothing: what it copied from Redis was
/// good when it was copied, and the log has told of everything since.
#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_warm_whatever_becomes_of_redis() {
    let disturbances: [&[&str]; 3] = [
        &["FLUSHALL"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["SCRIPT", "FLUSH"],
    ];
    for disturbance in disturbances {
        let redis = own_redis().await;
        let settings = Settings::at(&redis);
        let (filling, backend) = (settings.redis().await, settings.tiered().await);
        for id in 0..100 {
            fill(&filling, &row(id), "x").await;
            assert_eq!(hit(&backend, &row(id)).await, text("x"), "copied");
        }
        for _ in 0..3 {
            let registry = settings.name_of("sequences");
            let known = || ask(&redis, &["ZRANGE", &registry, "0", "-1"]);
            let before = known();
            ask(&redis, disturbance);
            if disturbance[0] != "SCRIPT" {
                eventually("it has connected anew", || {
                    let known = known();
                    !known.is_empty() && known != before
                })
                .await;
            }
            for id in 0..100 {
                assert!(backend.peek(&row(id), START).is_some(), "{disturbance:?}");
            }
            is_trusted(&backend).await;
        }
    }
}

/// The sequence numbers of processes that have ended are removed.
#[tokio::test(flavor = "multi_thread")]
async fn sequence_numbers_that_are_not_in_use_are_removed() {
    let redis = own_redis().await;
    let settings = Settings::at(&redis);
    let registry = settings.name_of("sequences");
    let dead = settings.name("sequence", "dead");
    ask(&redis, &["SET", &dead, "7"]);
    ask(&redis, &["ZADD", &registry, "1000", &dead]);
    let backend = settings.far().await;
    assert_eq!(ask(&redis, &["EXISTS", &dead]), "0");
    assert_eq!(ask(&redis, &["ZCARD", &registry]), "1");
    let name = ask(&redis, &["ZRANGE", &registry, "0", "-1"]);
    assert_eq!(ask(&redis, &["TTL", &name]), "-1", "no policy evicts it");
    let number = || {
        ask(&redis, &["GET", &name])
            .parse::<u64>()
            .expect("a number")
    };
    let before = number();
    assert_eq!(
        backend.void(&Change::of(row(1)), None).await,
        Voided::Confirmed
    );
    assert_eq!(number(), before + 1);
    // A process leaves one, however often it connects.
    ask(&redis, &["CLIENT", "KILL", "TYPE", "normal"]);
    let known = || ask(&redis, &["ZRANGE", &registry, "0", "-1"]);
    eventually("it has connected anew", || known() != name).await;
    is_trusted(&backend).await;
    assert_eq!(known().lines().count(), 1);
    assert_eq!(ask(&redis, &["EXISTS", &name]), "0");
}

/// The number of a process that lives is removed, as by a clock of Redis that was set: it connects anew,
/// and is not stale meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_number_that_is_lost_costs_one_recovery() {
    let redis = own_redis().await;
    let settings = Settings::at(&redis);
    let backend = settings.tiered().await;
    fill(&backend, &row(1), "x").await;
    let registry = settings.name_of("sequences");
    let known = || ask(&redis, &["ZRANGE", &registry, "0", "-1"]);
    let lost = known();
    ask(&redis, &["DEL", &lost]);
    eventually("it has connected anew", || {
        let known = known();
        !known.is_empty() && known != lost
    })
    .await;
    is_trusted(&backend).await;
    assert!(backend.peek(&row(1), START).is_some());
    fill(&backend, &row(2), "x").await;
}

/// A recovery that drops the namespace begins new data: a copy from before is other data.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_from_before_a_drop_answers_nothing() {
    let redis = own_redis().await;
    let holder = LogHolder::new();
    let settings = Settings::at(&redis);
    let other = settings.far().await;
    fill(&other, &row(1), "old").await;
    ask(&redis, &["DEL", &settings.watermark()]);
    let backend = settings.log(holder.log.clone()).untried();
    // It has connected and tried Redis, and is about to drop what is there.
    holder.reached();
    copy(&redis);
    holder.answer();
    is_trusted(&backend).await;
    ask(&redis, &["SWAPDB", "0", "1"]);
    assert_eq!(hit(&backend, &row(1)).await, None);
    assert!(backend.trouble().is_some(), "at once");
}

/// A right that is missing keeps Redis from being used, and leaves nothing behind that stays.
#[tokio::test(flavor = "multi_thread")]
async fn recoveries_that_lack_a_right_leave_nothing_behind() {
    for missing in ["-time", "-zadd", "-persist", "-zrangebyscore"] {
        let redis = own_redis().await;
        let user = ["ACL", "SETUSER", "alacena", "on", ">secret", "~*", "+@all"];
        ask(&redis, &[&user[..], &[missing]].concat());
        let url = redis.url().replace("redis://", "redis://alacena:secret@");
        let settings = Settings::at_url(&url);
        let backend = settings.far().await;
        assert!(backend.trouble().is_some(), "{missing}");
        let attempts = || figure(&redis, "stats", "total_connections_received");
        let before = attempts();
        eventually("it was tried again", || attempts() >= before + 6).await;
        drop(backend);
        let names = ask(&redis, &["KEYS", "*:sequence:*"]);
        for name in names.lines() {
            assert_ne!(
                ask(&redis, &["PTTL", name]),
                "-1",
                "{missing}: {name} stays"
            );
        }
    }
}
