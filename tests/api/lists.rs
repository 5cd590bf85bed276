use serde_json::{Value, json};

use crate::support::{Answer, TestApp};

/// The path of the next page, if there is one.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link");
    if link.is_empty() {
        return None;
    }
    let path = link
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    Some(path.expect("a link to the next page").to_owned())
}

fn ids(answer: &Answer) -> Vec<i64> {
    let body = answer.json();
    let rows = body.as_array().expect("a list is an array");
    rows.iter().filter_map(|row| row["id"].as_i64()).collect()
}

matrix!(following_the_links_walks_the_whole_list_exactly_once);
async fn following_the_links_walks_the_whole_list_exactly_once(app: TestApp) {
    let admin = app.admin().await;
    let mut made = vec![];
    for _ in 0..11 {
        let (path, product) = app.new_product(&admin).await;
        made.push((path, product["id"].as_i64().expect("an id")));
    }
    // A gap, and an end that is no multiple of any page.
    let (gone, _) = made.remove(4);
    app.delete(&gone).by(&admin).await.expect(204);
    let expected: Vec<i64> = made.iter().map(|(_, id)| *id).collect();

    for limit in [1, 3, 5, 9, 10, 11, 1000] {
        for round in 0..2 {
            let mut path = Some(format!("/products?limit={limit}"));
            let mut walked = vec![];
            while let Some(page) = path {
                let answer = app.get(&page).by(&admin).await.expect(200);
                let on_page = ids(&answer);
                assert!(on_page.len() <= limit);
                assert!(!on_page.is_empty(), "a link leads to an empty page");
                walked.extend(on_page);
                path = next(&answer);
                assert!(
                    path.as_ref().is_none_or(|path| path.contains("after=")),
                    "the next page is named by a cursor"
                );
            }
            assert_eq!(walked, expected, "limit {limit}, round {round}");
        }
    }
}

matrix!(a_cursor_goes_on_where_it_was_though_rows_come_and_go);
async fn a_cursor_goes_on_where_it_was_though_rows_come_and_go(app: TestApp) {
    let admin = app.admin().await;
    let mut paths = vec![];
    for _ in 0..4 {
        paths.push(app.new_product(&admin).await);
    }
    let first = app.get("/products?limit=2").by(&admin).await.expect(200);
    let link = next(&first).expect("a next page");
    // The row that the cursor names goes, and another comes.
    app.delete(&paths[1].0).by(&admin).await.expect(204);
    let (_, fifth) = app.new_product(&admin).await;
    let second = app.get(&link).by(&admin).await.expect(200);
    let expected = [&paths[2].1, &paths[3].1].map(|row| row["id"].as_i64().expect("an id"));
    assert_eq!(ids(&second), expected);
    let third = app
        .get(&next(&second).expect("a next page"))
        .by(&admin)
        .await;
    assert_eq!(json!(ids(&third)), json!([fifth["id"]]));
    assert_eq!(next(&third), None);
}

matrix!(a_page_can_be_asked_for_by_skipping);
async fn a_page_can_be_asked_for_by_skipping(app: TestApp) {
    let admin = app.admin().await;
    let mut all = vec![1];
    for _ in 0..4 {
        all.push(app.new_user(&admin).await.id);
    }
    let page = async |query: &str| {
        let answer = app.get(&format!("/users{query}")).by(&admin).await;
        ids(&answer.expect(200))
    };
    assert_eq!(page("").await, all);
    assert_eq!(page("?skip=0&limit=100").await, all);
    assert_eq!(page("?skip=2").await, all[2..]);
    assert_eq!(page("?skip=1&limit=2").await, all[1..3]);
    assert_eq!(page("?skip=5").await, [0; 0]);
    assert_eq!(page("?skip=1000000&limit=1000").await, [0; 0]);
    assert_eq!(page(&format!("?after={}", all[1])).await, all[2..]);
    assert_eq!(page("?after=0&limit=1").await, all[..1]);
    assert_eq!(page("?after=9223372036854775807").await, [0; 0]);
}

