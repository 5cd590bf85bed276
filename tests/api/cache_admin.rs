use alacena_lab::servers::Redis;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::{Storage, TestApp, eventually};

matrix!(the_figures_have_their_shape);
async fn the_figures_have_their_shape(app: TestApp) {
    let admin = app.admin().await;
    let fresh = app.get("/cache/stats").by(&admin).await.expect(200);
    assert_eq!(fresh.header("cache-control"), "no-store");
    let fresh = fresh.json();
    assert_eq!(fresh["backend"], app.backend());
    let expected = if app.caches() {
        "available"
    } else {
        "unavailable"
    };
    assert_eq!(fresh["status"], expected, "{fresh}");
    for name in ["keyspace_hits", "keyspace_misses", "redis_failures"] {
        assert_eq!(fresh[name], 0, "{fresh}");
    }
    for name in ["connected_clients", "redis_commands"] {
        let figure = fresh[name].as_u64().expect("a figure");
        assert_eq!(figure > 0, app.has_redis(), "{name} of {fresh}");
    }
    assert!(fresh["reason"].is_null(), "{fresh}");
    assert!(fresh["backend_reason"].is_null(), "{fresh}");
    assert_eq!(fresh["hit_rate"].as_f64(), Some(0.0));
    app.get("/users/1").by(&admin).await.expect(200);
    let stats = app.stats(&admin).await;
    assert_eq!(
        stats["used_memory"].as_u64().is_some_and(|bytes| bytes > 0),
        app.caches(),
        "{stats}"
    );
}

matrix!(each_read_counts_once_and_the_check_of_the_caller_not_at_all);
async fn each_read_counts_once_and_the_check_of_the_caller_not_at_all(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let (product, _) = app.new_product(&admin).await;
    app.delete("/cache/clear").by(&admin).await.expect(200);
    let figures = async || {
        let stats = app.stats(&admin).await;
        let figure = |name: &str| stats[name].as_u64().expect("a figure");
        (figure("keyspace_hits"), figure("keyspace_misses"))
    };
    assert_eq!(figures().await, (0, 0), "writes and logins are no reads");
    let by_email = format!("/users/by-email/{}", user.email);
    let paths = [
        product.as_str(),
        "/products",
        "/products/999",
        "/users",
        "/users?after=1",
        &by_email,
    ];
    let mut reads = (0, 0);
    for path in paths {
        for first in [true, false] {
            app.get(path).by(&user.token).await;
            if first || !app.caches() {
                reads.1 += 1;
            } else {
                reads.0 += 1;
            }
            // 404 counts, and so do HEAD and 304; whoever asks costs nothing.
            assert_eq!(figures().await, reads, "{path}");
        }
        let again = app.head(path).by(&user.token);
        again.header("if-none-match", "*").await;
        if app.caches() {
            reads.0 += 1;
        } else {
            reads.1 += 1;
        }
        assert_eq!(figures().await, reads, "{path}");
    }
    app.get(&product).by(&admin).no_cache().await.expect(200);
    reads.1 += 1;
    assert_eq!(figures().await, reads, "no-cache goes to the database");
    app.get("/users/x").by(&admin).await.expect(400);
    app.get(&product).await.expect(401);
    assert_eq!(figures().await, reads, "what is refused is no read");

    let stats = app.stats(&admin).await;
    let rate = reads.0 as f64 / (reads.0 + reads.1) as f64 * 100.0;
    let told = stats["hit_rate"].as_f64().expect("a rate");
    assert!((told - rate).abs() < 0.01, "{told} is not {rate}");
}

/// Caches two users, by id and by address, two lists and a product.
async fn fill(app: &TestApp, admin: &str) {
    for path in [
        "/users/1",
        "/users/999",
        "/users/by-email/admin@example.com",
        "/users",
        "/users?limit=5",
        "/products/1",
    ] {
        app.get(path).by(admin).await;
    }
}

async fn exists(app: &TestApp, admin: &str, key: &str) -> bool {
    let call = app.get("/cache/exists").query(&[("key", key)]);
    let answer = call.by(admin).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!(body["key"], key);
    body["exists"].as_bool().expect("yes or no")
}

async fn clear(app: &TestApp, admin: &str, pattern: &str) -> Value {
    let call = app.delete("/cache/clear").query(&[("pattern", pattern)]);
    let answer = call.by(admin).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!(body["pattern"], pattern);
    assert!(body["message"].is_string(), "{body}");
    body["cleared"].clone()
}

