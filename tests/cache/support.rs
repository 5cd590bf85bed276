//! Backends on real servers, and a look at what they store there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use alacena::cache::{
    CacheBackend, ChangeLog, Entry, Filled, Key, LogUnavailable, Lookup, MemoryBackend, Mode,
    Position, RedisBackend, RedisServer, RedisSettings, Replay, Ticket, TieredBackend, Watermark,
};
use alacena_lab::contract::source::{POLICY, START};
use alacena_lab::servers::Redis;
use async_trait::async_trait;
use bytes::Bytes;

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
    async fn replay(&self, _: Option<&Watermark>) -> Result<Replay, LogUnavailable> {
        Ok(Replay::Unknown {
            why: "there is no change log".into(),
            end: Watermark::new(Position::new(1), "of no log"),
        })
    }
}

/// How backends of a test are made. All that one `Settings` makes are instances of one service.
#[derive(Clone)]
pub(crate) struct Settings(pub(crate) RedisSettings, Arc<dyn ChangeLog>);

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
            secret: [7; 32],
        };
        Self(settings, Arc::new(NoLog))
    }

    /// What is made of this follows a log.
    pub(crate) fn log(mut self, log: Arc<dyn ChangeLog>) -> Self {
        self.1 = log;
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
        self.connected(|| ()).await
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
        let emptied = Arc::clone(&near);
        let far = self.connected(move || emptied.distrust()).await;
        (near, Arc::new(far))
    }

    async fn connected(&self, forget_copies: impl Fn() + Send + Sync + 'static) -> RedisBackend {
        let log = Arc::clone(&self.1);
        let backend = RedisBackend::new(&self.0, log, forget_copies).expect("good settings");
        backend.tried().await;
        backend
    }

    /// What something is called in Redis.
    pub(crate) fn name(&self, kind: &str, rest: &str) -> String {
        format!("{}:2:log:{kind}:{rest}", self.0.namespace)
    }

    pub(crate) fn entry(&self, key: &Key) -> String {
        self.name("entry", key.name())
    }

    pub(crate) fn lease_of(&self, key: &Key) -> String {
        self.name("lease", key.name())
    }

    pub(crate) fn token(&self) -> String {
        format!("{}:2:log:token", self.0.namespace)
    }

    pub(crate) fn watermark(&self) -> String {
        format!("{}:2:log:watermark", self.0.namespace)
    }
}

pub(crate) fn entry(value: &'static str) -> Entry {
    POLICY.entry(Some(Bytes::from_static(value.as_bytes())), START)
}

/// The ticket that a miss comes with.
pub(crate) async fn miss(backend: &impl CacheBackend, key: &Key) -> Ticket {
    match backend.lookup(key, Mode::Read, START).await {
        Lookup::Miss(Some(ticket)) => ticket,
        found => panic!("{key:?} was to be a miss with a ticket, and is {found:?}"),
    }
}

/// What a hit answers.
pub(crate) async fn hit(backend: &impl CacheBackend, key: &Key) -> Option<Bytes> {
    match backend.lookup(key, Mode::Read, START).await {
        Lookup::Hit(entry, _) => entry.value().cloned(),
        _ => None,
    }
}

/// Stores a value as a reader does.
pub(crate) async fn fill(backend: &impl CacheBackend, key: &Key, value: &'static str) {
    let ticket = miss(backend, key).await;
    assert_eq!(backend.fill(ticket, entry(value)).await, Filled::Stored);
}

/// Waits until the backend trusts its Redis.
pub(crate) async fn is_trusted(backend: &impl CacheBackend) {
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
