use serde_json::json;

use crate::support::{ADMIN_EMAIL, ADMIN_PASSWORD, Storage, TestApp};

matrix!(a_login_answers_a_bearer_token_that_nobody_may_keep);
async fn a_login_answers_a_bearer_token_that_nobody_may_keep(app: TestApp) {
    let answer = app.try_login(ADMIN_EMAIL, ADMIN_PASSWORD).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json");
    let body = answer.json();
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["expires_in"], 1800);
    let token = body["access_token"].as_str().expect("a token");
    assert_eq!(token.split('.').count(), 3);

    let me = app.get("/auth/me").by(token).await.expect(200).json();
    assert_eq!(me["email"], ADMIN_EMAIL);
    assert_eq!(me["role"], "admin");
}

matrix!(
    a_token_lives_as_long_as_it_is_configured_to,
    "auth.token_ttl = '90s'"
);
async fn a_token_lives_as_long_as_it_is_configured_to(app: TestApp) {
    let answer = app.try_login(ADMIN_EMAIL, ADMIN_PASSWORD).await.expect(200);
    assert_eq!(answer.json()["expires_in"], 90);
}

matrix!(an_account_is_found_however_its_address_is_written);
async fn an_account_is_found_however_its_address_is_written(app: TestApp) {
    let answer = app.try_login("ADMIN@Example.COM", ADMIN_PASSWORD).await;
    answer.expect(200);
}

matrix!(a_wrong_password_an_unknown_user_and_an_inactive_one_get_the_same_answer);
async fn a_wrong_password_an_unknown_user_and_an_inactive_one_get_the_same_answer(app: TestApp) {
    let admin = app.admin().await;
    let inactive = app
        .new_user_with(&admin, json!({ "is_active": false }))
        .await;
    let wrong = app.try_login(ADMIN_EMAIL, "not the password").await;
    let wrong = wrong.problem(401, "wrong-credentials");
    assert!(wrong.header("www-authenticate").starts_with("Bearer"));
    let unknown = app.try_login("nobody@example.com", ADMIN_PASSWORD).await;
    let no_address = app.try_login("no address", ADMIN_PASSWORD).await;
    let inactive = app.try_login(&inactive.email, &inactive.password).await;
    for answer in [unknown, no_address, inactive] {
        let answer = answer.problem(401, "wrong-credentials");
        assert_eq!(answer.body, wrong.body);
        assert_eq!(
            answer.header("www-authenticate"),
            wrong.header("www-authenticate")
        );
    }
}

matrix!(the_grant_type_may_be_given_and_must_be_password);
async fn the_grant_type_may_be_given_and_must_be_password(app: TestApp) {
    let with_grant = async |grant: &str| {
        let form = [
            ("grant_type", grant),
            ("username", ADMIN_EMAIL),
            ("password", ADMIN_PASSWORD),
            ("scope", ""),
            ("client_id", ""),
        ];
        app.post("/auth/login").form(&form).await
    };
    with_grant("password").await.expect(200);
    with_grant("").await.expect(200);
    with_grant("client_credentials")
        .await
        .invalid(&["grant_type"]);
}

matrix!(what_is_no_login_form_is_refused_by_its_kind);
async fn what_is_no_login_form_is_refused_by_its_kind(app: TestApp) {
    const FORM: &str = "application/x-www-form-urlencoded";
    let login = async |content_type: &str, body: &str| {
        let call = app.post("/auth/login");
        call.body(content_type, body.to_owned()).await
    };
    let json = json!({ "username": ADMIN_EMAIL, "password": ADMIN_PASSWORD }).to_string();
    login("application/json", &json)
        .await
        .problem(415, "unsupported-media-type");
    login("text/plain", "username=a&password=b")
        .await
        .problem(415, "unsupported-media-type");
    app.post("/auth/login")
        .await
        .problem(415, "unsupported-media-type");
    login(FORM, "password=12345678")
        .await
        .invalid(&["username"]);
    login(FORM, "username=a").await.invalid(&["password"]);
    login(FORM, "").await.invalid(&["username"]);
    let twice = login(FORM, "username=a&username=b&password=c").await;
    assert!(twice.status.is_client_error(), "{twice:?}");
    login(&format!("{FORM}; charset=UTF-8"), "username=a&password=b")
        .await
        .problem(401, "wrong-credentials");
}

