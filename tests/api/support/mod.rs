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

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite_with_memory() {
                use crate::support::{Storage, TestApp};
                $name(TestApp::start_on(Storage::Sqlite, "memory", $config).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite_with_the_cache_off() {
                use crate::support::{Storage, TestApp};
                $name(TestApp::start_on(Storage::Sqlite, "off", $config).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql_with_memory() {
                use crate::support::{Storage, TestApp};
                $name(TestApp::start_on(Storage::Postgres, "memory", $config).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql_with_the_cache_off() {
                use crate::support::{Storage, TestApp};
                $name(TestApp::start_on(Storage::Postgres, "off", $config).await).await;
            }
        }
    };
}

/// Asks again and again until the answer is yes, for what cannot be awaited.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    const LIMIT: Duration = Duration::from_secs(20);
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
