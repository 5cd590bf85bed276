use serde_json::json;

use crate::support::TestApp;

matrix!(a_user_reads_everybody_but_makes_and_deletes_nobody);
async fn a_user_reads_everybody_but_makes_and_deletes_nobody(app: TestApp) {
    let admin = app.admin().await;
    let [user, other] = [app.new_user(&admin).await, app.new_user(&admin).await];
    app.get(&other.path()).by(&user.token).await.expect(200);
    app.get("/users").by(&user.token).await.expect(200);
    let body = json!({ "email": "x@example.com", "full_name": "X", "password": "password" });
    let made = app.post("/users").by(&user.token).json(&body).await;
    made.problem(403, "forbidden");
    for path in [user.path(), other.path(), "/users/999".into()] {
        let deleted = app.delete(&path).by(&user.token).await;
        deleted.problem(403, "forbidden");
    }
    app.get(&other.path()).by(&user.token).await.expect(200);
}

matrix!(a_user_changes_themself_and_nobody_else);
async fn a_user_changes_themself_and_nobody_else(app: TestApp) {
    let admin = app.admin().await;
    let [user, other] = [app.new_user(&admin).await, app.new_user(&admin).await];
    let change = json!({ "full_name": "Another Name" });
    let own = app.patch(&user.path()).by(&user.token).json(&change).await;
    assert_eq!(own.expect(200).json()["full_name"], "Another Name");
    // Whoever may not change anybody does not learn who there is, either.
    for path in [other.path(), "/users/999".into()] {
        let patched = app.patch(&path).by(&user.token).json(&change).await;
        patched.problem(403, "forbidden");
        let mut put = app.get(&user.path()).by(&user.token).await.json();
        put["full_name"] = json!("X");
        let replaced = app.put(&path).by(&user.token).json(&put).await;
        replaced.problem(403, "forbidden");
    }
    let password = json!({ "password": "a new password", "current_password": user.password });
    let patched = app.patch(&other.path()).by(&user.token).json(&password);
    patched.await.problem(403, "forbidden");
    app.login(&other.email, &other.password).await;
}

matrix!(a_user_cannot_change_their_role_or_activity_but_may_repeat_them);
async fn a_user_cannot_change_their_role_or_activity_but_may_repeat_them(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let before = app.get(&user.path()).by(&user.token).await.json();
    let forbidden = [
        json!({ "role": "admin" }),
        json!({ "is_active": false }),
        json!({ "full_name": "X", "role": "admin", "is_active": true }),
    ];
    for change in forbidden {
        let patched = app.patch(&user.path()).by(&user.token).json(&change).await;
        patched.problem(403, "forbidden");
    }
    for (name, value) in [("role", json!("admin")), ("is_active", json!(false))] {
        let mut put = before.clone();
        put[name] = value;
        let replaced = app.put(&user.path()).by(&user.token).json(&put).await;
        replaced.problem(403, "forbidden");
    }
    let after = app.get(&user.path()).by(&user.token).await.json();
    assert_eq!(after, before);

    let repeated = json!({ "role": "user", "is_active": true, "full_name": "Same Role" });
    let patched = app
        .patch(&user.path())
        .by(&user.token)
        .json(&repeated)
        .await;
    assert_eq!(patched.expect(200).json()["full_name"], "Same Role");
    let mut put = before;
    put["full_name"] = json!("Put");
    let replaced = app.put(&user.path()).by(&user.token).json(&put).await;
    assert_eq!(replaced.expect(200).json()["full_name"], "Put");
}

matrix!(changing_ones_own_password_needs_the_current_one);
async fn changing_ones_own_password_needs_the_current_one(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let second_admin = app.new_user_with(&admin, json!({ "role": "admin" })).await;
    for user in [&user, &second_admin] {
        let patch = async |change| app.patch(&user.path()).by(&user.token).json(&change).await;
        let without = patch(json!({ "password": "a new password" })).await;
        without.problem(403, "forbidden");
        let wrong = json!({ "password": "a new password", "current_password": "wrong" });
        patch(wrong).await.problem(403, "forbidden");
        app.login(&user.email, &user.password).await;
        let right = json!({ "password": "a new password", "current_password": user.password });
        patch(right).await.expect(200);
        app.login(&user.email, "a new password").await;
    }
    // An admin sets another's without.
    let change = json!({ "password": "another password" });
    let set = app.patch(&user.path()).by(&admin).json(&change).await;
    set.expect(200);
}

matrix!(an_admin_changes_everybody);
async fn an_admin_changes_everybody(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let change = json!({ "role": "admin", "is_active": true, "full_name": "Promoted" });
    let changed = app.patch(&user.path()).by(&admin).json(&change).await;
    assert_eq!(changed.expect(200).json()["role"], "admin");
    // Promoted, they may do what an admin does, with the token they have.
    let third = app.new_user(&user.token).await;
    app.delete(&third.path()).by(&user.token).await.expect(204);
}

matrix!(only_admins_look_after_the_cache);
async fn only_admins_look_after_the_cache(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    for call in [
        app.get("/cache/stats"),
        app.delete("/cache/clear"),
        app.delete("/cache/clear?pattern=["),
        app.get("/cache/exists?key=user:1"),
    ] {
        call.by(&user.token).await.problem(403, "forbidden");
    }
}
