//! How far Redis has heard of the change log, and what it missed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alacena::cache::{
    CacheBackend, Change, ChangeLog, Clear, LogBatch, LogEntry, LogUnavailable, Position,
    RedisBackend, Replay, Stale, Voided, Watermark,
};
use alacena_lab::contract::source::{PAGES, START, page, row};
use alacena_lab::proxy::{Direction, Fault, Proxy};
use alacena_lab::servers::Redis;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::block_in_place;

use crate::other_data::copy;
use crate::support::{Settings, ask, entry, eventually, fill, hit, is_trusted, own_redis};

const BUDGET: Duration = Duration::from_secs(2);

/// A log that a test writes.
#[derive(Default)]
pub(crate) struct TestLog {
    changes: Mutex<Vec<Stale>>,
    is_away: AtomicBool,
    /// Watermarks before this are too old.
    start: AtomicU64,
}

/// The number of the first change.
const FIRST: u64 = 10;

impl TestLog {
    pub(crate) fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// Everything from a position on.
    fn since(&self, position: u64) -> LogBatch {
        let changes = self.changes.lock().expect("no panic");
        let numbered = (FIRST..).zip(changes.iter());
        let entries = numbered.filter(|(number, _)| *number >= position);
        let end = FIRST + changes.len() as u64;
        LogBatch {
            entries: entries
                .map(|(number, change)| LogEntry {
                    position: Position::new(number),
                    stale: change.clone(),
                })
                .collect(),
            until: Watermark::parse(&format!("{end} of the test")).expect("a watermark"),
        }
    }

    /// Writes a change; answers what the log tells from there on.
    pub(crate) fn write(&self, change: Change) -> LogBatch {
        self.write_stale(Stale::Change(change))
    }

    fn write_stale(&self, stale: Stale) -> LogBatch {
        let number = {
            let mut changes = self.changes.lock().expect("no panic");
            changes.push(stale);
            FIRST + changes.len() as u64 - 1
        };
        self.since(number)
    }
}

#[async_trait]
impl ChangeLog for TestLog {
    async fn replay(
        &self,
        since: Option<&Watermark>,
        told: Position,
    ) -> Result<Replay, LogUnavailable> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(LogUnavailable("it is away".into()));
        }
        let end = self.since(u64::MAX).until;
        let start = Position::new(self.start.load(Ordering::SeqCst));
        let unknown = |why: &str| Replay::Unknown {
            why: why.into(),
            end: end.clone(),
        };
        Ok(match since {
            None => unknown("none"),
            _ if told >= end.position() => unknown("restored"),
            Some(since) if since.position() > end.position() => unknown("newer"),
            Some(since) if since.position() < start => unknown("older"),
            Some(since) => Replay::Since(self.since(since.position().number())),
        })
    }
}

/// A Redis of one's own behind a proxy, and a log.
struct Scene {
    redis: Redis,
    proxy: Proxy,
    settings: Settings,
    log: Arc<TestLog>,
}

impl Scene {
    async fn set() -> Self {
        let redis = own_redis().await;
        let proxy = Proxy::start(redis.address()).await.expect("a proxy");
        let log = Arc::<TestLog>::default();
        let settings = Settings::at_url(&format!("redis://{}", proxy.address()));
        Self {
            settings: settings.budget(BUDGET).log(log.clone()),
            redis,
            proxy,
            log,
        }
    }

    /// Another instance, whom the proxy's faults do not touch.
    async fn elsewhere(&self) -> RedisBackend {
        let mut settings = Settings::at(&self.redis).log(self.log.clone());
        settings.0.namespace.clone_from(&self.settings.0.namespace);
        settings.far().await
    }

    fn token(&self) -> String {
        ask(&self.redis, &["GET", &self.settings.token()])
    }

    fn watermark(&self) -> String {
        ask(&self.redis, &["GET", &self.settings.watermark()])
    }

    /// The connection is lost, and made again.
    async fn interrupt(&self, backend: &impl CacheBackend) {
        self.proxy.set(Direction::Both, Fault::Cut);
        eventually("it is noticed", || backend.trouble().is_some()).await;
        self.proxy.heal();
        is_trusted(backend).await;
    }
}

