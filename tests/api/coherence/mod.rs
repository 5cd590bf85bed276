//! Several instances on one database, and what each learns of the others' changes.

mod away;
mod instances;
mod log;
mod observer;
mod position;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::{Storage, Store, TestApp};

/// Two instances of one service.
struct Two {
    one: TestApp,
    other: TestApp,
    admin: String,
    // Goes after them.
    store: Store,
}

impl Two {
    async fn start(storage: Storage, backend: &str, config: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let store = tokio::task::spawn_blocking(move || Store::fresh(storage))
            .await
            .expect("the database is made");
        let config = format!("cache.namespace = 'two-{number}'\n{config}");
        let one = TestApp::start_at(&store.url(), backend, &config).await;
        let other = TestApp::start_at(&store.url(), backend, &config).await;
        let admin = one.admin().await;
        Self {
            one,
            other,
            admin,
            store,
        }
    }

    async fn stop(self) {
        self.one.stop().await;
        self.other.stop().await;
        let dropped = tokio::task::spawn_blocking(move || drop(self.store));
        dropped.await.expect("the database goes");
    }
}

/// Asks a test of two instances of each combination.
macro_rules! of_two {
    ($name:ident) => {
        of_two!($name, "");
    };
    ($name:ident, $config:expr) => {
        mod $name {
            use super::*;

            of_two! { @ $name, $config,
                on_sqlite_with_memory: Sqlite "memory",
                on_sqlite_with_redis: Sqlite "redis",
                on_sqlite_with_tiered: Sqlite "tiered",
                on_postgresql_with_memory: Postgres "memory",
                on_postgresql_with_redis: Postgres "redis",
                on_postgresql_with_tiered: Postgres "tiered",
            }
        }
    };
    (@ $name:ident, $config:expr, $($on:ident: $storage:ident $backend:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $on() {
                use crate::coherence::Two;
                use crate::support::Storage;
                $name(Two::start(Storage::$storage, $backend, $config).await).await;
            }
        )*
    };
}
use of_two;
