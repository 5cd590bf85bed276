//! Errors of the database that may pass: retried, then 503, never 500.

use serde_json::json;

use crate::support::{Storage, TestApp, eventually};

/// Makes PostgreSQL refuse the first changes of products with this SQLSTATE. A sequence counts the
/// attempts, rolled back or not.
fn refuse(app: &TestApp, sqlstate: &str, times: u32, is_deferred: bool) {
    let (kind, end) = if is_deferred {
        (
            "CONSTRAINT TRIGGER refuse AFTER",
            "DEFERRABLE INITIALLY DEFERRED",
        )
    } else {
        ("TRIGGER refuse BEFORE", "")
    };
    app.truth().execute(&format!(
        "DROP TRIGGER IF EXISTS refuse ON products; DROP SEQUENCE IF EXISTS attempts; \
         CREATE SEQUENCE attempts; \
         CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('attempts') <= {times} THEN \
         RAISE EXCEPTION 'etwas ist schiefgegangen' USING ERRCODE = '{sqlstate}'; END IF; \
         RETURN NEW; END $$; \
         CREATE {kind} INSERT OR UPDATE ON products {end} FOR EACH ROW EXECUTE FUNCTION refuse()"
    ));
}

fn attempts(app: &TestApp) -> String {
    let attempts = "SELECT last_value::text AS value FROM attempts";
    app.truth().texts(attempts).pop().expect("a count")
}

