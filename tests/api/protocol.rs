use reqwest::Method;
use serde_json::json;

use crate::support::{Storage, TestApp, tcp};

const JSON: &str = "application/json";

matrix!(a_body_that_is_no_json_is_told_from_one_with_wrong_values);
async fn a_body_that_is_no_json_is_told_from_one_with_wrong_values(app: TestApp) {
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    for malformed in [
        "",
        " ",
        "{",
        "{\"stock\": }",
        "{\"stock\": 1} x",
        "{\"stock\": 1}{}",
        "{'stock': 1}",
        "\u{feff}{}",
        "{\"stock\": 01}",
    ] {
        let answer = app.patch(&path).by(&admin).body(JSON, malformed).await;
        answer.problem(400, "malformed");
    }
    let not_utf8 = app.patch(&path).by(&admin);
    let not_utf8 = not_utf8.body(JSON, b"{\"name\": \"\xff\"}".to_vec()).await;
    not_utf8.problem(400, "malformed");
    for other_shape in ["null", "1", "\"stock\"", "[1]"] {
        let answer = app.patch(&path).by(&admin).body(JSON, other_shape).await;
        answer.problem(422, "invalid");
    }
    let twice = "{\"stock\": 1, \"stock\": 2}";
    let twice = app.patch(&path).by(&admin).body(JSON, twice).await;
    assert!([400, 422].contains(&twice.status.as_u16()), "{twice:?}");
    let deep = format!(
        "{{\"surprise\": {}{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let deep = app.patch(&path).by(&admin).body(JSON, deep).await;
    assert!([400, 422].contains(&deep.status.as_u16()), "{deep:?}");
    let unchanged = app.get(&path).by(&admin).await.expect(200);
    assert_eq!(unchanged.json()["version"], 1);
}

matrix!(a_list_of_values_is_no_object);
async fn a_list_of_values_is_no_object(app: TestApp) {
    let admin = app.admin().await;
    let (path, product) = app.new_product(&admin).await;
    // What a struct's fields would take in their order.
    let values = json!(["Red kettle", null, 1, 1, true]);
    for call in [
        app.patch(&path).json(&json!([])),
        app.patch(&path).json(&values),
        app.put(&path).json(&values),
        app.post("/products").json(&values),
        app.post("/users")
            .json(&json!(["x@example.com", "X", "a password", null, null])),
        app.patch("/users/1").json(&json!(["x@example.com"])),
    ] {
        call.by(&admin).await.problem(422, "invalid");
    }
    let found = app.get(&path).by(&admin).await.expect(200);
    assert_eq!(found.json(), product);
}

matrix!(a_body_of_another_type_is_refused);
async fn a_body_of_another_type_is_refused(app: TestApp) {
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    let body = json!({ "stock": 1 }).to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "garbage",
        "json",
    ] {
        for call in [app.patch(&path), app.put(&path), app.post("/products")] {
            let answer = call.by(&admin).body(kind, body.clone()).await;
            answer.problem(415, "unsupported-media-type");
        }
    }
    app.patch(&path)
        .by(&admin)
        .await
        .problem(415, "unsupported-media-type");
    for kind in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/merge-patch+json",
    ] {
        let answer = app.patch(&path).by(&admin).body(kind, body.clone()).await;
        answer.expect(200);
    }
}

