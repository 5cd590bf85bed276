//! Reads over time.

use serde_json::{Value, json};

use crate::support::TestApp;

async fn history(app: &TestApp, admin: &str, query: &str) -> Value {
    let answer = app.get(&format!("/cache/history{query}")).by(admin).await;
    let answer = answer.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

/// Where the answers came from, without the rest.
fn counts(of: &Value) -> [u64; 5] {
    ["reads", "near", "far", "late", "loaded"].map(|name| of[name].as_u64().expect("a count"))
}

/// The minutes added up.
fn sum(history: &Value) -> [u64; 5] {
    let minutes = history["minutes"].as_array().expect("minutes");
    minutes.iter().map(counts).fold([0; 5], |sum, minute| {
        std::array::from_fn(|place| sum[place] + minute[place])
    })
}

matrix!(a_history_agrees_with_what_was_read);
async fn a_history_agrees_with_what_was_read(app: TestApp) {
    let admin = app.admin().await;
    let (product, _) = app.new_product(&admin).await;
    app.delete("/cache/clear").by(&admin).await.expect(200);
    let empty = history(&app, &admin, "").await;
    assert_eq!((counts(&empty), &empty["hit_rate"]), ([0; 5], &Value::Null));
    assert_eq!(empty["kinds"], json!([]), "checks of callers are no reads");
    assert_eq!(
        [&empty["peak"], &empty["lowest"], &empty["busiest"]],
        [&Value::Null; 3]
    );

    for (path, times) in [
        (&product[..], 4),
        ("/products/999", 2),
        ("/users", 3),
        ("/users/by-email/admin@example.com", 2),
    ] {
        for _ in 0..times {
            app.get(path).by(&admin).await;
        }
    }
    let expected = |times: u64, loads: u64| {
        let (hits, loaded) = if app.caches() {
            (times - loads, loads)
        } else {
            (0, times)
        };
        let (near, far) = if app.tier() == "near" {
            (hits, 0)
        } else {
            (0, hits)
        };
        [times, near, far, 0, loaded]
    };
    let told = history(&app, &admin, "").await;
    assert_eq!(told["backend"], app.backend());
    assert_eq!(told["interval_seconds"], 60);
    assert_eq!(counts(&told), expected(11, 4));
    assert_eq!(sum(&told), counts(&told), "{told}");
    let kinds = told["kinds"].as_array().expect("kinds");
    let named = |kind: &Value| kind["kind"].as_str().unwrap_or_default().to_owned();
    let seen: Vec<_> = kinds
        .iter()
        .map(|kind| (named(kind), counts(kind)))
        .collect();
    let by_kind = [
        ("product", expected(6, 2)),
        ("users:list", expected(3, 1)),
        ("user:email", expected(2, 1)),
    ];
    assert_eq!(
        seen,
        by_kind.map(|(kind, counts)| (kind.to_owned(), counts))
    );
    let stats = app.stats(&admin).await;
    assert_eq!(told["hit_rate"], stats["hit_rate"]);
    let [_, near, far, ..] = counts(&told);
    assert_eq!(
        (&stats["near_hits"], &stats["far_hits"]),
        (&near.into(), &far.into())
    );

    let products = history(&app, &admin, "?kind=product").await;
    assert_eq!(counts(&products), expected(6, 2));
    assert_eq!(sum(&products), counts(&products), "{products}");
    assert_eq!(products["kinds"].as_array().map(Vec::len), Some(1));

    // As is any kind after a restart.
    let unread = history(&app, &admin, "?kind=unread").await;
    assert_eq!(
        (counts(&unread), &unread["hit_rate"]),
        ([0; 5], &Value::Null)
    );
    assert_eq!(sum(&unread), [0; 5], "{unread}");
    let kinds = unread["kinds"].as_array().expect("kinds");
    assert_eq!(kinds.len(), 1, "{unread}");
    assert_eq!(
        (&kinds[0]["kind"], counts(&kinds[0])),
        (&json!("unread"), [0; 5])
    );
    let times = |of: &Value| {
        let minutes = of["minutes"].as_array().expect("minutes").clone();
        minutes
            .into_iter()
            .map(|minute| minute["at"].clone())
            .collect::<Vec<_>>()
    };
    assert!(times(&unread).starts_with(&times(&told)), "{unread}");

    let minutes = told["minutes"].as_array().expect("minutes");
    let (running, over) = minutes.split_last().expect("a minute runs");
    assert_eq!(running["is_complete"], false);
    assert!(
        over.iter().all(|minute| minute["is_complete"] == true),
        "{told}"
    );
    assert_eq!(told["from"], minutes[0]["at"]);
    for minute in minutes {
        assert_eq!(
            minute["hit_rate"].is_null(),
            minute["reads"] == 0,
            "{minute}"
        );
        let at = minute["at"].as_str().expect("a time");
        assert!(at.len() == 20 && at.ends_with(":00Z"), "{at}");
    }
    assert_eq!(
        history(&app, &admin, "?minutes=1").await["minutes"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_is_refused_by_name() {
    let app = TestApp::start("").await;
    let admin = app.admin().await;
    app.get("/users/1").by(&admin).await.expect(200);
    for (query, fields) in [
        ("?minutes=0", &["minutes"][..]),
        ("?minutes=1441", &["minutes"]),
        ("?minutes=99999999999999999999", &["minutes"]),
        ("?minutes=0&kind=unread", &["minutes"]),
    ] {
        let refused = app.get(&format!("/cache/history{query}")).by(&admin).await;
        refused.invalid(fields);
    }
    for (query, fields) in [
        (
            "?minutes=-1&width=319&theme=blue",
            &["minutes", "width", "theme"][..],
        ),
        ("?width=1601", &["width"]),
        ("?theme=", &["theme"]),
    ] {
        let refused = app
            .get(&format!("/cache/history.svg{query}"))
            .by(&admin)
            .await;
        refused.invalid(fields);
    }
    for path in [
        "/cache/history?minutes=ten",
        "/cache/history.svg?width=wide",
    ] {
        app.get(path).by(&admin).await.problem(400, "malformed");
    }
    let user = app.new_user(&admin).await;
    for path in [
        "/cache/history",
        "/cache/history?minutes=x",
        "/cache/history.svg",
    ] {
        app.get(path)
            .by(&user.token)
            .await
            .problem(403, "forbidden");
    }
}

/// The times on a picture's axis, in minutes of the day.
fn times(svg: &str) -> Vec<u32> {
    let texts = svg.lines().filter_map(|line| line.trim().split_once(':'));
    let time = |(hours, minutes): (&str, &str)| {
        Some(hours.parse::<u32>().ok()? * 60 + minutes.parse::<u32>().ok()?)
    };
    texts.filter_map(time).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_drawn_as_it_was_asked_for() {
    let app = TestApp::start("").await;
    let admin = app.admin().await;
    app.get("/users/1").by(&admin).await.expect(200);
    const DAY: u32 = 24 * 60;
    for (query, width, ground, minutes) in [
        ("", 900, "#FFFFFF", DAY),
        ("?width=320&theme=light", 320, "#FFFFFF", DAY),
        ("?theme=dark", 900, "#181C22", DAY),
        ("?minutes=60&width=1600", 1600, "#FFFFFF", 60),
        ("?minutes=360&theme=dark", 900, "#181C22", 360),
    ] {
        let picture = app
            .get(&format!("/cache/history.svg{query}"))
            .by(&admin)
            .await
            .expect(200);
        assert_eq!(picture.header("content-type"), "image/svg+xml");
        assert_eq!(picture.header("cache-control"), "no-store");
        let svg = &picture.body;
        assert!(svg.starts_with("<svg") && svg.contains("reads per minute"));
        assert!(!svg.contains("<script") && !svg.contains("href"));
        assert!(
            svg.contains(&format!("width=\"{width}\"")),
            "{query}: {svg}"
        );
        for known in ["#FFFFFF", "#181C22"] {
            assert_eq!(svg.contains(known), known == ground, "{query}: {svg}");
        }
        let times = times(svg);
        let steps: Vec<u32> = times
            .windows(2)
            .map(|pair| (pair[1] + DAY - pair[0]) % DAY)
            .collect();
        assert!(
            steps.len() > 1 && steps.iter().all(|step| *step == steps[0]),
            "{query}: {times:?}"
        );
        // From the first time to the last, and no time would have room before or after.
        let axis = steps.iter().sum::<u32>();
        let room = axis..axis + 2 * steps[0];
        assert!(room.contains(&minutes), "{query}: {times:?}");
    }
}
