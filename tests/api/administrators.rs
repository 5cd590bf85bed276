//! The first administrator, and the last.

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use crate::support::{ADMIN_EMAIL, Answer, Storage, Store, TestApp};

const ACTIVE_ADMINS: &str =
    "SELECT email AS value FROM users WHERE role = 'admin' AND is_active ORDER BY id";

matrix!(the_last_active_administrator_stays);
async fn the_last_active_administrator_stays(app: TestApp) {
    let admin = app.admin().await;
    let inactive = json!({ "role": "admin", "is_active": false });
    app.new_user_with(&admin, inactive).await;
    app.new_user(&admin).await;
    let before = app.get("/users/1").by(&admin).await.expect(200);
    let put = |name: &str, value: Value| {
        let mut user = before.json();
        user[name] = value;
        app.put("/users/1").by(&admin).json(&user)
    };
    let removals = [
        app.patch("/users/1")
            .by(&admin)
            .json(&json!({ "role": "user" })),
        app.patch("/users/1")
            .by(&admin)
            .json(&json!({ "is_active": false, "full_name": "X" })),
        put("role", json!("user")),
        put("is_active", json!(false)),
        app.delete("/users/1").by(&admin),
    ];
    for removal in removals {
        removal.await.problem(409, "last-administrator");
    }
    // A failed precondition comes first.
    let deleted = app.delete("/users/1").by(&admin);
    let deleted = deleted.header("if-match", "\"u0000000000000001\"").await;
    deleted.problem(412, "precondition-failed");
    let after = app.get("/users/1").by(&admin).no_cache().await.expect(200);
    assert_eq!(after.body, before.body, "what was refused changed nothing");

    let second = app.new_user_with(&admin, json!({ "role": "admin" })).await;
    let demoted = app.patch("/users/1").by(&admin);
    let demoted = demoted.json(&json!({ "role": "user" })).await;
    demoted.expect(200);
    let deleted = app.delete(&second.path()).by(&second.token).await;
    deleted.problem(409, "last-administrator");
}

fn status(answer: &Answer) -> u16 {
    answer.status.as_u16()
}

matrix!(of_two_administrators_who_remove_each_other_one_remains);
async fn of_two_administrators_who_remove_each_other_one_remains(app: TestApp) {
    let mut first = app.admin().await;
    let mut first_path = "/users/1".to_owned();
    for removal in ["demote", "deactivate", "delete", "demote", "deactivate"] {
        let second = app.new_user_with(&first, json!({ "role": "admin" })).await;
        let remove = |path: &str, token: &str| {
            let call = match removal {
                "delete" => app.delete(path).by(token),
                "demote" => app.patch(path).by(token).json(&json!({ "role": "user" })),
                _ => app
                    .patch(path)
                    .by(token)
                    .json(&json!({ "is_active": false })),
            };
            call.into_future()
        };
        let (of_second, of_first) = join(
            remove(&second.path(), &first),
            remove(&first_path, &second.token),
        )
        .await;
        // The loser is the last administrator, or is none any more.
        let statuses = [status(&of_second), status(&of_first)];
        let is_done = statuses.map(|status| [200, 204].contains(&status));
        assert_ne!(is_done[0], is_done[1], "{of_second:?} {of_first:?}");
        let refused = [401, 403, 409];
        let is_refused = statuses.iter().any(|status| refused.contains(status));
        assert!(is_refused, "{of_second:?} {of_first:?}");
        assert_eq!(app.truth().texts(ACTIVE_ADMINS).len(), 1);
        if is_done[1] {
            (first, first_path) = (second.token.clone(), second.path());
        }
    }
}

/// Transactions that overlap for certain: each has changed its row before either commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_waits_for_the_one_before_it() {
    let app = TestApp::start_on(Storage::Postgres, "memory", "").await;
    let admin = app.admin().await;
    let second = app.new_user_with(&admin, json!({ "role": "admin" })).await;
    let mut other = app.truth();
    // What another instance sends for the demotion of the first administrator.
    other.execute(
        "BEGIN; SELECT id FROM users WHERE role = 'admin' AND is_active ORDER BY id LIMIT 2 \
         FOR UPDATE; UPDATE users SET role = 'user' WHERE id = 1",
    );
    let demotion = app.patch(&second.path()).by(&admin);
    let demotion = demotion.json(&json!({ "role": "user" }));
    let demotion = tokio::spawn(demotion.into_future());
    let mut observer = app.truth();
    let waiting = "SELECT 'waits' AS value FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    crate::support::eventually("the second demotion waits", async || {
        !observer.texts(waiting).is_empty()
    })
    .await;
    other.execute("COMMIT");
    let answer = demotion.await.expect("the request ends");
    answer.problem(409, "last-administrator");
    assert_eq!(observer.texts(ACTIVE_ADMINS), [second.email]);
}

