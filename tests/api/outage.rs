//! The database is away, or does not answer.

use std::time::{Duration, Instant};

use alacena::config::Config;
use alacena::db::{Database, DbError};
use alacena_lab::servers::Postgres;
use serde_json::json;
use tokio::task::block_in_place;

use crate::support::tokens::{SECRET, claims, hs256};
use crate::support::{Answer, Call, Storage, TestApp, Truth, eventually};

/// Entries that are soon past their time, and little patience with the database.
const IMPATIENT: &str = "database.wait = '500ms'\ndatabase.timeout = '1s'\n\
                         cache.user_ttl = '1s'\ncache.product_ttl = '1s'\n\
                         cache.default_ttl = '1s'\ncache.stale_limit = '5m'\n\
                         cache.log.out_of_touch = '1s'";

/// How long an answer may take while the database is away.
const BOUND: Duration = Duration::from_secs(6);

/// A server of one's own, a service on it, and what is cached.
struct Scene {
    postgres: Postgres,
    url: String,
    app: TestApp,
    admin: String,
    /// The token of a user who is not cached.
    stranger: String,
    product: String,
}

impl Scene {
    async fn set(config: &str) -> Self {
        let postgres = tokio::task::spawn_blocking(|| {
            let postgres = Postgres::start().expect("a server of one's own");
            let url = postgres.create_database().expect("it makes databases");
            (postgres, url)
        });
        let (postgres, url) = postgres.await.expect("no panics");
        let app = TestApp::start_at(&url, "memory", config).await;
        let admin = app.admin().await;
        let (product, _) = app.new_product(&admin).await;
        app.new_product(&admin).await;
        let stranger = hs256(&claims(&mut app.truth(), 77), SECRET);
        let scene = Self {
            postgres,
            url,
            app,
            admin,
            stranger,
            product,
        };
        for path in scene.cached() {
            scene.get(&path).await.expect(200);
        }
        scene
    }

    /// The paths that are cached.
    fn cached(&self) -> [String; 5] {
        [
            self.product.clone(),
            "/products".into(),
            "/users/1".into(),
            "/users/by-email/admin@example.com".into(),
            "/auth/me".into(),
        ]
    }

    fn get(&self, path: &str) -> Call {
        self.app.get(path).by(&self.admin)
    }

    fn rename(&self, name: &str) -> Call {
        let change = json!({ "name": name });
        self.app.patch(&self.product).by(&self.admin).json(&change)
    }

    /// Cached reads go on, also past their time; whatever needs the database is told to come
    /// back, within bounds.
    async fn goes_on_without_the_database(&self) {
        for path in self.cached() {
            self.get(&path).await.expect(200);
        }
        for path in self.cached() {
            eventually("the answer is past its time and says so", async || {
                let answer = bounded(self.get(&path)).await.expect(200);
                assert!(answer.is_hit(), "{answer:?}");
                let end = "; detail=near";
                assert!(answer.cache_status().ends_with(end), "{answer:?}");
                answer.ttl() < 0
            })
            .await;
        }
        let user = json!({ "email": "x@example.com", "full_name": "X", "password": "password" });
        let login = [("username", "admin@example.com"), ("password", "admin123")];
        for call in [
            self.get("/products/2"),
            self.get("/products?limit=7"),
            self.get("/users/77"),
            self.get(&self.product).no_cache(),
            self.rename("During the outage"),
            self.app.post("/users").by(&self.admin).json(&user),
            self.app.delete("/products/2").by(&self.admin),
            self.app.post("/auth/login").form(&login),
            // Somebody who is not at hand is not taken for somebody who is not there.
            self.app.get(&self.product).by(&self.stranger),
        ] {
            let answer = bounded(call).await.problem(503, "unavailable");
            answer.retry_after();
        }
        self.app.get("/health/live").await.expect(200);
        // Cached reads are answered: a load balancer must not take this instance out.
        let ready = bounded(self.app.get("/health/ready")).await.expect(200);
        assert_eq!(ready.json()["status"], "degraded");
        assert_eq!(ready.json()["components"]["database"], "down");
        self.app.get("/metrics").await.expect(200);
    }

    /// Once the database is back, everything works, and the cache says what the database says.
    async fn recovers(&self) {
        eventually("writes work again", async || {
            bounded(self.rename("After the outage"))
                .await
                .status
                .as_u16()
                == 200
        })
        .await;
        eventually("the service is ready", async || {
            self.app.get("/health/ready").await.status.as_u16() == 200
        })
        .await;
        for path in [self.product.as_str(), "/products"] {
            let read = self.get(path).await.expect(200);
            assert!(read.body.contains("After the outage"), "{read:?}");
        }
        for path in self.cached() {
            eventually("what is cached is good again", async || {
                let cached = self.get(&path).await.expect(200);
                !cached.is_hit() || cached.ttl() >= 0
            })
            .await;
        }
        self.get("/products?limit=7").await.expect(200);
        self.app.new_user(&self.admin).await;
        self.app.admin().await;
    }
}

