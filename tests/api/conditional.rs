use serde_json::json;

use crate::support::TestApp;

matrix!(an_entity_tag_is_strong_and_changes_with_every_version);
async fn an_entity_tag_is_strong_and_changes_with_every_version(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let (product, _) = app.new_product(&admin).await;
    let changes = [
        (user.path(), json!({ "full_name": "Same Name" })),
        (product, json!({ "name": "Same name" })),
    ];
    let mut seen = std::collections::HashSet::new();
    for (path, change) in changes {
        for _ in 0..3 {
            let changed = app.patch(&path).by(&admin).json(&change).await.expect(200);
            let tag = changed.etag().to_owned();
            assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
            assert!(seen.insert(tag.clone()), "{tag} names two versions");
            for _ in 0..2 {
                let read = app.get(&path).by(&admin).await.expect(200);
                assert_eq!(read.etag(), tag);
                assert_eq!(read.header("cache-control"), "private, no-cache");
            }
        }
    }
}

matrix!(a_client_that_has_it_already_is_told_so);
async fn a_client_that_has_it_already_is_told_so(app: TestApp) {
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    let tag = app
        .get(&path)
        .by(&admin)
        .await
        .expect(200)
        .etag()
        .to_owned();
    let ask = async |value: &str| {
        let call = app.get(&path).by(&admin);
        call.header("if-none-match", value).await
    };
    let has_it = [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"other\", {tag}"),
        format!("\"other\" ,W/{tag} , \"more\""),
        "*".to_owned(),
    ];
    for value in &has_it {
        let unchanged = ask(value).await.expect(304);
        assert_eq!(unchanged.body, "");
        assert_eq!(unchanged.etag(), tag);
        assert_eq!(unchanged.header("cache-control"), "private, no-cache");
        assert_eq!(unchanged.is_hit(), app.caches(), "{unchanged:?}");
        let head = app.head(&path).by(&admin);
        head.header("if-none-match", value).await.expect(304);
    }
    for value in ["\"other\"", "\"\"", "garbage", tag.trim_matches('"')] {
        ask(value).await.expect(200);
    }
    let change = app.patch(&path).by(&admin).json(&json!({ "stock": 1 }));
    change.await.expect(200);
    ask(&tag).await.expect(200);
    let gone = app.delete(&path).by(&admin).await;
    gone.expect(204);
    ask(&tag).await.problem(404, "absent");
    ask("*").await.problem(404, "absent");
}

matrix!(a_head_is_the_get_without_its_body);
async fn a_head_is_the_get_without_its_body(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let (product, _) = app.new_product(&admin).await;
    for path in [
        user.path(),
        format!("/users/by-email/{}", user.email),
        "/users".into(),
        "/users?limit=1".into(),
        product,
        "/products".into(),
        "/auth/me".into(),
        "/health/live".into(),
        "/health/ready".into(),
    ] {
        let get = app.get(&path).by(&admin).await.expect(200);
        let head = app.head(&path).by(&admin).await.expect(200);
        assert_eq!(head.body, "");
        for name in [
            "etag",
            "content-type",
            "content-length",
            "cache-control",
            "link",
        ] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
        assert_eq!(head.has("cache-status"), get.has("cache-status"), "{path}");
    }
    let stranger = app.head("/users/1").await.expect(401);
    assert_eq!(stranger.header("www-authenticate"), "Bearer");
}

