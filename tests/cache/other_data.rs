//! Other data behind connections that stay: nothing is read from it, not for a moment.

use alacena::cache::{CacheBackend, Change, Voided};
use alacena_lab::contract::source::{START, row};
use alacena_lab::servers::Redis;
use bytes::Bytes;

use crate::following::TestLog;
use crate::support::{Settings, ask, eventually, fill, hit, is_trusted, own_redis};

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
            ask(&redis, disturbance);
            if disturbance[0] != "SCRIPT" {
                eventually("it is noticed", || backend.trouble().is_some()).await;
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
    assert_eq!(
        backend.void(&Change::of(row(1)), None).await,
        Voided::Confirmed
    );
    assert_eq!(
        ask(&redis, &["GET", &name]),
        "2",
        "the self-test's, and this"
    );
}
