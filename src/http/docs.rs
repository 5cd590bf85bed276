use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, http::header};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::problem::Body;
use super::telemetry::Telemetry;
use super::{
    auth, cache_admin, calculations, dashboard, health, history, metrics, products, users,
};
use crate::domain::FieldError;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Alacena",
        description = "Users and products, read out of a cache that never serves what a write has \
                       replaced.\n\nLog in with **Authorize**: client id and secret stay empty.",
    ),
    paths(
        auth::login, auth::me,
        users::get_user, users::get_user_by_email, users::list_users, users::post_user,
        users::put_user, users::patch_user, users::delete_user,
        products::get_product, products::list_products, products::post_product,
        products::put_product, products::patch_product, products::delete_product,
        calculations::expensive,
        cache_admin::stats, cache_admin::clear, cache_admin::exists, cache_admin::entry,
        history::history, history::picture,
        health::live, health::is_ready, metrics::metrics, dashboard::figures::figures, openapi,
    ),
    components(schemas(Body, FieldError)),
    tags(
        (name = "auth", description = "Logging in"),
        (name = "users", description = "Users"),
        (name = "products", description = "Products"),
        (name = "calculations", description = "What takes a while"),
        (name = "cache", description = "The cache, for admins"),
        (name = "operation", description = "Health, metrics and this document"),
    )
)]
struct Document;

/// The OpenAPI 3.1 document of every route.
///
/// What follows from a route's kind (headers, conditions, errors) is added by rule, so that no
/// route can forget it.
pub fn document() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    document["info"]["version"] = json!(env!("CARGO_PKG_VERSION"));
    document["components"]["securitySchemes"] = json!({
        "login": {
            "type": "oauth2",
            "description": "The login route, as OAuth 2.0 knows it. The e-mail address is the username.",
            "flows": { "password": { "tokenUrl": "/auth/login", "scopes": {} } }
        }
    });
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, methods) in paths {
            complete(path, methods);
        }
    }
    document
}

fn complete(path: &str, methods: &mut Value) {
    let Some(methods) = methods.as_object_mut() else {
        return;
    };
    for (method, operation) in methods.iter_mut() {
        let route = Route {
            is_read: method == "get" && is_resource(path),
            is_change: ["put", "patch", "delete"].contains(&method.as_str()) && is_resource(path),
            has_id: path.contains("{id}"),
            method,
            path,
        };
        route.complete(operation);
    }
    // Whatever is read can be asked for its head alone.
    let has_head = is_resource(path) || path.starts_with("/health/");
    if let Some(mut head) = methods.get("get").filter(|_| has_head).cloned() {
        let id = head["operationId"].as_str().unwrap_or_default().to_owned();
        head["operationId"] = json!(format!("{id}_head"));
        head["summary"] = json!(format!(
            "{}: the head alone",
            head["summary"].as_str().unwrap_or_default()
        ));
        if let Some(responses) = head["responses"].as_object_mut() {
            for response in responses.values_mut().filter_map(Value::as_object_mut) {
                response.remove("content");
            }
        }
        methods.insert("head".to_owned(), head);
    }
}

