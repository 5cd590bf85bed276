//! Backends on real servers, and a look at what they store there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use alacena::cache::{
    CacheBackend, Change, ChangeLog, Clock, Entry, Filled, Key, LogBatch, LogEntry, LogUnavailable,
    Lookup, MemoryBackend, Mode, Position, RedisBackend, RedisServer, RedisSettings, Replay, Stale,
    SystemClock, Ticket, TieredBackend, Watermark,
};
use alacena_lab::contract::source::{POLICY, START};
use alacena_lab::servers::Redis;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::block_in_place;

/// One server for all, which ends with this process: each backend has a namespace of its own.
pub(crate) static REDIS: LazyLock<Redis> = LazyLock::new(|| Redis::start().expect("Redis starts"));

/// A server that loses what it holds, any of it at any time: an eviction is just that.
pub(crate) static FORGETFUL: LazyLock<&'static Redis> = LazyLock::new(|| {
    // One in so many that it does not even let a recovery end.
    const FORGET: &str = "local name = redis.call('RANDOMKEY')
        if string.sub(name, 1, 4) == 'test' then redis.call('DEL', name) end";
    static SERVER: LazyLock<Redis> = LazyLock::new(|| Redis::start().expect("Redis starts"));
    for number in 0..300 {
        ask(&SERVER, &["SET", &format!("ballast:{number}"), "x"]);
    }
    // It ends with the process, like the server.
    std::thread::spawn(|| {
        while SERVER.command(&["EVAL", FORGET, "0"]).is_ok() {
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    &SERVER
});

/// A server of the test's own.
pub(crate) async fn own_redis() -> Redis {
    tokio::task::spawn_blocking(|| Redis::start().expect("Redis starts"))
        .await
        .expect("no panic")
}

/// What a server says to a command.
pub(crate) fn ask(redis: &Redis, words: &[&str]) -> String {
    redis
        .command(words)
        .unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// A number that a server knows of itself.
pub(crate) fn figure(redis: &Redis, section: &str, name: &str) -> u64 {
    let info = ask(redis, &["INFO", section]);
    let mut lines = info.lines().filter_map(|line| line.split_once(':'));
    let (_, figure) = lines.find(|(key, _)| *key == name).expect("it is known");
    figure.trim().parse().expect("a number")
}

/// For a store that no log stands behind: it never knows what it missed.
pub(crate) struct NoLog;

#[async_trait]
impl ChangeLog for NoLog {
    async fn replay(&self, _: Option<&Watermark>, _: Position) -> Result<Replay, LogUnavailable> {
        Ok(Replay::Unknown {
            why: "there is no change log".into(),
            end: Watermark::new(Position::new(1), "of no log"),
        })
    }
}

/// A log in which nothing has changed since a watermark, once the test lets it say so.
pub(crate) struct HeldLog {
    /// One message for each recovery that has come to read the log.
    reached: std::sync::mpsc::Sender<()>,
    may_answer: Mutex<std::sync::mpsc::Receiver<()>>,
    changed: Mutex<Vec<LogEntry>>,
}

/// The test's end of a [`HeldLog`].
pub(crate) struct LogHolder {
    pub(crate) log: Arc<HeldLog>,
    reached: std::sync::mpsc::Receiver<()>,
    answer: std::sync::mpsc::Sender<()>,
}

impl LogHolder {
    pub(crate) fn new() -> Self {
        let (reached, at_log) = std::sync::mpsc::channel();
        let (answer, may_answer) = std::sync::mpsc::channel();
        let log = Arc::new(HeldLog {
            reached,
            may_answer: Mutex::new(may_answer),
            changed: Mutex::default(),
        });
        Self {
            log,
            reached: at_log,
            answer,
        }
    }

    /// Waits until a recovery reads the log.
    pub(crate) fn reached(&self) {
        block_in_place(|| self.reached.recv()).expect("the recovery goes on");
    }

    /// Lets the next reading end, or the present one.
    pub(crate) fn answer(&self) {
        self.answer.send(()).expect("the recovery goes on");
    }

    /// Writes a change, which readings that began before do not tell.
    pub(crate) fn write(&self, position: u64, change: Change) {
        let entry = LogEntry {
            position: Position::new(position),
            stale: Stale::Change(change),
        };
        self.log.changed.lock().expect("no panic").push(entry);
    }
}

#[async_trait]
impl ChangeLog for HeldLog {
    async fn replay(
        &self,
        since: Option<&Watermark>,
        _: Position,
    ) -> Result<Replay, LogUnavailable> {
        let until = Watermark::new(Position::new(1), "of the test");
        let entries = self.changed.lock().expect("no panic").clone();
        self.reached.send(()).expect("the test goes on");
        block_in_place(|| self.may_answer.lock().expect("no panic").recv())
            .map_err(|_| LogUnavailable("the test is over".into()))?;
        Ok(match since {
            Some(_) => Replay::Since(LogBatch { entries, until }),
            None => Replay::Unknown {
                why: "there is no watermark".into(),
                end: until,
            },
        })
    }
}

/// How backends of a test are made. All that one `Settings` makes are instances of one service.
#[derive(Clone)]
pub(crate) struct Settings(pub(crate) RedisSettings, Arc<dyn ChangeLog>, Arc<dyn Clock>);

impl Settings {
    pub(crate) fn at(server: &Redis) -> Self {
        Self::at_url(&server.url())
    }

    pub(crate) fn at_url(url: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let settings = RedisSettings {
            server: RedisServer::from_url(url).expect("a URL"),
            namespace: format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
            connect_timeout: Duration::from_secs(5),
            // A busy machine is no outage.
            budget: Duration::from_secs(10),
            pool_size: 2,
            log: "log".to_owned(),
            lease: Duration::from_secs(60),
            max_entry: 512 << 10,
            secret: [7; 32],
        };
        Self(settings, Arc::new(NoLog), Arc::new(SystemClock::new()))
    }

    /// What is made of this follows a log.
    pub(crate) fn log(mut self, log: Arc<dyn ChangeLog>) -> Self {
        self.1 = log;
        self
    }

    /// What is made of this has this clock.
    pub(crate) fn clock(mut self, clock: impl Clock) -> Self {
        self.2 = Arc::new(clock);
        self
    }

    pub(crate) fn lease(mut self, lease: Duration) -> Self {
        self.0.lease = lease;
        self
    }

    pub(crate) fn budget(mut self, budget: Duration) -> Self {
        self.0.budget = budget;
        self
    }

    /// Redis alone.
    pub(crate) async fn far(&self) -> RedisBackend {
        let backend = self.untried();
        backend.tried().await;
        backend
    }

    pub(crate) async fn redis(&self) -> TieredBackend {
        let (near, far) = self.two_tiers().await;
        TieredBackend::far_first(near, far)
    }

    pub(crate) async fn tiered(&self) -> TieredBackend {
        let (near, far) = self.two_tiers().await;
        TieredBackend::near_first(near, far)
    }

    async fn two_tiers(&self) -> (Arc<MemoryBackend>, Arc<RedisBackend>) {
        let near = Arc::new(MemoryBackend::new(64 << 20));
        (near, Arc::new(self.far().await))
    }

    /// Redis alone, which it is not yet known whether it can be used.
    pub(crate) fn untried(&self) -> RedisBackend {
        let (log, clock) = (Arc::clone(&self.1), Arc::clone(&self.2));
        RedisBackend::new(&self.0, log, clock).expect("good settings")
    }

    /// What something is called in Redis.
    pub(crate) fn name(&self, kind: &str, rest: &str) -> String {
        format!("{}:3:log:{kind}:{rest}", self.0.namespace)
    }

    pub(crate) fn entry(&self, key: &Key) -> String {
        self.name("entry", key.name())
    }

    pub(crate) fn lease_of(&self, key: &Key) -> String {
        self.name("lease", key.name())
    }

    /// What something is called that there is one of.
    pub(crate) fn name_of(&self, what: &str) -> String {
        format!("{}:3:log:{what}", self.0.namespace)
    }

    pub(crate) fn token(&self) -> String {
        self.name_of("token")
    }

    pub(crate) fn watermark(&self) -> String {
        self.name_of("watermark")
    }
}

pub(crate) fn entry(value: &'static str) -> Entry {
    POLICY.entry(Some(Bytes::from_static(value.as_bytes())), START)
}

/// The ticket that a miss comes with.
pub(crate) async fn miss(backend: &(impl CacheBackend + ?Sized), key: &Key) -> Ticket {
    match backend.lookup(key, Mode::Read, START).await {
        Lookup::Miss(Some(ticket)) => ticket,
        found => panic!("{key:?} was to be a miss with a ticket, and is {found:?}"),
    }
}

/// What a hit answers.
pub(crate) async fn hit(backend: &(impl CacheBackend + ?Sized), key: &Key) -> Option<Bytes> {
    match backend.lookup(key, Mode::Read, START).await {
        Lookup::Hit(entry, _) => entry.value().cloned(),
        _ => None,
    }
}

/// Stores a value as a reader does.
pub(crate) async fn fill(backend: &(impl CacheBackend + ?Sized), key: &Key, value: &'static str) {
    let ticket = miss(backend, key).await;
    assert_eq!(backend.fill(ticket, entry(value)).await, Filled::Stored);
}

/// Waits until the backend trusts its Redis.
pub(crate) async fn is_trusted(backend: &(impl CacheBackend + ?Sized)) {
    eventually("Redis is trusted", || backend.trouble().is_none()).await;
}

/// The backend, once it trusts its Redis.
pub(crate) async fn trusted<B: CacheBackend>(backend: B) -> B {
    is_trusted(&backend).await;
    backend
}

/// Waits for what another process or a task brings about.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert!(outcome.is_ok(), "never came about: {what}");
}
