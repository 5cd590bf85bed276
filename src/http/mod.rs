//! The service over HTTP: routes, what requests may hold, and what answers look like. Knows no
//! Diesel and no cache backend.

mod auth;
mod cache_admin;
mod caller;
mod client;
mod conditional;
mod counts;
mod docs;
mod health;
mod input;
mod metrics;
mod observe;
mod position;
mod problem;
mod products;
mod respond;
mod users;

use actix_web::web::{self, ServiceConfig};

pub use client::TrustedProxies;
pub use counts::Metrics;
pub use docs::document;
pub use input::BodyLimits;
pub use metrics::Measured;
pub use observe::{Observed, Observer};

/// The most bytes of a request's path and query together.
const MAX_TARGET: usize = 4096;

/// The most bytes of a request's head, besides its first line.
const MAX_HEADERS: usize = 16 * 1024;

/// Registers every route of the service.
///
/// The services that the handlers use come as `web::Data`.
pub fn routes(config: &mut ServiceConfig, observer: &Observer, limits: BodyLimits) {
    config.app_data(limits);
    config.app_data(web::PayloadConfig::new(limits.size));
    // Most requested first: routes are tried in turn.
    users::routes(config, observer);
    products::routes(config, observer);
    auth::routes(config, observer);
    cache_admin::routes(config, observer);
    health::routes(config, observer);
    docs::routes(config, observer);
    unknown_routes(config, observer);
}

/// Answers whatever no route takes.
pub fn unknown_routes(config: &mut ServiceConfig, observer: &Observer) {
    let unknown = web::to(|| async { problem::Problem::of(problem::Kind::UnknownRoute) });
    config.default_service(unknown.wrap(observer.of("unknown")));
}

/// Registers `/metrics`, beside everything else or on an address of its own.
pub fn metrics_route(config: &mut ServiceConfig, observer: &Observer) {
    metrics::routes(config, observer);
}
