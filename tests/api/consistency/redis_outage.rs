//! Redis fails in every way there is, under load, and comes back: no request fails, none is answered
//! with what was replaced, none waits longer than its budget and what it takes besides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alacena_lab::proxy::{Direction, Fault, Proxy};
use alacena_lab::servers::{Redis, RedisSnapshot};
use serde_json::Value;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::load::{Outcome, run};
use crate::support::{Storage, TestApp, eventually, eventually_within};

/// How long each act of a play takes.
const ACT: Duration = Duration::from_millis(600);

/// How long a request may wait for Redis. A recovery needs several answers within half of that, and
/// whatever is voided meanwhile has to be confirmed in it: the usual 50 ms would be too short where
/// the machine is so busy that everybody waits for a processor.
const BUDGET: Duration = Duration::from_millis(250);

/// What a request may take at most, which is far more than its budget: two cores serve everybody
/// here. A request that waits for a dead Redis without a bound takes longer.
const BOUND: Duration = Duration::from_secs(3);

/// How long a recovery may take. On a busy machine many an attempt fails.
const RECOVERY: Duration = Duration::from_secs(60);

/// A millisecond for each key, and a word now and then to those who ask meanwhile.
const LOADS_SLOWLY: [(&str, &str); 2] = [
    ("key-load-delay", "1000"),
    ("loading-process-events-interval-bytes", "1024"),
];

/// A Redis of one's own behind a proxy, and a service on it.
struct Scene {
    redis: Redis,
    proxy: Proxy,
    app: Arc<TestApp>,
    admin: String,
    snapshot: Option<RedisSnapshot>,
}

impl Scene {
    async fn set(storage: Storage, backend: &str) -> Self {
        let redis = block_in_place(|| Redis::start_with(&LOADS_SLOWLY));
        let redis = redis.expect("a Redis of one's own");
        let proxy = Proxy::start(redis.address()).await.expect("a proxy");
        let config = format!(
            "server.workers = 2\n[cache.redis]\nurl = 'redis://{}'\nbudget = '{}ms'\n\
             connect_timeout = '1s'",
            proxy.address(),
            BUDGET.as_millis()
        );
        let app = TestApp::start_on(storage, backend, &config).await;
        let admin = app.admin().await;
        Self {
            redis,
            proxy,
            app: Arc::new(app),
            admin,
            snapshot: None,
        }
    }