/// A removal counts on another administrator only if that one stays until it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_counts_on_nobody_whose_demotion_is_under_way() {
    let app = TestApp::start_on(Storage::Postgres, "memory", "").await;
    let admin = app.admin().await;
    let second = app.new_user(&admin).await;
    let [mut promotion, mut demotion, mut observer] = [app.truth(), app.truth(), app.truth()];
    let own_id = "SELECT pg_backend_pid()::text AS value";
    let ids = [&mut promotion, &mut demotion].map(|by| by.texts(own_id).remove(0));
    let mut waits_for = async |id: &str| {
        let waiting = format!(
            "SELECT 'waits' AS value FROM pg_stat_activity \
             WHERE datname = current_database() AND {id} = ANY(pg_blocking_pids(pid))"
        );
        crate::support::eventually("the removal waits", async || {
            !observer.texts(&waiting).is_empty()
        })
        .await;
    };
    promotion.execute("BEGIN; UPDATE users SET role = 'admin' WHERE id <> 1");
    let removal = app.delete(&second.path()).by(&admin).into_future();
    let removal = tokio::spawn(removal);
    waits_for(&ids[0]).await;
    demotion.execute("BEGIN; UPDATE users SET role = 'user' WHERE id = 1");
    promotion.execute("COMMIT");
    waits_for(&ids[1]).await;
    demotion.execute("COMMIT");
    let answer = removal.await.expect("the request ends");
    answer.problem(409, "last-administrator");
    assert_eq!(demotion.texts(ACTIVE_ADMINS), [second.email]);
}

/// Above `READ COMMITTED` a transaction does not see what others commit after it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_administrators_who_remove_each_other_one_remains_at_every_isolation_level() {
    for level in ["repeatable read", "serializable"] {
        let first = TestApp::start_on(Storage::Postgres, "memory", "").await;
        let mut truth = first.truth();
        let database = truth.texts("SELECT current_database()::text AS value");
        truth.execute(&format!(
            "ALTER DATABASE {} SET default_transaction_isolation = '{level}'",
            database[0]
        ));
        // On new connections.
        let app = first.another("").await;
        let admin = app.admin().await;
        let demoted = json!({ "role": "user" });
        for _ in 0..5 {
            let second = app.new_user_with(&admin, json!({ "role": "admin" })).await;
            let demote = |path: &str, token: &str| {
                let demotion = app.patch(path).by(token).json(&demoted);
                demotion.into_future()
            };
            let both = join(
                demote(&second.path(), &admin),
                demote("/users/1", &second.token),
            );
            let (of_second, of_first) = both.await;
            assert_ne!(
                status(&of_second) == 200,
                status(&of_first) == 200,
                "{level}: {of_second:?} {of_first:?}"
            );
            assert_eq!(truth.texts(ACTIVE_ADMINS).len(), 1, "{level}");
            truth.execute("UPDATE users SET role = 'admin' WHERE id = 1");
            truth.execute("UPDATE users SET role = 'user' WHERE id <> 1");
            crate::support::eventually("the first administrator is one again", async || {
                let stats = app.get("/cache/stats").by(&admin).await;
                status(&stats) == 200
            })
            .await;
        }
        app.stop().await;
    }
}

/// A service on this database, whose first administrator would have this address.
async fn start(store: &Store, email: &str) -> TestApp {
    let config = format!("auth.admin_email = '{email}'");
    TestApp::start_at(&store.url(), "memory", &config).await
}

async fn the_first_administrator_comes_only_while_there_is_none(storage: Storage) {
    let store = tokio::task::block_in_place(|| Store::fresh(storage));
    // Any number of instances at once make one.
    let emails = ["a@example.com", "b@example.com", "c@example.com"];
    let apps = join_all(emails.map(|email| start(&store, email))).await;
    let first = apps[0].truth().texts(ACTIVE_ADMINS);
    assert_eq!(first.len(), 1, "{first:?}");
    for app in apps {
        app.stop().await;
    }

    // It does not come back under its old address.
    let app = start(&store, &first[0]).await;
    let moved = "UPDATE users SET email = 'moved@example.com'";
    app.truth().execute(moved);
    app.stop().await;
    let app = start(&store, &first[0]).await;
    assert_eq!(app.truth().texts(ACTIVE_ADMINS), ["moved@example.com"]);
    app.stop().await;

    // Nor does it take over an account.
    let app = start(&store, "moved@example.com").await;
    app.truth().execute("UPDATE users SET role = 'user'");
    app.stop().await;
    let app = start(&store, "moved@example.com").await;
    assert_eq!(app.truth().texts(ACTIVE_ADMINS), Vec::<String>::new());
    app.stop().await;

    // It comes while there is no active administrator.
    let app = start(&store, ADMIN_EMAIL).await;
    assert_eq!(app.truth().texts(ACTIVE_ADMINS), [ADMIN_EMAIL]);
    app.stop().await;
    tokio::task::block_in_place(|| drop(store));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_comes_only_while_there_is_none_on_sqlite() {
    the_first_administrator_comes_only_while_there_is_none(Storage::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_comes_only_while_there_is_none_on_postgresql() {
    the_first_administrator_comes_only_while_there_is_none(Storage::Postgres).await;
}
