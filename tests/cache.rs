//! Every backend, put to the contract that `lab/` holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use alacena::cache::{
    CacheBackend, MemoryBackend, NullBackend, RedisBackend, RedisServer, RedisSettings,
    TieredBackend,
};
use alacena_lab::servers::Redis;

alacena_lab::backend_contract!(memory, async { MemoryBackend::new(64 << 20) });
alacena_lab::backend_contract!(safety: off, async { NullBackend::new() });

// So small that entries are evicted while they are used: what is kept may be lost, never wrong.
alacena_lab::backend_contract!(safety: memory_that_evicts, async {
    MemoryBackend::new(700)
});

alacena_lab::backend_contract!(far: redis_alone, async { redis_alone(&REDIS).await });
alacena_lab::backend_contract!(far: redis, async { redis(&REDIS).await });
alacena_lab::backend_contract!(tiered, async { tiered(&REDIS).await });

// The same for Redis.
alacena_lab::backend_contract!(safety: redis_that_evicts, async { redis(&TINY).await });

/// One server for all, which ends with this process: each backend has a namespace of its own.
static REDIS: LazyLock<Redis> = LazyLock::new(|| Redis::start().expect("Redis starts"));

/// With room for what the server needs itself and little more.
static TINY: LazyLock<Redis> = LazyLock::new(|| {
    let redis = Redis::start_with(&[("maxmemory-policy", "allkeys-random")]);
    let redis = redis.expect("Redis starts");
    let memory = redis.command(&["INFO", "memory"]).expect("it answers");
    let used = memory
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let used: u64 = used.and_then(|used| used.parse().ok()).expect("a number");
    let most = (used + 400_000).to_string();
    redis
        .command(&["CONFIG", "SET", "maxmemory", &most])
        .expect("it obeys");
    redis
});

async fn connected(
    server: &Redis,
    before_trust: impl Fn() + Send + Sync + 'static,
) -> RedisBackend {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let settings = RedisSettings {
        server: RedisServer::from_url(&server.url()).expect("a URL"),
        namespace: format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
        connect_timeout: Duration::from_secs(5),
        budget: Duration::from_secs(5),
        pool_size: 2,
        lease: Duration::from_secs(5),
        secret: [7; 32],
    };
    let backend = RedisBackend::new(&settings, before_trust).expect("good settings");
    backend.tried().await;
    backend
}

async fn redis_alone(server: &Redis) -> RedisBackend {
    connected(server, || ()).await
}

async fn two_tiers(server: &Redis) -> (Arc<MemoryBackend>, Arc<RedisBackend>) {
    let near = Arc::new(MemoryBackend::new(64 << 20));
    let emptied = Arc::clone(&near);
    let far = connected(server, move || emptied.distrust()).await;
    (near, Arc::new(far))
}

async fn redis(server: &Redis) -> TieredBackend {
    let (near, far) = two_tiers(server).await;
    TieredBackend::far_first(near, far)
}

async fn tiered(server: &Redis) -> TieredBackend {
    let (near, far) = two_tiers(server).await;
    TieredBackend::near_first(near, far)
}
