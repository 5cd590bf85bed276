use std::collections::BTreeMap;

use actix_web::{HttpResponse, http::header, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::cache_admin::Stats;
use crate::http::caller::Admin;
use crate::http::counts::{BOUNDS, Metrics, Requests};
use crate::http::health::Ready;
use crate::http::metrics::Measured;

/// All that the page shows of this moment.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Figures {
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Since the service was built.
    #[schema(example = 3600.5)]
    uptime_seconds: f64,
    health: Ready,
    requests: Answered,
    cache: Stats,
}

/// Requests answered since the start, without those by which this page keeps itself up to date.
#[derive(Serialize, ToSchema)]
struct Answered {
    #[schema(example = 1600)]
    total: u64,
    /// By class of status.
    #[schema(example = json!({ "2xx": 1590, "4xx": 10 }))]
    by_status: BTreeMap<&'static str, u64>,
    latency: Latency,
}

/// How long they took, as a histogram.
#[derive(Serialize, ToSchema)]
struct Latency {
    /// The upper bounds of all buckets but the last, which has none.
    #[schema(example = json!([0.001, 0.01]))]
    bounds_seconds: Vec<f64>,
    /// How many fell into each.
    #[schema(example = json!([1500, 99, 1]))]
    counts: Vec<u64>,
}

impl From<Requests> for Answered {
    fn from(requests: Requests) -> Self {
        Self {
            total: requests.by_status.values().sum(),
            by_status: requests.by_status,
            latency: Latency {
                bounds_seconds: BOUNDS.iter().map(|micros| *micros as f64 / 1e6).collect(),
                counts: requests.by_latency.to_vec(),
            },
        }
    }
}

/// Whether a route is one that the page asks again and again.
fn is_own(route: &str) -> bool {
    route.starts_with("/dashboard") || route.starts_with("/cache/history")
}

/// The dashboard's figures
///
/// Everything counts from the start of the service: what happens now is the difference between two
/// answers.
#[utoipa::path(get, path = "/dashboard/figures", tag = "operation",
    responses((status = 200, description = "The figures", body = Figures)),
    security(("login" = [])))]
pub(in crate::http) async fn figures(
    _admin: Admin,
    metrics: web::Data<Metrics>,
    measured: web::Data<Measured>,
) -> HttpResponse {
    let figures = Figures {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: measured.started.elapsed().as_secs_f64(),
        health: Ready::of(&measured).await,
        requests: metrics.requests(|route| !is_own(route)).into(),
        cache: Stats::of(&measured).await,
    };
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(figures)
}
