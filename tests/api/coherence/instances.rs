//! What is changed through one instance, or behind every instance's back, is seen by all.

use alacena_lab::proxy::{Direction, Fault, Proxy};
use alacena_lab::servers::Redis;
use serde_json::json;
use tokio::task::block_in_place;

use super::{Two, of_two};
use crate::support::{Storage, TestApp, Truth, eventually};

async fn finds(app: &TestApp, admin: &str, path: &str, text: &str) {
    eventually(&format!("{path} has {text}"), async || {
        app.get(path).by(admin).await.body.contains(text)
    })
    .await;
}

async fn is_absent(app: &TestApp, admin: &str, path: &str) {
    eventually(&format!("{path} is absent"), async || {
        app.get(path).by(admin).await.status.as_u16() == 404
    })
    .await;
}

of_two!(a_change_reaches_the_other_instance_in_every_form);
async fn a_change_reaches_the_other_instance_in_every_form(two: Two) {
    let Two {
        one, other, admin, ..
    } = &two;
    let user = one.new_user(admin).await;
    let (product, _) = one.new_product(admin).await;
    let by_email = format!("/users/by-email/{}", user.email);
    let paths = [&user.path(), &by_email, "/users", &product, "/products"];
    for path in paths {
        other.get(path).by(admin).await.expect(200);
    }
    let name = json!({ "full_name": "Somebody else" });
    one.patch(&user.path())
        .by(admin)
        .json(&name)
        .await
        .expect(200);
    for path in [&user.path(), &by_email, "/users"] {
        finds(other, admin, path, "Somebody else").await;
    }
    let name = json!({ "name": "Something else" });
    one.patch(&product).by(admin).json(&name).await.expect(200);
    for path in [&product, "/products"] {
        finds(other, admin, path, "Something else").await;
    }
    // An address that nobody has, and then somebody; and the one that they had before.
    let new = "/users/by-email/new@example.com";
    other.get(new).by(admin).await.problem(404, "absent");
    let email = json!({ "email": "New@example.com" });
    one.patch(&user.path())
        .by(admin)
        .json(&email)
        .await
        .expect(200);
    finds(other, admin, new, "New@example.com").await;
    is_absent(other, admin, &by_email).await;
    one.delete(&user.path()).by(admin).await.expect(204);
    is_absent(other, admin, new).await;
    is_absent(other, admin, &user.path()).await;
    one.delete(&product).by(admin).await.expect(204);
    is_absent(other, admin, &product).await;
    two.stop().await;
}

of_two!(whoever_is_deactivated_or_deleted_is_out_everywhere);
async fn whoever_is_deactivated_or_deleted_is_out_everywhere(two: Two) {
    let Two {
        one, other, admin, ..
    } = &two;
    let (first, second) = (one.new_user(admin).await, one.new_user(admin).await);
    for user in [&first, &second] {
        other.get("/auth/me").by(&user.token).await.expect(200);
    }
    let inactive = json!({ "is_active": false });
    one.patch(&first.path())
        .by(admin)
        .json(&inactive)
        .await
        .expect(200);
    one.delete(&second.path()).by(admin).await.expect(204);
    for user in [&first, &second] {
        eventually("the token is void", async || {
            other.get("/auth/me").by(&user.token).await.status.as_u16() == 401
        })
        .await;
    }
    two.stop().await;
}

of_two!(what_is_changed_behind_every_instance_is_seen_by_all);
async fn what_is_changed_behind_every_instance_is_seen_by_all(two: Two) {
    let Two {
        one, other, admin, ..
    } = &two;
    let (product, _) = one.new_product(admin).await;
    let mut truth = one.truth();
    for app in [one, other] {
        app.get(&product).by(admin).await.expect(200);
        app.get("/products").by(admin).await.expect(200);
    }
    let tag = one
        .get(&product)
        .by(admin)
        .await
        .expect(200)
        .etag()
        .to_owned();
    truth.execute("UPDATE products SET name = 'By hand'");
    for app in [one, other] {
        finds(app, admin, &product, "By hand").await;
        finds(app, admin, "/products", "By hand").await;
        // Whoever has the old one is not told that it is the same.
        let asked = app.get(&product).by(admin).header("if-none-match", &tag);
        assert_ne!(asked.await.expect(200).etag(), tag);
    }
    let absent = "/users/by-email/imported@example.com";
    for app in [one, other] {
        app.get(absent).by(admin).await.problem(404, "absent");
    }
    truth.execute(
        "INSERT INTO users (email, full_name, role, is_active, password_hash, created_at, updated_at) \
         VALUES ('Imported@example.com', 'Imported', 'user', true, '', '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
    );
    for app in [one, other] {
        finds(app, admin, absent, "Imported").await;
    }
    truth.execute("DELETE FROM products");
    for app in [one, other] {
        is_absent(app, admin, &product).await;
    }
    two.stop().await;
}