matrix!(a_write_happens_only_to_the_version_it_names);
async fn a_write_happens_only_to_the_version_it_names(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let (product, _) = app.new_product(&admin).await;
    let things = [
        (user.path(), json!({ "full_name": "Another Name" })),
        (product, json!({ "name": "Another name" })),
    ];
    for (path, change) in things {
        let read = app.get(&path).by(&admin).await.expect(200);
        let (first, put) = (read.etag().to_owned(), read.json());
        let patch = async |tag: &str| {
            let call = app.patch(&path).by(&admin).json(&change);
            call.header("if-match", tag).await
        };
        let second = patch(&first).await.expect(200).etag().to_owned();

        let other = format!("{}x\"", first.trim_end_matches('"'));
        let wrong = [
            first.as_str(),
            &format!("W/{second}"),
            "\"u0000000000000001\"",
            "garbage",
            &other,
        ];
        for tag in wrong {
            patch(tag).await.problem(412, "precondition-failed");
            let replaced = app.put(&path).by(&admin).json(&put);
            let replaced = replaced.header("if-match", tag).await;
            replaced.problem(412, "precondition-failed");
            let deleted = app.delete(&path).by(&admin).header("if-match", tag).await;
            deleted.problem(412, "precondition-failed");
        }
        let unchanged = app.get(&path).by(&admin).await.expect(200);
        assert_eq!(unchanged.etag(), second, "what was refused changed nothing");

        let third = patch(&format!("{first}, {second}")).await.expect(200);
        let replaced = app.put(&path).by(&admin).json(&put);
        let replaced = replaced.header("if-match", third.etag()).await;
        patch("*").await.expect(200);
        let stale = app.delete(&path).by(&admin);
        let stale = stale.header("if-match", replaced.expect(200).etag()).await;
        stale.problem(412, "precondition-failed");
        let last = app.get(&path).by(&admin).await.expect(200);
        let deleted = app.delete(&path).by(&admin);
        deleted.header("if-match", last.etag()).await.expect(204);
        let gone = patch("*").await;
        assert!([404, 412].contains(&gone.status.as_u16()), "{gone:?}");
    }
}

matrix!(of_two_writers_who_read_the_same_version_one_wins);
async fn of_two_writers_who_read_the_same_version_one_wins(app: TestApp) {
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    for round in 0..5 {
        let tag = app.get(&path).by(&admin).await.etag().to_owned();
        let writes = (0..6).map(|writer| {
            let change = json!({ "name": format!("{round} by {writer}") });
            let call = app.patch(&path).by(&admin).json(&change);
            call.header("if-match", &tag).into_future()
        });
        let answers = futures_util::future::join_all(writes).await;
        let count = |status: u16| {
            let same = |answer: &&crate::support::Answer| answer.status.as_u16() == status;
            answers.iter().filter(same).count()
        };
        assert_eq!((count(200), count(412)), (1, 5));
        let winner = answers.iter().find(|answer| answer.status.as_u16() == 200);
        let found = app.get(&path).by(&admin).await.expect(200);
        assert_eq!(Some(found.body), winner.map(|answer| answer.body.clone()));
    }
}

matrix!(a_tag_is_compared_to_the_letter);
async fn a_tag_is_compared_to_the_letter(app: TestApp) {
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    let tag = app.get(&path).by(&admin).await.etag().to_owned();
    let digits = tag.trim_matches('"').trim_start_matches('p');
    for tag in [
        format!("\"p0{digits}\""),
        format!("\"p+{digits}\""),
        format!("\"P{digits}\""),
        format!("\"u{digits}\""),
        format!("p{digits}"),
    ] {
        let patched = app.patch(&path).by(&admin).json(&json!({ "stock": 1 }));
        let patched = patched.header("if-match", &tag).await;
        patched.problem(412, "precondition-failed");
    }
}

matrix!(a_change_by_hand_changes_the_tag_and_raises_the_version);
async fn a_change_by_hand_changes_the_tag_and_raises_the_version(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let (product, _) = app.new_product(&admin).await;
    let things = [
        (user.path(), "UPDATE users SET full_name = full_name"),
        (product, "UPDATE products SET stock = stock"),
    ];
    for (path, change) in things {
        let before = app.get(&path).by(&admin).no_cache().await.expect(200);
        app.truth().execute(change);
        let after = app.get(&path).by(&admin).no_cache().await.expect(200);
        assert_ne!(after.etag(), before.etag());
        let version = before.json()["version"].as_i64().expect("a version");
        assert_eq!(after.json()["version"], version + 1);
    }
}
