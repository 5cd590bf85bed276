//! The log cannot be read, or tells too little.

use std::time::Duration;

use alacena_lab::proxy::{Direction, Fault, Proxy};
use alacena_lab::servers::Postgres;
use serde_json::json;
use tokio::task::block_in_place;

use super::{Two, of_two};
use crate::support::{Storage, TestApp, eventually};

/// Waits until a path is answered with a text.
async fn is_seen(app: &TestApp, admin: &str, path: &str, text: &str) {
    eventually(&format!("`{text}` is seen"), async || {
        let read = app.get(path).by(admin).await;
        read.expect(200).body.contains(text)
    })
    .await;
}

/// An instance whose database does not answer cannot know what the others change: what it has is past
/// its time, up to a limit.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_instance_has_that_is_cut_off_from_the_database_is_past_its_time() {
    let mut postgres = block_in_place(Postgres::start).expect("a server of one's own");
    let url = block_in_place(|| postgres.create_database()).expect("it makes databases");
    let config = "database.wait = '500ms'\ndatabase.timeout = '1s'\ncache.stale_limit = '6s'\n\
                  [cache.log]\nout_of_touch = '300ms'";
    let app = TestApp::start_at(&url, "memory", config).await;
    let admin = app.admin().await;
    let (product, _) = app.new_product(&admin).await;
    let read = || app.get(&product).by(&admin);
    eventually("it is cached for long", async || {
        read().await.expect(200).ttl_if_hit() > Some(60)
    })
    .await;
    block_in_place(|| postgres.kill()).expect("it dies");
    eventually("it is past its time", async || {
        read()
            .await
            .expect(200)
            .ttl_if_hit()
            .is_some_and(|ttl| ttl < 0)
    })
    .await;
    let stats = app.get("/cache/stats").by(&admin).await.expect(200).json();
    assert!(stats["reason"].is_string(), "{stats}");
    assert!(stats["backend_reason"].is_null(), "{stats}");
    // The caller too is accepted within the limit only.
    eventually("the limit is reached", async || {
        read().await.status.as_u16() == 503
    })
    .await;
    block_in_place(|| postgres.start_again()).expect("it starts");
    eventually("it is cached again", async || {
        let answer = read().await;
        answer.status.as_u16() == 200 && answer.ttl_if_hit() > Some(60)
    })
    .await;
    app.stop().await;
}

of_two!(
    an_instance_that_missed_more_than_the_log_keeps_forgets_what_it_has,
    "[cache.log]\nout_of_touch = '60s'"
);
async fn an_instance_that_missed_more_than_the_log_keeps_forgets_what_it_has(two: Two) {
    let Two {
        one, other, admin, ..
    } = &two;
    let (product, _) = one.new_product(admin).await;
    for app in [one, other] {
        app.get(&product).by(admin).await.expect(200);
    }
    // Changed, and the log that tells of it lost, in one transaction.
    one.truth().execute(
        "BEGIN; UPDATE products SET name = 'Unheard of'; DELETE FROM cache_changes; \
         INSERT INTO cache_changes (kind) VALUES ('begin'); COMMIT",
    );
    for app in [one, other] {
        is_seen(app, admin, &product, "Unheard of").await;
    }
    // And the log is followed as before.
    let name = json!({ "name": "Heard of" });
    one.patch(&product).by(admin).json(&name).await.expect(200);
    is_seen(other, admin, &product, "Heard of").await;
    two.stop().await;
}

of_two!(more_changes_at_once_than_are_worth_telling_are_seen);
async fn more_changes_at_once_than_are_worth_telling_are_seen(two: Two) {
    let Two {
        one, other, admin, ..
    } = &two;
    let (product, _) = one.new_product(admin).await;
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) \
                INSERT INTO products (name, price_cents, stock, is_active, created_at, updated_at) \
                SELECT 'Many', 1, 1, true, '2026-01-01 00:00:00', '2026-01-01 00:00:00' FROM n";
    one.truth().execute(many);
    for app in [one, other] {
        app.get(&product).by(admin).await.expect(200);
        app.get("/products/11000").by(admin).await.expect(200);
    }
    one.truth().execute("UPDATE products SET name = 'All'");
    for app in [one, other] {
        for path in [product.as_str(), "/products/11000"] {
            is_seen(app, admin, path, "All").await;
        }
    }
    two.stop().await;
}

