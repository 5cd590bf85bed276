use std::sync::Arc;

use anyhow::{Context, Result};
use secrecy::ExposeSecret;

use crate::cache::{
    CacheBackend, Clock, MemoryBackend, NullBackend, RedisAddress, RedisBackend, RedisServer,
    RedisSettings, TieredBackend,
};
use crate::coherence::Log;
use crate::config::{BackendKind, Config, RedisConfig, RedisMode};
use crate::db::Database;
use crate::service::made_stale;

/// What the key that authenticates cache entries is derived for.
const ENTRIES: &str = "alacena 2026-11-23 cache entries in a shared store";

/// The backend that the configuration names.
pub(super) async fn backend(
    config: &Config,
    database: &Database,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn CacheBackend>> {
    let memory = || Arc::new(MemoryBackend::new(config.cache.memory.capacity.as_u64()));
    Ok(match config.cache.backend {
        BackendKind::Off => Arc::new(NullBackend::new()),
        BackendKind::Memory => memory(),
        BackendKind::Redis => {
            let far = redis(config, database, clock).await?;
            Arc::new(TieredBackend::far_first(memory(), far))
        }
        BackendKind::Tiered => {
            let far = redis(config, database, clock).await?;
            Arc::new(TieredBackend::near_first(memory(), far))
        }
    })
}

/// The Redis that the configuration names, which need not be there.
async fn redis(
    config: &Config,
    database: &Database,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<RedisBackend>> {
    let RedisConfig {
        url,
        host,
        port,
        db,
        username,
        password,
        tls,
        mode: RedisMode::Standalone,
        pool_size,
        connect_timeout,
        budget,
        lease,
        max_entry,
    } = &config.cache.redis;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let server = if url.is_empty() {
        RedisServer::at(RedisAddress {
            host: host.clone(),
            port: *port,
            db: *db,
            username: given(username),
            password: given(password.expose_secret()),
            tls: *tls,
        })
    } else {
        RedisServer::from_url(url)
    };
    let settings = RedisSettings {
        server: server.context("cache.redis")?,
        namespace: config.cache.namespace.clone(),
        log: database.log_identity().await.context("the change log")?,
        connect_timeout: *connect_timeout,
        budget: *budget,
        pool_size: *pool_size,
        lease: *lease,
        max_entry: usize::try_from(max_entry.as_u64()).unwrap_or(usize::MAX),
        secret: blake3::derive_key(ENTRIES, config.auth.jwt_secret.expose_secret().as_bytes()),
    };
    let log = Arc::new(Log::new(database.clone(), made_stale));
    let redis = RedisBackend::new(&settings, log, Arc::clone(clock));
    let redis = redis.context("cache.redis")?;
    // So that a Redis that is there is used from the first request on.
    redis.tried().await;
    Ok(Arc::new(redis))
}
