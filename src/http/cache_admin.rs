use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, http::header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::caller::Admin;
use super::input::query;
use super::metrics::Measured;
use super::position;
use super::problem::{Kind, Problem};
use super::telemetry::Telemetry;
use crate::cache::{Cache, Clear, Copied, Pattern};
use crate::coherence::Coherence;
use crate::db::Database;
use crate::service::{Error, key_of};

/// How long a clear waits until its own instance is told of it, which takes milliseconds unless the
/// database has just gone.
const UNTIL_TOLD: Duration = Duration::from_secs(1);

pub(super) fn routes(config: &mut ServiceConfig, telemetry: &Telemetry) {
    config.service(telemetry.resource("/cache/stats", [web::get().to(stats)]));
    config.service(telemetry.resource("/cache/clear", [web::delete().to(clear)]));
    config.service(telemetry.resource("/cache/exists", [web::get().to(exists)]));
    config.service(telemetry.resource("/cache/entry", [web::get().to(entry)]));
}

/// Whether the cache does its work.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    Available,
    /// It goes on, but does less than it could; `reason` says why.
    Degraded,
    Unavailable,
}

/// What the cache has done since the service started, and what it holds.
#[derive(Serialize, ToSchema)]
pub(super) struct Stats {
    status: Status,
    /// Why it is degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Connection refused (os error 111)")]
    reason: Option<String>,
    /// Why the backend does less than it could, such as that Redis is away, whatever becomes of the
    /// change log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Connection refused (os error 111)")]
    backend_reason: Option<String>,
    /// The configured backend.
    #[schema(example = "memory")]
    backend: &'static str,
    /// Hits among all reads, in percent.
    #[schema(example = 93.75)]
    hit_rate: f64,
    /// Reads of this service that the cache answered.
    #[schema(example = 1500)]
    keyspace_hits: u64,
    /// Those of them that this process's memory answered in time.
    #[schema(example = 1500)]
    near_hits: u64,
    /// Those that Redis answered in time.
    #[schema(example = 0)]
    far_hits: u64,
    /// Reads of this service that went to the database.
    #[schema(example = 100)]
    keyspace_misses: u64,
    /// Bytes that entries take, approximately; with a Redis that answers, those of all it holds.
    #[schema(example = 65536)]
    used_memory: u64,
    /// The same for people.
    #[schema(example = "64.0 KiB")]
    used_memory_human: String,
    /// Connections that a shared server has; 0 where there is none.
    #[schema(example = 0)]
    connected_clients: u64,
    /// Entries in this process's memory, approximately.
    #[schema(example = 100)]
    entries: u64,
    /// Misses that shared another's load.
    coalesced: u64,
    /// Answers past their time, the database being away.
    stale_served: u64,
    /// Loads that were stored.
    fills: u64,
    /// Loads that were not stored because a write had overtaken them.
    fills_refused: u64,
    /// Loads ahead of expiry.
    refreshes: u64,
    /// Writes that voided what they changed.
    voids: u64,
    /// Writes whose void Redis did not confirm. It is not trusted after one.
    voids_unconfirmed: u64,
    /// Times everything was distrusted because it was not known what had changed.
    distrusts: u64,
    /// Checks of callers that the cache answered. They count among no reads.
    caller_hits: u64,
    /// Checks of callers that went to the database.
    caller_misses: u64,
    /// What went to Redis; 0 where there is none.
    redis_commands: u64,
    /// Commands that Redis refused or did not answer in time.
    redis_failures: u64,
    /// Entries in Redis that this service had not stored there. They were refused and removed.
    redis_forged: u64,
    /// What Redis removes when it is full (`maxmemory-policy`), if it has a limit. `volatile-lru` and
    /// `volatile-ttl` are recommended: they remove entries only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "volatile-lru")]
    redis_eviction_policy: Option<String>,
    /// Every change before this position of the change log is applied here; 0 without a cache.
    log_position: u64,
    /// Milliseconds since the change log was looked at.
    log_age_ms: u64,
    /// Changes that it told of.
    log_changes: u64,
    /// Milliseconds from the latest of them to its having been applied here.
    log_lag_ms: f64,
    /// Keys that the observer compared with the database.
    observer_checked: u64,
    /// Copies that did not agree with it, though nothing was on its way to them. They were removed.
    observer_inconsistent: u64,
    /// The longest, in seconds, that the observer saw a copy stay behind the database.
    observer_seconds_to_consistency: f64,
}

