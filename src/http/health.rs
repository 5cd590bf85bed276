use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, http::header};
use serde::Serialize;
use utoipa::ToSchema;

use super::metrics::Measured;
use super::telemetry::Telemetry;
use crate::db::Health;

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
    /// It is there, but takes no writes: tables or rights are missing, or the file is corrupt, deleted
    /// or replaced.
    Damaged,
    Off,
}

/// When an instance without its database is ready.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    /// Whether it ever is: `server.ready_without_database`.
    pub without_database: bool,
    /// How long cached reads go on: `cache.stale_limit`.
    pub stale_limit: Duration,
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
    /// Why the database is not up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the database cannot be reached: connection refused")]
    reason: Option<String>,
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
    pub(super) async fn of(measured: &Measured) -> Self {
        let Measured {
            database, cache, ..
        } = measured;
        let health = match tokio::time::timeout(PATIENCE, database.health()).await {
            Ok(health) => health,
            Err(_) => Health::Unreachable(format!("no answer within {PATIENCE:?}").into()),
        };
        let trouble = cache.trouble();
        let (database, reason) = match health {
            Health::Up => (State::Up, None),
            Health::Unreachable(why) => (State::Down, Some(why.to_string())),
            Health::Damaged(why) => (State::Damaged, Some(why.to_string())),
        };
        let cache = CacheState {
            status: match (cache.is_available(), &trouble) {
                (true, None) => State::Up,
                (true, Some(_)) => State::Degraded,
                (false, _) => State::Off,
            },
            backend: cache.backend_name(),
            reason: trouble.as_deref().map(str::to_owned),
        };
        let status = match (database, cache.status) {
            (State::Up, State::Degraded) => State::Degraded,
            (State::Up, _) => State::Up,
            (State::Down, _) if answers_without_database(measured).await => State::Degraded,
            _ => State::Down,
        };
        Self {
            status,
            reason,
            components: Components { database, cache },
        }
    }
}

/// Whether cached reads are answered while the database cannot be reached. If every instance said that
/// it is not ready, a load balancer would send these reads to none.
async fn answers_without_database(measured: &Measured) -> bool {
    let Measured {
        cache, readiness, ..
    } = measured;
    let is_within_limit = |(_, age): (_, Duration)| age < readiness.stale_limit;
    readiness.without_database
        && cache.followed().is_some_and(is_within_limit)
        && cache.backend_stats().await.entries > 0
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
/// A Redis that is away degrades the service, which goes on: 200. So does a database that cannot be
/// reached, while cached reads are answered (`cache.stale_limit`, unless `server.ready_without_database`
/// is false); then 503. A damaged database is 503.
#[utoipa::path(get, path = "/health/ready", tag = "operation",
    responses(
        (status = 200, description = "It can", body = Ready),
        (status = 503, description = "It cannot", body = Ready)
    ))]
pub(super) async fn is_ready(measured: web::Data<Measured>) -> HttpResponse {
    let ready = Ready::of(&measured).await;
    let mut response = if ready.status != State::Down {
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