fn text(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

/// What an interruption costs: what was changed meanwhile, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_missed_changes_is_told_of_them_and_keeps_the_rest() {
    let scene = Scene::set().await;
    let far = scene.settings.far().await;
    for key in [row(1), row(2), page(1)] {
        fill(&far, &key, "old").await;
    }
    let token = scene.token();
    scene.proxy.set(Direction::Both, Fault::Cut);
    let missed = scene.log.write(Change::of(row(1)).and_group(PAGES));
    assert_eq!(far.apply(&missed).await, Voided::Unconfirmed);
    scene.proxy.heal();
    is_trusted(&far).await;
    assert_eq!(hit(&far, &row(1)).await, None);
    assert_eq!(hit(&far, &page(1)).await, None);
    assert_eq!(hit(&far, &row(2)).await, text("old"));
    assert_eq!(scene.token(), token, "nothing was dropped");
    assert_eq!(scene.watermark(), "11 of the test");
}

/// Also what nobody here has heard of yet: a recovery reads the log itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_replays_what_no_tailer_has_come_to() {
    let scene = Scene::set().await;
    let far = scene.settings.far().await;
    for id in 0..600 {
        fill(&far, &row(id), "old").await;
    }
    // More than one script takes.
    for id in 0..500 {
        scene.log.write(Change::of(row(id)));
    }
    scene.interrupt(&far).await;
    for id in 0..600 {
        let expected = if id < 500 { None } else { text("old") };
        assert_eq!(hit(&far, &row(id)).await, expected, "{id}");
    }
    assert_eq!(scene.watermark(), "510 of the test");
}

/// Recovery rule 1, for the log: what was passed without a confirmed void is a doubt.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_passes_while_redis_is_away_is_a_doubt() {
    let scene = Scene::set().await;
    let backend = scene.settings.tiered().await;
    fill(&backend, &row(1), "old").await;
    scene.proxy.set(Direction::Both, Fault::Hang);
    let batch = scene.log.write(Change::of(row(1)));
    assert_eq!(backend.apply(&batch).await, Voided::Unconfirmed);
    assert!(backend.trouble().is_some(), "one is enough");
    assert_eq!(
        hit(&backend, &row(1)).await,
        None,
        "near is voided all the same"
    );
    scene.proxy.set(Direction::Both, Fault::Cut);
    scene.proxy.heal();
    is_trusted(&backend).await;
    assert_eq!(hit(&backend, &row(1)).await, None);
}

/// Recovery rule 6: a Redis that has forgotten is another Redis.
#[tokio::test(flavor = "multi_thread")]
async fn a_watermark_that_is_lost_or_behind_is_noticed_with_the_next_change() {
    for loss in [
        &["DEL"][..],
        &["SET", "10 of the test"],
        &["SET", "what is this"],
    ] {
        let scene = Scene::set().await;
        let backend = scene.settings.tiered().await;
        let _ = backend.apply(&scene.log.write(Change::of(row(9)))).await;
        assert_eq!(scene.watermark(), "11 of the test");
        fill(&backend, &row(1), "old").await;
        fill(&backend, &row(2), "old").await;
        let token = scene.token();
        // As a Redis would that came back with old data, in which row 1 was not voided yet.
        let name = scene.settings.watermark();
        let words: Vec<&str> = [&loss[..1], &[&*name], &loss[1..]].concat();
        ask(&scene.redis, &words);
        let batch = scene.log.write(Change::of(row(2)));
        assert_eq!(backend.apply(&batch).await, Voided::Unconfirmed, "{loss:?}");
        is_trusted(&backend).await;
        let is_dropped = scene.token() != token;
        assert_eq!(
            is_dropped,
            loss[1..] != ["10 of the test"],
            "{loss:?}: what can be replayed is"
        );
        assert_eq!(hit(&backend, &row(2)).await, None);
        assert_eq!(scene.watermark(), "12 of the test");
    }
}