matrix!(a_login_form_is_limited_field_by_field_and_as_a_whole);
async fn a_login_form_is_limited_field_by_field_and_as_a_whole(app: TestApp) {
    let long = |length: usize| "x".repeat(length);
    let both = app.try_login(&long(255), &long(129)).await;
    both.invalid(&["username", "password"]);
    let longest = app.try_login(&long(254), &long(128)).await;
    longest.problem(401, "wrong-credentials");
    let huge = app.try_login(ADMIN_EMAIL, &long(100_000)).await;
    huge.problem(413, "body-too-large");
}

matrix!(the_caller_is_who_the_token_says);
async fn the_caller_is_who_the_token_says(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let me = app.get("/auth/me").by(&user.token).await.expect(200);
    assert_eq!(me.json()["id"], user.id);
    assert_eq!(me.header("cache-control"), "private, no-cache");
    let again = app.get("/auth/me").by(&user.token);
    let again = again.header("if-none-match", me.etag()).await;
    again.expect(304);
    let head = app.head("/auth/me").by(&user.token).await.expect(200);
    assert_eq!(head.etag(), me.etag());
    // The scheme's name is written in any case (RFC 9110, 11.1).
    let lower = app.get("/auth/me");
    let lower = lower.header("authorization", &format!("bEARER {}", user.token));
    lower.await.expect(200);
}

/// How many password hashes the service has computed so far.
async fn hashes(app: &TestApp) -> u64 {
    let metrics = app.get("/metrics").await.expect(200).body;
    let name = "alacena_argon2_computations_total ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(name));
    let count = count.and_then(|count| count.parse().ok());
    count.expect("the hashes are counted")
}

/// Whatever the address, a login computes as many hashes as there are costs.
async fn a_changed_password_cost_tells_nothing(storage: Storage) {
    let old = TestApp::start_on(storage, "memory", "auth.argon2_iterations = 2").await;
    let admin = old.admin().await;
    let active = old.new_user(&admin).await;
    let idle = old.new_user(&admin).await;
    let inactive = json!({ "is_active": false });
    let inactive = old.new_user_with(&admin, inactive).await;
    for iterations in [3, 1] {
        let config = format!("auth.argon2_iterations = {iterations}");
        let app = old.another(&config).await;
        // The accounts that have not logged in since keep the cost before.
        let costs = if iterations == 3 { 2 } else { 3 };
        let attempts = [
            (active.email.as_str(), "not the password"),
            (&idle.email, "not the password"),
            (&inactive.email, "not the password"),
            (&inactive.email, &inactive.password),
            ("nobody@example.com", "not the password"),
            ("no address", "not the password"),
        ];
        for (email, password) in attempts {
            let before = hashes(&app).await;
            let answer = app.try_login(email, password).await;
            answer.problem(401, "wrong-credentials");
            let computed = hashes(&app).await - before;
            assert_eq!(computed, costs, "{email}, {iterations} iterations");
        }
        // One's own password costs the same; where it is right, the new one is hashed too.
        let before = hashes(&app).await;
        let change = json!({ "password": "another password", "current_password": "wrong" });
        let changed = app.patch(&active.path()).by(&active.token).json(&change);
        changed.await.problem(403, "forbidden");
        assert_eq!(hashes(&app).await - before, costs);

        let before = hashes(&app).await;
        let token = app.login(&active.email, &active.password).await;
        assert_eq!(hashes(&app).await - before, costs + 1, "it is hashed anew");
        for token in [&token, &active.token] {
            app.get("/auth/me").by(token).await.expect(200);
        }
        let me = app.get("/auth/me").by(&token).no_cache().await.expect(200);
        assert_eq!(
            me.json()["version"],
            1,
            "nothing has changed that anyone sees"
        );
        let hash = format!(
            "SELECT password_hash AS value FROM users WHERE id = {}",
            active.id
        );
        let hash = app.truth().texts(&hash).pop().expect("a hash");
        assert!(hash.contains(&format!("t={iterations},")), "{hash}");
        let before = hashes(&app).await;
        app.login(&active.email, &active.password).await;
        let computed = hashes(&app).await - before;
        assert!(computed <= costs, "{computed}: it has the configured cost");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_cost_tells_nothing_on_sqlite() {
    a_changed_password_cost_tells_nothing(Storage::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_cost_tells_nothing_on_postgresql() {
    a_changed_password_cost_tells_nothing(Storage::Postgres).await;
}
