//! The dashboard's page and figures. How it behaves is in `tests/browser`.

use serde_json::Value;

use crate::support::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_may_do_nothing_but_ask_this_service() {
    let app = TestApp::start("").await;
    let page = app.get("/dashboard").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(page.header(name), value);
    }
    assert!(page.has("permissions-policy"));
    for inline in ["<style", "style=\"", "onclick", "<script>", "//"] {
        assert!(!page.body.contains(inline), "{inline}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_has_the_page_is_sent_none() {
    let app = TestApp::start("").await;
    for (path, content_type) in [
        ("/dashboard", "text/html; charset=utf-8"),
        ("/dashboard/", "text/html; charset=utf-8"),
        ("/dashboard/script.js", "text/javascript; charset=utf-8"),
        ("/dashboard/style.css", "text/css; charset=utf-8"),
        ("/dashboard/icon.svg", "image/svg+xml"),
    ] {
        let first = app.get(path).await.expect(200);
        assert_eq!(first.header("content-type"), content_type);
        let again = app.get(path).header("if-none-match", first.etag()).await;
        let again = again.expect(304);
        assert_eq!((again.etag(), &again.body[..]), (first.etag(), ""));
        assert!(again.has("content-security-policy"));
        let head = app.head(path).await.expect(200);
        assert_eq!((head.etag(), &head.body[..]), (first.etag(), ""));
    }
    for path in ["/dashboard", "/dashboard/"] {
        let refused = app.post(path).await.problem(405, "method-not-allowed");
        assert_eq!(refused.header("allow"), "GET, HEAD");
        assert!(refused.has("x-request-id"), "{refused:?}");
    }
    app.get("/dashboard/nothing.js")
        .await
        .problem(404, "unknown-route");
}

async fn figures(app: &TestApp, admin: &str) -> Value {
    let answer = app.get("/dashboard/figures").by(admin).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

matrix!(the_figures_are_those_of_the_other_routes);
async fn the_figures_are_those_of_the_other_routes(app: TestApp) {
    let admin = app.admin().await;
    app.get("/users/1").by(&admin).await.expect(200);
    app.get("/users/999").by(&admin).await.expect(404);
    let told = figures(&app, &admin).await;
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert!(told["uptime_seconds"].as_f64() > Some(0.0), "{told}");
    assert_eq!(
        told["health"],
        app.get("/health/ready").await.expect(200).json()
    );
    let stats = app.stats(&admin).await;
    for name in [
        "backend",
        "status",
        "hit_rate",
        "keyspace_hits",
        "keyspace_misses",
        "voids",
    ] {
        assert_eq!(told["cache"][name], stats[name], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_but_for_the_pages_own() {
    let app = TestApp::start("").await;
    let admin = app.admin().await;
    let requests = async || figures(&app, &admin).await["requests"].clone();
    let before = requests().await;
    app.get("/dashboard").await.expect(200);
    app.get("/cache/history").by(&admin).await.expect(200);
    assert_eq!(requests().await, before);
    app.get("/users/1").by(&admin).await.expect(200);
    app.get("/users/999").by(&admin).await.expect(404);
    let after = requests().await;
    let grown = |of: &str| {
        after
            .pointer(of)
            .and_then(Value::as_u64)
            .zip(before.pointer(of).and_then(Value::as_u64))
            .map(|(after, before)| after - before)
    };
    assert_eq!(grown("/total"), Some(2));
    assert_eq!(grown("/by_status/2xx"), Some(1));
    assert_eq!(grown("/by_status/4xx"), Some(1));
    let list = |name: &str| after["latency"][name].as_array().expect("a list").clone();
    let counts: u64 = list("counts").iter().filter_map(Value::as_u64).sum();
    assert_eq!(Some(counts), after["total"].as_u64());
    assert_eq!(list("counts").len(), list("bounds_seconds").len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_where_the_page_is_though_the_metrics_are_elsewhere() {
    let app = TestApp::start("server.metrics_address = '127.0.0.1:0'").await;
    let admin = app.admin().await;
    app.get("/metrics").await.expect(404);
    let told = figures(&app, &admin).await;
    assert!(told["requests"]["total"].as_u64() > Some(0), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_for_admins() {
    let app = TestApp::start("").await;
    let user = app.new_user(&app.admin().await).await;
    app.get("/dashboard/figures")
        .await
        .problem(401, "unauthenticated");
    app.get("/dashboard/figures")
        .by(&user.token)
        .await
        .problem(403, "forbidden");
}
