use serde_json::{Value, json};

use crate::support::TestApp;

fn ana() -> Value {
    json!({ "email": "Ana.Lopez@Example.com", "full_name": "Ana López", "password": "correct horse" })
}

/// Whether this is a time in UTC as RFC 3339 writes it.
fn is_utc(time: &Value) -> bool {
    let text = time.as_str().unwrap_or_default();
    chrono::DateTime::parse_from_rfc3339(text)
        .is_ok_and(|time| time.offset().local_minus_utc() == 0 && text.ends_with('Z'))
}

matrix!(an_admin_makes_a_user_who_is_found_under_their_location);
async fn an_admin_makes_a_user_who_is_found_under_their_location(app: TestApp) {
    let admin = app.admin().await;
    let made = app.post("/users").by(&admin).json(&ana()).await.expect(201);
    let user = made.json();
    let id = user["id"].as_i64().expect("an id");
    assert_eq!(made.header("location"), format!("/users/{id}"));
    assert_eq!(user["email"], "Ana.Lopez@Example.com", "as it was written");
    assert_eq!(user["full_name"], "Ana López");
    assert_eq!(user["role"], "user");
    assert_eq!(user["is_active"], true);
    assert_eq!(user["version"], 1);
    assert!(is_utc(&user["created_at"]), "{user}");
    assert_eq!(user["created_at"], user["updated_at"]);
    let mut names: Vec<&str> = user
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    let expected = [
        "created_at",
        "email",
        "full_name",
        "id",
        "is_active",
        "role",
        "updated_at",
        "version",
    ];
    assert_eq!(names, expected, "nothing else leaves the service");

    let path = made.header("location");
    let found = app.get(path).by(&admin).await.expect(200);
    assert_eq!(found.json(), user);
    assert_eq!(found.etag(), made.etag());
    app.login("ana.lopez@example.com", "correct horse").await;
}

matrix!(a_user_can_be_made_with_a_role_and_inactive);
async fn a_user_can_be_made_with_a_role_and_inactive(app: TestApp) {
    let admin = app.admin().await;
    let mut body = ana();
    body["role"] = json!("admin");
    body["is_active"] = json!(false);
    let made = app.post("/users").by(&admin).json(&body).await.expect(201);
    assert_eq!(made.json()["role"], "admin");
    assert_eq!(made.json()["is_active"], false);
}

matrix!(an_address_is_taken_in_whatever_case_it_is_written);
async fn an_address_is_taken_in_whatever_case_it_is_written(app: TestApp) {
    let admin = app.admin().await;
    let first = app.post("/users").by(&admin).json(&ana()).await.expect(201);
    let mut again = ana();
    again["email"] = json!("ANA.LOPEZ@EXAMPLE.COM");
    let taken = app.post("/users").by(&admin).json(&again).await;
    taken.problem(409, "email-taken");
    let other = app.new_user(&admin).await;
    let change = json!({ "email": "ana.lopez@example.com" });
    let taken = app.patch(&other.path()).by(&admin).json(&change).await;
    taken.problem(409, "email-taken");
    let put = json!({
        "email": "aNa.lopez@example.com", "full_name": "X", "role": "user", "is_active": true,
    });
    let taken = app.put(&other.path()).by(&admin).json(&put).await;
    taken.problem(409, "email-taken");
    // What was refused changed nothing, and one's own address may be written anew.
    let path = format!("/users/{}", first.json()["id"]);
    let unchanged = app.get(&other.path()).by(&admin).await.expect(200);
    assert_eq!(unchanged.json()["email"], other.email);
    let own = app.patch(&path).by(&admin).json(&change).await.expect(200);
    assert_eq!(own.json()["email"], "ana.lopez@example.com");
}

matrix!(all_that_is_wrong_with_a_new_user_is_said_at_once);
async fn all_that_is_wrong_with_a_new_user_is_said_at_once(app: TestApp) {
    let admin = app.admin().await;
    let post = async |body: Value| app.post("/users").by(&admin).json(&body).await;
    let wrong = json!({ "email": "x", "full_name": " ", "password": "short", "role": "king" });
    let answer = post(wrong).await;
    answer.invalid(&["email", "full_name", "password", "role"]);
    for name in ["email", "full_name", "password"] {
        let mut body = ana();
        body.as_object_mut().expect("an object").remove(name);
        post(body).await.invalid(&[name]);
        let mut body = ana();
        body[name] = Value::Null;
        post(body).await.invalid(&[name]);
        let mut body = ana();
        body[name] = json!(7);
        post(body).await.invalid(&[name]);
    }
    let wrong = [
        ("is_active", json!("yes")),
        ("surprise", json!(1)),
        ("id", json!(7)),
        ("password", json!("x".repeat(129))),
        ("full_name", json!("x".repeat(201))),
        ("full_name", json!("Ana\u{0}")),
        ("email", json!("ana@localhost")),
    ];
    for (name, value) in wrong {
        let mut body = ana();
        body[name] = value;
        post(body).await.invalid(&[name]);
    }
    // None of them was made.
    post(ana()).await.expect(201);
}

