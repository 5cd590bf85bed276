//! The composition root: builds the parts out of a configuration, and runs them until told to
//! stop. The one place that knows everybody.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpServer, web};
use anyhow::{Context, Result, anyhow};
use secrecy::ExposeSecret;
use tokio::task::AbortHandle;

use crate::cache::{
    Cache, CacheBackend, Clock, MemoryBackend, NullBackend, Position, Progress, RedisAddress,
    RedisBackend, RedisServer, RedisSettings, SystemClock, Tasks, TieredBackend,
};
use crate::coherence::{
    Coherence, Follow, Log, Observer, ObserverStats, Tailer, TailerStats, Truth, keep_trimmed,
};
use crate::config::{BackendKind, Config, DEVELOPMENT_ADMIN, MigrateMode, RedisConfig, RedisMode};
use crate::db::{Database, LogReader};
use crate::domain::{Email, Password};
use crate::http::{self, BodyLimits, Measured, Metrics, Telemetry, TrustedProxies};
use crate::service::{Services, made_stale, name_version, truth};

/// What the key that authenticates cache entries is derived for.
const ENTRIES: &str = "alacena 2026-11-23 cache entries in a shared store";

/// A service that has been built and listens, but does not answer before it is run.
pub struct Application {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    server: Server,
    metrics_server: Option<Server>,
    tasks: Tasks,
    tailer: Option<Tailer>,
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
        let memory = || Arc::new(MemoryBackend::new(config.cache.memory.capacity.as_u64()));
        let backend: Arc<dyn CacheBackend> = match config.cache.backend {
            BackendKind::Off => Arc::new(NullBackend::new()),
            BackendKind::Memory => memory(),
            BackendKind::Redis => {
                let near = memory();
                let far = redis(config, &database, &near).await?;
                Arc::new(TieredBackend::far_first(near, far))
            }
            BackendKind::Tiered => {
                let near = memory();
                let far = redis(config, &database, &near).await?;
                Arc::new(TieredBackend::near_first(near, far))
            }
        };
        Self::assemble(config, database, reader, wrap(backend)).await
    }

    async fn assemble(
        config: &Config,
        database: Database,
        reader: LogReader,
        backend: Arc<dyn CacheBackend>,
    ) -> Result<Self> {
        let tasks = Tasks::on_current_runtime();
        let backend_name = backend.name();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let cache = Cache::new(backend, Arc::clone(&clock), tasks.clone());
        // Where nothing is kept, nothing goes stale.
        let log = &config.cache.log;
        let mut background = vec![AbortOnDrop::spawn(keep_trimmed(
            database.apart(),
            log.age,
            log.rows,
        ))];
        let (tailed, observed) = (TailerStats::default(), ObserverStats::default());
        let (cache, tailer) = if config.cache.backend == BackendKind::Off {
            (cache, None)
        } else {
            let progress = progress(config, &reader, &*clock);
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
            let follow = Follow {
                cache: cache.clone(),
                progress,
                clock,
                made_stale,
                poll: log.poll,
                stats: tailed.clone(),
            };
            let tailer = Tailer::start(reader, follow).context("following the change log")?;
            (cache, Some(tailer))
        };
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
            },
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
        if let Some(tailer) = self.tailer {
            let _ = tokio::time::timeout(self.shutdown_timeout, tailer.stop()).await;
        }
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

/// What every worker gets a clone of.
#[derive(Clone)]
struct Parts {
    services: Services,
    cache: Cache,
    metrics: Metrics,
    measured: Measured,
    database: Database,
}

impl Parts {
    fn server(self, config: &Config, listener: TcpListener, with_metrics: bool) -> Result<Server> {
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
                sessions,
            } = self.services.clone();
            App::new()
                .app_data(web::Data::new(users))
                .app_data(web::Data::new(products))
                .app_data(web::Data::new(sessions))
                .app_data(web::Data::new(self.cache.clone()))
                .app_data(web::Data::new(self.database.clone()))
                .app_data(web::Data::new(self.metrics.clone()))
                .app_data(web::Data::new(self.measured.clone()))
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

    fn metrics_server(&self, config: &Config, listener: TcpListener) -> Result<Server> {
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

/// The Redis that the configuration names, which need not be there. Recovering it empties `near`
/// (recovery rule 6).
async fn redis(
    config: &Config,
    database: &Database,
    near: &Arc<MemoryBackend>,
) -> Result<Arc<RedisBackend>> {
    let RedisConfig {
        url,
        host,
        port,
        db,
        username,
        password,
        tls,
        mode: RedisMode::Standalone,
        pool_size,
        connect_timeout,
        budget,
        lease,
    } = &config.cache.redis;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let server = if url.is_empty() {
        RedisServer::at(RedisAddress {
            host: host.clone(),
            port: *port,
            db: *db,
            username: given(username),
            password: given(password.expose_secret()),
            tls: *tls,
        })
    } else {
        RedisServer::from_url(url)
    };
    let settings = RedisSettings {
        server: server.context("cache.redis")?,
        namespace: config.cache.namespace.clone(),
        log: database.log_identity().await.context("the change log")?,
        connect_timeout: *connect_timeout,
        budget: *budget,
        pool_size: *pool_size,
        lease: *lease,
        secret: blake3::derive_key(ENTRIES, config.auth.jwt_secret.expose_secret().as_bytes()),
    };
    let near = Arc::clone(near);
    let log = Arc::new(Log::new(database.clone(), made_stale));
    let redis = RedisBackend::new(&settings, log, move || near.distrust());
    let redis = redis.context("cache.redis")?;
    // So that a Redis that is there is used from the first request on.
    redis.tried().await;
    Ok(Arc::new(redis))
}

/// Makes the first admin that the configuration names, if nobody has the address yet. Where the
/// secrets are not public, an account that everybody can open must not be there either.
async fn ensure_admin(config: &Config, services: &Services) -> Result<()> {
    let Services { users, .. } = services;
    if !config.has_public_secrets() {
        let (email, password) = DEVELOPMENT_ADMIN;
        let email = Email::parse(email).map_err(|invalid| anyhow!("{email}: {invalid}"))?;
        let is_open = users
            .has_password(&email, password)
            .await
            .context("looking for admins")?;
        anyhow::ensure!(
            !is_open,
            "the database has the development admin with the public password; give it another with \
             `alacena admin reset-password {email}`, or choose another database.url"
        );
    }
    if !config.auth.admin_email.is_empty() {
        let email = Email::parse(&config.auth.admin_email)
            .map_err(|invalid| anyhow!("auth.admin_email {invalid}"))?;
        let password = Password::parse(config.auth.admin_password.expose_secret())
            .map_err(|invalid| anyhow!("auth.admin_password {invalid}"))?;
        let made = users.ensure_admin(email, password).await;
        if made.context("making the first admin")? {
            log::info!("made the admin that auth.admin_email names");
        }
    }
    if !users.has_admin().await.context("looking for admins")? {
        log::warn!(
            "nobody is an active admin: set auth.admin_email and auth.admin_password, or use \
             `alacena admin promote EMAIL`"
        );
    }
    Ok(())
}
