use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Responder};
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::observe::Observer;
use super::problem::{Kind, Problem};
use crate::cache::{BackendStats, Cache, CacheStats};
use crate::db::Database;
use crate::service::Sessions;

/// Upper bounds of the latency histogram, in microseconds.
const BOUNDS: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Requests to one route, as one worker thread has seen them. Only that thread writes, so that
/// counting contends with nobody.
#[derive(Debug, Default)]
pub(super) struct RouteStats {
    requests: [[AtomicU64; CLASSES.len()]; METHODS.len()],
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl RouteStats {
    pub(super) fn record(&self, method: &Method, status: u16, took: Duration) {
        let method = METHODS.iter().position(|known| *known == method.as_str());
        let method = method.unwrap_or(METHODS.len() - 1);
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.requests[method][class].fetch_add(1, Ordering::Relaxed);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// What the service counts over HTTP, for all workers together. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Vec<WorkerRoute>>>);

/// A route's pattern, and what one worker has seen of it.
type WorkerRoute = (&'static str, Arc<RouteStats>);

impl Metrics {
    /// Counters for a route, the calling worker's own.
    pub(super) fn route(&self, pattern: &'static str) -> Arc<RouteStats> {
        let stats = Arc::<RouteStats>::default();
        self.0.lock().push((pattern, Arc::clone(&stats)));
        stats
    }

    /// The sums over all workers, by route.
    fn sums(&self) -> Vec<(&'static str, RouteStats)> {
        let mut sums: Vec<(&'static str, RouteStats)> = Vec::new();
        for (pattern, stats) in self.0.lock().iter() {
            let index = sums
                .iter()
                .position(|(known, _)| known == pattern)
                .unwrap_or_else(|| {
                    sums.push((pattern, RouteStats::default()));
                    sums.len() - 1
                });
            let sum = &sums[index].1;
            let add = |to: &AtomicU64, from: &AtomicU64| {
                to.fetch_add(from.load(Ordering::Relaxed), Ordering::Relaxed);
            };
            for (to, from) in sum
                .requests
                .iter()
                .flatten()
                .zip(stats.requests.iter().flatten())
            {
                add(to, from);
            }
            for (to, from) in sum.buckets.iter().zip(&stats.buckets) {
                add(to, from);
            }
            add(&sum.micros, &stats.micros);
        }
        sums
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let sums = self.sums();
        let mut requests = encoder.encode_descriptor(
            "alacena_http_requests",
            "Requests answered",
            None,
            MetricType::Counter,
        )?;
        for (pattern, stats) in &sums {
            for (method, classes) in METHODS.iter().zip(&stats.requests) {
                for (class, count) in CLASSES.iter().zip(classes) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        let labels = [("route", *pattern), ("method", method), ("status", class)];
                        requests
                            .encode_family(&labels)?
                            .encode_counter::<[(&str, &str); 0], u64, u64>(&count, None)?;
                    }
                }
            }
        }
        let mut latency = encoder.encode_descriptor(
            "alacena_http_request_duration_seconds",
            "Time from a request's head to the head of its answer",
            None,
            MetricType::Histogram,
        )?;
        for (pattern, stats) in &sums {
            let counts = stats
                .buckets
                .iter()
                .map(|count| count.load(Ordering::Relaxed));
            let bounds = BOUNDS
                .iter()
                .map(|bound| *bound as f64 / 1e6)
                .chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
            let count: u64 = buckets.iter().map(|(_, count)| count).sum();
            if count > 0 {
                let seconds = stats.micros.load(Ordering::Relaxed) as f64 / 1e6;
                latency
                    .encode_family(&[("route", *pattern)])?
                    .encode_histogram::<[(&str, &str); 0]>(seconds, count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

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
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self {
            reads,
            callers,
            backend,
            queries,
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
        for (name, help, value) in counters {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<[(&str, &str); 0], u64, u64>(&value, None)?;
        }
        let gauges = [
            (
                "alacena_cache_entries",
                "Entries kept, approximately",
                backend.entries,
            ),
            (
                "alacena_cache_used_bytes",
                "Bytes they take, approximately",
                backend.used_memory,
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
