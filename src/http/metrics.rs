use std::fmt;
use std::time::{Duration, Instant};

use actix_web::http::header;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Responder};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::counts::Metrics;
use super::health::Readiness;
use super::problem::{Kind, Problem};
use super::telemetry::Telemetry;
use crate::cache::{BackendStats, Cache, CacheStats, Position};
use crate::coherence::Coherence;
use crate::db::Database;
use crate::service::Sessions;

/// What is measured besides requests.
#[derive(Clone)]
pub struct Measured {
    /// The cache that serves reads.
    pub cache: Cache,
    /// Whose cache tells callers.
    pub sessions: Sessions,
    /// The database.
    pub database: Database,
    /// What keeps the copies true.
    pub coherence: Coherence,
    /// When it is ready without its database.
    pub readiness: Readiness,
    /// When the service was built.
    pub started: Instant,
}

/// Numbers as they are at the moment of the scrape.
#[derive(Debug)]
struct Snapshot {
    reads: CacheStats,
    callers: CacheStats,
    backend: BackendStats,
    queries: u64,
    password_hashes: u64,
    is_degraded: bool,
    tasks: u64,
    followed: Option<(Position, Duration)>,
    coherence: Coherence,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self {
            reads,
            callers,
            backend,
            queries,
            password_hashes,
            is_degraded,
            tasks,
            followed,
            coherence: Coherence { tailed, observed },
        } = self;
        let counters = [
            (
                "alacena_cache_hits",
                "Reads answered out of the cache",
                reads.hits,
            ),
            (
                "alacena_cache_near_hits",
                "Those of them that this process's memory answered in time",
                reads.near_hits,
            ),
            (
                "alacena_cache_far_hits",
                "Those that Redis answered in time",
                reads.far_hits,
            ),
            (
                "alacena_cache_misses",
                "Reads that went to the database",
                reads.misses,
            ),
            (
                "alacena_cache_coalesced",
                "Misses that shared another's load",
                reads.coalesced,
            ),
            (
                "alacena_cache_stale_served",
                "Answers past their time, the database being away",
                reads.stale_served,
            ),
            (
                "alacena_cache_fills",
                "Loads that were stored",
                reads.fills + callers.fills,
            ),
            (
                "alacena_cache_fills_refused",
                "Loads that a write had overtaken",
                reads.fills_refused + callers.fills_refused,
            ),
            (
                "alacena_cache_refreshes",
                "Loads ahead of expiry",
                reads.refreshes + callers.refreshes,
            ),
            (
                "alacena_cache_voids",
                "Writes that voided what they changed",
                reads.voids,
            ),
            (
                "alacena_cache_voids_unconfirmed",
                "Voids that a tier did not confirm",
                reads.voids_unconfirmed,
            ),
            (
                "alacena_cache_distrusts",
                "Times everything cached was distrusted",
                reads.distrusts,
            ),
            (
                "alacena_log_changes",
                "Changes that the change log told of",
                reads.log_entries,
            ),
            (
                "alacena_observer_checked",
                "Keys compared with the database",
                observed.checked(),
            ),
            (
                "alacena_observer_inconsistent",
                "Copies that did not agree with the database and nothing was on its way to them",
                observed.inconsistent(),
            ),
            (
                "alacena_caller_checks_hits",
                "Checks of callers answered out of the cache",
                callers.hits,
            ),
            (
                "alacena_caller_checks_misses",
                "Checks of callers that went to the database",
                callers.misses,
            ),
            (
                "alacena_database_queries",
                "Statements sent to the database",
                *queries,
            ),
            (
                "alacena_argon2_computations",
                "Passwords hashed: a login does so at each cost that is present",
                *password_hashes,
            ),
        ];
        let far = backend.far.clone().unwrap_or_default();
        let far = [
            (
                "alacena_redis_commands",
                "Commands sent to Redis",
                far.commands,
            ),
            (
                "alacena_redis_failures",
                "Commands that Redis refused or did not answer in time",
                far.failures,
            ),
            (
                "alacena_redis_forged",
                "Entries in Redis that this service had not stored there",
                far.forged,
            ),
        ];
        let far = far.into_iter().filter(|_| backend.far.is_some());
        for (name, help, value) in counters.into_iter().chain(far) {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<[(&str, &str); 0], u64, u64>(&value, None)?;
        }
        let gauges = [
            (
                "alacena_cache_entries",
                "Entries in this process's memory, approximately",
                backend.entries,
            ),
            (
                "alacena_cache_used_bytes",
                "Bytes they take, approximately",
                backend.used_memory,
            ),
            (
                "alacena_cache_degraded",
                "1 while Redis is not used, or the change log cannot be read",
                u64::from(*is_degraded),
            ),
            (
                "alacena_tasks",
                "Tasks on the runtime that loads and writes run on",
                *tasks,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(encoder)?;
        }
        if let Some((position, age)) = followed {
            let gauge = ConstGauge::new(i64::try_from(position.number()).unwrap_or(i64::MAX));
            let help = "Every change before this position of the change log is applied here";
            gauge.encode(encoder.encode_descriptor(
                "alacena_log_position",
                help,
                None,
                gauge.metric_type(),
            )?)?;
            let gauge = ConstGauge::new(age.as_secs_f64());
            let help = "Time since the change log was looked at";
            gauge.encode(encoder.encode_descriptor(
                "alacena_log_age_seconds",
                help,
                None,
                gauge.metric_type(),
            )?)?;
        }
        let histograms: [(&str, &str, &Histogram); 2] = [
            (
                "alacena_log_lag_seconds",
                "Time from a change to its having been applied here",
                &tailed.lag,
            ),
            (
                "alacena_observer_seconds_to_consistency",
                "Time from when a copy was found to be older than the database to when it was gone",
                &observed.seconds_to_consistency,
            ),
        ];
        for (name, help, histogram) in histograms {
            let encoder = encoder.encode_descriptor(name, help, None, histogram.metric_type())?;
            histogram.encode(encoder)?;
        }
        Ok(())
    }
}

pub(super) fn routes(config: &mut ServiceConfig, telemetry: &Telemetry) {
    config.service(telemetry.resource("/metrics", [web::get().to(metrics)]));
}

/// Metrics
///
/// Counts and latencies as OpenMetrics text, which Prometheus reads. In production on an address
/// of its own (`server.metrics_address`).
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text",
     example = "alacena_cache_hits_total 42")
))]
pub(super) async fn metrics(
    metrics: web::Data<Metrics>,
    measured: web::Data<Measured>,
) -> impl Responder {
    let snapshot = Snapshot {
        reads: measured.cache.stats(),
        callers: measured.sessions.stats(),
        backend: measured.cache.backend_stats().await,
        queries: measured.database.queries(),
        password_hashes: measured.sessions.password_hashes(),
        is_degraded: measured.cache.trouble().is_some(),
        tasks: measured.cache.tasks() as u64,
        followed: measured.cache.followed(),
        coherence: measured.coherence.clone(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(metrics.get_ref().clone()));
    registry.register_collector(Box::new(snapshot));
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => Ok(HttpResponse::Ok()
            .insert_header((
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ))
            .body(body)),
        Err(_) => Err(Problem::of(Kind::Internal)),
    }
}