/// Whether a path holds things with versions.
fn is_resource(path: &str) -> bool {
    ["/users", "/products", "/calculations", "/auth/me"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

struct Route<'a> {
    method: &'a str,
    path: &'a str,
    is_read: bool,
    is_change: bool,
    has_id: bool,
}

impl Route<'_> {
    fn complete(&self, operation: &mut Value) {
        let needs_token = !operation["security"].is_null();
        let parameters = operation["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let parameters: Vec<Value> = parameters.into_iter().chain(self.parameters()).collect();
        if !parameters.is_empty() {
            operation["parameters"] = Value::Array(parameters);
        }
        let has_body = !operation["requestBody"].is_null();
        let Some(responses) = operation["responses"].as_object_mut() else {
            return;
        };
        if self.is_read {
            responses.insert(
                "304".into(),
                json!({ "description": "The client has it already" }),
            );
        }
        for (status, response) in responses.iter_mut() {
            if let Some(response) = response.as_object_mut() {
                response.insert("headers".into(), Value::Object(self.headers(status)));
            }
        }
        for (status, why) in self.errors(needs_token, has_body) {
            responses
                .entry(status)
                .or_insert_with(|| problem(status, why));
        }
    }

    /// Their examples stand in the text: an `example` of its own would be filled into the page's
    /// form, and sent by whoever only wants to try the route.
    fn parameters(&self) -> Vec<Value> {
        let header = |name: &str, about: &str| {
            json!({ "name": name, "in": "header", "required": false, "description": about,
                    "schema": { "type": "string" } })
        };
        let mut parameters = Vec::new();
        if self.is_read {
            let about = "Answer 304 if this is still the entity tag, as in `\"u00c0ffee00c0ffee\"`";
            parameters.push(header("If-None-Match", about));
            parameters.push(header(
                "Cache-Control",
                "`no-cache`: answer from the database",
            ));
        }
        if self.is_change {
            let about = "Only if this is still the entity tag, as in `\"u00c0ffee00c0ffee\"`";
            parameters.push(header("If-Match", about));
        }
        parameters
    }

    fn headers(&self, status: &str) -> Map<String, Value> {
        let header = |about: &str, example: &str| json!({ "description": about, "schema": { "type": "string" }, "example": example });
        let mut headers = Map::new();
        headers.insert(
            "X-Request-Id".into(),
            header("The client's own, or a new one", "9f86d081884c7d65"),
        );
        if status == "204" || !is_resource(self.path) {
            headers.insert(
                "Cache-Control".into(),
                header("Nobody may keep it", "no-store"),
            );
            return headers;
        }
        headers.insert(
            "ETag".into(),
            header("The entity tag, strong", "\"u00c0ffee00c0ffee\""),
        );
        headers.insert(
            "Cache-Control".into(),
            header("Who may keep it", "private, no-cache"),
        );
        if self.is_read {
            let about = "Where it came from (RFC 9211). A negative ttl marks an answer kept past \
                         its time because the database is away";
            headers.insert(
                "Cache-Status".into(),
                header(about, "alacena; hit; ttl=412; detail=near"),
            );
            if ["/users", "/products"].contains(&self.path) {
                let example = "</users?after=100&limit=100>; rel=\"next\"";
                headers.insert(
                    "Link".into(),
                    header("The next page, if there is one", example),
                );
            }
        }
        if status == "201" {
            headers.insert(
                "Location".into(),
                header("Where it is found from now on", "/users/7"),
            );
        }
        headers
    }

    fn errors(&self, needs_token: bool, has_body: bool) -> Vec<(&'static str, &'static str)> {
        let is_list = ["/users", "/products"].contains(&self.path) && self.method == "get";
        let is_login = self.path == "/auth/login";
        let reads_input = has_body || self.has_id || is_list;
        let takes_query = self.path.starts_with("/calculations")
            || (self.path.starts_with("/cache/") && self.path != "/cache/stats");
        let admins_only = self.path.starts_with("/cache")
            || self.path.starts_with("/dashboard")
            || self.path.contains("by-email")
            || (is_resource(self.path) && !self.is_read);
        let by_address = self.path.contains("by-email");
        let absent = self.has_id || by_address;
        let is_users = self.path.starts_with("/users");
        let takes_email = is_users && has_body;
        let may_remove_admin = is_users && self.is_change;
        let throttled = is_login || (self.method == "patch" && self.path.starts_with("/users"));
        let asks_database = needs_token || is_login;
        [
            (reads_input || takes_query, "400", "It cannot be read"),
            (
                needs_token || is_login,
                "401",
                "No token, a void one, or a login that failed",
            ),
            (admins_only, "403", "The caller may not do this"),
            (absent, "404", "There is no such thing"),
            (
                takes_email && may_remove_admin,
                "409",
                "The e-mail address is taken, or no active administrator would remain",
            ),
            (takes_email, "409", "The e-mail address is taken"),
            (
                may_remove_admin,
                "409",
                "No active administrator would remain",
            ),
            (
                self.is_change,
                "412",
                "It is not of the version that If-Match names",
            ),
            (has_body, "408", "The body did not come in time"),
            (has_body, "413", "The body is too large"),
            (has_body, "415", "The body is of another type"),
            (
                has_body || is_list || takes_query || by_address,
                "422",
                "Values are not acceptable",
            ),
            (throttled, "429", "Too many failed attempts"),
            (asks_database, "500", "The service made a mistake"),
            (
                asks_database,
                "503",
                "The database cannot be asked at present",
            ),
        ]
        .into_iter()
        .filter_map(|(applies, status, why)| applies.then_some((status, why)))
        .collect()
    }
}

/// An error's entry (RFC 9457).
fn problem(status: &str, why: &str) -> Value {
    let mut headers = Map::new();
    let header = |about: &str| json!({ "description": about, "schema": { "type": "string" } });
    headers.insert(
        "X-Request-Id".into(),
        header("The client's own, or a new one"),
    );
    if status == "401" {
        headers.insert("WWW-Authenticate".into(), header("How to authenticate"));
    }
    if ["429", "503"].contains(&status) {
        headers.insert("Retry-After".into(), header("Seconds to wait"));
    }
    json!({
        "description": why,
        "headers": headers,
        "content": { "application/problem+json": {
            "schema": { "$ref": "#/components/schemas/Problem" },
            "example": {
                "type": format!("urn:alacena:problem:{}", example_name(status)),
                "title": why, "status": status.parse::<u16>().unwrap_or_default(), "detail": why
            }
        } }
    })
}

fn example_name(status: &str) -> &'static str {
    match status {
        "400" => "malformed",
        "401" => "unauthenticated",
        "403" => "forbidden",
        "404" => "absent",
        "409" => "email-taken",
        "408" => "request-timeout",
        "412" => "precondition-failed",
        "413" => "body-too-large",
        "415" => "unsupported-media-type",
        "422" => "invalid",
        "429" => "too-many-attempts",
        "500" => "internal",
        _ => "unavailable",
    }
}

/// The rendered document.
#[derive(Clone)]
struct Rendered(Bytes);

/// What the page may load: itself. Swagger UI styles its elements in place.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

pub(super) fn routes(config: &mut ServiceConfig, telemetry: &Telemetry) {
    let rendered = Rendered(document().to_string().into());
    config.app_data(web::Data::new(rendered));
    config.service(telemetry.resource("/openapi.json", [web::get().to(openapi)]));
    config.service(web::redirect("/docs", "/docs/"));
    let page = SwaggerUi::new("/{_:.*}").config(
        Config::new(["/openapi.json"])
            .try_it_out_enabled(true)
            .display_request_duration(true),
    );
    let policy = actix_web::middleware::DefaultHeaders::new()
        .add((header::CONTENT_SECURITY_POLICY, POLICY))
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((header::REFERRER_POLICY, "no-referrer"));
    config.service(
        web::scope("/docs")
            .wrap(policy)
            .wrap(telemetry.of("/docs/{file}"))
            .service(page),
    );
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "operation",
    responses((status = 200, description = "The OpenAPI 3.1 document", body = Object,
               example = json!({ "openapi": "3.1.0" }))))]
async fn openapi(rendered: web::Data<Rendered>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(rendered.0.clone())
}
