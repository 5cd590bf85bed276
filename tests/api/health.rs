use serde_json::json;

use crate::support::{Call, Storage, TestApp};

matrix!(it_lives_and_is_ready_and_says_so_to_anyone);
async fn it_lives_and_is_ready_and_says_so_to_anyone(app: TestApp) {
    let live = app.get("/health/live").await.expect(200);
    assert_eq!(live.json(), json!({ "status": "up" }));
    assert_eq!(live.header("cache-control"), "no-store");
    let ready = app.get("/health/ready").await.expect(200);
    assert_eq!(ready.header("cache-control"), "no-store");
    let ready = ready.json();
    assert_eq!(ready["status"], "up");
    assert_eq!(ready["components"]["database"], "up");
    let cache = &ready["components"]["cache"];
    assert_eq!(cache["backend"], app.backend());
    assert_eq!(cache["status"], if app.caches() { "up" } else { "off" });
}

/// Checks text as OpenMetrics 1.0 describes it, and answers the samples.
fn samples(text: &str) -> Vec<(String, f64)> {
    let body = text.strip_suffix("# EOF\n").expect("it ends with EOF");
    let mut families: Vec<(String, String)> = vec![];
    let mut samples = vec![];
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let (what, rest) = comment.split_once(' ').expect("a comment says what it is");
            let (name, rest) = rest.split_once(' ').expect("a comment names a family");
            match what {
                "TYPE" => {
                    assert!(
                        families.iter().all(|(known, _)| known != name),
                        "{name} comes twice"
                    );
                    families.push((name.to_owned(), rest.to_owned()));
                }
                "HELP" | "UNIT" => assert!(!rest.is_empty(), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
        let (family, kind) = families.last().expect("a family is declared first");
        let suffix = name
            .split('{')
            .next()
            .and_then(|bare| bare.strip_prefix(family.as_str()));
        let suffix = suffix.unwrap_or_else(|| panic!("{name} is no sample of {family}"));
        let allowed: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => panic!("{kind}"),
        };
        assert!(allowed.contains(&suffix), "{line}");
        samples.push((name.to_owned(), value.parse().expect("a number")));
    }
    samples
}

fn sample(samples: &[(String, f64)], name: &str) -> f64 {
    let found = samples.iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no {name}")).1
}

matrix!(metrics_can_be_scraped);
async fn metrics_can_be_scraped(app: TestApp) {
    let admin = app.admin().await;
    for path in ["/users/1", "/users/1", "/users/999", "/no/such/route"] {
        app.get(path).by(&admin).await;
    }
    app.head("/users/1").by(&admin).await.expect(200);
    let by_email = "/users/by-email/somebody@example.com";
    app.get(by_email).by(&admin).await.problem(404, "absent");
    let metrics = app.get("/metrics").await.expect(200);
    let kind = metrics.header("content-type");
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    assert!(!metrics.body.contains("somebody"), "addresses stay here");
    let samples = samples(&metrics.body);
    let requests = |labels: &str| {
        sample(
            &samples,
            &format!("alacena_http_requests_total{{{labels}}}"),
        )
    };
    let user = r#"route="/users/{id}",method"#;
    assert_eq!(requests(&format!(r#"{user}="GET",status="2xx""#)), 2.0);
    assert_eq!(requests(&format!(r#"{user}="GET",status="4xx""#)), 1.0);
    assert_eq!(requests(&format!(r#"{user}="HEAD",status="2xx""#)), 1.0);
    assert_eq!(
        requests(r#"route="unknown",method="GET",status="4xx""#),
        1.0
    );
    let (hits, misses) = (
        sample(&samples, "alacena_cache_hits_total"),
        sample(&samples, "alacena_cache_misses_total"),
    );
    assert_eq!(hits + misses, 5.0);
    assert_eq!(hits > 0.0, app.caches());
    let seconds = "alacena_http_request_duration_seconds";
    let count = sample(
        &samples,
        &format!(r#"{seconds}_count{{route="/users/{{id}}"}}"#),
    );
    let infinite = format!(r#"{seconds}_bucket{{le="+Inf",route="/users/{{id}}"}}"#);
    let other = format!(r#"{seconds}_bucket{{route="/users/{{id}}",le="+Inf"}}"#);
    let bucket = samples
        .iter()
        .find(|(name, _)| *name == infinite || *name == other);
    assert_eq!(count, 4.0);
    assert_eq!(bucket.expect("an infinite bucket").1, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_can_have_an_address_of_their_own() {
    let config = "server.metrics_address = '127.0.0.1:0'";
    let app = TestApp::start_on(Storage::Sqlite, "memory", config).await;
    app.get("/metrics").await.problem(404, "unknown-route");
    app.get("/health/live").await.expect(200);
    let address = app.metrics_address.expect("an address of their own");
    assert_ne!(address, app.address);
    let at = |path: &str| Call::new(app.client.get(format!("http://{address}{path}"))).send();
    let metrics = at("/metrics").await.expect("it answers");
    samples(&metrics.expect(200).body);
    for path in ["/users", "/health/live", "/openapi.json", "/"] {
        at(path).await.expect("it answers").expect(404);
    }
    app.stop().await;
}
