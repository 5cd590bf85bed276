use std::net::TcpListener;

use actix_web::dev::Server;
use actix_web::{App, HttpServer, web};
use anyhow::Result;

use crate::cache::{Cache, ReadHistory};
use crate::config::Config;
use crate::db::Database;
use crate::http::{self, BodyLimits, Measured, Metrics, Telemetry, TrustedProxies};
use crate::service::Services;

/// What every worker gets a clone of.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) services: Services,
    pub(super) cache: Cache,
    pub(super) metrics: Metrics,
    pub(super) measured: Measured,
    pub(super) history: ReadHistory,
    pub(super) database: Database,
}

impl Parts {
    pub(super) fn server(
        self,
        config: &Config,
        listener: TcpListener,
        with_metrics: bool,
    ) -> Result<Server> {
        let server = &config.server;
        let proxies = TrustedProxies::new(server.trusted_proxies.clone());
        let log = server.access_log;
        let limits = BodyLimits {
            size: usize::try_from(server.max_body.as_u64()).unwrap_or(usize::MAX),
            time: server.request_timeout,
        };
        let factory = move || {
            let telemetry = Telemetry::new(self.metrics.clone(), log, proxies.clone());
            let Services {
                users,
                products,
                calculations,
                sessions,
            } = self.services.clone();
            App::new()
                .app_data(web::Data::new(users))
                .app_data(web::Data::new(products))
                .app_data(web::Data::new(calculations))
                .app_data(web::Data::new(sessions))
                .app_data(web::Data::new(self.cache.clone()))
                .app_data(web::Data::new(self.database.clone()))
                .app_data(web::Data::new(self.metrics.clone()))
                .app_data(web::Data::new(self.measured.clone()))
                .app_data(web::Data::new(self.history.clone()))
                .app_data(web::Data::new(proxies.clone()))
                .configure(|routes| {
                    if with_metrics {
                        http::metrics_route(routes, &telemetry);
                    }
                })
                .configure(|routes| http::routes(routes, &telemetry, limits))
        };
        let workers = match server.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        Ok(HttpServer::new(factory)
            .workers(workers)
            .max_connections(server.max_connections)
            .client_request_timeout(server.request_timeout)
            .keep_alive(server.keep_alive)
            .shutdown_timeout(server.shutdown_timeout.as_secs().max(1))
            .disable_signals()
            .listen(listener)?
            .run())
    }

    pub(super) fn metrics_server(&self, config: &Config, listener: TcpListener) -> Result<Server> {
        let (metrics, measured) = (self.metrics.clone(), self.measured.clone());
        let factory = move || {
            let telemetry = Telemetry::new(
                metrics.clone(),
                crate::config::AccessLog::Off,
                TrustedProxies::default(),
            );
            App::new()
                .app_data(web::Data::new(metrics.clone()))
                .app_data(web::Data::new(measured.clone()))
                .configure(|routes| http::metrics_route(routes, &telemetry))
                .configure(|routes| http::unknown_routes(routes, &telemetry))
        };
        Ok(HttpServer::new(factory)
            .workers(1)
            .shutdown_timeout(config.server.shutdown_timeout.as_secs().max(1))
            .disable_signals()
            .listen(listener)?
            .run())
    }
}
