use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use alacena::app::{Application, StopHandle};
use alacena::cache::CacheBackend;
use alacena::config::Config;
use alacena_lab::servers::Redis;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::answer::{Answer, Call};
use super::storage::{Storage, Store, Truth};

pub(crate) const ADMIN_EMAIL: &str = "admin@example.com";
pub(crate) const ADMIN_PASSWORD: &str = "admin123";

/// A running service with a client to ask it.
pub(crate) struct TestApp {
    pub(crate) address: SocketAddr,
    pub(crate) metrics_address: Option<SocketAddr>,
    pub(crate) client: Client,
    database: String,
    backend: String,
    running: Option<Running>,
}

struct Running {
    stop: StopHandle,
    server: JoinHandle<anyhow::Result<()>>,
    /// Goes after the service.
    store: Option<Store>,
}

/// Somebody who can log in.
#[derive(Clone, Debug)]
pub(crate) struct TestUser {
    pub(crate) id: i64,
    pub(crate) email: String,
    pub(crate) password: String,
    pub(crate) token: String,
}

impl TestUser {
    pub(crate) fn path(&self) -> String {
        format!("/users/{}", self.id)
    }
}

/// Services run here rather than on a test's own runtime, so that they can stop in the background
/// when their test is over.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("there is room for a runtime"))
}

/// A client of one's own. What takes it this long hangs.
pub(crate) fn client() -> Client {
    let client = Client::builder().timeout(Duration::from_secs(30));
    client.build().expect("a client can be made")
}

