use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::support::{ADMIN_EMAIL, TestApp, TestUser};

fn path_of(email: &str) -> String {
    format!("/users/by-email/{email}")
}

async fn rename(app: &TestApp, token: &str, user: &TestUser, email: &str) {
    let change = json!({ "email": email });
    let changed = app.patch(&user.path()).by(token).json(&change).await;
    changed.expect(200);
}

matrix!(a_user_is_found_by_their_address_in_any_case);
async fn a_user_is_found_by_their_address_in_any_case(app: TestApp) {
    let admin = app.admin().await;
    let body = json!({ "email": "Mixed.Case@Example.com" });
    let user = app.new_user_with(&admin, body).await;
    for email in [
        "Mixed.Case@Example.com",
        "mixed.case@example.com",
        "MIXED.CASE@EXAMPLE.COM",
    ] {
        for token in [&admin, &user.token] {
            let found = app.get(&path_of(email)).by(token).await.expect(200);
            assert_eq!(found.json()["id"], user.id);
            assert_eq!(found.json()["email"], "Mixed.Case@Example.com");
        }
    }
    let head = app.head(&path_of(&user.email)).by(&admin).await.expect(200);
    let by_id = app.get(&user.path()).by(&admin).await.expect(200);
    assert_eq!(head.etag(), by_id.etag());
}

matrix!(an_address_may_be_percent_encoded);
async fn an_address_may_be_percent_encoded(app: TestApp) {
    let admin = app.admin().await;
    for email in [
        "ana@example.com",
        "ana+news@example.com",
        "o'neil_{x}~|^`!#$&*=?@example.com",
    ] {
        let user = app.new_user_with(&admin, json!({ "email": email })).await;
        let encoded = utf8_percent_encode(email, NON_ALPHANUMERIC).to_string();
        for token in [&admin, &user.token] {
            let found = app.get(&path_of(&encoded)).by(token).await;
            assert_eq!(found.expect(200).json()["id"], user.id, "{email}");
        }
    }
}

matrix!(an_address_with_a_slash_or_a_percent_sign_is_found_too);
async fn an_address_with_a_slash_or_a_percent_sign_is_found_too(app: TestApp) {
    let admin = app.admin().await;
    for email in [
        "sales/north@example.com",
        "100%@example.com",
        "a%2fb@example.com",
    ] {
        let user = app.new_user_with(&admin, json!({ "email": email })).await;
        let encoded = utf8_percent_encode(email, NON_ALPHANUMERIC).to_string();
        for token in [&admin, &user.token] {
            let found = app.get(&path_of(&encoded)).by(token).await;
            assert_eq!(found.expect(200).json()["id"], user.id, "{email}");
        }
    }
}

matrix!(only_an_admin_looks_up_another_users_address);
async fn only_an_admin_looks_up_another_users_address(app: TestApp) {
    let admin = app.admin().await;
    let [user, other] = [app.new_user(&admin).await, app.new_user(&admin).await];
    for email in [
        other.email.as_str(),
        ADMIN_EMAIL,
        "nobody@example.com",
        "no-address",
    ] {
        let looked = app.get(&path_of(email)).by(&user.token).await;
        looked.problem(403, "forbidden");
    }
    let own = app.get(&path_of(&user.email)).by(&user.token).await;
    own.expect(200);
    let other = app.get(&path_of(&other.email)).by(&admin).await;
    other.expect(200);
}

matrix!(what_is_no_address_is_said_to_an_admin);
async fn what_is_no_address_is_said_to_an_admin(app: TestApp) {
    let admin = app.admin().await;
    let nobody = app.get(&path_of("nobody@example.com")).by(&admin).await;
    nobody.problem(404, "absent");
    let nothing = app.get(&path_of("no-address")).by(&admin).await;
    nothing.invalid(&["email"]);
}