/// How the cache is doing
///
/// Hits and misses are this service's own, not those of a server it shares.
#[utoipa::path(get, path = "/cache/stats", tag = "cache",
    responses((status = 200, description = "The figures", body = Stats)),
    security(("login" = [])))]
pub(super) async fn stats(_admin: Admin, measured: web::Data<Measured>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Stats::of(&measured).await)
}

impl Stats {
    /// The figures of this moment.
    pub(super) async fn of(measured: &Measured) -> Self {
        let Measured {
            cache,
            sessions,
            coherence: Coherence { tailed, observed },
            ..
        } = measured;
        let backend = cache.backend_stats().await;
        let done = cache.stats();
        let callers = sessions.stats();
        let backend_trouble = cache.backend_trouble();
        let trouble = cache.log_trouble().or_else(|| backend_trouble.clone());
        let far = backend.far.clone().unwrap_or_default();
        let used_memory = match far.used_memory {
            0 => backend.used_memory,
            of_redis => of_redis,
        };
        let (log_position, log_age) = cache.followed().unwrap_or_default();
        Self {
            status: match (cache.is_available(), &trouble) {
                (true, None) => Status::Available,
                (true, Some(_)) => Status::Degraded,
                (false, _) => Status::Unavailable,
            },
            reason: trouble.as_deref().map(str::to_owned),
            backend_reason: backend_trouble.as_deref().map(str::to_owned),
            backend: cache.backend_name(),
            hit_rate: done.hit_rate(),
            keyspace_hits: done.hits,
            near_hits: done.near_hits,
            far_hits: done.far_hits,
            keyspace_misses: done.misses,
            used_memory,
            used_memory_human: bytesize::ByteSize(used_memory).display().iec().to_string(),
            connected_clients: far.connected_clients,
            entries: backend.entries,
            coalesced: done.coalesced,
            stale_served: done.stale_served,
            fills: done.fills + callers.fills,
            fills_refused: done.fills_refused + callers.fills_refused,
            refreshes: done.refreshes + callers.refreshes,
            voids: done.voids,
            voids_unconfirmed: done.voids_unconfirmed,
            distrusts: done.distrusts,
            caller_hits: callers.hits,
            caller_misses: callers.misses,
            redis_commands: far.commands,
            redis_failures: far.failures,
            redis_forged: far.forged,
            redis_eviction_policy: far.eviction_policy.as_deref().map(str::to_owned),
            log_position: log_position.number(),
            log_age_ms: u64::try_from(log_age.as_millis()).unwrap_or(u64::MAX),
            log_changes: done.log_entries,
            log_lag_ms: tailed.latest().as_micros() as f64 / 1000.0,
            observer_checked: observed.checked(),
            observer_inconsistent: observed.inconsistent(),
            observer_seconds_to_consistency: observed.longest().as_secs_f64(),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ClearQuery {
    /// A glob over keys: `*` any text, `?` one character, `[a-z]` one of a set, `\` takes the next
    /// character as it is. Keys look like `user:7`, `user:email:ana@example.com`,
    /// `users:list:0:100` and `product:7`.
    #[serde(default = "every_key")]
    #[param(default = "*", example = "user:*")]
    pattern: String,
}

fn every_key() -> String {
    "*".to_owned()
}

/// What was cleared.
#[derive(Serialize, ToSchema)]
pub(super) struct Cleared {
    #[schema(example = "Cleared 3 cache entries")]
    message: String,
    #[schema(example = "user:*")]
    pattern: String,
    /// How many entries there were, here and in Redis.
    #[schema(example = 3)]
    cleared: u64,
}

/// Clear the cache
///
/// Removes the keys that match, in every instance, and nothing else: not the counters of failed
/// logins. The others are told through the database, within milliseconds.
#[utoipa::path(delete, path = "/cache/clear", tag = "cache", params(ClearQuery),
    responses((status = 200, description = "They are gone", body = Cleared)),
    security(("login" = [])))]
pub(super) async fn clear(
    request: HttpRequest,
    _admin: Admin,
    cache: web::Data<Cache>,
    database: web::Data<Database>,
) -> Result<HttpResponse, Problem> {
    let ClearQuery { pattern } = query(&request)?;
    let pattern: Pattern = pattern
        .parse()
        .map_err(|error| Problem::field("pattern", format!("{error}")))?;
    // Copies are the only thing that answers while the database is away.
    database.check().await.map_err(Error::from)?;
    let clear = Clear::new(pattern.clone());
    let id = clear.id();
    let cleared = cache.clear(clear).await;
    // What could not be cleared in Redis is dropped there by each instance that applies the log.
    let told = database.log_clear(pattern.to_string(), id).await;
    let position = told.map_err(Error::from)?.position;
    // This instance applies it too: what is stored after the answer is to stay, and what is there before
    // is to be gone.
    if cache.followed().is_some() && !cache.catches_up(UNTIL_TOLD).await {
        return Err(Problem::because(
            Kind::Unavailable,
            "the clear is recorded, but this instance could not apply it in time; repeat it",
        )
        .retry_after(UNTIL_TOLD));
    }
    // The pattern may hold an e-mail address, so it stays out of the log.
    log::info!("an admin cleared cache entries: {cleared}");
    let entries = if cleared == 1 { "entry" } else { "entries" };
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(position::header(position))
        .json(Cleared {
            message: format!("Cleared {cleared} cache {entries}"),
            pattern: pattern.to_string(),
            cleared,
        }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct KeyQuery {
    /// The key.
    #[param(example = "user:1")]
    key: String,
}

/// Whether a key is cached.
#[derive(Serialize, ToSchema)]
pub(super) struct Exists {
    #[schema(example = "user:1")]
    key: String,
    exists: bool,
}

/// Is a key cached?
#[utoipa::path(get, path = "/cache/exists", tag = "cache", params(KeyQuery),
    responses((status = 200, description = "Whether it is", body = Exists)),
    security(("login" = [])))]
pub(super) async fn exists(
    request: HttpRequest,
    _admin: Admin,
    cache: web::Data<Cache>,
) -> Result<HttpResponse, Problem> {
    let KeyQuery { key } = query(&request)?;
    let exists = cache.exists(&key_of(&key)).await;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Exists { key, exists }))
}