matrix!(bounds_of_a_page_are_kept);
async fn bounds_of_a_page_are_kept(app: TestApp) {
    let admin = app.admin().await;
    for list in ["/users", "/products"] {
        let page = async |query: &str| app.get(&format!("{list}{query}")).by(&admin).await;
        for query in ["?limit=1", "?limit=1000", "?skip=0", "?skip=1000000"] {
            page(query).await.expect(200);
        }
        for query in [
            "?limit=0",
            "?limit=-1",
            "?limit=1001",
            "?limit=9223372036854775807",
        ] {
            page(query).await.invalid(&["limit"]);
        }
        // A whole number all the same, however large.
        page("?limit=99999999999999999999")
            .await
            .invalid(&["limit"]);
        page("?skip=99999999999999999999").await.invalid(&["skip"]);
        page("?skip=-1").await.invalid(&["skip"]);
        let too_far = page("?skip=1000001").await.invalid(&["skip"]);
        assert!(too_far.body.contains("after="), "it points at the cursor");
        page("?after=-1").await.invalid(&["after"]);
        page("?after=1&skip=1").await.invalid(&["after"]);
        let no_numbers = [
            "?limit=x",
            "?limit=",
            "?limit=1.5",
            "?skip=x",
            "?skip=1e3",
            "?after=x",
            "?limit=1&limit=2",
        ];
        for query in no_numbers {
            page(query).await.problem(400, "malformed");
        }
    }
}

/// Every page that is asked for below, cached by asking twice.
async fn pages(app: &TestApp, token: &str) -> Vec<Value> {
    let mut all = vec![];
    for query in ["", "?limit=2", "?skip=1", "?after=1&limit=1"] {
        for _ in 0..2 {
            let page = app.get(&format!("/users{query}")).by(token).await;
            all.push(page.expect(200).json());
        }
    }
    all
}

matrix!(a_list_shows_every_change_at_once);
async fn a_list_shows_every_change_at_once(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let named = |pages: &[Value], name: &str| {
        let full = format!("\"{name}\"");
        pages
            .iter()
            .filter(|page| page.to_string().contains(&full))
            .count()
    };
    let before = pages(&app, &admin).await;
    assert_eq!(named(&before, &user.email), 8);
    let change = json!({ "full_name": "Another Name" });
    let changed = app.patch(&user.path()).by(&admin).json(&change).await;
    changed.expect(200);
    let after = pages(&app, &admin).await;
    assert_eq!(named(&after, "Another Name"), 8);

    let second = app.new_user(&admin).await;
    let after = pages(&app, &admin).await;
    assert_eq!(named(&after, &second.email), 4, "where there is room");
    app.delete(&user.path()).by(&admin).await.expect(204);
    let after = pages(&app, &admin).await;
    assert_eq!(named(&after, &user.email), 0);
    assert_eq!(named(&after, &second.email), 8);
}

matrix!(a_list_of_products_shows_every_change_at_once);
async fn a_list_of_products_shows_every_change_at_once(app: TestApp) {
    let admin = app.admin().await;
    let list = async || {
        let first = app.get("/products").by(&admin).await.expect(200).json();
        let second = app.get("/products").by(&admin).await.expect(200).json();
        assert_eq!(first, second);
        first
    };
    assert_eq!(list().await, json!([]));
    let (path, product) = app.new_product(&admin).await;
    assert_eq!(list().await, json!([product]));
    let changed = app.patch(&path).by(&admin).json(&json!({ "stock": 1 }));
    let changed = changed.await.expect(200).json();
    assert_eq!(list().await, json!([changed]));
    app.delete(&path).by(&admin).await.expect(204);
    assert_eq!(list().await, json!([]));
}

matrix!(a_list_has_an_entity_tag_of_its_content);
async fn a_list_has_an_entity_tag_of_its_content(app: TestApp) {
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    let first = app.get("/products").by(&admin).await.expect(200);
    assert_eq!(first.header("cache-control"), "private, no-cache");
    let unchanged = app.get("/products?limit=50").by(&admin);
    let unchanged = unchanged.header("if-none-match", first.etag()).await;
    assert_eq!(unchanged.expect(304).body, "");
    let head = app.head("/products").by(&admin).await.expect(200);
    assert_eq!(head.etag(), first.etag());
    let change = app.patch(&path).by(&admin).json(&json!({ "stock": 99 }));
    change.await.expect(200);
    let changed = app.get("/products").by(&admin);
    let changed = changed.header("if-none-match", first.etag()).await;
    assert_ne!(changed.expect(200).etag(), first.etag());
}

matrix!(every_page_says_where_it_came_from);
async fn every_page_says_where_it_came_from(app: TestApp) {
    let admin = app.admin().await;
    let first = app.get("/products?limit=7").by(&admin).await.expect(200);
    let second = app.get("/products?limit=7").by(&admin).await.expect(200);
    let other = app.get("/products?limit=8").by(&admin).await.expect(200);
    if app.caches() {
        assert_eq!(first.cache_status(), "alacena; fwd=uri-miss; stored");
        assert!((0..=300).contains(&second.ttl()), "{second:?}");
        assert_eq!(other.cache_status(), "alacena; fwd=uri-miss; stored");
    } else {
        for answer in [first, second, other] {
            assert_eq!(answer.cache_status(), "alacena; fwd=bypass");
        }
    }
}
