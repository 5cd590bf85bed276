//! What new connections to Redis have to show before it is trusted again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alacena::cache::{CacheBackend, Mode, RedisBackend};
use alacena_lab::contract::source::{START, row};
use alacena_lab::proxy::{Direction, Fault, Proxy};

use crate::support::{NoLog, Settings, is_trusted, own_redis};

/// Each time that Redis comes to be trusted empties near.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_whose_connections_do_not_last_is_not_trusted_time_and_again() {
    let redis = own_redis().await;
    let proxy = Proxy::start(redis.address()).await.expect("a proxy");
    let settings = Settings::at_url(&format!("redis://{}", proxy.address()));
    let emptied = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&emptied);
    let backend = RedisBackend::new(&settings.0, Arc::new(NoLog), move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let backend = backend.expect("good settings");
    is_trusted(&backend).await;
    // Shorter than the shortest probation.
    let life = Duration::from_millis(60);
    proxy.set(Direction::Both, Fault::ResetWithin(life));
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        backend.lookup(&row(1), Mode::Read, START).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        emptied.load(Ordering::SeqCst),
        1,
        "when it was first trusted"
    );
    proxy.heal();
    is_trusted(&backend).await;
    assert_eq!(emptied.load(Ordering::SeqCst), 2);
}
