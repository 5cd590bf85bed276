//! A database that is there, but is not what it was.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use crate::support::{Storage, TestApp, eventually};

async fn is_damaged(app: &TestApp) {
    let ready = app.get("/health/ready").await.expect(503);
    let ready = ready.json();
    assert_eq!(ready["status"], "down", "{ready}");
    assert_eq!(ready["components"]["database"], "damaged", "{ready}");
    assert!(ready["reason"].is_string(), "{ready}");
    app.get("/health/live").await.expect(200);
}

async fn refuses_writes(app: &TestApp, admin: &str) {
    let new = json!({ "name": "New", "price_cents": 1, "stock": 1 });
    let refused = app.post("/products").by(admin).json(&new).await;
    refused.problem(503, "unavailable").retry_after();
}

async fn is_ready(app: &TestApp) {
    eventually("it is ready again", async || {
        app.get("/health/ready").await.status.as_u16() == 200
    })
    .await;
}

matrix!(a_database_without_a_table_is_damaged);
async fn a_database_without_a_table_is_damaged(app: TestApp) {
    let admin = app.admin().await;
    app.truth()
        .execute("ALTER TABLE products RENAME TO elsewhere");
    is_damaged(&app).await;
    refuses_writes(&app, &admin).await;
    app.truth()
        .execute("ALTER TABLE elsewhere RENAME TO products");
    is_ready(&app).await;
    app.new_product(&admin).await;
}

fn file(app: &TestApp) -> PathBuf {
    let file = "SELECT file AS value FROM pragma_database_list WHERE name = 'main'";
    app.truth().texts(file).pop().expect("a file").into()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_acknowledged_into_a_file_that_was_deleted_or_replaced() {
    for backend in ["memory", "off"] {
        let app = TestApp::start_on(Storage::Sqlite, backend, "").await;
        let admin = app.admin().await;
        app.new_product(&admin).await;
        let file = file(&app);
        let moved = file.with_extension("moved");
        std::fs::rename(&file, &moved).expect("it is moved");
        is_damaged(&app).await;
        refuses_writes(&app, &admin).await;
        assert!(!file.exists(), "no new database is made");
        std::fs::copy(&moved, &file).expect("it is replaced");
        is_damaged(&app).await;
        refuses_writes(&app, &admin).await;
        std::fs::rename(&moved, &file).expect("it is moved back");
        is_ready(&app).await;
        app.new_product(&admin).await;
    }
}

/// Another process that merely writes is no reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_another_process_writes_to_is_ready() {
    let app = TestApp::start_on(Storage::Sqlite, "memory", "").await;
    let mut truth = app.truth();
    truth.execute("BEGIN IMMEDIATE; UPDATE users SET full_name = full_name");
    app.get("/health/ready").await.expect(200);
    truth.execute("COMMIT; VACUUM");
    app.get("/health/ready").await.expect(200);
}

/// The pages are overwritten in place, under the running service.
#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_database_is_damaged_until_it_is_seen_whole() {
    let app = TestApp::start_on(Storage::Sqlite, "off", "").await;
    let admin = app.admin().await;
    app.new_product(&admin).await;
    let file = file(&app);
    app.truth().execute("PRAGMA wal_checkpoint(TRUNCATE)");
    let whole = std::fs::read(&file).expect("it can be read");
    let write = |bytes: &[u8]| {
        let opened = std::fs::OpenOptions::new().write(true).open(&file);
        let mut opened = opened.expect("it can be opened");
        opened.write_all(bytes).expect("it can be written");
    };
    write(&vec![0x5A; whole.len()]);
    // Connections that have read a page keep it; new ones do not.
    eventually("a query meets the damage", async || {
        let calls = (0..16).map(|id| {
            let path = format!("/products/{id}");
            app.get(&path).by(&admin).into_future()
        });
        let _ = futures_util::future::join_all(calls).await;
        app.get("/health/ready").await.status.as_u16() == 503
    })
    .await;
    is_damaged(&app).await;
    refuses_writes(&app, &admin).await;
    write(&whole);
    is_ready(&app).await;
}