impl TestApp {
    /// A service on SQLite with `memory`, and this configuration on top.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_on(Storage::Sqlite, "memory", config).await
    }

    /// A service on a fresh database of this kind, with this cache backend.
    pub(crate) async fn start_on(storage: Storage, backend: &str, config: &str) -> Self {
        let store = tokio::task::spawn_blocking(move || Store::fresh(storage))
            .await
            .expect("the database is made");
        let config = configuration(&store.url(), backend, config);
        Self::run(config, None, Some(store)).await
    }

    /// A service on a fresh database of this kind, and on a backend of the test's own.
    pub(crate) async fn start_with(
        storage: Storage,
        backend: Arc<dyn CacheBackend>,
        config: &str,
    ) -> Self {
        let store = tokio::task::spawn_blocking(move || Store::fresh(storage))
            .await
            .expect("the database is made");
        let config = configuration(&store.url(), "memory", config);
        Self::run(config, Some(backend), Some(store)).await
    }

    /// Another instance on the same database, with the same backend.
    pub(crate) async fn another(&self, config: &str) -> Self {
        Self::start_at(&self.database, &self.backend, config).await
    }

    /// A service on a database that the test looks after itself.
    pub(crate) async fn start_at(url: &str, backend: &str, config: &str) -> Self {
        Self::run(configuration(url, backend, config), None, None).await
    }

    async fn run(
        config: Config,
        backend: Option<Arc<dyn CacheBackend>>,
        store: Option<Store>,
    ) -> Self {
        let name = format!("{:?}", config.cache.backend).to_lowercase();
        let database = config.database.url.clone();
        let started = runtime().spawn(async move {
            let application = match backend {
                Some(backend) => Application::build_with(&config, |_| backend).await,
                None => Application::build(&config).await,
            };
            let application = application.expect("the service can be built");
            let (address, metrics_address) = (application.address(), application.metrics_address());
            let stop = application.stop_handle();
            let server = tokio::spawn(application.run());
            (
                address,
                metrics_address,
                Running {
                    stop,
                    server,
                    store,
                },
            )
        });
        let (address, metrics_address, running) = started.await.expect("the service starts");
        Self {
            address,
            metrics_address,
            client: client(),
            database,
            backend: name,
            running: Some(running),
        }
    }

    /// Whether the cache keeps anything.
    pub(crate) fn caches(&self) -> bool {
        self.backend != "off"
    }

    /// The backend's name.
    pub(crate) fn backend(&self) -> &str {
        &self.backend
    }

    /// Whether the cache is, or has, a Redis.
    pub(crate) fn has_redis(&self) -> bool {
        ["redis", "tiered"].contains(&self.backend())
    }

    /// Which tier answers while all is well.
    pub(crate) fn tier(&self) -> &str {
        if self.backend == "redis" {
            "far"
        } else {
            "near"
        }
    }

    /// The database, behind the service's back.
    pub(crate) fn truth(&self) -> Truth {
        Truth::at(&self.database)
    }

    /// The database's kind, for messages.
    pub(crate) fn database_kind(&self) -> &str {
        self.database.split(':').next().unwrap_or_default()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        Call::new(self.client.request(method, self.url(path)))
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub(crate) fn head(&self, path: &str) -> Call {
        self.call(Method::HEAD, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub(crate) fn put(&self, path: &str) -> Call {
        self.call(Method::PUT, path)
    }

    pub(crate) fn patch(&self, path: &str) -> Call {
        self.call(Method::PATCH, path)
    }

    pub(crate) fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    /// The answer to an attempt to log in.
    pub(crate) async fn try_login(&self, email: &str, password: &str) -> Answer {
        let form = [("username", email), ("password", password)];
        self.post("/auth/login").form(&form).await
    }

    /// A token for somebody.
    pub(crate) async fn login(&self, email: &str, password: &str) -> String {
        let answer = self.try_login(email, password).await.expect(200);
        let token = answer.json()["access_token"].as_str().map(str::to_owned);
        token.expect("a login answers a token")
    }

    /// A token for the admin whom the profile names.
    pub(crate) async fn admin(&self) -> String {
        self.login(ADMIN_EMAIL, ADMIN_PASSWORD).await
    }

    /// Somebody new who is logged in and no admin.
    pub(crate) async fn new_user(&self, admin: &str) -> TestUser {
        self.new_user_with(admin, json!({})).await
    }

    /// Somebody new who is logged in, with these fields. Inactive people cannot log in, so their
    /// token is empty.
    pub(crate) async fn new_user_with(&self, admin: &str, fields: Value) -> TestUser {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut body = json!({
            "email": format!("somebody-{number}@example.com"),
            "full_name": format!("Somebody {number}"),
            "password": format!("a password {number}"),
        });
        for (name, value) in fields.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let made = self.post("/users").by(admin).json(&body).await.expect(201);
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (email, password) = (text("email"), text("password"));
        let token = if body["is_active"] == json!(false) {
            String::new()
        } else {
            self.login(&email, &password).await
        };
        let id = made.json()["id"].as_i64().expect("a new user has an id");
        TestUser {
            id,
            email,
            password,
            token,
        }
    }

    /// A new product's path, and the product.
    pub(crate) async fn new_product(&self, admin: &str) -> (String, Value) {
        let body = json!({ "name": "Blue kettle", "price_cents": 2995, "stock": 12 });
        let made = self.post("/products").by(admin).json(&body).await;
        let product = made.expect(201).json();
        (format!("/products/{}", product["id"]), product)
    }

    /// What the cache says of itself.
    pub(crate) async fn stats(&self, admin: &str) -> Value {
        self.get("/cache/stats").by(admin).await.expect(200).json()
    }

    /// Stops the service and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        // Connections that are kept alive are the client's to close.
        self.client = Client::new();
        let Running {
            stop,
            server,
            store,
        } = self.running.take().expect("it stops once");
        stop.stop().await;
        let ended = server.await.expect("the server does not panic");
        ended.expect("the server ends well");
        let dropped = tokio::task::spawn_blocking(move || drop(store));
        dropped.await.expect("the database goes");
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let Some(Running {
            stop,
            server,
            store,
        }) = self.running.take()
        else {
            return;
        };
        // Nobody waits for it.
        runtime().spawn(async move {
            stop.stop().await;
            let _ = server.await;
            let _ = tokio::task::spawn_blocking(move || drop(store)).await;
        });
    }
}

/// One Redis for all services that do not mind sharing it.
fn shared_redis() -> &'static Redis {
    static REDIS: LazyLock<Redis> = LazyLock::new(|| Redis::start().expect("Redis starts"));
    &REDIS
}

/// A namespace that no other service has.
fn namespace() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn configuration(url: &str, backend: &str, overrides: &str) -> Config {
    let mut table: toml::Table = overrides.parse().expect("the overrides are TOML");
    let mut default = |path: &str, value: toml::Value| {
        let mut names = path.split('.');
        let key = names.next_back().expect("a path ends in a key");
        let section = names.fold(&mut table, |section, name| {
            let inner = section
                .entry(name)
                .or_insert_with(|| toml::Table::new().into());
            inner.as_table_mut().expect("a section is a table")
        });
        section.entry(key).or_insert(value);
    };
    default("database.url", url.into());
    default("database.sqlite_synchronous", "normal".into());
    default("server.shutdown_timeout", "3s".into());
    default("cache.backend", backend.into());
    // It would find out, now and then, what a test changes behind the service.
    default("cache.observer.rate", 0.0.into());
    // A busy machine is no outage.
    default("database.wait", "10s".into());
    default("cache.log.out_of_touch", "60s".into());
    if ["redis", "tiered"].contains(&backend) {
        default("cache.namespace", namespace().into());
        default("cache.redis.url", shared_redis().url().into());
        default("cache.redis.connect_timeout", "5s".into());
        default("cache.redis.budget", "5s".into());
        default("cache.redis.lease", "30s".into());
    }
    let text = toml::to_string(&table).expect("a table is TOML");
    Config::for_tests(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}
