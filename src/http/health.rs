use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, http::header};
use serde::Serialize;
use utoipa::ToSchema;

use super::telemetry::Telemetry;
use crate::cache::Cache;
use crate::db::Database;

/// How long the database may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn routes(config: &mut ServiceConfig, telemetry: &Telemetry) {
    config.service(telemetry.resource("/health/live", [web::get().to(live), web::head().to(live)]));
    config.service(telemetry.resource(
        "/health/ready",
        [web::get().to(is_ready), web::head().to(is_ready)],
    ));
}

/// The state of the whole, or of a part.
#[derive(Clone, Copy, Debug, Serialize, ToSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum State {
    Up,
    /// It does its work, but less well than it could.
    Degraded,
    Down,
    Off,
}

/// Whether the service lives.
#[derive(Serialize, ToSchema)]
pub(super) struct Live {
    status: State,
}

/// Whether the service can do its work, and each part of it.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    status: State,
    components: Components,
}

/// The parts.
#[derive(Serialize, ToSchema)]
struct Components {
    database: State,
    cache: CacheState,
}

/// The cache.
#[derive(Serialize, ToSchema)]
struct CacheState {
    status: State,
    #[schema(example = "memory")]
    backend: &'static str,
    /// Why it is degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Connection refused (os error 111)")]
    reason: Option<String>,
}

impl Ready {
    /// How all parts are at this moment.
    pub(super) async fn of(database: &Database, cache: &Cache) -> Self {
        let asked = tokio::time::timeout(PATIENCE, database.check()).await;
        let database = if matches!(asked, Ok(Ok(()))) {
            State::Up
        } else {
            State::Down
        };
        let trouble = cache.trouble();
        let cache = CacheState {
            status: match (cache.is_available(), &trouble) {
                (true, None) => State::Up,
                (true, Some(_)) => State::Degraded,
                (false, _) => State::Off,
            },
            backend: cache.backend_name(),
            reason: trouble.as_deref().map(str::to_owned),
        };
        let whole = match (database, cache.status) {
            (State::Up, State::Degraded) => State::Degraded,
            _ => database,
        };
        Self {
            status: whole,
            components: Components { database, cache },
        }
    }
}

/// Is it alive?
#[utoipa::path(get, path = "/health/live", tag = "operation",
    responses((status = 200, description = "It is", body = Live)))]
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Live { status: State::Up })
}

/// Can it do its work?
///
/// 503 while the database is away. A Redis that is away degrades the service, which goes on: 200.
#[utoipa::path(get, path = "/health/ready", tag = "operation",
    responses(
        (status = 200, description = "It can", body = Ready),
        (status = 503, description = "It cannot", body = Ready)
    ))]
pub(super) async fn is_ready(
    database: web::Data<Database>,
    cache: web::Data<Cache>,
) -> HttpResponse {
    let ready = Ready::of(&database, &cache).await;
    let mut response = if ready.components.database == State::Up {
        HttpResponse::Ok()
    } else {
        let mut response = HttpResponse::ServiceUnavailable();
        response.insert_header((header::RETRY_AFTER, "1"));
        response
    };
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(ready)
}