/// Serialization failure, deadlock, cancellation or timeout, lock timeout, full disk, memory, too
/// little of something else, an internal error.
const PASSING: [&str; 8] = [
    "40001", "40P01", "57014", "55P03", "53100", "53200", "54000", "XX000",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_retried_and_then_answered_503() {
    let app = TestApp::start_on(Storage::Postgres, "memory", "").await;
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    let new = json!({ "name": "New", "price_cents": 1, "stock": 1 });
    for (number, sqlstate) in PASSING.iter().enumerate() {
        refuse(&app, sqlstate, 2, false);
        let change = json!({ "stock": number });
        let changed = app.patch(&path).by(&admin).json(&change).await;
        assert_eq!(changed.expect(200).json()["stock"], number, "{sqlstate}");
        assert_eq!(attempts(&app), "3", "{sqlstate}");
        // The change log may tell of the write before its writer does: then it is not written through.
        let mut cached = app.get(&path).by(&admin).await.expect(200);
        eventually("it is cached", async || {
            cached = app.get(&path).by(&admin).await.expect(200);
            cached.is_hit()
        })
        .await;

        refuse(&app, sqlstate, 1000, false);
        for write in [
            app.patch(&path).by(&admin).json(&json!({ "stock": 999 })),
            app.post("/products").by(&admin).json(&new),
        ] {
            let refused = write.await.problem(503, "unavailable");
            refused.retry_after();
        }
        assert_eq!(
            attempts(&app),
            "8",
            "{sqlstate}: two writes, each tried four times"
        );
        // It is known that nothing was changed: nothing is dropped.
        let kept = app.get(&path).by(&admin).await.expect(200);
        assert!(
            kept.is_hit() && kept.body == cached.body,
            "{sqlstate}: {kept:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_commit_says_of_itself_is_believed() {
    let app = TestApp::start_on(Storage::Postgres, "memory", "").await;
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    let read = app.get(&path).by(&admin).await.expect(200);
    let change = json!({ "stock": 77 });

    refuse(&app, "40001", 2, true);
    let changed = app.patch(&path).by(&admin).json(&change).await;
    assert_eq!(changed.expect(200).json()["stock"], 77);
    assert_eq!(attempts(&app), "3");

    // A conflict that does not end, and a violation: known outcomes both.
    let read = [read.body, app.get(&path).by(&admin).await.body];
    for (sqlstate, status, kind) in [("40001", 503, "unavailable"), ("23514", 500, "internal")] {
        refuse(&app, sqlstate, 1000, true);
        let changed = app.patch(&path).by(&admin).json(&json!({ "stock": 5 }));
        changed.await.problem(status, kind);
        let kept = app.get(&path).by(&admin).await.expect(200);
        assert!(
            kept.is_hit() && kept.body == read[1],
            "{sqlstate}: {kept:?}"
        );
    }
}

/// A kept copy answers where the database refuses to.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_refused_is_answered_by_a_kept_copy_or_503() {
    let short = "cache.product_ttl = '100ms'\ncache.jitter = 0.0";
    let app = TestApp::start_on(Storage::Postgres, "memory", short).await;
    let admin = app.admin().await;
    let (path, product) = app.new_product(&admin).await;
    app.get(&path).by(&admin).await.expect(200);
    app.truth()
        .execute("ALTER TABLE products RENAME TO elsewhere");
    eventually("the copy is stale and answers", async || {
        let kept = app.get(&path).by(&admin).await.expect(200);
        assert_eq!(kept.json()["name"], product["name"]);
        kept.is_hit() && kept.ttl() < 0
    })
    .await;
    for call in [app.get("/products/77"), app.get(&path).no_cache()] {
        let refused = call.by(&admin).await.problem(503, "unavailable");
        refused.retry_after();
    }
    app.truth()
        .execute("ALTER TABLE elsewhere RENAME TO products");
    app.get("/products/77")
        .by(&admin)
        .await
        .problem(404, "absent");
    app.get(&path).by(&admin).no_cache().await.expect(200);
}

/// Sessions keep the setting that they began with.
#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_server_that_was_read_only_leave_the_pool() {
    let app = TestApp::start_on(Storage::Postgres, "memory", "").await;
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    let mut truth = app.truth();
    let database = truth.texts("SELECT current_database()::text AS value");
    let database = database.first().expect("a name");
    truth.execute(&format!(
        "ALTER DATABASE {database} SET default_transaction_read_only = on; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ));
    let reads = (0..20).map(|id| {
        let read = app.get(&format!("/products/{}", 100 + id));
        read.by(&admin).into_future()
    });
    for read in futures_util::future::join_all(reads).await {
        read.problem(404, "absent");
    }
    let change = json!({ "stock": 5 });
    let write = || app.patch(&path).by(&admin).json(&change);
    for _ in 0..3 {
        write().await.problem(503, "unavailable").retry_after();
    }
    let read = app.get(&path).by(&admin).no_cache();
    read.await.expect(200);
    truth.execute(&format!(
        "SET default_transaction_read_only = off; \
         ALTER DATABASE {database} RESET default_transaction_read_only"
    ));
    write().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_cancelled_is_sent_again() {
    let app = TestApp::start_on(Storage::Postgres, "memory", "").await;
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    let (mut holder, mut observer) = (app.truth(), app.truth());
    holder.execute("BEGIN; LOCK TABLE products");
    let write = app.patch(&path).by(&admin).json(&json!({ "stock": 5 }));
    let write = tokio::spawn(write.into_future());
    let cancel = "SELECT pid::text AS value FROM pg_stat_activity \
                  WHERE datname = current_database() AND wait_event_type = 'Lock' \
                  AND query LIKE 'UPDATE%' AND pg_cancel_backend(pid)";
    eventually("it is cancelled", async || {
        !observer.texts(cancel).is_empty()
    })
    .await;
    holder.execute("COMMIT");
    let written = write.await.expect("the request ends");
    assert_eq!(written.expect(200).json()["stock"], 5);
}

/// As SQLite says it itself; a statement that raises the text stands for the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_503_and_drops_no_copy() {
    let app = TestApp::start_on(Storage::Sqlite, "memory", "").await;
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    app.get(&path).by(&admin).await.expect(200);
    app.truth().execute(
        "CREATE TRIGGER full BEFORE INSERT ON products BEGIN \
         SELECT RAISE(ROLLBACK, 'database or disk is full'); END",
    );
    let new = json!({ "name": "New", "price_cents": 1, "stock": 1 });
    for _ in 0..3 {
        let refused = app.post("/products").by(&admin).json(&new).await;
        refused.problem(503, "unavailable").retry_after();
        assert!(app.get(&path).by(&admin).await.expect(200).is_hit());
    }
    app.truth().execute("DROP TRIGGER full");
    let made = app.post("/products").by(&admin).json(&new).await;
    made.expect(201);
}
