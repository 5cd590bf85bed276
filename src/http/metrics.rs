use std::fmt;

use actix_web::http::header;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Responder};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::counts::Metrics;
use super::observe::Observer;
use super::problem::{Kind, Problem};
use crate::cache::{BackendStats, Cache, CacheStats};
use crate::db::Database;
use crate::service::Sessions;

/// What `/metrics` measures besides requests.
#[derive(Clone)]
pub struct Measured {
    /// The cache that serves reads.
    pub cache: Cache,
    /// Whose cache tells callers.
    pub sessions: Sessions,
    /// The database.
    pub database: Database,
}

/// Numbers as they are at the moment of the scrape.
#[derive(Debug)]
struct Snapshot {
    reads: CacheStats,
    callers: CacheStats,
    backend: BackendStats,
    queries: u64,
    is_degraded: bool,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self {
            reads,
            callers,
            backend,
            queries,
            is_degraded,
        } = self;
        let counters = [
            (
                "alacena_cache_hits",
                "Reads answered out of the cache",
                reads.hits,
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
        ];
        let far = backend.far.unwrap_or_default();
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
                "1 while Redis is not used",
                u64::from(*is_degraded),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(encoder)?;
        }
        Ok(())
    }
}

pub(super) fn routes(config: &mut ServiceConfig, observer: &Observer) {
    config.service(observer.resource("/metrics", [web::get().to(metrics)]));
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
        is_degraded: measured.cache.trouble().is_some(),
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