const KEYS: [&str; 6] = [
    "user:1",
    "user:999",
    "user:email:admin@example.com",
    "users:list:0:100",
    "users:list:0:5",
    "product:1",
];

matrix!(a_key_exists_while_it_answers_reads);
async fn a_key_exists_while_it_answers_reads(app: TestApp) {
    let admin = app.admin().await;
    app.new_product(&admin).await;
    app.delete("/cache/clear").by(&admin).await.expect(200);
    for key in &KEYS[1..] {
        assert!(!exists(&app, &admin, key).await, "{key}");
    }
    fill(&app, &admin).await;
    for key in KEYS {
        assert_eq!(exists(&app, &admin, key).await, app.caches(), "{key}");
    }
    for key in ["nothing", "", "user:", "user:2", "ü\n*"] {
        assert!(!exists(&app, &admin, key).await, "{key}");
    }
    let missing = app.get("/cache/exists").by(&admin).await;
    missing.invalid(&["key"]);
}

matrix!(clearing_removes_what_matches_and_nothing_else);
async fn clearing_removes_what_matches_and_nothing_else(app: TestApp) {
    let admin = app.admin().await;
    app.new_product(&admin).await;
    let patterns: [(&str, &[&str]); 8] = [
        (
            "user:*",
            &["user:1", "user:999", "user:email:admin@example.com"],
        ),
        ("user:[0-9]*", &["user:1", "user:999"]),
        (
            "user:email:*@example.com",
            &["user:email:admin@example.com"],
        ),
        ("users:list:*", &["users:list:0:100", "users:list:0:5"]),
        ("users:list:0:?", &["users:list:0:5"]),
        ("product:1", &["product:1"]),
        ("nothing:*", &[]),
        ("*", &KEYS),
    ];
    for (pattern, matched) in patterns {
        fill(&app, &admin).await;
        let cleared = clear(&app, &admin, pattern).await;
        let expected = if app.caches() { matched.len() } else { 0 };
        assert_eq!(cleared, expected, "{pattern}");
        // Who is calling is looked up again at once: the admin's own key is back.
        for key in &KEYS[1..] {
            let left = app.caches() && !matched.contains(key);
            assert_eq!(exists(&app, &admin, key).await, left, "{pattern}: {key}");
        }
    }
    fill(&app, &admin).await;
    let all = app.delete("/cache/clear").by(&admin).await.expect(200);
    assert_eq!(all.json()["pattern"], "*");
    let read = app.get("/products/1").by(&admin).await.expect(200);
    assert!(!read.is_hit(), "{read:?}");
}

/// An instance is told of its own clears too, and may be slow to look.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_after_a_clear_stays() {
    for backend in ["memory", "tiered"] {
        let app = TestApp::start_on(Storage::Postgres, backend, "").await;
        let admin = app.admin().await;
        app.truth().execute(
            "CREATE OR REPLACE FUNCTION cache_snapshot() RETURNS text LANGUAGE sql STABLE \
             AS 'SELECT pg_current_snapshot()::text FROM pg_sleep(0.1)'",
        );
        for _ in 0..3 {
            clear(&app, &admin, "user:*").await;
            app.get("/users/1").by(&admin).await.expect(200);
            let told = app.stats(&admin).await["log_changes"].clone();
            // Another change, so that whatever the log had to tell before is told.
            app.new_product(&admin).await;
            eventually("it is told of", async || {
                app.stats(&admin).await["log_changes"] != told
            })
            .await;
            let again = app.get("/users/1").by(&admin).await.expect(200);
            let status = again.cache_status();
            assert!(status.ends_with("; detail=near"), "{backend}: {status}");
        }
    }
}

matrix!(a_pattern_that_is_none_is_refused);
async fn a_pattern_that_is_none_is_refused(app: TestApp) {
    let admin = app.admin().await;
    for pattern in ["", "[a", "user:\\", &"x".repeat(513)] {
        let call = app.delete("/cache/clear").query(&[("pattern", pattern)]);
        call.by(&admin).await.invalid(&["pattern"]);
    }
}