/// The same with no change to tell of: Redis is listened to. What near has was good when it was copied.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_came_by_other_data_on_the_same_connection_is_noticed() {
    let scene = Scene::set().await;
    let backend = scene.settings.tiered().await;
    let disturbances: [&dyn Fn(); 3] = [
        &|| drop(ask(&scene.redis, &["FLUSHALL"])),
        &|| drop(ask(&scene.redis, &["DEL", &scene.settings.watermark()])),
        // Made a replica and a master again before anybody looks.
        &|| {
            ask(&scene.redis, &["REPLICAOF", "127.0.0.1", "1"]);
            ask(&scene.redis, &["REPLICAOF", "NO", "ONE"]);
        },
    ];
    fill(&backend, &row(1), "copied").await;
    for (number, disturb) in disturbances.iter().enumerate() {
        let registry = scene.settings.name_of("sequences");
        let known = || ask(&scene.redis, &["ZRANGE", &registry, "0", "-1"]);
        let before = known();
        disturb();
        eventually(&format!("disturbance {number} is noticed"), || {
            let known = known();
            !known.is_empty() && known != before
        })
        .await;
        is_trusted(&backend).await;
        assert!(backend.peek(&row(1), START).is_some(), "{number}");
    }
}

/// Not even before anybody has listened: the watermark of other data must not be moved, though it may
/// be just as far.
#[tokio::test(flavor = "multi_thread")]
async fn other_data_behind_the_same_connection_is_told_of_no_change() {
    let scene = Scene::set().await;
    let backend = scene.settings.tiered().await;
    ask(&scene.redis, &["REPLICAOF", "127.0.0.1", "1"]);
    ask(&scene.redis, &["REPLICAOF", "NO", "ONE"]);
    let before = scene.watermark();
    let batch = scene.log.write(Change::of(row(2)));
    assert_eq!(backend.apply(&batch).await, Voided::Unconfirmed);
    is_trusted(&backend).await;
    assert_ne!(scene.watermark(), before, "it was replayed");
}

/// Several instances tell one Redis of the same changes. Whoever comes later voids nothing again.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_has_told_redis_no_other_tells_it_again() {
    let scene = Scene::set().await;
    let (one, other) = (scene.settings.far().await, scene.settings.far().await);
    let batch = scene.log.write(Change::of(row(1)).and_group(PAGES));
    assert_eq!(one.apply(&batch).await, Voided::Confirmed);
    fill(&one, &row(1), "new").await;
    fill(&one, &page(1), "new").await;
    assert_eq!(other.apply(&batch).await, Voided::Confirmed);
    assert_eq!(hit(&one, &row(1)).await, text("new"));
    assert_eq!(hit(&one, &page(1)).await, text("new"));
    assert_eq!(scene.watermark(), "11 of the test");
}

/// That a change is voided is kept with what was voided: old data has forgotten both.
#[tokio::test(flavor = "multi_thread")]
async fn old_data_does_not_remember_a_void_that_came_after_it() {
    let mut redis = own_redis().await;
    let log = Arc::<TestLog>::default();
    let settings = Settings::at(&redis).budget(BUDGET).log(log.clone());
    let far = settings.far().await;
    fill(&far, &row(1), "old").await;
    let snapshot = block_in_place(|| redis.snapshot()).expect("a snapshot");
    log.write(Change::of(row(1)));
    let change = Change::of(row(1)).committed(Some(Position::new(FIRST)));
    assert_eq!(far.void(&change, None).await, Voided::Confirmed);
    fill(&far, &row(1), "new").await;
    block_in_place(|| redis.kill()).expect("it dies");
    block_in_place(|| redis.start_from(&snapshot)).expect("it starts");
    eventually("it is noticed", || far.trouble().is_some()).await;
    is_trusted(&far).await;
    assert_eq!(hit(&far, &row(1)).await, None);
}

/// A database that was restored hands the same positions out again.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_comes_again_is_not_taken_for_voided() {
    let scene = Scene::set().await;
    let far = scene.settings.far().await;
    // Voided by its writer, and never told of.
    let change = Change::of(row(1)).committed(Some(Position::new(FIRST)));
    assert_eq!(far.void(&change, None).await, Voided::Confirmed);
    scene.log.start.store(1000, Ordering::SeqCst);
    scene.interrupt(&far).await;
    scene.log.start.store(0, Ordering::SeqCst);
    fill(&far, &row(1), "old").await;
    let batch = scene.log.write(Change::of(row(1)));
    assert_eq!(batch.entries[0].position, Position::new(FIRST));
    assert_eq!(far.apply(&batch).await, Voided::Confirmed);
    assert_eq!(hit(&far, &row(1)).await, None);
}

