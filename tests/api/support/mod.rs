//! A service to ask, and how to ask it.

mod answer;
mod app;
mod storage;
pub(crate) mod tcp;
pub(crate) mod tokens;

use std::time::{Duration, Instant};

pub(crate) use answer::{Answer, Call};
pub(crate) use app::{ADMIN_EMAIL, ADMIN_PASSWORD, TestApp, TestUser, client};
pub(crate) use storage::{Storage, Store, Truth};

/// Asks a test of each combination of database and cache backend. What follows the name is
/// configuration on top of the `test` profile's.
macro_rules! matrix {
    ($name:ident) => {
        matrix!($name, "");
    };
    ($name:ident, $config:expr) => {
        mod $name {
            use super::*;

            matrix! { @ $name, $config,
                on_sqlite_with_memory: Sqlite "memory",
                on_sqlite_with_redis: Sqlite "redis",
                on_sqlite_with_tiered: Sqlite "tiered",
                on_sqlite_with_the_cache_off: Sqlite "off",
                on_postgresql_with_memory: Postgres "memory",
                on_postgresql_with_redis: Postgres "redis",
                on_postgresql_with_tiered: Postgres "tiered",
                on_postgresql_with_the_cache_off: Postgres "off",
            }
        }
    };
    (@ $name:ident, $config:expr, $($on:ident: $storage:ident $backend:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $on() {
                use crate::support::{Storage, TestApp};
                $name(TestApp::start_on(Storage::$storage, $backend, $config).await).await;
            }
        )*
    };
}

/// Asks again and again until the answer is yes, for what cannot be awaited.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    eventually_within(Duration::from_secs(20), what, condition).await;
}

/// The same, for what may take longer.
pub(crate) async fn eventually_within(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