/// Where a transaction elsewhere in the cluster is older than the log, there is no settled row yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_younger_than_an_open_transaction_is_followed() {
    let postgres = block_in_place(Postgres::start).expect("a server of one's own");
    let (url, elsewhere) = block_in_place(|| {
        let elsewhere = postgres.create_database().expect("it makes databases");
        (
            postgres.create_database().expect("it makes databases"),
            elsewhere,
        )
    });
    let mut old = crate::support::Truth::at(&elsewhere);
    old.execute("CREATE TABLE t (); BEGIN; SELECT pg_current_xact_id(); CREATE TABLE u ()");
    let app = TestApp::start_at(&url, "memory", "").await;
    let admin = app.admin().await;
    let (product, _) = app.new_product(&admin).await;
    app.get(&product).by(&admin).await.expect(200);
    // A few looks later it is still there, and a change behind its back is seen.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(app.get(&product).by(&admin).await.expect(200).is_hit());
    assert_eq!(app.stats(&admin).await["distrusts"], 0);
    app.truth().execute("UPDATE products SET name = 'By hand'");
    is_seen(&app, &admin, &product, "By hand").await;
    // A log that has begun anew is another, though it has a first row as this one had.
    assert_eq!(app.stats(&admin).await["distrusts"], 0);
    app.truth().execute(
        "BEGIN; UPDATE products SET name = 'Unheard of'; DELETE FROM cache_changes; \
         INSERT INTO cache_changes (kind) VALUES ('begin'); COMMIT",
    );
    is_seen(&app, &admin, &product, "Unheard of").await;
    assert_eq!(app.stats(&admin).await["distrusts"], 1);
    old.execute("COMMIT");
    app.stop().await;
}

/// A void that never comes, as when its process dies between commit and void.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_void_never_comes_is_seen_all_the_same() {
    use alacena_lab::staged::{At, Fills};
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let staged = crate::consistency::staged(Fills::ByTicket, Duration::ZERO);
        let config = "database.timeout = '500ms'";
        let app = TestApp::start_with(storage, staged.clone(), config).await;
        let admin = app.admin().await;
        let (product, _) = app.new_product(&admin).await;
        app.get(&product).by(&admin).await.expect(200);
        let cue = staged.hang(At::Void, "product:1");
        let change = json!({ "name": "Changed" });
        let write = app.patch(&product).by(&admin).json(&change).into_future();
        let write = tokio::spawn(write);
        let curtain = cue.reached().await;
        is_seen(&app, &admin, &product, "Changed").await;
        write.await.expect("no panic").problem(503, "unavailable");
        drop(curtain);
        app.stop().await;
    }
}

/// The commit happens, and its answer gets lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_seen() {
    let postgres = block_in_place(Postgres::start).expect("a server of one's own");
    let url = block_in_place(|| postgres.create_database()).expect("it makes databases");
    let server = (std::net::Ipv4Addr::LOCALHOST, postgres.port()).into();
    let proxy = Proxy::start(server).await.expect("a proxy");
    let through = url.replace(
        &format!(":{}/", postgres.port()),
        &format!(":{}/", proxy.address().port()),
    );
    assert_ne!(through, url);
    let app = TestApp::start_at(&through, "memory", "").await;
    let admin = app.admin().await;
    let (product, _) = app.new_product(&admin).await;
    let mut truth = crate::support::Truth::at(&url);
    // A commit takes a while.
    truth.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(2); RETURN NULL; END'; \
         CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON products DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    app.get(&product).by(&admin).await.expect(200);
    let change = json!({ "name": "Changed" });
    let write = tokio::spawn(app.patch(&product).by(&admin).json(&change).into_future());
    eventually("it commits", async || {
        let committing = "SELECT state AS value FROM pg_stat_activity \
                          WHERE state = 'active' AND query ILIKE 'COMMIT%'";
        !truth.texts(committing).is_empty()
    })
    .await;
    proxy.set(Direction::ToClient, Fault::Hang);
    eventually("it is committed", async || {
        truth.texts("SELECT name AS value FROM products") == ["Changed"]
    })
    .await;
    proxy.set(Direction::Both, Fault::Cut);
    write.await.expect("no panic").problem(503, "unavailable");
    proxy.heal();
    eventually("it is seen", async || {
        let read = app.get(&product).by(&admin).await;
        read.status.as_u16() == 200
            && read.body.contains("Changed")
            && read.ttl_if_hit().is_none_or(|ttl| ttl >= 0)
    })
    .await;
    app.stop().await;
}