/// The answer, which must come within bounds.
async fn bounded(call: Call) -> Answer {
    let started = Instant::now();
    let answer = call.await;
    let took = started.elapsed();
    assert!(took < BOUND, "{took:?} for {answer:?}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_reads_go_on_while_the_database_is_down() {
    let mut scene = Scene::set(IMPATIENT).await;
    block_in_place(|| scene.postgres.kill()).expect("it dies");
    scene.goes_on_without_the_database().await;
    block_in_place(|| scene.postgres.start_again()).expect("it starts");
    // What was answered 503 did not happen, and nobody reads it.
    eventually("reads are fresh again", async || {
        let read = scene.get(&scene.product).await.expect(200);
        assert!(!read.body.contains("During the outage"), "{read:?}");
        !read.is_hit() || read.ttl() >= 0
    })
    .await;
    scene.recovers().await;
    scene.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_reads_go_on_while_the_database_hangs() {
    let mut scene = Scene::set(IMPATIENT).await;
    block_in_place(|| scene.postgres.freeze()).expect("it freezes");
    scene.goes_on_without_the_database().await;
    block_in_place(|| scene.postgres.thaw()).expect("it thaws");
    // A write that was answered 503 may still be committed once the server moves. Whatever became
    // of it, what is read is what is stored.
    let mut truth = Truth::at(&scene.url);
    let select = format!(
        "SELECT name AS value FROM products WHERE id = {}",
        scene.product.trim_start_matches("/products/")
    );
    for _ in 0..20 {
        eventually("reads agree with the database", async || {
            let stored = truth.texts(&select);
            let read = scene.get(&scene.product).await.expect(200);
            read.json()["name"] == stored[0].as_str()
        })
        .await;
    }
    scene.recovers().await;
    scene.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_past_its_time_is_counted() {
    let mut scene = Scene::set(IMPATIENT).await;
    block_in_place(|| scene.postgres.kill()).expect("it dies");
    for path in scene.cached() {
        let count = async || {
            let stats = scene.app.stats(&scene.admin).await;
            stats["stale_served"].as_u64().expect("a figure")
        };
        eventually("the answer is past its time", async || {
            let before = count().await;
            let is_stale = scene.get(&path).await.expect(200).ttl() < 0;
            let counted = count().await - before;
            assert_eq!(counted, u64::from(is_stale), "{path}");
            is_stale
        })
        .await;
    }
    scene.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_only_up_to_the_limit() {
    let config = IMPATIENT.replace("'5m'", "'1s'");
    let mut scene = Scene::set(&config).await;
    block_in_place(|| scene.postgres.kill()).expect("it dies");
    // The caller goes with the rest: a cached one is accepted only within the limit.
    for path in scene.cached() {
        eventually("the limit is reached", async || {
            let answer = bounded(scene.get(&path)).await;
            if answer.status.as_u16() == 200 {
                assert!(answer.ttl() >= -2, "{answer:?}");
                return false;
            }
            answer.problem(503, "unavailable").retry_after();
            true
        })
        .await;
    }
    let ready = bounded(scene.app.get("/health/ready")).await.expect(503);
    assert_eq!(ready.json()["status"], "down");
    block_in_place(|| scene.postgres.start_again()).expect("it starts");
    scene.recovers().await;
    scene.app.stop().await;
}

/// Where nothing cached can be answered, or it is not wanted, an instance without its database is not
/// ready.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_answers_nothing_without_its_database_is_not_ready() {
    let mut postgres = block_in_place(Postgres::start).expect("a server of one's own");
    let create = || block_in_place(|| postgres.create_database()).expect("it makes databases");
    let [off, cold, unwanted] = [create(), create(), create()];
    let unwanted_config = format!("{IMPATIENT}\nserver.ready_without_database = false");
    let apps = [
        TestApp::start_at(&off, "off", IMPATIENT).await,
        TestApp::start_at(&cold, "memory", IMPATIENT).await,
        TestApp::start_at(&unwanted, "memory", &unwanted_config).await,
    ];
    for app in [&apps[0], &apps[2]] {
        let admin = app.admin().await;
        app.get("/auth/me").by(&admin).await.expect(200);
    }
    for app in &apps {
        app.get("/health/ready").await.expect(200);
    }
    block_in_place(|| postgres.kill()).expect("it dies");
    for app in apps {
        let ready = bounded(app.get("/health/ready")).await.expect(503);
        let ready = ready.json();
        assert_eq!(ready["status"], "down", "{ready}");
        assert!(ready["reason"].is_string(), "{ready}");
        app.get("/health/live").await.expect(200);
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_during_an_outage_are_answered_as_fast_as_one() {
    let mut scene = Scene::set(IMPATIENT).await;
    block_in_place(|| scene.postgres.kill()).expect("it dies");
    let started = Instant::now();
    let calls = (100..150).map(|id| scene.get(&format!("/products/{id}")).into_future());
    for answer in futures_util::future::join_all(calls).await {
        answer.problem(503, "unavailable").retry_after();
    }
    let took = started.elapsed();
    assert!(took < BOUND, "{took:?}");
    scene.app.stop().await;
}

/// Whoever trims the log asks once in a minute, on a connection of its own. That this one has not
/// been found lost says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_known_though_an_idle_connection_has_not_noticed() {
    let mut postgres = block_in_place(Postgres::start).expect("a server of one's own");
    let url = block_in_place(|| postgres.create_database()).expect("it makes databases");
    let config = Config::for_tests(&format!(
        "database.url = '{url}'\ndatabase.wait = '10s'\ndatabase.timeout = '30s'"
    ));
    let database = Database::new(&config.expect("it is valid").database);
    let idle = database.apart();
    for database in [&idle, &database] {
        database.check().await.expect("it is up");
    }
    block_in_place(|| postgres.kill()).expect("it dies");
    let answer = database.check().await;
    assert!(matches!(answer, Err(DbError::Unavailable(_))), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_finds_no_connection_is_told_so_in_time() {
    let config = "database.pool_size = 1\ndatabase.wait = '1s'\ndatabase.timeout = '20s'";
    let app = TestApp::start_on(Storage::Postgres, "memory", config).await;
    let admin = app.admin().await;
    let (product, _) = app.new_product(&admin).await;
    app.get("/users/1").by(&admin).await.expect(200);
    // Somebody locks the table: whoever reads it waits, with the only connection.
    let mut truth = app.truth();
    truth.execute("BEGIN; LOCK TABLE products IN ACCESS EXCLUSIVE MODE");
    let waiting = tokio::spawn(app.get(&product).by(&admin).into_future());
    let mut other = app.truth();
    eventually("the connection is taken", async || {
        let blocked = "SELECT state AS value FROM pg_stat_activity \
                       WHERE wait_event_type = 'Lock' AND datname = current_database()";
        !other.texts(blocked).is_empty()
    })
    .await;
    let change = json!({ "full_name": "X" });
    for call in [
        app.get("/users/2").by(&admin),
        app.get("/users/1").by(&admin).no_cache(),
        app.patch("/users/1").by(&admin).json(&change),
    ] {
        let started = Instant::now();
        call.await.problem(503, "unavailable").retry_after();
        let took = started.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
    // What is cached needs none.
    assert!(app.get("/users/1").by(&admin).await.expect(200).is_hit());
    truth.execute("COMMIT");
    waiting.await.expect("no panics").expect(200);
    app.get("/users/2").by(&admin).await.problem(404, "absent");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_waits_for_another_process_is_told_so_in_time() {
    let config = "database.wait = '300ms'\ndatabase.timeout = '1s'";
    let app = TestApp::start_on(Storage::Sqlite, "memory", config).await;
    let admin = app.admin().await;
    let (product, _) = app.new_product(&admin).await;
    let rename = |name: &str| {
        let change = json!({ "name": name });
        app.patch(&product).by(&admin).json(&change)
    };
    let mut truth = app.truth();
    truth.execute("BEGIN IMMEDIATE");
    for name in ["First", "Second"] {
        let started = Instant::now();
        let answer = rename(name).await.problem(503, "unavailable");
        answer.retry_after();
        let took = started.elapsed();
        assert!(took < Duration::from_secs(4), "{took:?}");
        // Readers are not kept waiting.
        let read = app.get(&product).by(&admin).no_cache().await.expect(200);
        assert_eq!(read.json()["name"], "Blue kettle");
    }
    truth.execute("COMMIT");
    // The first may still be done now: it was not said that it would not be.
    eventually("writes work again", async || {
        rename("Third").await.status.as_u16() == 200
    })
    .await;
    for _ in 0..10 {
        let stored = truth.texts("SELECT name AS value FROM products");
        let read = app.get(&product).by(&admin).await.expect(200);
        assert_eq!(stored, ["Third"]);
        assert_eq!(read.json()["name"], "Third");
    }
    app.stop().await;
}
