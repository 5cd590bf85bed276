//! Clients who send a write and cut the connection while it is under way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::{TestApp, tcp};

/// At least so many rounds are played.
const ROUNDS: usize = 60;

/// More than so many writes must outlive their clients. On a busy machine many resets arrive before
/// the service has read the request; then more rounds are played,
const ENOUGH: usize = ROUNDS / 3;

/// but no more than these.
const MOST_ROUNDS: usize = 10 * ROUNDS;

/// How long a void may take after its commit. An entry whose void is lost lives for minutes.
const LIMIT: Duration = Duration::from_secs(10);

/// Sends a request and resets the connection a moment later; now and then before all is sent.
async fn send_and_reset(app: &TestApp, request: &[u8]) {
    let mut client = tcp::connect(app.address).await;
    let cut = if fastrand::u8(..10) == 0 {
        fastrand::usize(..request.len())
    } else {
        request.len()
    };
    client
        .write_all(&request[..cut])
        .await
        .expect("the request is sent");
    let moment = Duration::from_micros(fastrand::u64(..5_000));
    tokio::time::sleep(moment).await;
    tcp::reset(client);
}

/// Whether a condition comes true within the limit.
async fn within(limit: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if condition().await {
            return true;
        }
        if started.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Reads these paths until told to stop, so that they are cached again as soon as they are not.
async fn keep_reading(app: &TestApp, token: &str, paths: &[String], done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        for path in paths {
            app.get(path).by(token).await;
        }
    }
}

matrix!(a_change_whose_client_hung_up_is_seen_by_every_read);
async fn a_change_whose_client_hung_up_is_seen_by_every_read(app: TestApp) {
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    let mut truth = app.truth();
    let done = AtomicBool::new(false);
    let paths = [path.clone(), "/products".to_owned()];
    let writing = async {
        let mut committed = 0;
        for round in 0..MOST_ROUNDS {
            if round >= ROUNDS && committed > ENOUGH {
                break;
            }
            let name = format!("Round {round}");
            let body = json!({ "name": name }).to_string();
            let request = tcp::request("PATCH", &path, &admin, &body);
            send_and_reset(&app, &request).await;
            let select = "SELECT name AS value FROM products";
            let mut current = vec![];
            let came = within(Duration::from_millis(30), async || {
                current = truth.texts(select);
                current == [name.as_str()]
            });
            committed += usize::from(came.await);
            // Whether this write came or was cut off: reads agree with the database.
            for path in &paths {
                let agrees = within(LIMIT, async || {
                    let stored = truth.texts(select);
                    let read = app.get(path).by(&admin).await.expect(200);
                    read.body.contains(&format!("\"{}\"", stored[0]))
                });
                assert!(agrees.await, "round {round}: {path} is not {current:?}");
            }
        }
        done.store(true, Ordering::Relaxed);
        committed
    };
    let reading = keep_reading(&app, &admin, &paths, &done);
    let (committed, ()) = tokio::join!(writing, reading);
    assert!(committed > ENOUGH, "only {committed} writes came through");
}

matrix!(somebody_new_whose_maker_hung_up_is_found);
async fn somebody_new_whose_maker_hung_up_is_found(app: TestApp) {
    let admin = app.admin().await;
    let mut truth = app.truth();
    let mut made = 0;
    for round in 0..MOST_ROUNDS {
        if round >= ROUNDS && made > ENOUGH {
            break;
        }
        let email = format!("round-{round}@example.com");
        let paths = [
            format!("/users/by-email/{email}"),
            format!("/users/{}", made + 2),
            "/users?limit=1000".to_owned(),
        ];
        // Their absence is cached, under their address, under their id and in the list.
        for path in &paths {
            app.get(path).by(&admin).await;
        }
        let body = json!({ "email": email, "full_name": "New", "password": "a password" });
        let request = tcp::request("POST", "/users", &admin, &body.to_string());
        send_and_reset(&app, &request).await;
        let select = format!("SELECT email AS value FROM users WHERE email = '{email}'");
        let came = within(Duration::from_millis(30), async || {
            !truth.texts(&select).is_empty()
        });
        if !came.await {
            continue;
        }
        made += 1;
        let found = within(LIMIT, async || {
            let answer = app.get(&paths[0]).by(&admin).await;
            answer.status.as_u16() == 200
        });
        assert!(found.await, "round {round}: {email} is not found");
        let listed = within(LIMIT, async || {
            let answer = app.get(&paths[2]).by(&admin).await.expect(200);
            answer.body.contains(&email)
        });
        assert!(listed.await, "round {round}: {email} is not in the list");
        let id = app.get(&paths[0]).by(&admin).await.json()["id"].clone();
        let answer = app.get(&format!("/users/{id}")).by(&admin).await;
        answer.expect(200);
    }
    assert!(made > ENOUGH, "only {made} came through");
}

matrix!(what_was_deleted_by_somebody_who_hung_up_is_gone);
async fn what_was_deleted_by_somebody_who_hung_up_is_gone(app: TestApp) {
    let admin = app.admin().await;
    let mut truth = app.truth();
    let mut deleted = 0;
    for round in 0..MOST_ROUNDS {
        if round >= ROUNDS && deleted > ENOUGH {
            break;
        }
        let (path, product) = app.new_product(&admin).await;
        for path in [path.as_str(), "/products"] {
            app.get(path).by(&admin).await.expect(200);
        }
        send_and_reset(&app, &tcp::request("DELETE", &path, &admin, "")).await;
        let select = format!(
            "SELECT name AS value FROM products WHERE id = {}",
            product["id"]
        );
        let gone = within(Duration::from_millis(30), async || {
            truth.texts(&select).is_empty()
        });
        if !gone.await {
            continue;
        }
        deleted += 1;
        let absent = within(LIMIT, async || {
            let answer = app.get(&path).by(&admin).await;
            answer.status.as_u16() == 404
        });
        assert!(absent.await, "round {round}: {path} is still there");
        let id = format!("\"id\":{},", product["id"]);
        let unlisted = within(LIMIT, async || {
            let answer = app.get("/products").by(&admin).await.expect(200);
            !answer.body.contains(&id)
        });
        assert!(unlisted.await, "round {round}: {path} is still listed");
    }
    assert!(deleted > ENOUGH, "only {deleted} came through");
}
