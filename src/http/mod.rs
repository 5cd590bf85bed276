//! The service over HTTP: routes, what requests may hold, and what answers look like. Knows no
//! Diesel and no cache backend.

mod auth;
mod cache_admin;
mod calculations;
mod caller;
mod client;
mod conditional;
mod counts;
mod dashboard;
mod docs;
mod health;
mod history;
mod input;
mod metrics;
mod position;
mod problem;
mod products;
mod respond;
mod telemetry;
mod users;

use actix_web::web::{self, ServiceConfig};

pub use client::TrustedProxies;
pub use counts::Metrics;
pub use docs::document;
pub use health::Readiness;
pub use input::BodyLimits;
pub use metrics::Measured;
pub use telemetry::{Observed, Telemetry};

/// The most bytes of a request's path and query together.
const MAX_TARGET: usize = 4096;

/// The most bytes of a request's head, besides its first line.
const MAX_HEADERS: usize = 16 * 1024;

/// Registers every route of the service.
///
/// The services that the handlers use come as `web::Data`.
pub fn routes(config: &mut ServiceConfig, telemetry: &Telemetry, limits: BodyLimits) {
    config.app_data(limits);
    config.app_data(web::PayloadConfig::new(limits.size));
    // Most requested first: routes are tried in turn.
    users::routes(config, telemetry);
    products::routes(config, telemetry);
    calculations::routes(config, telemetry);
    auth::routes(config, telemetry);
    cache_admin::routes(config, telemetry);
    history::routes(config, telemetry);
    health::routes(config, telemetry);
    docs::routes(config, telemetry);
    dashboard::routes(config, telemetry);
    unknown_routes(config, telemetry);
}

/// Answers whatever no route takes.
pub fn unknown_routes(config: &mut ServiceConfig, telemetry: &Telemetry) {
    let unknown = web::to(|| async { problem::Problem::of(problem::Kind::UnknownRoute) });
    config.default_service(unknown.wrap(telemetry.of("unknown")));
}

/// Registers `/metrics`, beside everything else or on an address of its own.
pub fn metrics_route(config: &mut ServiceConfig, telemetry: &Telemetry) {
    metrics::routes(config, telemetry);
}
