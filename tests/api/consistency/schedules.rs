//! Schedules that luck rarely finds: a write comes between a load and its fill, a read between a
//! commit and its void.

use std::sync::Arc;
use std::time::Duration;

use alacena_lab::history::Recorder;
use alacena_lab::staged::{At, Fills, Staged};
use serde_json::{Value, json};

use super::staged;
use crate::support::{Call, Storage, TestApp, tcp};

async fn stage(storage: Storage, fills: Fills) -> (TestApp, Arc<Staged>, String) {
    let staged = staged(fills, Duration::ZERO);
    let app = TestApp::start_with(storage, staged.clone(), "").await;
    let admin = app.admin().await;
    // Who is calling is at hand from now on.
    app.get("/auth/me").by(&admin).await.expect(200);
    (app, staged, admin)
}

const STORAGES: [Storage; 2] = [Storage::Sqlite, Storage::Postgres];

/// Lets a reader load what is cached under `key`, lets the write be acknowledged, and only then
/// lets the reader store what it loaded. Answers what two later reads find: one while the late
/// fill still waits, one after it.
async fn overtake(
    staged: &Staged,
    key: &str,
    read: impl Fn() -> Call,
    write: Call,
) -> [(u16, String); 2] {
    let cue = staged.hang(At::Fill, key);
    let reader = tokio::spawn(read().into_future());
    let open = cue.reached().await;
    let written = write.await;
    assert!(written.status.is_success(), "{written:?}");
    let found = |answer: crate::support::Answer| (answer.status.as_u16(), answer.body);
    let while_it_waits = found(read().await);
    open.send(()).expect("the reader still waits");
    reader.await.expect("the reader is answered");
    [while_it_waits, found(read().await)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_a_write_overtakes_is_not_stored() {
    for storage in STORAGES {
        let (app, staged, admin) = stage(storage, Fills::ByTicket).await;
        let (product, _) = app.new_product(&admin).await;
        let user = app.new_user(&admin).await;
        let by_email = format!("/users/by-email/{}", user.email);
        let product_key = product
            .trim_start_matches('/')
            .replace("products/", "product:");
        let user_key = format!("user:{}", user.id);
        let (name, full_name) = (json!({ "name": "New" }), json!({ "full_name": "New" }));
        let user_path = user.path();
        let cases: [(&str, &str, &str, &Value); 6] = [
            (&product, &product_key, &product, &name),
            ("/products", "products:list:0:100", &product, &name),
            (
                "/products?after=0",
                "products:list:after:0:100",
                &product,
                &name,
            ),
            (&user_path, &user_key, &user_path, &full_name),
            (&by_email, &user_key, &user_path, &full_name),
            ("/users", "users:list:0:100", &user_path, &full_name),
        ];
        for (path, key, changed, change) in cases {
            let old = json!({ "name": "Old" });
            let old_name = json!({ "full_name": "Old" });
            let before = if change == &name { old } else { old_name };
            let reset = app.patch(changed).by(&admin).json(&before).await;
            reset.expect(200);
            app.delete("/cache/clear").by(&admin).await.expect(200);
            app.get("/auth/me").by(&admin).await.expect(200);
            let read = || app.get(path).by(&admin);
            let write = app.patch(changed).by(&admin).json(change);
            for (status, body) in overtake(&staged, key, read, write).await {
                assert_eq!(status, 200);
                assert!(body.contains("\"New\""), "{storage:?} {path} {key}: {body}");
                assert!(
                    !body.contains("\"Old\""),
                    "{storage:?} {path} {key}: {body}"
                );
            }
        }
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_fill_brings_nothing_back_and_hides_nothing_new() {
    for storage in STORAGES {
        let (app, staged, admin) = stage(storage, Fills::ByTicket).await;
        let (product, _) = app.new_product(&admin).await;
        app.delete("/cache/clear").by(&admin).await.expect(200);
        app.get("/auth/me").by(&admin).await.expect(200);
        let read = || app.get(&product).by(&admin);
        let delete = app.delete(&product).by(&admin);
        for (status, body) in overtake(&staged, "product:1", read, delete).await {
            assert_eq!(status, 404, "{storage:?}: {body}");
        }
        // The absence of what is about to be made.
        let read = || app.get("/products/2").by(&admin);
        let body = json!({ "name": "New", "price_cents": 1 });
        let make = app.post("/products").by(&admin).json(&body);
        for (status, body) in overtake(&staged, "product:2", read, make).await {
            assert_eq!(status, 200, "{storage:?}: {body}");
        }
        let read = || app.get("/users/by-email/new@example.com").by(&admin);
        let body = json!({ "email": "New@example.com", "full_name": "N", "password": "password" });
        let make = app.post("/users").by(&admin).json(&body);
        let key = "user:email:new@example.com";
        for (status, body) in overtake(&staged, key, read, make).await {
            assert_eq!(status, 200, "{storage:?}: {body}");
        }
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_activity_ends_during_their_check_is_stopped() {
    for storage in STORAGES {
        let (app, staged, admin) = stage(storage, Fills::ByTicket).await;
        let user = app.new_user(&admin).await;
        let key = format!("user:{}", user.id);
        app.delete("/cache/clear").by(&admin).await.expect(200);
        app.get("/auth/me").by(&admin).await.expect(200);
        let read = || app.get("/products").by(&user.token);
        let write = app.patch(&user.path()).by(&admin);
        let write = write.json(&json!({ "is_active": false }));
        for (status, body) in overtake(&staged, &key, read, write).await {
            assert_eq!(status, 401, "{storage:?}: {body}");
        }
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_voided_though_its_client_has_hung_up_before() {
    for storage in STORAGES {
        let (app, staged, admin) = stage(storage, Fills::ByTicket).await;
        let (product, _) = app.new_product(&admin).await;
        app.get(&product).by(&admin).await.expect(200);
        // The write is committed and its void waits: now the client goes.
        let cue = staged.hang(At::Void, "product:1");
        let mut client = tcp::connect(app.address).await;
        let body = json!({ "name": "New" }).to_string();
        let request = tcp::request("PATCH", &product, &admin, &body);
        tokio::io::AsyncWriteExt::write_all(&mut client, &request)
            .await
            .expect("the request is sent");
        let open = cue.reached().await;
        let mut truth = app.truth();
        assert_eq!(truth.texts("SELECT name AS value FROM products"), ["New"]);
        tcp::reset(client);
        // Somebody reads while nothing is voided yet, and leaves what they read in the cache.
        for _ in 0..3 {
            app.get(&product).by(&admin).await.expect(200);
        }
        open.send(())
            .expect("the write goes on though nobody waits for it");
        crate::support::eventually("the write is voided", async || {
            let read = app.get(&product).by(&admin).await.expect(200);
            read.json()["name"] == "New"
        })
        .await;
        for _ in 0..3 {
            let read = app.get(&product).by(&admin).await.expect(200);
            assert_eq!(read.json()["name"], "New", "{storage:?}");
        }
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_cache_brought_is_not_overwritten_by_an_earlier_load() {
    for storage in STORAGES {
        let (app, staged, admin) = stage(storage, Fills::ByTicket).await;
        let (product, _) = app.new_product(&admin).await;
        let cleared = app.delete("/cache/clear?pattern=product:*").by(&admin);
        cleared.await.expect(200);
        let cue = staged.hang(At::Fill, "product:1");
        let early = tokio::spawn(app.get(&product).by(&admin).into_future());
        let open = cue.reached().await;
        // Somebody else changes the row, and the service is asked to look.
        app.truth().execute("UPDATE products SET name = 'Changed'");
        let asked = app.get(&product).by(&admin).no_cache().await.expect(200);
        assert_eq!(asked.json()["name"], "Changed");
        open.send(()).expect("the reader still waits");
        early.await.expect("the reader is answered").expect(200);
        let read = app.get(&product).by(&admin).await.expect(200);
        assert_eq!(read.json()["name"], "Changed", "{storage:?}: {read:?}");
        app.stop().await;
    }
}

/// The number that a product's name ends in.
fn number(product: &Value) -> u64 {
    let name = product["name"].as_str().unwrap_or_default();
    let digits = name.rsplit(' ').next().unwrap_or_default();
    digits.parse().expect("a name ends in a number")
}

/// Runs the schedule of the oldest bug in caching and has its history judged.
async fn judge(fills: Fills) -> usize {
    let (app, staged, admin) = stage(Storage::Sqlite, fills).await;
    let (product, _) = app.new_product(&admin).await;
    let rename = |number: u64| {
        let change = json!({ "name": format!("Name {number}") });
        app.patch(&product).by(&admin).json(&change)
    };
    rename(1).await.expect(200);
    let recorder = Recorder::new();
    recorder.initial("product", 1);
    app.delete("/cache/clear").by(&admin).await.expect(200);
    app.get("/auth/me").by(&admin).await.expect(200);
    {
        let (mut early, mut log) = (recorder.client(), recorder.client());
        let cue = staged.hang(At::Fill, "product:1");
        let pending = early.read("product");
        let reader = tokio::spawn(app.get(&product).by(&admin).into_future());
        let open = cue.reached().await;
        let write = log.write("product", 2);
        rename(2).await.expect(200);
        write.acknowledged();
        open.send(()).expect("the reader still waits");
        let answer = reader.await.expect("the reader is answered");
        pending.returned(number(&answer.json()));
        for _ in 0..3 {
            let read = log.read("product");
            let answer = app.get(&product).by(&admin).await.expect(200);
            read.returned(number(&answer.json()));
        }
    }
    app.stop().await;
    let report = recorder
        .finish()
        .check()
        .expect("no value was written twice");
    println!("fills {fills:?}: {report}");
    assert_eq!((report.reads, report.writes), (4, 2));
    assert_eq!(report.is_clean(), report.stale.is_empty());
    report.stale.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checker_finds_nothing_where_fills_keep_to_their_tickets() {
    assert_eq!(judge(Fills::ByTicket).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checker_catches_a_backend_whose_fills_ignore_their_tickets() {
    assert_eq!(judge(Fills::Regardless).await, 3);
}
