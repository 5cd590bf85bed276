use std::time::Instant;

use serde_json::json;

use crate::support::{TestApp, eventually};

matrix!(
    a_read_says_where_it_came_from,
    "cache.user_ttl = '100s'\ncache.product_ttl = '200s'\ncache.jitter = 0.1"
);
async fn a_read_says_where_it_came_from(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let (product, _) = app.new_product(&admin).await;
    app.delete("/cache/clear").by(&admin).await.expect(200);
    for (path, shortest, longest) in [(user.path(), 90, 100), (product, 180, 200)] {
        let started = Instant::now();
        let first = app.get(&path).by(&admin).await.expect(200);
        let second = app.get(&path).by(&admin).await.expect(200);
        assert_eq!(first.json(), second.json());
        if app.caches() {
            assert_eq!(first.cache_status(), "alacena; fwd=uri-miss; stored");
            let tier = app.tier();
            let expected = format!("alacena; hit; ttl={}; detail={tier}", second.ttl());
            assert_eq!(second.cache_status(), expected);
            // Whole seconds, rounded down, of what is left of a life within the jitter.
            let spent = i64::try_from(started.elapsed().as_secs()).expect("not long") + 1;
            let left = shortest - spent..=longest;
            assert!(left.contains(&second.ttl()), "{second:?}");
        } else {
            assert_eq!(first.cache_status(), "alacena; fwd=bypass");
            assert_eq!(second.cache_status(), "alacena; fwd=bypass");
        }
    }
}

matrix!(absence_is_remembered_for_a_while);
async fn absence_is_remembered_for_a_while(app: TestApp) {
    let admin = app.admin().await;
    for path in [
        "/users/999",
        "/products/999",
        "/users/by-email/no@example.com",
    ] {
        let first = app.get(path).by(&admin).await.problem(404, "absent");
        let second = app.get(path).by(&admin).await.problem(404, "absent");
        if app.caches() {
            assert_eq!(first.cache_status(), "alacena; fwd=uri-miss; stored");
            assert!((0..=30).contains(&second.ttl()), "{second:?}");
        } else {
            assert_eq!(first.cache_status(), "alacena; fwd=bypass");
            assert_eq!(second.cache_status(), "alacena; fwd=bypass");
        }
    }
}

matrix!(absence_need_not_be_remembered, "cache.negative_ttl = '0s'");
async fn absence_need_not_be_remembered(app: TestApp) {
    let admin = app.admin().await;
    for _ in 0..2 {
        let absent = app.get("/products/999").by(&admin).await;
        let absent = absent.problem(404, "absent");
        let expected = if app.caches() {
            "alacena; fwd=uri-miss"
        } else {
            "alacena; fwd=bypass"
        };
        assert_eq!(absent.cache_status(), expected);
    }
}

matrix!(what_is_made_is_found_though_its_absence_was_cached);
async fn what_is_made_is_found_though_its_absence_was_cached(app: TestApp) {
    let admin = app.admin().await;
    for id in 1..=3 {
        let path = format!("/products/{id}");
        for _ in 0..2 {
            app.get(&path).by(&admin).await.problem(404, "absent");
        }
        assert_eq!(app.new_product(&admin).await.0, path);
        app.get(&path).by(&admin).await.expect(200);
    }
    let user = app.new_user(&admin).await;
    let next = format!("/users/{}", user.id + 1);
    app.get(&next).by(&admin).await.problem(404, "absent");
    assert_eq!(app.new_user(&admin).await.path(), next);
    app.get(&next).by(&admin).await.expect(200);
}

matrix!(no_cache_is_answered_from_the_database_and_refreshes_the_cache);
async fn no_cache_is_answered_from_the_database_and_refreshes_the_cache(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let (product, _) = app.new_product(&admin).await;
    // Nobody tells the service what is changed behind its back.
    let mut truth = app.truth();
    truth.stop_log();
    let paths = [
        user.path(),
        format!("/users/by-email/{}", user.email),
        "/users?limit=50".into(),
        product,
        "/products".into(),
    ];
    for (number, path) in paths.iter().enumerate() {
        for _ in 0..2 {
            app.get(path).by(&admin).await.expect(200);
        }
        let name = format!("Changed {number}");
        truth.execute(&format!("UPDATE users SET full_name = '{name}'"));
        truth.execute(&format!("UPDATE products SET name = '{name}'"));
        let cached = app.get(path).by(&admin).await.expect(200);
        assert_eq!(cached.body.contains(&name), !app.caches(), "{cached:?}");
        for directive in ["no-cache", "max-age=0, No-Cache"] {
            let asked = app.get(path).by(&admin);
            let asked = asked.header("cache-control", directive).await.expect(200);
            assert!(asked.body.contains(&name), "{asked:?}");
            let expected = if app.caches() {
                "alacena; fwd=request; stored"
            } else {
                "alacena; fwd=bypass"
            };
            assert_eq!(asked.cache_status(), expected);
        }
        let after = app.get(path).by(&admin).await.expect(200);
        assert!(after.body.contains(&name), "{after:?}");
        assert_eq!(after.is_hit(), app.caches(), "{after:?}");
    }
}

