use serde_json::{Value, json};

use crate::support::tokens::{SECRET, claims, hs256, hs384, now, signed, unsigned};
use crate::support::{TestApp, TestUser};

matrix!(a_request_without_a_token_is_told_how_to_authenticate);
async fn a_request_without_a_token_is_told_how_to_authenticate(app: TestApp) {
    let closed = [
        app.get("/auth/me"),
        app.get("/users"),
        app.get("/users/1"),
        app.get("/users/by-email/a@example.com"),
        app.post("/users").json(&json!({})),
        app.put("/users/1").json(&json!({})),
        app.patch("/users/1").json(&json!({})),
        app.delete("/users/1"),
        app.get("/products"),
        app.get("/products/1"),
        app.post("/products").json(&json!({})),
        app.put("/products/1").json(&json!({})),
        app.patch("/products/1").json(&json!({})),
        app.delete("/products/1"),
        app.get("/cache/stats"),
        app.delete("/cache/clear"),
        app.get("/cache/exists?key=user:1"),
        app.get("/cache/entry?key=user:1"),
        app.get("/cache/history"),
        app.get("/cache/history.svg"),
        app.get("/dashboard/figures"),
    ];
    for call in closed {
        let answer = call.await.problem(401, "unauthenticated");
        // RFC 6750, 3.1: without a token, no error code.
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let basic = app.get("/auth/me");
    let basic = basic.header("authorization", "Basic YWRtaW46YWRtaW4xMjM=");
    basic.await.problem(401, "unauthenticated");
}

matrix!(a_stranger_learns_nothing_about_bodies_paths_and_queries);
async fn a_stranger_learns_nothing_about_bodies_paths_and_queries(app: TestApp) {
    for call in [
        app.get("/users/x"),
        app.get("/users?limit=x"),
        app.get("/users?limit=0"),
        app.post("/users").body("application/json", "{"),
        app.post("/users").body("text/plain", "x"),
        app.patch("/users/999").json(&json!({ "email": "" })),
        app.delete("/cache/clear?pattern=["),
        app.get("/cache/entry"),
        app.get("/cache/history?minutes=x"),
    ] {
        call.await.problem(401, "unauthenticated");
    }
}

async fn refused(app: &TestApp, token: &str, why: &str) {
    let answer = app.get("/auth/me").by(token).await;
    assert_eq!(answer.status.as_u16(), 401, "{why}: {answer:?}");
    let answer = answer.problem(401, "unauthenticated");
    let how = answer.header("www-authenticate");
    assert!(
        how.starts_with("Bearer ") && how.contains("error=\"invalid_token\""),
        "{why}: {how}"
    );
}

/// The claims with one of them changed, or left out.
fn with(claims: &Value, name: &str, value: Option<Value>) -> Value {
    let mut claims = claims.clone();
    let fields = claims.as_object_mut().expect("claims are an object");
    match value {
        Some(value) => fields.insert(name.to_owned(), value),
        None => fields.remove(name),
    };
    claims
}

matrix!(a_token_that_is_not_ours_is_refused);
async fn a_token_that_is_not_ours_is_refused(app: TestApp) {
    // The admin is the first user.
    let id = 1;
    let fine = claims(&mut app.truth(), id);
    let accepted = app.get("/auth/me").by(&hs256(&fine, SECRET)).await;
    accepted.expect(200);

    for garbage in ["garbage", "a.b.c", "..", "eyJhbGciOiJIUzI1NiJ9", "\u{7f}x"] {
        let answer = app.get("/auth/me");
        let answer = answer.header("authorization", &format!("Bearer {garbage}"));
        // A header that HTTP does not allow never leaves the client.
        if let Ok(answer) = answer.send().await {
            answer.problem(401, "unauthenticated");
        }
    }
    refused(&app, &unsigned(&fine), "no algorithm").await;
    refused(
        &app,
        &signed("NONE", &fine, |_| Vec::new()),
        "no algorithm, in capitals",
    )
    .await;
    refused(&app, &hs384(&fine, SECRET), "another algorithm").await;
    refused(
        &app,
        &signed("RS256", &fine, |_| vec![0; 256]),
        "a public key's algorithm",
    )
    .await;
    refused(&app, &hs256(&fine, "another secret"), "another secret").await;
    refused(&app, &hs256(&fine, ""), "no secret").await;

    let changed = [
        ("exp", Some(json!(now() - 1)), "expired"),
        ("exp", None, "never expires"),
        ("exp", Some(json!("tomorrow")), "expires some day"),
        ("iss", Some(json!("somebody")), "another issuer"),
        ("iss", None, "no issuer"),
        ("aud", Some(json!("somebody")), "another audience"),
        ("aud", None, "no audience"),
        ("sub", Some(json!("999")), "a user that never was"),
        ("sub", Some(json!("one")), "no user"),
        ("sub", None, "nobody"),
        ("nonce", Some(json!("1")), "another nonce"),
        ("nonce", Some(json!(1)), "a nonce that is no text"),
        ("nonce", None, "no nonce"),
        ("history", Some(json!("1")), "another history"),
        ("history", None, "no history"),
    ];
    for (name, value, why) in changed {
        refused(&app, &hs256(&with(&fine, name, value), SECRET), why).await;
    }

    // A body or a signature from another token.
    let others = with(&fine, "sub", Some(json!("2")));
    let [mine, others] = [fine, others].map(|claims| hs256(&claims, SECRET));
    let (head, signature) = mine.rsplit_once('.').expect("a signature");
    let (_, other) = others.rsplit_once('.').expect("a signature");
    refused(&app, &format!("{head}.{other}"), "another's signature").await;
    refused(&app, &format!("{head}."), "no signature").await;
    refused(&app, &format!("{head}.{signature}x"), "more signature").await;
}

matrix!(a_token_expires, "auth.token_ttl = '1s'");
async fn a_token_expires(app: TestApp) {
    let token = app.admin().await;
    crate::support::eventually("the token expires", async || {
        let answer = app.get("/auth/me").by(&token).await;
        answer.status.as_u16() == 401
    })
    .await;
}

async fn works(app: &TestApp, user: &TestUser) {
    app.get("/auth/me").by(&user.token).await.expect(200);
    app.get("/products").by(&user.token).await.expect(200);
}

async fn is_revoked(app: &TestApp, user: &TestUser) {
    refused(app, &user.token, "the user may do nothing any more").await;
    let products = app.get("/products").by(&user.token).await;
    products.problem(401, "unauthenticated");
}

matrix!(a_deactivated_users_token_stops_at_once_and_for_good);
async fn a_deactivated_users_token_stops_at_once_and_for_good(app: TestApp) {
    let admin = app.admin().await;
    let mut user = app.new_user(&admin).await;
    for _ in 0..3 {
        works(&app, &user).await;
        for is_active in [false, true] {
            let change = json!({ "is_active": is_active });
            let changed = app.patch(&user.path()).by(&admin).json(&change).await;
            changed.expect(200);
            is_revoked(&app, &user).await;
            if !is_active {
                let login = app.try_login(&user.email, &user.password).await;
                login.problem(401, "wrong-credentials");
            }
        }
        user.token = app.login(&user.email, &user.password).await;
    }
}

matrix!(a_deleted_users_token_stops_at_once);
async fn a_deleted_users_token_stops_at_once(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    works(&app, &user).await;
    app.delete(&user.path()).by(&admin).await.expect(204);
    is_revoked(&app, &user).await;
    let login = app.try_login(&user.email, &user.password).await;
    login.problem(401, "wrong-credentials");
}

matrix!(a_roles_power_comes_and_goes_at_once);
async fn a_roles_power_comes_and_goes_at_once(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    for _ in 0..3 {
        for role in ["admin", "user"] {
            let changed = app.patch(&user.path()).by(&admin);
            changed.json(&json!({ "role": role })).await.expect(200);
            let stats = app.get("/cache/stats").by(&user.token).await;
            if role == "admin" {
                stats.expect(200);
            } else {
                stats.problem(403, "forbidden");
            }
        }
    }
}

matrix!(a_changed_password_revokes_every_older_token);
async fn a_changed_password_revokes_every_older_token(app: TestApp) {
    let admin = app.admin().await;
    let mut user = app.new_user(&admin).await;
    let second = app.login(&user.email, &user.password).await;
    let change = json!({ "password": "a new password", "current_password": user.password });
    let changed = app.patch(&user.path()).by(&user.token).json(&change).await;
    changed.expect(200);
    is_revoked(&app, &user).await;
    refused(&app, &second, "older than the password").await;
    let old = app.try_login(&user.email, &user.password).await;
    old.problem(401, "wrong-credentials");
    user.token = app.login(&user.email, "a new password").await;
    works(&app, &user).await;

    // An admin needs no current password to set another's.
    let change = json!({ "password": "set by an admin" });
    let changed = app.patch(&user.path()).by(&admin).json(&change).await;
    changed.expect(200);
    is_revoked(&app, &user).await;
    app.login(&user.email, "set by an admin").await;

    // Other changes leave tokens alone.
    user.token = app.login(&user.email, "set by an admin").await;
    let change = json!({ "full_name": "Another Name", "email": "another-name@example.com" });
    let changed = app.patch(&user.path()).by(&user.token).json(&change).await;
    changed.expect(200);
    works(&app, &user).await;
}