/// A copy of what is under a key.
#[derive(Serialize, ToSchema)]
struct Copy {
    /// `near` is this process's memory, `far` a Redis that instances share.
    #[schema(example = "near")]
    tier: &'static str,
    /// Since it was stored.
    #[schema(example = 12)]
    age_seconds: u64,
    /// For so long it will answer reads.
    #[schema(example = 588)]
    ttl_seconds: u64,
    /// Of the value.
    #[schema(example = 240)]
    size_bytes: usize,
    /// Whether it says that there is no such thing.
    is_absent: bool,
    /// Whether it is the one that reads get at present.
    #[schema(example = true)]
    answers_reads: bool,
}

impl From<Copied> for Copy {
    fn from(copied: Copied) -> Self {
        Self {
            tier: copied.tier.name(),
            age_seconds: copied.age.as_secs(),
            ttl_seconds: copied.ttl.as_secs(),
            size_bytes: copied.size.unwrap_or_default(),
            is_absent: copied.size.is_none(),
            answers_reads: copied.answers_reads,
        }
    }
}

/// Where a key is.
#[derive(Serialize, ToSchema)]
pub(super) struct CachedEntry {
    #[schema(example = "user:1")]
    key: String,
    /// What it is counted as in the history.
    #[schema(example = "user")]
    kind: String,
    /// None where it is not cached.
    copies: Vec<Copy>,
}

/// Where is a key cached, and for how long?
///
/// Never tells the value.
#[utoipa::path(get, path = "/cache/entry", tag = "cache", params(KeyQuery),
    responses((status = 200, description = "Its copies, which may be none", body = CachedEntry)),
    security(("login" = [])))]
pub(super) async fn entry(
    request: HttpRequest,
    _admin: Admin,
    cache: web::Data<Cache>,
) -> Result<HttpResponse, Problem> {
    let KeyQuery { key: name } = query(&request)?;
    let key = key_of(&name);
    let copies = cache.locate(&key).await;
    let entry = CachedEntry {
        kind: key.kind().to_owned(),
        key: name,
        copies: copies.into_iter().map(Copy::from).collect(),
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(entry))
}
