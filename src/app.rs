//! The composition root: builds the parts out of a configuration, and runs them until told to
//! stop. The one place that knows everybody.

mod admin;
mod backend;
mod servers;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::{Server, ServerHandle};
use anyhow::{Context, Result};
use tokio::task::AbortHandle;

use self::admin::ensure_admin;
use self::backend::backend;
use self::servers::Parts;
use crate::cache::{
    Cache, CacheBackend, Clock, Position, Progress, ReadHistory, SystemClock, Tasks,
};
use crate::coherence::{
    Coherence, Follow, Observer, ObserverStats, Tailer, TailerStats, Truth, keep_trimmed,
};
use crate::config::{BackendKind, Config, MigrateMode};
use crate::db::{Database, LogReader};
use crate::http::{Measured, Metrics, Readiness};
use crate::service::{Services, made_stale, name_version, truth};

/// A service that has been built and listens, but does not answer before it is run.
pub struct Application {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    server: Server,
    metrics_server: Option<Server>,
    tasks: Tasks,
    tailer: Tailer,
    background: Vec<AbortOnDrop>,
    shutdown_timeout: Duration,
}

/// Tells a running [`Application`] to stop.
#[derive(Clone)]
pub struct StopHandle {
    servers: Vec<ServerHandle>,
}

impl StopHandle {
    /// Answers the requests under way, takes no new ones, and ends.
    pub async fn stop(&self) {
        futures_util::future::join_all(self.servers.iter().map(|server| server.stop(true))).await;
    }
}

impl Application {
    /// Builds the service on the backend that the configuration names.
    ///
    /// # Errors
    /// Where the database cannot be reached or migrated, or the address cannot be had.
    pub async fn build(config: &Config) -> Result<Self> {
        Self::build_with(config, |backend| backend).await
    }

