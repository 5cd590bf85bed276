use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::http::Method;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

/// Upper bounds of the latency histogram, in microseconds.
pub(super) const BOUNDS: [u64; 14] = [
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

/// Requests of several routes together.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) by_status: BTreeMap<&'static str, u64>,
    /// By the bucket of the latency histogram.
    pub(super) by_latency: [u64; BOUNDS.len() + 1],
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

    /// The sums over all workers and those routes that are wanted.
    pub(super) fn requests(&self, is_wanted: impl Fn(&str) -> bool) -> Requests {
        let mut sums = Requests::default();
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for (_, stats) in self.0.lock().iter().filter(|(route, _)| is_wanted(route)) {
            for (class, count) in CLASSES.iter().cycle().zip(stats.requests.iter().flatten()) {
                *sums.by_status.entry(class).or_default() += get(count);
            }
            for (sum, count) in sums.by_latency.iter_mut().zip(&stats.buckets) {
                *sum += get(count);
            }
        }
        sums
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