/// A clear that its instance cannot do in Redis, from the beginning or from some key on, is done by
/// whichever instance applies the log: everything goes, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_clear_that_redis_did_not_hear_of_drops_what_it_has() {
    for is_cut_midway in [false, true] {
        let scene = Scene::set().await;
        let cleared = Arc::new(scene.settings.far().await);
        let (other, third) = (scene.elsewhere().await, scene.elsewhere().await);
        for id in 0..1500 {
            fill(&other, &row(id), "old").await;
        }
        let clear: Clear = "row:*".parse().expect("a pattern");
        if is_cut_midway {
            let size = || ask(&scene.redis, &["DBSIZE"]);
            let before = size();
            // Slow enough that it can be seen at work.
            let slow = Fault::Throttle {
                bytes_per_second: 100_000,
            };
            scene.proxy.set(Direction::ToClient, slow);
            let clearing = tokio::spawn({
                let (cleared, clear) = (Arc::clone(&cleared), clear.clone());
                async move { cleared.clear(&clear).await }
            });
            eventually("it has begun", || size() != before).await;
            scene.proxy.set(Direction::Both, Fault::Cut);
            clearing.await.expect("no panic");
        } else {
            scene.proxy.set(Direction::Both, Fault::Cut);
            assert_eq!(cleared.clear(&clear).await, 0);
        }
        let token = scene.token();
        let batch = scene.log.write_stale(Stale::Cleared(clear));
        assert_eq!(other.apply(&batch).await, Voided::Confirmed);
        assert_ne!(scene.token(), token);
        for id in 0..1500 {
            assert_eq!(hit(&other, &row(id)).await, None, "{id}");
        }
        fill(&other, &row(1), "new").await;
        assert_eq!(third.apply(&batch).await, Voided::Confirmed);
        scene.proxy.heal();
        is_trusted(&*cleared).await;
        let _ = cleared.apply(&batch).await;
        assert_eq!(hit(&third, &row(1)).await, text("new"), "it is done once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clear_that_redis_has_done_is_not_done_again() {
    let scene = Scene::set().await;
    let (cleared, other) = (scene.settings.far().await, scene.elsewhere().await);
    fill(&other, &row(1), "old").await;
    fill(&other, &page(1), "kept").await;
    let clear: Clear = "row:1".parse().expect("a pattern");
    assert_eq!(cleared.clear(&clear).await, 1);
    fill(&other, &row(1), "new").await;
    let batch = scene.log.write_stale(Stale::Cleared(clear));
    for far in [&other, &cleared, &other] {
        assert_eq!(far.apply(&batch).await, Voided::Confirmed);
        assert_eq!(hit(far, &row(1)).await, text("new"));
        assert_eq!(hit(far, &page(1)).await, text("kept"));
    }
    // Its note goes with the watermark.
    let _ = other.apply(&scene.log.write(Change::of(row(9)))).await;
    assert_eq!(
        ask(&scene.redis, &["EXISTS", &scene.settings.name_of("voided")]),
        "0"
    );
}

/// Not even where the data is exchanged while a clear is under way: what was removed was in the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_clear_is_not_noted_in_data_that_it_was_not_done_in() {
    let scene = Scene::set().await;
    let clearing = Arc::new(scene.settings.far().await);
    let filling = scene.elsewhere().await;
    // Of many keys one, so that most steps remove nothing; then exchanged once, or there and back.
    for (pattern, is_back) in [("row:*", false), ("row:777", false), ("row:777", true)] {
        for id in 0..1500 {
            let _ = filling.void(&Change::of(row(id)), None).await;
            fill(&filling, &row(id), "old").await;
        }
        copy(&scene.redis);
        let clear: Clear = pattern.parse().expect("a pattern");
        let scans = || ask(&scene.redis, &["INFO", "commandstats"]).contains("cmdstat_scan:");
        ask(&scene.redis, &["CONFIG", "RESETSTAT"]);
        let slow = Fault::Throttle {
            bytes_per_second: 100_000,
        };
        scene.proxy.set(Direction::ToClient, slow);
        let cleared = tokio::spawn({
            let (clear, clearing) = (clear.clone(), Arc::clone(&clearing));
            async move { clearing.clear(&clear).await }
        });
        eventually("it has begun", &scans).await;
        ask(&scene.redis, &["SWAPDB", "0", "1"]);
        if is_back {
            ask(&scene.redis, &["SWAPDB", "0", "1"]);
        }
        scene.proxy.heal();
        cleared.await.expect("no panic");
        scene.log.write_stale(Stale::Cleared(clear));
        // It recovers out of the log, in the data that is there now.
        let other = scene.elsewhere().await;
        is_trusted(&other).await;
        assert_eq!(hit(&other, &row(777)).await, None, "{pattern} {is_back}");
        is_trusted(&*clearing).await;
        is_trusted(&filling).await;
    }
}