matrix!(a_body_may_be_only_so_large, "server.max_body = '2KiB'");
async fn a_body_may_be_only_so_large(app: TestApp) {
    let admin = app.admin().await;
    let (path, _) = app.new_product(&admin).await;
    let body = |length: usize| {
        let text = "x".repeat(length - 18);
        format!("{{\"description\":\"{text}\"}}")
    };
    let fits = app.patch(&path).by(&admin).body(JSON, body(2048)).await;
    fits.expect(200);
    for length in [2049, 100_000] {
        let large = app.patch(&path).by(&admin).body(JSON, body(length)).await;
        large.problem(413, "body-too-large");
    }
    // One that does not say how large it is.
    let chunk = format!("{:x}\r\n{}\r\n", 3000, "x".repeat(3000));
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {admin}\r\n\
         Content-Type: {JSON}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let request = format!("{head}{chunk}{chunk}0\r\n\r\n");
    let answer = tcp::exchange(app.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
}

matrix!(a_path_or_query_that_cannot_be_read_is_a_400);
async fn a_path_or_query_that_cannot_be_read_is_a_400(app: TestApp) {
    let admin = app.admin().await;
    for id in ["x", "1.5", "1x", "99999999999999999999", "%20", "0x1"] {
        for list in ["/users", "/products"] {
            let path = format!("{list}/{id}");
            let body = json!({});
            for call in [
                app.get(&path),
                app.delete(&path),
                app.patch(&path).json(&body),
                app.put(&path).json(&body),
            ] {
                let answer = call.by(&admin).await;
                answer.problem(400, "malformed");
            }
        }
    }
    let query = app.get("/users?limit=%zz").by(&admin).await;
    query.problem(400, "malformed");
}

matrix!(an_unknown_route_is_a_404_and_an_unknown_method_a_405);
async fn an_unknown_route_is_a_404_and_an_unknown_method_a_405(app: TestApp) {
    let admin = app.admin().await;
    for path in [
        "/",
        "/user",
        "/users/1/2",
        "/users/",
        "/Users",
        "/..",
        "/health",
        "/auth",
    ] {
        for call in [app.get(path), app.get(path).by(&admin), app.post(path)] {
            call.await.problem(404, "unknown-route");
        }
    }
    let odd = Method::from_bytes(b"BREW").expect("a method");
    for (method, path, allowed) in [
        (Method::POST, "/users/1", "GET,HEAD,PUT,PATCH,DELETE"),
        (Method::DELETE, "/users", "GET,HEAD,POST"),
        (Method::GET, "/auth/login", "POST"),
        (Method::OPTIONS, "/users", "GET,HEAD,POST"),
        (Method::TRACE, "/users", "GET,HEAD,POST"),
        (odd, "/products", "GET,HEAD,POST"),
        (Method::POST, "/health/live", "GET,HEAD"),
        (Method::GET, "/cache/clear", "DELETE"),
    ] {
        let answer = app.call(method.clone(), path).await;
        let answer = answer.problem(405, "method-not-allowed");
        let mut told: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
        told.sort_unstable();
        let mut expected: Vec<&str> = allowed.split(',').collect();
        expected.sort_unstable();
        assert_eq!(told, expected, "{method} {path}");
    }
}

matrix!(a_head_may_be_only_so_long);
async fn a_head_may_be_only_so_long(app: TestApp) {
    let admin = app.admin().await;
    let long = "x".repeat(20_000);
    let headers = app.get("/users").by(&admin).header("x-long", &long).await;
    headers.problem(431, "head-too-large");
    let short = "x".repeat(4_000);
    let headers = app.get("/users").by(&admin).header("x-long", &short).await;
    headers.expect(200);

    let path = format!("/users?limit=1&x={}", "x".repeat(5_000));
    app.get(&path)
        .by(&admin)
        .await
        .problem(414, "target-too-long");
    let path = format!("/{}", "x".repeat(5_000));
    app.get(&path).await.problem(414, "target-too-long");
    let path = format!("/users?limit=1&x={}", "x".repeat(3_000));
    app.get(&path).by(&admin).await.expect(200);
    let unlimited = app.get("/docs/").header("x-long", &long).await;
    unlimited.problem(431, "head-too-large");
}

matrix!(
    what_is_no_http_is_refused_and_the_service_goes_on,
    "server.request_timeout = '1s'"
);
async fn what_is_no_http_is_refused_and_the_service_goes_on(app: TestApp) {
    let too_many: String = (0..200)
        .map(|number| format!("x-{number}: 1\r\n"))
        .collect();
    let too_long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(200_000));
    let refused = [
        ("GARBAGE\r\n\r\n".to_owned(), &["400"][..]),
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), &["400"]),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), &["400", "505"]),
        (format!("GET / HTTP/1.1\r\n{too_many}\r\n"), &["400", "431"]),
        (too_long, &["414", "431", "400"]),
        (
            "POST /users HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_owned(),
            &["400"],
        ),
        // Two lengths: whoever stands between us might believe the other (request smuggling).
        (
            "POST /users HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(),
            &["400"],
        ),
        (
            "POST /users HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n\
             0\r\n\r\n"
                .to_owned(),
            &["400"],
        ),
        // One that never ends is not waited for.
        ("GET / HTTP/1.1\r\nHost: x\r\n".to_owned(), &["408"]),
    ];
    for (request, expected) in refused {
        let answer = tcp::exchange(app.address, request.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        let shown = &request[..request.len().min(60)];
        assert!(expected.contains(&status), "{shown:?}: {answer}");
    }
    app.get("/health/live").await.expect(200);
}

matrix!(
    a_body_that_never_comes_is_not_waited_for,
    "server.request_timeout = '1s'"
);
async fn a_body_that_never_comes_is_not_waited_for(app: TestApp) {
    let admin = app.admin().await;
    let (path, product) = app.new_product(&admin).await;
    let whole = tcp::request("PATCH", &path, &admin, r#"{"stock": 1}"#);
    let answer = tcp::exchange(app.address, &whole[..whole.len() - 3]).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    let found = app.get(&path).by(&admin).await.expect(200);
    assert_eq!(found.json(), product);
}

matrix!(a_request_keeps_the_id_it_came_with);
async fn a_request_keeps_the_id_it_came_with(app: TestApp) {
    let mut ids = std::collections::HashSet::new();
    for path in [
        "/health/live",
        "/users",
        "/no/such/route",
        "/docs/",
        "/metrics",
    ] {
        for chosen in ["abc-123", "x", &"y".repeat(128)] {
            let answer = app.get(path).header("x-request-id", chosen).await;
            assert_eq!(answer.header("x-request-id"), chosen, "{path}");
        }
        // What is not fit for a log is replaced.
        for chosen in ["", "a b", "a\tb", &"y".repeat(129)] {
            let answer = app.get(path).header("x-request-id", chosen).await;
            let id = answer.header("x-request-id").to_owned();
            assert_ne!(id, chosen);
            assert!(!id.is_empty() && ids.insert(id), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_many_requests_one_after_the_other() {
    let app = TestApp::start_on(Storage::Sqlite, "memory", "").await;
    let get = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = tcp::exchange(app.address, format!("{get}{get}{last}").as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
}