    /// Builds the service on what `wrap` makes of that backend, for whoever wants to stand between.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub async fn build_with(
        config: &Config,
        wrap: impl FnOnce(Arc<dyn CacheBackend>) -> Arc<dyn CacheBackend>,
    ) -> Result<Self> {
        // Before the cache: whoever starts in vain for want of a database should not each time drop
        // what others have cached.
        let database = prepared(config).await?;
        // Before Redis is recovered: what the recovery replays, and what the tailer applies after it,
        // must leave no gap.
        let reader = log_reader(&database).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let backend = backend(config, &database, &clock).await?;
        Self::assemble(config, database, reader, wrap(backend), clock).await
    }

    async fn assemble(
        config: &Config,
        database: Database,
        reader: LogReader,
        backend: Arc<dyn CacheBackend>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let tasks = Tasks::on_current_runtime();
        let backend_name = backend.name();
        let cache = Cache::new(backend, Arc::clone(&clock), tasks.clone());
        let history = ReadHistory::of(cache.clone(), Arc::clone(&clock));
        let log = &config.cache.log;
        let mut background = vec![
            AbortOnDrop::spawn(keep_trimmed(database.apart(), log.age, log.rows)),
            AbortOnDrop::spawn(history.clone().keep()),
        ];
        let (tailed, observed) = (TailerStats::default(), ObserverStats::default());
        let progress = progress(config, &reader, &*clock);
        // Where nothing is kept, nothing goes stale. The log still tells of a restored database.
        let cache = if config.cache.backend == BackendKind::Off {
            cache
        } else {
            let cache = cache.following(Arc::clone(&progress));
            background.push(AbortOnDrop::spawn(
                Observer {
                    cache: cache.clone(),
                    progress: Arc::clone(&progress),
                    clock: Arc::clone(&clock),
                    truth: truth_of(database.apart()),
                    name_version,
                    rate: config.cache.observer.rate,
                    stats: observed.clone(),
                }
                .observe(),
            ));
            cache
        };
        let follow = Follow {
            cache: cache.clone(),
            progress,
            clock,
            made_stale,
            poll: log.poll,
            stats: tailed.clone(),
        };
        let tailer = Tailer::start(reader, follow).context("following the change log")?;
        let services = Services::new(config, &database, &cache)?;
        ensure_admin(config, &services).await?;

        let listener = listen(&config.server.host, config.server.port)
            .context("server.host and server.port")?;
        let address = listener.local_addr()?;
        let metrics_listener = match config.server.metrics_address {
            Some(address) => {
                let listener = listen(&address.ip().to_string(), address.port());
                Some(listener.context("server.metrics_address")?)
            }
            None => None,
        };
        let metrics_address = metrics_listener
            .as_ref()
            .map(TcpListener::local_addr)
            .transpose()?;

        let parts = Parts {
            metrics: Metrics::default(),
            measured: Measured {
                cache: cache.clone(),
                sessions: services.sessions.clone(),
                database: database.clone(),
                coherence: Coherence { tailed, observed },
                readiness: Readiness {
                    without_database: config.server.ready_without_database,
                    stale_limit: config.cache.stale_limit,
                },
                started: Instant::now(),
            },
            history,
            database,
            services,
            cache,
        };
        let metrics_server = match metrics_listener {
            Some(listener) => Some(parts.metrics_server(config, listener)?),
            None => None,
        };
        let server = parts.server(config, listener, metrics_server.is_none())?;
        let shutdown_timeout = config.server.shutdown_timeout;
        let database_url = crate::config::mask_url(&config.database.url);
        log::info!("cache backend {backend_name}, database {database_url}");
        Ok(Self {
            address,
            metrics_address,
            server,
            metrics_server,
            tasks,
            tailer,
            background,
            shutdown_timeout,
        })
    }

    /// Where the service listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` is served, if not beside everything else.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// What stops it.
    pub fn stop_handle(&self) -> StopHandle {
        let servers = [Some(&self.server), self.metrics_server.as_ref()];
        StopHandle {
            servers: servers.into_iter().flatten().map(Server::handle).collect(),
        }
    }

    /// Serves until stopped, then waits for the writes under way: whoever hung up, what they
    /// committed is still to be voided.
    ///
    /// # Errors
    /// Where a server fails.
    pub async fn run(self) -> Result<()> {
        let _background = self.background;
        let metrics = self.metrics_server.map(|server| tokio::spawn(server));
        self.server.await?;
        if let Some(metrics) = metrics {
            metrics.await??;
        }
        if !self.tasks.drain(self.shutdown_timeout).await {
            log::warn!(
                "stopped with work under way that took longer than {:?}",
                self.shutdown_timeout
            );
        }
        let _ = tokio::time::timeout(self.shutdown_timeout, self.tailer.stop()).await;
        Ok(())
    }
}

/// A task that ends with whoever has this.
struct AbortOnDrop(AbortHandle);

impl AbortOnDrop {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task).abort_handle())
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn listen(host: &str, port: u16) -> Result<TcpListener> {
    TcpListener::bind((host.trim_matches(['[', ']']), port))
        .with_context(|| format!("listening on {host}:{port}"))
}

/// The database, with a schema that fits.
async fn prepared(config: &Config) -> Result<Database> {
    let database = Database::new(&config.database);
    match config.database.migrate {
        MigrateMode::Auto => {
            let run = database.migrate().await.context("migrating the database")?;
            for name in run {
                log::info!("ran migration {name}");
            }
        }
        MigrateMode::Check => {
            database
                .check_migrated()
                .await
                .context("checking the database")?;
        }
    }
    Ok(database)
}

async fn log_reader(database: &Database) -> Result<LogReader> {
    let reader = database.log_reader().await;
    reader.context("reading the change log")
}

/// How far the log is followed: to where the reader is.
fn progress(config: &Config, reader: &LogReader, clock: &dyn Clock) -> Arc<Progress> {
    let log = &config.cache.log;
    let horizon = u64::try_from(reader.place().horizon()).unwrap_or_default();
    Arc::new(Progress::new(
        Position::new(horizon),
        clock.now(),
        log.out_of_touch,
        log.patience,
    ))
}

/// What the database says should be cached.
fn truth_of(database: Database) -> Truth {
    Arc::new(move |key| {
        let database = database.clone();
        Box::pin(async move {
            let told = truth(&database, &key).await?;
            Some(told.map_err(|error| error.to_string()))
        })
    })
}