matrix!(a_clear_shows_what_somebody_changed_behind_the_service);
async fn a_clear_shows_what_somebody_changed_behind_the_service(app: TestApp) {
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    app.get(&path).by(&admin).await.expect(200);
    let mut truth = app.truth();
    truth.stop_log();
    truth.execute("UPDATE products SET name = 'Changed'");
    clear(&app, &admin, "product:*").await;
    let read = app.get(&path).by(&admin).await.expect(200);
    assert_eq!(read.json()["name"], json!("Changed"));
}

matrix!(an_entry_tells_where_a_key_is_and_never_what_it_holds);
async fn an_entry_tells_where_a_key_is_and_never_what_it_holds(app: TestApp) {
    let admin = app.admin().await;
    app.new_product(&admin).await;
    let entry = async |key: &str| {
        let call = app.get("/cache/entry").query(&[("key", key)]);
        let answer = call.by(&admin).await.expect(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        for secret in ["admin@example.com", "Blue kettle", "Administrator"] {
            let holds = answer.body.replace(key, "").contains(secret);
            assert!(!holds, "{key}: {answer:?}");
        }
        assert_eq!(answer.json()["key"], key);
        answer.json()
    };
    app.delete("/cache/clear").by(&admin).await.expect(200);
    assert_eq!(entry("product:1").await["copies"], json!([]));
    fill(&app, &admin).await;
    app.get("/calculations/expensive?param1=a&param2=1")
        .by(&admin)
        .await
        .expect(200);
    // With Redis the copies are in both tiers; the first that is asked answers.
    let tiers: &[&str] = match app.backend() {
        "off" => &[],
        "memory" => &["near"],
        _ => &["near", "far"],
    };
    let kinds = [
        ("user:1", "user", 600),
        ("user:999", "user", 30),
        ("user:email:admin@example.com", "user:email", 300),
        ("users:list:0:100", "users:list", 300),
        ("users:list:0:5", "users:list", 300),
        ("product:1", "product", 1800),
        ("calculation:param1=a:param2=1", "calculation", 1800),
    ];
    for (key, kind, longest) in kinds {
        let told = entry(key).await;
        assert_eq!(told["kind"], kind);
        let copies = told["copies"].as_array().expect("a list");
        let seen: Vec<&str> = copies
            .iter()
            .filter_map(|copy| copy["tier"].as_str())
            .collect();
        assert_eq!(seen, tiers, "{told}");
        for copy in copies {
            let is_absent = key == "user:999";
            assert_eq!(copy["is_absent"], is_absent, "{told}");
            assert_eq!(copy["size_bytes"] == 0, is_absent, "{told}");
            let seconds = |name: &str| copy[name].as_u64().expect("seconds");
            // Lives differ a little, so that not all end at once.
            assert!(
                seconds("age_seconds") < 30 && seconds("ttl_seconds") <= longest * 11 / 10,
                "{told}"
            );
            assert!(seconds("ttl_seconds") + 30 > longest * 8 / 10, "{told}");
            let answers = copy["tier"] == app.tier();
            assert_eq!(copy["answers_reads"], answers, "{told}");
        }
    }
    for key in ["nothing", "", "user:", "user:+1", "user:2", "ü\n*"] {
        assert_eq!(entry(key).await["copies"], json!([]), "{key}");
    }
    app.get("/cache/entry").by(&admin).await.invalid(&["key"]);
    let user = app.new_user(&admin).await;
    let forbidden = app.get("/cache/entry?key=user:1").by(&user.token).await;
    forbidden.problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_tells_which_copy_answers_while_redis_is_away() {
    let mut redis = block_in_place(Redis::start).expect("Redis starts");
    let config = format!("cache.redis.url = '{}'", redis.url());
    let app = TestApp::start_on(Storage::Sqlite, "redis", &config).await;
    let admin = app.admin().await;
    app.get("/users").by(&admin).await.expect(200);
    let answering = async || {
        let entry = app
            .get("/cache/entry?key=users:list:0:100")
            .by(&admin)
            .await
            .expect(200)
            .json();
        let copies = entry["copies"].as_array().expect("a list").clone();
        let told = |copy: &Value| (copy["tier"].clone(), copy["answers_reads"].clone());
        copies.iter().map(told).collect::<Vec<_>>()
    };
    let both = [(json!("near"), json!(false)), (json!("far"), json!(true))];
    assert_eq!(answering().await, both);
    block_in_place(|| redis.kill()).expect("it dies");
    let alone = [(json!("near"), json!(true))];
    eventually("near answers alone", async || answering().await == alone).await;
}