matrix!(a_changed_address_moves_at_once);
async fn a_changed_address_moves_at_once(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    // Both lookups are cached before the change, the absence too.
    let (old, new) = (path_of(&user.email), path_of("new@example.com"));
    for _ in 0..2 {
        app.get(&old).by(&admin).await.expect(200);
        app.get(&new).by(&admin).await.problem(404, "absent");
    }
    rename(&app, &admin, &user, "New@example.com").await;
    for _ in 0..2 {
        app.get(&old).by(&admin).await.problem(404, "absent");
        let found = app.get(&new).by(&admin).await.expect(200);
        assert_eq!(found.json()["id"], user.id);
        assert_eq!(found.json()["version"], 2);
    }
    // Their own address is the new one now, for the same token.
    app.get(&new).by(&user.token).await.expect(200);
    let lost = app.get(&old).by(&user.token).await;
    lost.problem(403, "forbidden");
    let login = app.try_login(&user.email, &user.password).await;
    login.problem(401, "wrong-credentials");
    app.login("new@example.com", &user.password).await;
}

matrix!(an_address_that_was_left_can_be_taken);
async fn an_address_that_was_left_can_be_taken(app: TestApp) {
    let admin = app.admin().await;
    let [first, second] = [app.new_user(&admin).await, app.new_user(&admin).await];
    let path = path_of(&first.email);
    let holder = async || app.get(&path).by(&admin).await.expect(200).json()["id"].clone();
    assert_eq!(holder().await, first.id);
    rename(&app, &admin, &first, "left@example.com").await;
    rename(&app, &admin, &second, &first.email).await;
    assert_eq!(holder().await, second.id);
    // And back, and once more by somebody new.
    rename(&app, &admin, &second, "left-too@example.com").await;
    rename(&app, &admin, &first, &first.email).await;
    assert_eq!(holder().await, first.id);
    app.delete(&first.path()).by(&admin).await.expect(204);
    app.get(&path).by(&admin).await.problem(404, "absent");
    let third = app.new_user_with(&admin, json!({ "email": first.email }));
    let third = third.await;
    assert_eq!(holder().await, third.id);
}

matrix!(somebody_new_is_found_though_their_absence_was_cached);
async fn somebody_new_is_found_though_their_absence_was_cached(app: TestApp) {
    let admin = app.admin().await;
    let path = path_of("later@example.com");
    for _ in 0..2 {
        app.get(&path).by(&admin).await.problem(404, "absent");
    }
    let user = app
        .new_user_with(&admin, json!({ "email": "Later@example.com" }))
        .await;
    let found = app.get(&path).by(&admin).await.expect(200);
    assert_eq!(found.json()["id"], user.id);
}

matrix!(a_lookup_by_address_says_where_it_came_from);
async fn a_lookup_by_address_says_where_it_came_from(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    app.delete("/cache/clear").by(&admin).await.expect(200);
    let path = path_of(&user.email);
    let before = app.stats(&admin).await;
    let first = app.get(&path).by(&admin).await.expect(200);
    let second = app.get(&path).by(&admin).await.expect(200);
    let after = app.stats(&admin).await;
    let (hits, misses) = if app.caches() {
        assert_eq!(first.cache_status(), "alacena; fwd=uri-miss; stored");
        assert!(second.is_hit(), "{second:?}");
        (1, 1)
    } else {
        assert_eq!(first.cache_status(), "alacena; fwd=bypass");
        assert_eq!(second.cache_status(), "alacena; fwd=bypass");
        (0, 2)
    };
    // Two keys are looked at; one read is counted.
    let grown = |name: &str| {
        after[name]
            .as_i64()
            .zip(before[name].as_i64())
            .map(|(a, b)| a - b)
    };
    assert_eq!(grown("keyspace_hits"), Some(hits));
    assert_eq!(grown("keyspace_misses"), Some(misses));
    let again = app.get(&path).by(&admin);
    let again = again.header("if-none-match", second.etag()).await;
    again.expect(304);
}

matrix!(what_a_lookup_by_address_stores_is_counted);
async fn what_a_lookup_by_address_stores_is_counted(app: TestApp) {
    let admin = app.admin().await;
    let fills = async || app.stats(&admin).await["fills"].as_u64();
    let before = fills().await;
    let path = path_of("nobody@example.com");
    app.get(&path).by(&admin).await.problem(404, "absent");
    let stored = u64::from(app.caches());
    assert_eq!(fills().await, before.map(|fills| fills + stored));
}