    /// Keeps what Redis holds now, and enough besides that it takes a while to load.
    fn keep(&mut self) {
        for hundred in 0..5 {
            let names = (0..100).map(|number| format!("ballast:{hundred}:{number}"));
            let words: Vec<String> = ["MSET".to_owned()]
                .into_iter()
                .chain(names.flat_map(|name| [name, "x".to_owned()]))
                .collect();
            self.redis(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
        self.snapshot = Some(block_in_place(|| self.redis.snapshot()).expect("a snapshot"));
    }

    fn start_from_old_data(&mut self) {
        let snapshot = self.snapshot.take().expect("something was kept");
        block_in_place(|| self.redis.start_from(&snapshot)).expect("it starts");
    }

    fn redis(&self, words: &[&str]) {
        let done = block_in_place(|| self.redis.command(words));
        done.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    }

    async fn cache(&self) -> Value {
        let answer = self.app.get("/health/ready").await;
        let ready = answer.json();
        let cache = ready["components"]["cache"].clone();
        // On a busy machine the database may take longer than whoever asks for this waits.
        let is_ready = ready["components"]["database"] == "up";
        assert_eq!(answer.status.as_u16() == 200, is_ready, "{ready}");
        if is_ready {
            assert_eq!(ready["status"], cache["status"], "{ready}");
        }
        let stats = self.app.stats(&self.admin).await;
        if cache["status"] == "degraded" && stats["status"] == "degraded" {
            assert!(cache["reason"].is_string() && stats["reason"].is_string());
            assert_eq!(stats["backend_reason"], stats["reason"]);
        }
        cache
    }

    async fn degraded(&self) {
        eventually("the service says that it is degraded", async || {
            self.cache().await["status"] == "degraded"
        })
        .await;
    }

    /// Waits until many more reads are answered. Each of a few clients asks again once it is: they
    /// would wait in vain if each answer took seconds.
    async fn goes_on(&self) {
        let answered = async || {
            let stats = self.app.stats(&self.admin).await;
            let [hits, misses] = ["keyspace_hits", "keyspace_misses"];
            stats[hits].as_u64().expect("a figure") + stats[misses].as_u64().expect("a figure")
        };
        let before = answered().await;
        eventually("reads go on", async || answered().await > before + 200).await;
    }

    /// Waits until Redis is used again. Answers how long that took.
    async fn well(&self) -> Duration {
        let since = Instant::now();
        eventually_within(RECOVERY, "the service uses Redis again", async || {
            self.cache().await["status"] == "up"
        })
        .await;
        since.elapsed()
    }
}

/// Plays a fault under load: well, then the fault, then well again.
async fn survives(
    what: &str,
    storage: Storage,
    mut begin: impl AsyncFnMut(&mut Scene),
    mut end: impl AsyncFnMut(&mut Scene),
) {
    for backend in ["redis", "tiered"] {
        let mut scene = Scene::set(storage, backend).await;
        let app = Arc::clone(&scene.app);
        let mut recovered = Duration::ZERO;
        let play = async {
            sleep(ACT).await;
            begin(&mut scene).await;
            scene.degraded().await;
            scene.goes_on().await;
            end(&mut scene).await;
            recovered = scene.well().await;
            sleep(ACT).await;
        };
        let Outcome { report, longest } = run(&app, &format!("{what}, {backend}"), play).await;
        println!(
            "{what}, {backend}: used again after {recovered:?}, no request took over {longest:?}"
        );
        assert!(report.is_clean(), "{what}, {backend}: {report}");
        assert!(report.reads > 100 && report.writes > 20, "{report}");
        assert!(
            longest < BOUND,
            "{what}, {backend}: a request took {longest:?}"
        );
        scene.well().await;
    }
}

macro_rules! outages {
    ($($name:ident: $storage:ident, $begin:expr, $end:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                survives(stringify!($name), Storage::$storage, $begin, $end).await;
            }
        )*
    };
}

/// No answer comes within the budget.
const SLOW: Fault = Fault::Delay {
    by: BUDGET.saturating_mul(2),
    jitter: BUDGET,
};

outages! {
    killed_and_restarted_empty: Sqlite,
        async |scene| block_in_place(|| scene.redis.kill()).expect("it dies"),
        async |scene| block_in_place(|| scene.redis.start_again()).expect("it starts");
    killed_and_restarted_empty_on_postgresql: Postgres,
        async |scene| block_in_place(|| scene.redis.kill()).expect("it dies"),
        async |scene| block_in_place(|| scene.redis.start_again()).expect("it starts");
    frozen_and_thawed: Sqlite,
        async |scene| block_in_place(|| scene.redis.freeze()).expect("it freezes"),
        async |scene| block_in_place(|| scene.redis.thaw()).expect("it thaws");
    frozen_and_thawed_on_postgresql: Postgres,
        async |scene| block_in_place(|| scene.redis.freeze()).expect("it freezes"),
        async |scene| block_in_place(|| scene.redis.thaw()).expect("it thaws");
    hung: Sqlite,
        async |scene| scene.proxy.set(Direction::Both, Fault::Hang),
        async |scene| scene.proxy.heal();
    hung_on_the_way_back: Sqlite,
        async |scene| scene.proxy.set(Direction::ToClient, Fault::Hang),
        async |scene| scene.proxy.heal();
    cut: Sqlite,
        async |scene| scene.proxy.set(Direction::Both, Fault::Cut),
        async |scene| scene.proxy.heal();
    reset: Sqlite,
        async |scene| scene.proxy.set(Direction::Both, Fault::Reset),
        async |scene| scene.proxy.heal();
    slow: Sqlite,
        async |scene| scene.proxy.set(Direction::ToClient, SLOW),
        async |scene| scene.proxy.heal();
    answering_garbage: Sqlite,
        async |scene| scene.proxy.set(Direction::ToClient, Fault::Garbage),
        async |scene| scene.proxy.heal();
    asking_for_a_password: Sqlite,
        async |scene| {
            scene.redis(&["CONFIG", "SET", "requirepass", "secret"]);
            scene.redis(&["CLIENT", "KILL", "TYPE", "normal"]);
        },
        async |scene| scene.redis(&["CONFIG", "SET", "requirepass", ""]);
    read_only: Sqlite,
        async |scene| scene.redis(&["REPLICAOF", "127.0.0.1", "1"]),
        async |scene| scene.redis(&["REPLICAOF", "NO", "ONE"]);
    out_of_memory: Sqlite,
        async |scene| scene.redis(&["CONFIG", "SET", "maxmemory", "1"]),
        async |scene| scene.redis(&["CONFIG", "SET", "maxmemory", "0"]);
    out_of_connections: Sqlite,
        async |scene| {
            scene.redis(&["CONFIG", "SET", "maxclients", "1"]);
            scene.redis(&["CLIENT", "KILL", "TYPE", "normal"]);
        },
        async |scene| scene.redis(&["CONFIG", "SET", "maxclients", "1000"]);
    // It holds what it held before the last writes, and takes its time to load it.
    restarted_with_old_data: Sqlite,
        async |scene| {
            scene.keep();
            // More is written, of which the snapshot knows nothing.
            sleep(ACT).await;
            block_in_place(|| scene.redis.kill()).expect("it dies");
        },
        async |scene| scene.start_from_old_data();
}
