//! What new connections to Redis have to show before it is trusted again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alacena::cache::{CacheBackend, ChangeLog, LogUnavailable, Mode, Position, Replay, Watermark};
use alacena_lab::contract::source::{START, row};
use alacena_lab::proxy::{Direction, Fault, Proxy};
use async_trait::async_trait;

use crate::support::{NoLog, Settings, is_trusted, own_redis};

/// A log that counts how often a recovery has come to read it.
#[derive(Default)]
struct CountedLog(AtomicUsize);

#[async_trait]
impl ChangeLog for CountedLog {
    async fn replay(
        &self,
        since: Option<&Watermark>,
        told: Position,
    ) -> Result<Replay, LogUnavailable> {
        self.0.fetch_add(1, Ordering::SeqCst);
        NoLog.replay(since, told).await
    }
}

/// Each time that Redis comes to be trusted costs a replay of the log, and requests the wait for its loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_whose_connections_do_not_last_is_not_trusted_time_and_again() {
    let redis = own_redis().await;
    let proxy = Proxy::start(redis.address()).await.expect("a proxy");
    let settings = Settings::at_url(&format!("redis://{}", proxy.address()));
    let log = Arc::<CountedLog>::default();
    let backend = settings.log(log.clone()).untried();
    is_trusted(&backend).await;
    // Shorter than the shortest probation.
    let life = Duration::from_millis(60);
    proxy.set(Direction::Both, Fault::ResetWithin(life));
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        backend.lookup(&row(1), Mode::Read, START).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(log.0.load(Ordering::SeqCst), 1, "when it was first trusted");
    proxy.heal();
    is_trusted(&backend).await;
    assert_eq!(log.0.load(Ordering::SeqCst), 2);
}
