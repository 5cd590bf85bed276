use std::collections::BTreeSet;
use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use crate::support::{Storage, TestApp};

const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

async fn document(app: &TestApp) -> Value {
    let answer = app.get("/openapi.json").await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

/// Every path with its methods.
fn operations(document: &Value) -> Vec<(String, BTreeSet<String>)> {
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .map(|(path, item)| {
            let methods = item.as_object().expect("a path has methods").keys();
            let known = methods.filter(|name| METHODS.contains(&name.as_str()));
            (path.clone(), known.cloned().collect())
        })
        .collect()
}

/// A path that can be asked for.
fn concrete(path: &str) -> String {
    path.replace("{id}", "1")
        .replace("{email}", "admin@example.com")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_openapi_3_1_and_every_operation_is_described() {
    let app = TestApp::start("").await;
    let document = document(&app).await;
    let version = document["openapi"].as_str().unwrap_or_default();
    assert!(version.starts_with("3.1."), "{version}");
    assert_eq!(document["info"]["title"], "Alacena");
    let mut ids = BTreeSet::new();
    for (path, methods) in operations(&document) {
        for method in methods {
            let operation = &document["paths"][&path][&method];
            let id = operation["operationId"].as_str().unwrap_or_default();
            assert!(
                ids.insert(id.to_owned()),
                "{method} {path}: {id} is not unique"
            );
            assert!(operation["summary"].is_string(), "{method} {path}");
            let responses = operation["responses"].as_object().expect("responses");
            assert!(
                responses.keys().any(|status| status.starts_with('2')),
                "{method} {path}"
            );
            for (status, response) in responses {
                let failed = status.starts_with('4') || status.starts_with('5');
                let content = response["content"].as_object();
                let described = response["description"].as_str();
                assert!(
                    described.is_some_and(|text| !text.is_empty()),
                    "{method} {path}"
                );
                if failed && method != "head" && path != "/health/ready" {
                    let problem = content.and_then(|types| types.get("application/problem+json"));
                    assert!(problem.is_some(), "{method} {path} {status}");
                }
            }
        }
    }
    assert!(every_reference_leads_somewhere(&document, &document));
}

fn every_reference_leads_somewhere(value: &Value, document: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().all(|(name, value)| {
            if name == "$ref" {
                let pointer = value.as_str().and_then(|path| path.strip_prefix('#'));
                return pointer.is_some_and(|pointer| document.pointer(pointer).is_some());
            }
            every_reference_leads_somewhere(value, document)
        }),
        Value::Array(items) => items
            .iter()
            .all(|item| every_reference_leads_somewhere(item, document)),
        _ => true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_operation_exists_and_every_other_is_refused() {
    let app = TestApp::start("").await;
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    app.new_product(&admin).await;
    let document = document(&app).await;
    for (path, documented) in operations(&document) {
        for method in METHODS {
            let verb: Method = method.to_uppercase().parse().expect("a method");
            let answer = app.call(verb, &concrete(&path)).by(&user.token).await;
            if documented.contains(method) {
                assert_ne!(answer.status.as_u16(), 405, "{method} {path}");
                assert!(!answer.body.contains("unknown-route"), "{method} {path}");
                let told = &document["paths"][&path][method]["responses"];
                let status = answer.status.as_str();
                assert!(
                    told[status].is_object(),
                    "{method} {path}: {status} is not documented"
                );
                continue;
            }
            assert_eq!(answer.status.as_u16(), 405, "{method} {path}");
            let allowed: BTreeSet<String> = answer
                .header("allow")
                .split(',')
                .map(|method| method.trim().to_lowercase())
                .collect();
            assert_eq!(allowed, documented, "{method} {path}");
        }
    }
}

/// The routes that the service's source registers by name.
fn registered_routes() -> BTreeSet<String> {
    registered_in(concat!(env!("CARGO_MANIFEST_DIR"), "/src/http").as_ref())
}

fn registered_in(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).expect("the source is here");
    let mut routes = BTreeSet::new();
    for file in files {
        let path = file.expect("the folder can be listed").path();
        if path.is_dir() {
            routes.append(&mut registered_in(&path));
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = std::fs::read_to_string(path).expect("source is text");
        let registered = source.split(".resource(").skip(1).filter_map(|rest| {
            let literal = rest.trim_start().strip_prefix('"')?;
            Some(literal.split_once('"')?.0.to_owned())
        });
        routes.extend(registered);
    }
    routes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_service_is_documented() {
    let app = TestApp::start("").await;
    let documented: BTreeSet<String> = operations(&document(&app).await)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    let known = registered_routes();
    assert!(known.len() > 10, "{known:?}");
    assert_eq!(documented, known);
}

/// What browsers ask for, and programs do not. It is no part of the API.
const FILES: [&str; 11] = [
    "/dashboard",
    "/dashboard/",
    "/dashboard/style.css",
    "/dashboard/icon.svg",
    "/dashboard/script.js",
    "/dashboard/session.js",
    "/dashboard/banner.js",
    "/dashboard/figures.js",
    "/dashboard/history.js",
    "/dashboard/tools.js",
    "/dashboard/format.js",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_the_dashboard_are_no_part_of_the_document_and_its_figures_are() {
    let app = TestApp::start("").await;
    let document = document(&app).await;
    for path in FILES {
        app.get(path).await.expect(200);
        assert!(document["paths"][path].is_null(), "{path}");
    }
    assert!(document["paths"]["/dashboard/figures"].is_object());
    let source = include_str!("../../src/http/dashboard/mod.rs");
    let registered = source.matches("file!(\"/").count();
    assert_eq!(registered, FILES.len(), "every file is listed here");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_parameter_may_be_is_told() {
    let app = TestApp::start("").await;
    let document = document(&app).await;
    let parameters = &document["paths"]["/cache/history.svg"]["get"]["parameters"];
    let parameters = parameters.as_array().expect("parameters");
    let theme = parameters.iter().find(|known| known["name"] == "theme");
    let theme = &theme.expect("a picture has a theme")["schema"];
    assert_eq!(theme["enum"], serde_json::json!(["light", "dark"]));
    assert_eq!(theme["default"], "light");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_needs_a_token_says_so_and_no_other_does() {
    let app = TestApp::start("").await;
    let document = document(&app).await;
    let flow = &document["components"]["securitySchemes"]["login"]["flows"]["password"];
    assert_eq!(flow["tokenUrl"], "/auth/login");
    for (path, methods) in operations(&document) {
        for method in methods {
            let verb: Method = method.to_uppercase().parse().expect("a method");
            let stranger = app.call(verb, &concrete(&path)).await;
            let operation = &document["paths"][&path][&method];
            let needs_token = operation["security"][0]["login"].is_array();
            let closed = stranger.status.as_u16() == 401;
            assert_eq!(closed, needs_token, "{method} {path}: {stranger:?}");
            if needs_token {
                assert!(operation["responses"]["401"].is_object(), "{method} {path}");
            }
        }
    }
}

/// What a text refers to, each after one of these marks.
fn references(text: &str, marks: &[&str]) -> Vec<String> {
    let mut found = vec![];
    for mark in marks {
        for rest in text.split(mark).skip(1) {
            let rest = rest.trim_start_matches(['"', '\'']);
            let end = rest.find(['"', ')', '\'']).unwrap_or(0);
            found.push(rest[..end].to_owned());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_to_try_it_in_needs_nothing_from_elsewhere() {
    let app = TestApp::start_on(Storage::Sqlite, "memory", "").await;
    // The client follows the redirect.
    let redirected = app.get("/docs").await.expect(200);
    let page = app.get("/docs/").await.expect(200);
    assert_eq!(page.body, redirected.body);
    assert!(
        page.header("content-type").starts_with("text/html"),
        "{page:?}"
    );
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'self'"), "{policy}");

    let files: Vec<String> = references(&page.body, &["src=", "href="])
        .into_iter()
        .filter(|file| !file.starts_with('#'))
        .collect();
    assert!(files.iter().any(|file| file.ends_with(".js")), "{files:?}");
    assert!(files.iter().any(|file| file.ends_with(".css")), "{files:?}");
    let mut scripts = String::new();
    for file in files {
        assert!(!file.contains("//"), "{file} is elsewhere");
        let path = format!("/docs/{}", file.trim_start_matches("./"));
        let answer = app.get(&path).await.expect(200);
        if file.ends_with(".css") {
            for reference in references(&answer.body, &["url(", "@import "]) {
                assert!(reference.starts_with("data:"), "{file}: {reference}");
            }
        }
        if file.ends_with("initializer.js") || file.ends_with("index.css") {
            assert!(!answer.body.contains("http"), "{file}");
            scripts.push_str(&answer.body);
        }
    }
    assert!(
        scripts.contains("/openapi.json"),
        "the page shows this document"
    );
    app.get("/docs/no-such-file.js").await.expect(404);
}
