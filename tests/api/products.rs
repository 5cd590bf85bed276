use serde_json::{Value, json};

use crate::support::TestApp;

fn kettle() -> Value {
    json!({
        "name": "Blue kettle", "description": "Holds\n1.7 litres.", "price_cents": 2995,
        "stock": 12, "is_active": false,
    })
}

matrix!(an_admin_makes_a_product_that_every_user_reads);
async fn an_admin_makes_a_product_that_every_user_reads(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let made = app.post("/products").by(&admin).json(&kettle()).await;
    let made = made.expect(201);
    let product = made.json();
    assert_eq!(
        made.header("location"),
        format!("/products/{}", product["id"])
    );
    for (name, value) in kettle().as_object().expect("an object") {
        assert_eq!(&product[name], value);
    }
    assert_eq!(product["version"], 1);
    for time in ["created_at", "updated_at"] {
        let text = product[time].as_str().unwrap_or_default();
        assert!(
            text.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(text).is_ok(),
            "{product}"
        );
    }
    let found = app.get(made.header("location")).by(&user.token).await;
    assert_eq!(found.expect(200).json(), product);
    let list = app.get("/products").by(&user.token).await.expect(200);
    assert_eq!(list.json(), json!([product]));

    let least = json!({ "name": "Lamp", "price_cents": 0 });
    let made = app.post("/products").by(&admin).json(&least).await;
    let made = made.expect(201).json();
    assert_eq!(made["description"], Value::Null);
    assert_eq!(made["stock"], 0);
    assert_eq!(made["is_active"], true);
}

matrix!(a_user_changes_no_product);
async fn a_user_changes_no_product(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let (path, product) = app.new_product(&admin).await;
    for call in [
        app.post("/products").json(&kettle()),
        app.put(&path).json(&kettle()),
        app.patch(&path).json(&json!({ "stock": 0 })),
        app.delete(&path),
        app.delete("/products/999"),
    ] {
        call.by(&user.token).await.problem(403, "forbidden");
    }
    let found = app.get(&path).by(&user.token).await.expect(200);
    assert_eq!(found.json(), product);
}

matrix!(a_put_replaces_a_product);
async fn a_put_replaces_a_product(app: TestApp) {
    let admin = app.admin().await;
    let made = app.post("/products").by(&admin).json(&kettle()).await;
    let made = made.expect(201);
    let path = made.header("location").to_owned();
    let put = async |body: &Value| app.put(&path).by(&admin).json(body).await;
    // As it was read, with what only the service sets.
    let mut body = made.json();
    body["stock"] = json!(11);
    let replaced = put(&body).await.expect(200).json();
    assert_eq!(replaced["stock"], 11);
    assert_eq!(replaced["version"], 2);
    assert_eq!(replaced["description"], "Holds\n1.7 litres.");
    let found = app.get(&path).by(&admin).await.expect(200);
    assert_eq!(found.json(), replaced);
    for name in ["name", "price_cents", "stock", "is_active"] {
        let mut body = kettle();
        body.as_object_mut().expect("an object").remove(name);
        put(&body).await.invalid(&[name]);
    }
    // A description need not be: null says that there is none.
    body["description"] = Value::Null;
    let replaced = put(&body).await.expect(200).json();
    assert_eq!(replaced["description"], Value::Null);
}

matrix!(a_patch_changes_a_product_and_null_takes_its_description_away);
async fn a_patch_changes_a_product_and_null_takes_its_description_away(app: TestApp) {
    let admin = app.admin().await;
    let made = app.post("/products").by(&admin).json(&kettle()).await;
    let path = made.expect(201).header("location").to_owned();
    let patch = async |body: Value| app.patch(&path).by(&admin).json(&body).await;
    let mut expected = app.get(&path).by(&admin).await.json();
    let changes = [
        ("name", json!("Red kettle")),
        ("price_cents", json!(0)),
        ("stock", json!(i64::MAX)),
        ("is_active", json!(true)),
        ("description", Value::Null),
        ("description", json!("")),
        ("description", json!("x".repeat(5000))),
    ];
    for (version, (name, value)) in (2..).zip(changes) {
        let mut change = json!({});
        change[name] = value.clone();
        let changed = patch(change).await.expect(200).json();
        expected[name] = value;
        expected["version"] = json!(version);
        expected["updated_at"] = changed["updated_at"].clone();
        assert_eq!(changed, expected);
        let found = app.get(&path).by(&admin).await.expect(200);
        assert_eq!(found.json(), expected);
    }
    for name in ["name", "price_cents", "stock", "is_active"] {
        let mut change = json!({});
        change[name] = Value::Null;
        patch(change).await.invalid(&[name]);
    }
    patch(json!({ "surprise": 1 })).await.invalid(&["surprise"]);
}

matrix!(what_is_wrong_with_a_product_is_said_field_by_field);
async fn what_is_wrong_with_a_product_is_said_field_by_field(app: TestApp) {
    let admin = app.admin().await;
    let (path, product) = app.new_product(&admin).await;
    let wrong = json!({
        "name": " ", "description": "x".repeat(5001), "price_cents": -1, "stock": -1,
        "is_active": true,
    });
    let fields = ["name", "description", "price_cents", "stock"];
    for call in [app.post("/products"), app.put(&path), app.patch(&path)] {
        call.by(&admin).json(&wrong).await.invalid(&fields);
    }
    let one_by_one = [
        ("price_cents", json!(1.5)),
        ("price_cents", json!("1")),
        ("stock", json!(1e30)),
        ("is_active", json!(1)),
        ("surprise", json!(1)),
    ];
    for (name, value) in one_by_one {
        let mut body = kettle();
        body[name] = value;
        for call in [app.post("/products"), app.put(&path), app.patch(&path)] {
            call.by(&admin).json(&body).await.invalid(&[name]);
        }
    }
    let found = app.get(&path).by(&admin).await.expect(200);
    assert_eq!(found.json(), product, "what was refused changed nothing");
}

matrix!(a_deleted_product_is_gone_and_its_id_with_it);
async fn a_deleted_product_is_gone_and_its_id_with_it(app: TestApp) {
    let admin = app.admin().await;
    let mut last = 0;
    for _ in 0..3 {
        let (path, product) = app.new_product(&admin).await;
        let id = product["id"].as_i64().expect("an id");
        assert!(id > last);
        last = id;
        app.get(&path).by(&admin).await.expect(200);
        app.delete(&path).by(&admin).await.expect(204);
        app.get(&path).by(&admin).await.problem(404, "absent");
        app.head(&path).by(&admin).await.expect(404);
        app.delete(&path).by(&admin).await.problem(404, "absent");
        let patched = app.patch(&path).by(&admin).json(&json!({ "stock": 1 }));
        patched.await.problem(404, "absent");
        let put = app.put(&path).by(&admin).json(&kettle());
        put.await.problem(404, "absent");
        let list = app.get("/products").by(&admin).await.expect(200);
        assert_eq!(list.json(), json!([]));
    }
}