matrix!(a_put_takes_every_field_and_a_user_as_it_was_read);
async fn a_put_takes_every_field_and_a_user_as_it_was_read(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let read = app.get(&user.path()).by(&admin).await.expect(200).json();
    let put = async |body: &Value| app.put(&user.path()).by(&admin).json(body).await;

    let mut body = read.clone();
    body["full_name"] = json!("Another Name");
    let changed = put(&body).await.expect(200);
    assert_eq!(changed.json()["full_name"], "Another Name");
    assert_eq!(changed.json()["version"], 2);
    assert_eq!(changed.json()["created_at"], read["created_at"]);
    assert!(is_utc(&changed.json()["updated_at"]));
    let found = app.get(&user.path()).by(&admin).await.expect(200);
    assert_eq!(found.json(), changed.json());

    // What only the service sets is not looked at.
    body["id"] = json!(999);
    body["version"] = json!("old");
    body["created_at"] = Value::Null;
    let changed = put(&body).await.expect(200);
    assert_eq!(changed.json()["id"], user.id);
    assert_eq!(changed.json()["version"], 3);

    for name in ["email", "full_name", "role", "is_active"] {
        let mut body = read.clone();
        body.as_object_mut().expect("an object").remove(name);
        put(&body).await.invalid(&[name]);
        body[name] = Value::Null;
        put(&body).await.invalid(&[name]);
    }
    let mut body = read;
    body["password"] = json!("a new password");
    put(&body).await.invalid(&["password"]);
}

matrix!(a_patch_changes_what_it_names_and_nothing_else);
async fn a_patch_changes_what_it_names_and_nothing_else(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let patch = async |body: Value| app.patch(&user.path()).by(&admin).json(&body).await;
    let mut expected = app.get(&user.path()).by(&admin).await.expect(200).json();
    let changes = [
        ("full_name", json!("  Another Name ")),
        ("email", json!("another@example.com")),
        ("role", json!("admin")),
        ("is_active", json!(false)),
    ];
    for (version, (name, value)) in (2..).zip(changes) {
        let mut change = json!({});
        change[name] = value.clone();
        let changed = patch(change).await.expect(200).json();
        expected[name] = value;
        expected["full_name"] = json!("Another Name");
        expected["version"] = json!(version);
        expected["updated_at"] = changed["updated_at"].clone();
        assert_eq!(changed, expected);
        let found = app.get(&user.path()).by(&admin).await.expect(200).json();
        assert_eq!(found, expected);
    }
    for name in ["email", "full_name", "role", "is_active", "password"] {
        let mut change = json!({});
        change[name] = Value::Null;
        patch(change).await.invalid(&[name]);
    }
    patch(json!({ "surprise": 1 })).await.invalid(&["surprise"]);
    let wrong = json!({ "email": "x", "full_name": "", "password": "x", "role": "king" });
    let answer = patch(wrong).await;
    answer.invalid(&["email", "full_name", "password", "role"]);
    let found = app.get(&user.path()).by(&admin).await.expect(200).json();
    assert_eq!(found, expected, "what was refused changed nothing");
}

matrix!(an_absent_user_is_404_for_every_method);
async fn an_absent_user_is_404_for_every_method(app: TestApp) {
    let admin = app.admin().await;
    let put =
        json!({ "email": "x@example.com", "full_name": "X", "role": "user", "is_active": true });
    for id in ["999", "0", "-1", "9223372036854775807"] {
        let path = format!("/users/{id}");
        app.get(&path).by(&admin).await.problem(404, "absent");
        app.head(&path).by(&admin).await.expect(404);
        let patched = app
            .patch(&path)
            .by(&admin)
            .json(&json!({ "full_name": "X" }));
        patched.await.problem(404, "absent");
        let replaced = app.put(&path).by(&admin).json(&put).await;
        replaced.problem(404, "absent");
        app.delete(&path).by(&admin).await.problem(404, "absent");
    }
}

matrix!(an_id_is_never_given_twice);
async fn an_id_is_never_given_twice(app: TestApp) {
    let admin = app.admin().await;
    let mut last = 0;
    for _ in 0..3 {
        let user = app.new_user(&admin).await;
        assert!(user.id > last);
        last = user.id;
        let gone = app.delete(&user.path()).by(&admin).await.expect(204);
        assert_eq!(gone.body, "");
        app.get(&user.path())
            .by(&admin)
            .await
            .problem(404, "absent");
        app.delete(&user.path())
            .by(&admin)
            .await
            .problem(404, "absent");
    }
}

matrix!(a_deleted_users_address_is_free_again);
async fn a_deleted_users_address_is_free_again(app: TestApp) {
    let admin = app.admin().await;
    let first = app.post("/users").by(&admin).json(&ana()).await.expect(201);
    let path = first.header("location").to_owned();
    let by_email = "/users/by-email/ana.lopez@example.com";
    app.get(by_email).by(&admin).await.expect(200);
    app.delete(&path).by(&admin).await.expect(204);
    app.get(by_email).by(&admin).await.problem(404, "absent");
    let second = app.post("/users").by(&admin).json(&ana()).await.expect(201);
    let found = app.get(by_email).by(&admin).await.expect(200);
    assert_eq!(found.json(), second.json());
}

matrix!(writes_at_the_same_time_are_each_counted);
async fn writes_at_the_same_time_are_each_counted(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let path = user.path();
    let writes = (0..20).map(|number| {
        let change = json!({ "full_name": format!("Name {number}") });
        let call = app.patch(&path).by(&admin).json(&change);
        async move { call.await.expect(200).json() }
    });
    let answers = futures_util::future::join_all(writes).await;
    let mut versions: Vec<i64> = answers
        .iter()
        .filter_map(|user| user["version"].as_i64())
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=21).collect::<Vec<_>>());
    let last = answers.iter().find(|user| user["version"] == 21);
    let found = app.get(&path).by(&admin).await.expect(200);
    assert_eq!(Some(&found.json()), last);
}
