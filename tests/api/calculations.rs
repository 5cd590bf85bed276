//! The slow calculation: it is done once for all who ask for the same.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::support::{Answer, Storage, TestApp, eventually, tcp};

const SLOW: &str = "calculation.duration = '500ms'";
const DURATION: Duration = Duration::from_millis(500);

fn path(text: &str) -> String {
    format!("/calculations/expensive?param1={text}&param2=7")
}

async fn ask(app: &TestApp, token: &str, text: &str) -> Answer {
    app.get(&path(text)).by(token).await.expect(200)
}

matrix!(a_calculation_is_done_once_and_kept, SLOW);
async fn a_calculation_is_done_once_and_kept(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let started = Instant::now();
    let first = ask(&app, &user.token, "a%3Ab").await;
    assert!(started.elapsed() >= DURATION);
    let answer = first.json();
    assert_eq!(answer["result"], "calculation_result_a:b_7");
    let timestamp = answer["timestamp"].as_f64().expect("a time");
    let now = chrono::Utc::now().timestamp() as f64;
    assert!((now - timestamp).abs() < 60.0, "{answer}");
    assert_eq!(first.header("cache-control"), "private, no-cache");
    let again = ask(&app, &user.token, "a%3Ab").await;
    assert_eq!(again.is_hit(), app.caches(), "{again:?}");
    if app.caches() {
        assert_eq!(again.body, first.body);
        assert!((1600..=1800).contains(&again.ttl()), "{again:?}");
        let held = app.get(&path("a%3Ab")).by(&user.token);
        let held = held.header("if-none-match", first.etag()).await;
        assert_eq!(held.expect(304).body, "");
        let head = app.head(&path("a%3Ab")).by(&user.token).await.expect(200);
        assert_eq!(head.etag(), first.etag());
        let kept = app.get("/cache/exists").by(&admin);
        let kept = kept.query(&[("key", "calculation:param1=a%3Ab:param2=7")]);
        assert_eq!(kept.await.expect(200).json()["exists"], true);
    } else {
        assert_eq!(again.cache_status(), "alacena; fwd=bypass");
    }
    let anew = app.get(&path("a%3Ab")).by(&user.token).no_cache().await;
    assert!(anew.expect(200).json()["timestamp"].as_f64() > Some(timestamp));
    // Another text is another calculation.
    let other = ask(&app, &user.token, "a").await.json();
    assert_eq!(other["result"], "calculation_result_a_7");
}

matrix!(
    whoever_asks_for_the_same_waits_for_one_run_whoever_hangs_up,
    "calculation.duration = '3s'"
);
async fn whoever_asks_for_the_same_waits_for_one_run_whoever_hangs_up(app: TestApp) {
    let admin = app.admin().await;
    let callers = async || {
        let stats = app.stats(&admin).await;
        let [hits, misses] = ["caller_hits", "caller_misses"].map(|name| stats[name].as_u64());
        hits.zip(misses).map(|(hits, misses)| hits + misses)
    };
    let before = callers().await.expect("figures");
    let mut first = tcp::connect(app.address).await;
    let request = tcp::request("GET", &path("x"), &admin, "");
    first.write_all(&request).await.expect("it is sent");
    if app.caches() {
        let mut polls = 0;
        eventually("its caller is known", async || {
            polls += 1;
            callers().await > Some(before + polls)
        })
        .await;
        // What comes next is the run.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let others = (0..20).map(|_| ask(&app, &admin, "x"));
    let others = futures_util::future::join_all(others);
    let hanging_up = async {
        let joined = if app.caches() { 20 } else { 0 };
        eventually("the others wait for the first", async || {
            app.stats(&admin).await["coalesced"] == joined
        })
        .await;
        tcp::reset(first);
    };
    let (answers, ()) = tokio::join!(others, hanging_up);
    if !app.caches() {
        return;
    }
    let mut collapsed = 0;
    for answer in &answers {
        assert_eq!(answer.body, answers[0].body);
        collapsed += usize::from(answer.cache_status().ends_with("; collapsed"));
    }
    // Should the first have come late, one of the others runs it.
    assert!(collapsed + 1 >= answers.len(), "{:?}", answers[0]);
}

matrix!(what_cannot_be_calculated_is_refused_at_once);
async fn what_cannot_be_calculated_is_refused_at_once(app: TestApp) {
    let admin = app.admin().await;
    let ask = |query: String| {
        app.get(&format!("/calculations/expensive?{query}"))
            .by(&admin)
    };
    for query in [
        "param1=a&param2=x",
        "param1=a&param2=1.5",
        "param1=a&param2=",
    ] {
        ask(query.to_owned()).await.problem(400, "malformed");
    }
    let long = format!("param1={}&param2=1", "x".repeat(201));
    let refused = [
        ("param2=1".to_owned(), "param1"),
        ("param1=a".to_owned(), "param2"),
        ("param1=&param2=1".to_owned(), "param1"),
        (long, "param1"),
        ("param1=a&param2=9007199254740992".to_owned(), "param2"),
        (
            "param1=a&param2=-1e99".replace("1e99", &"9".repeat(40)),
            "param2",
        ),
    ];
    for (query, field) in refused {
        ask(query).await.invalid(&[field]);
    }
    let both = ask("param1=&param2=99999999999999999".to_owned()).await;
    both.invalid(&["param1", "param2"]);
    let stranger = app.get(&path("a")).await;
    stranger.problem(401, "unauthenticated");
    app.post(&path("a"))
        .by(&admin)
        .await
        .problem(405, "method-not-allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_share_a_redis_share_a_run() {
    for backend in ["redis", "tiered"] {
        // The lease is shorter than the run: it is renewed by who runs it.
        let config = "calculation.duration = '4s'
            cache.redis.lease = '1500ms'
            cache.namespace = 'shared-calculation'";
        let one = TestApp::start_on(Storage::Sqlite, backend, config).await;
        let other = one.another(config).await;
        let admin = one.admin().await;
        let text = format!("shared-{backend}");
        let late = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            ask(&other, &admin, &text).await
        };
        let (first, second) = tokio::join!(ask(&one, &admin, &text), late);
        assert_eq!(first.json(), second.json(), "{backend}: one run");
        assert!(first.json()["timestamp"] != Value::Null);
        other.stop().await;
    }
}