/// A Redis that comes back with data from before a clear has it done again.
#[tokio::test(flavor = "multi_thread")]
async fn a_clear_is_done_in_old_data_that_comes_back() {
    let mut redis = own_redis().await;
    let log = TestLog::shared();
    let settings = Settings::at(&redis).budget(BUDGET).log(log.clone());
    let far = settings.far().await;
    fill(&far, &row(1), "old").await;
    let snapshot = block_in_place(|| redis.snapshot()).expect("a snapshot");
    let clear: Clear = "row:*".parse().expect("a pattern");
    assert_eq!(far.clear(&clear).await, 1);
    let batch = log.write_stale(Stale::Cleared(clear));
    assert_eq!(far.apply(&batch).await, Voided::Confirmed);
    block_in_place(|| redis.kill()).expect("it dies");
    block_in_place(|| redis.start_from(&snapshot)).expect("it starts");
    eventually("it is noticed", || far.trouble().is_some()).await;
    is_trusted(&far).await;
    assert_eq!(hit(&far, &row(1)).await, None);
}

/// A database that was restored to before a write, beside a Redis to which its writer named the position:
/// the watermark, which had not got so far, fits the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_before_what_redis_was_told_of_is_another() {
    let scene = Scene::set().await;
    let far = scene.settings.far().await;
    let writer = far.ticket(&row(1)).await.expect("a ticket");
    let change = Change::of(row(1)).committed(Some(Position::new(FIRST)));
    let through = Some((writer, entry("of another history")));
    assert_eq!(far.void(&change, through).await, Voided::Confirmed);
    assert!(hit(&far, &row(1)).await.is_some());
    scene.interrupt(&far).await;
    assert_eq!(hit(&far, &row(1)).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_log_cannot_tell_everything_is_dropped() {
    let scene = Scene::set().await;
    let far = scene.settings.far().await;
    for cause in ["older", "newer"] {
        fill(&far, &row(1), "old").await;
        let token = scene.token();
        match cause {
            "older" => scene.log.start.store(1000, Ordering::SeqCst),
            _ => drop(ask(
                &scene.redis,
                &["SET", &scene.settings.watermark(), "99 of the test"],
            )),
        }
        scene.interrupt(&far).await;
        assert_ne!(scene.token(), token, "{cause}");
        assert_eq!(hit(&far, &row(1)).await, None, "{cause}");
        scene.log.start.store(0, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_log_redis_is_not_trusted() {
    let scene = Scene::set().await;
    let far = scene.settings.far().await;
    scene.log.is_away.store(true, Ordering::SeqCst);
    scene.proxy.set(Direction::Both, Fault::Cut);
    eventually("it is noticed", || far.trouble().is_some()).await;
    scene.proxy.heal();
    eventually("its reason is told", || {
        far.trouble()
            .is_some_and(|why| why.contains("the change log cannot be read: it is away"))
    })
    .await;
    scene.log.is_away.store(false, Ordering::SeqCst);
    is_trusted(&far).await;
}