of_two!(a_clear_reaches_every_instance);
async fn a_clear_reaches_every_instance(two: Two) {
    let Two {
        one, other, admin, ..
    } = &two;
    let (product, _) = one.new_product(admin).await;
    let key = product
        .trim_start_matches('/')
        .replace("products/", "product:");
    let is_cached = async |app: &TestApp, key: &str| {
        let exists = app.get("/cache/exists").query(&[("key", key)]).by(admin);
        exists.await.expect(200).json()["exists"] == json!(true)
    };
    for app in [one, other] {
        eventually("it is cached", async || {
            app.get(&product).by(admin).await.expect(200);
            app.get("/users").by(admin).await.expect(200);
            is_cached(app, &key).await && is_cached(app, "users:list:0:100").await
        })
        .await;
    }
    let clear = one.delete("/cache/clear?pattern=product:*").by(admin);
    let cleared = clear.await.expect(200);
    assert!(cleared.json()["cleared"].as_u64() >= Some(1), "{cleared:?}");
    assert!(!is_cached(one, &key).await);
    eventually("it is cleared there too", async || {
        !is_cached(other, &key).await
    })
    .await;
    for app in [one, other] {
        assert!(is_cached(app, "users:list:0:100").await);
    }
    two.stop().await;
}

/// An acknowledged clear holds like a write, also where the instance that cleared cannot reach Redis.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clear_by_an_instance_that_is_cut_off_from_redis_reaches_every_instance() {
    for (storage, backend) in [
        (Storage::Sqlite, "redis"),
        (Storage::Sqlite, "tiered"),
        (Storage::Postgres, "tiered"),
    ] {
        let redis = block_in_place(Redis::start).expect("a server of one's own");
        let proxy = Proxy::start(redis.address()).await.expect("a proxy");
        let direct = format!("cache.redis.url = '{}'", redis.url());
        let mut two = Two::start(storage, backend, &direct).await;
        let namespace = ask_namespace(&redis);
        let behind = format!(
            "cache.redis.url = 'redis://{}'\ncache.redis.budget = '200ms'\ncache.namespace = '{namespace}'",
            proxy.address()
        );
        let one = TestApp::start_at(&two.store.url(), backend, &behind).await;
        std::mem::replace(&mut two.one, one).stop().await;
        let Two {
            one,
            other,
            admin,
            store,
        } = &two;
        let (product, _) = one.new_product(admin).await;
        for app in [one, other, one, other] {
            eventually("it is cached", async || {
                app.get(&product).by(admin).await.expect(200).is_hit()
            })
            .await;
        }
        // Changed where no trigger sees it: only a clear shows it.
        let mut truth = Truth::at(&store.url());
        block_in_place(|| {
            truth.stop_log();
            truth.execute("UPDATE products SET name = 'Another name'");
        });
        proxy.set(Direction::Both, Fault::Cut);
        let clear = one.delete("/cache/clear?pattern=product:*").by(admin);
        let cleared = clear.await.expect(200);
        let position = cleared.header("alacena-position").to_owned();
        let seen = one.get(&product).by(admin).await.expect(200);
        assert!(seen.body.contains("Another name"), "{seen:?}");
        let seen = other.get(&product).by(admin);
        let seen = seen.header("alacena-position", &position).await.expect(200);
        assert!(seen.body.contains("Another name"), "{seen:?}");
        proxy.heal();
        for app in [one, other] {
            eventually("it is cached again", async || {
                let read = app.get(&product).by(admin).await.expect(200);
                assert!(read.body.contains("Another name"), "{read:?}");
                read.is_hit()
            })
            .await;
        }
        two.stop().await;
    }
}

/// The namespace of the one service that uses this Redis.
fn ask_namespace(redis: &Redis) -> String {
    let names = redis.command(&["KEYS", "*:token"]).expect("it answers");
    names.split(':').next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_emptied_at_once_is_empty_everywhere() {
    for backend in ["memory", "redis", "tiered"] {
        let two = Two::start(Storage::Postgres, backend, "").await;
        let Two {
            one, other, admin, ..
        } = &two;
        let (product, _) = one.new_product(admin).await;
        for app in [one, other] {
            app.get(&product).by(admin).await.expect(200);
        }
        one.truth().execute("TRUNCATE products");
        for app in [one, other] {
            is_absent(app, admin, &product).await;
        }
        two.stop().await;
    }
}