matrix!(
    an_entry_lives_no_longer_than_its_time,
    "cache.user_ttl = '1s'\ncache.product_ttl = '1s'\ncache.default_ttl = '1s'\n\
     cache.eager_refresh = 0.0"
);
async fn an_entry_lives_no_longer_than_its_time(app: TestApp) {
    let admin = app.admin().await;
    let (product, _) = app.new_product(&admin).await;
    for path in [product.as_str(), "/products", "/users/1", "/auth/me"] {
        app.get(path).by(&admin).await.expect(200);
    }
    let mut truth = app.truth();
    truth.stop_log();
    truth.execute("UPDATE users SET full_name = 'Changed'");
    truth.execute("UPDATE products SET name = 'Changed'");
    for path in [product.as_str(), "/products", "/users/1", "/auth/me"] {
        eventually("the entry expires", async || {
            let answer = app.get(path).by(&admin).await.expect(200);
            if app.caches() && !answer.is_hit() {
                let status = answer.cache_status();
                let reload = [
                    "alacena; fwd=stale; stored",
                    "alacena; fwd=uri-miss; stored",
                    // Who is calling is looked up at the same time, and is the same user.
                    "alacena; fwd=stale; stored; collapsed",
                    "alacena; fwd=uri-miss; stored; collapsed",
                ];
                assert!(reload.contains(&status), "{status}");
            }
            answer.body.contains("Changed")
        })
        .await;
    }
}

matrix!(
    a_hit_near_its_end_is_loaded_anew_in_the_background,
    "cache.eager_refresh = 1.0"
);
async fn a_hit_near_its_end_is_loaded_anew_in_the_background(app: TestApp) {
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    app.get(&path).by(&admin).await.expect(200);
    let mut truth = app.truth();
    truth.stop_log();
    truth.execute("UPDATE products SET name = 'Changed'");
    eventually("the entry is refreshed", async || {
        let answer = app.get(&path).by(&admin).await.expect(200);
        assert_eq!(answer.is_hit(), app.caches(), "nobody waits: {answer:?}");
        answer.body.contains("Changed")
    })
    .await;
    if app.caches() {
        let stats = app.stats(&admin).await;
        assert!(stats["refreshes"].as_u64() >= Some(1), "{stats}");
    }
}

matrix!(a_read_after_a_write_is_never_older);
async fn a_read_after_a_write_is_never_older(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let (product, _) = app.new_product(&admin).await;
    let by_email = format!("/users/by-email/{}", user.email);
    for number in 0..10 {
        let name = format!("Name {number}");
        let change = json!({ "full_name": name });
        let changed = app.patch(&user.path()).by(&admin).json(&change).await;
        changed.expect(200);
        for path in [&user.path(), &by_email, "/users"] {
            let read = app.get(path).by(&admin).await.expect(200);
            assert!(read.body.contains(&name), "{path}: {read:?}");
        }
        let me = app.get("/auth/me").by(&user.token).await.expect(200);
        assert!(me.body.contains(&name), "{me:?}");
        let change = json!({ "name": name });
        let changed = app.patch(&product).by(&admin).json(&change).await;
        changed.expect(200);
        for path in [product.as_str(), "/products"] {
            let read = app.get(path).by(&admin).await.expect(200);
            assert!(read.body.contains(&name), "{path}: {read:?}");
        }
    }
}

/// A metric without labels.
async fn metric(app: &TestApp, name: &str) -> u64 {
    let metrics = app.get("/metrics").await.expect(200);
    let line = metrics
        .body
        .lines()
        .find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|value| value.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name}"))
}

matrix!(readers_of_one_cold_key_share_a_load);
async fn readers_of_one_cold_key_share_a_load(app: TestApp) {
    const READERS: u64 = 50;
    const QUERIES: &str = "alacena_database_queries_total ";
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    // The caller is at hand, the product is not.
    app.get("/auth/me").by(&admin).await.expect(200);
    let cleared = app.delete("/cache/clear?pattern=product:*").by(&admin);
    cleared.await.expect(200);
    let before = metric(&app, QUERIES).await;
    let reads = (0..READERS).map(|_| app.get(&path).by(&admin).into_future());
    for answer in futures_util::future::join_all(reads).await {
        answer.expect(200);
    }
    let queries = metric(&app, QUERIES).await - before;
    if app.caches() {
        // One that looked just before the load landed may have to load again.
        assert!((1..=5).contains(&queries), "{queries} queries");
    } else {
        // The caller is looked up as well.
        assert_eq!(queries, 2 * READERS);
    }
}

matrix!(a_hit_asks_the_database_nothing_and_a_miss_once);
async fn a_hit_asks_the_database_nothing_and_a_miss_once(app: TestApp) {
    const QUERIES: &str = "alacena_database_queries_total ";
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    app.get("/auth/me").by(&admin).await.expect(200);
    let cleared = app.delete("/cache/clear?pattern=product:*").by(&admin);
    cleared.await.expect(200);
    let mut queries = metric(&app, QUERIES).await;
    for expected in [(1, 2), (0, 2), (0, 2)] {
        app.get(&path).by(&admin).await.expect(200);
        let now = metric(&app, QUERIES).await;
        let expected = if app.caches() { expected.0 } else { expected.1 };
        assert_eq!(now - queries, expected);
        queries = now;
    }
}

matrix!(readers_who_bypass_the_cache_do_not_switch_it_off_for_others);
async fn readers_who_bypass_the_cache_do_not_switch_it_off_for_others(app: TestApp) {
    let admin = app.admin().await;
    let (product, _) = app.new_product(&admin).await;
    let path = product.as_str();
    let poll = || async {
        for _ in 0..30 {
            let polled = app.get(path).by(&admin).header("cache-control", "no-cache");
            polled.await.expect(200);
        }
    };
    let read = async {
        let mut hits = 0;
        for _ in 0..100 {
            let answer = app.get(path).by(&admin).await.expect(200);
            hits += usize::from(answer.cache_status().contains("; hit;"));
        }
        hits
    };
    let pollers = futures_util::future::join_all((0..6).map(|_| poll()));
    let (_, hits) = futures_util::future::join(pollers, read).await;
    // All but the first, and a few that met a fill of their own.
    assert!(!app.caches() || hits > 80, "{hits} hits");
}
