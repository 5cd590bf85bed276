use std::time::Duration;

use deadpool_redis::BuildError;
use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError,
};

/// Where a Redis is, and how it is used.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// The server.
    pub server: RedisServer,
    /// Begins every key, so that several services share one database of a Redis.
    pub namespace: String,
    /// The name of the change log: follows the namespace, so that services on different databases do
    /// not read each other's copies.
    pub log: String,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long one request may wait for Redis, over all its commands.
    pub budget: Duration,
    /// How many connections carry everything.
    pub pool_size: usize,
    /// How long whoever loads a value is waited for without a sign of life.
    pub lease: Duration,
    /// Larger values are kept out of Redis, in bytes.
    pub max_entry: usize,
    /// What authenticates entries: whoever lacks it cannot make one that is believed.
    pub secret: [u8; 32],
}

/// A Redis server.
#[derive(Clone)]
pub struct RedisServer(ConnectionInfo);

/// How to reach a server that has no URL.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct RedisAddress {
    pub host: String,
    pub port: u16,
    pub db: u16,
    pub username: Option<String>,
    pub password: Option<String>,
    pub tls: bool,
}

/// Why there can never be a connection.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct RedisServerError(String);

impl From<getrandom::Error> for RedisServerError {
    fn from(error: getrandom::Error) -> Self {
        Self(format!("the system has no randomness: {error}"))
    }
}

impl From<BuildError> for RedisServerError {
    fn from(error: BuildError) -> Self {
        Self(error.to_string())
    }
}

impl From<RedisError> for RedisServerError {
    fn from(error: RedisError) -> Self {
        // The library adds the kind of error, which says nothing more.
        let text = error.to_string();
        Self(text.split(" - ").next().unwrap_or(&text).to_owned())
    }
}

impl RedisServer {
    /// The server that a URL names.
    ///
    /// # Errors
    /// Where it names none. The message does not repeat the URL, which may hold a password.
    pub fn from_url(url: &str) -> Result<Self, RedisServerError> {
        Ok(Self::prepared(url.into_connection_info()?))
    }

    /// The server at an address.
    ///
    /// # Errors
    /// Where it cannot be one.
    pub fn at(address: RedisAddress) -> Result<Self, RedisServerError> {
        let RedisAddress {
            host,
            port,
            db,
            username,
            password,
            tls,
        } = address;
        let place = if tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let mut settings = RedisConnectionInfo::default().set_db(i64::from(db));
        if let Some(username) = username {
            settings = settings.set_username(username);
        }
        if let Some(password) = password {
            settings = settings.set_password(password);
        }
        let info = place.into_connection_info()?.set_redis_settings(settings);
        Ok(Self::prepared(info))
    }

    fn prepared(info: ConnectionInfo) -> Self {
        // Commands are small and somebody waits for each of them.
        Self(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        self.0.clone()
    }
}

/// The address without the password.
impl std::fmt::Display for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redis at {}", self.0.addr())?;
        match self.0.redis_settings().db() {
            0 => Ok(()),
            db => write!(f, "/{db}"),
        }
    }
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}
