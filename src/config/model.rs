use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The whole configuration. Every key's meaning and default stand in `config/default.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "config/default.toml documents each key where it is set"
)]
pub struct Config {
    pub server: ServerConfig,
    pub database: DatabaseConfig,
    pub auth: AuthConfig,
    pub cache: CacheConfig,
    pub calculation: CalculationConfig,
}

/// How HTTP is served.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "config/default.toml documents each key where it is set"
)]
pub struct ServerConfig {
    pub host: String,
    pub port: u16,
    pub workers: usize,
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    pub max_body: ByteSize,
    pub max_connections: usize,
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    pub access_log: AccessLog,
    pub ready_without_database: bool,
    #[serde(with = "empty_is_none")]
    pub metrics_address: Option<SocketAddr>,
}

/// Which requests are logged.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// None.
    Off,
    /// Those that the service failed.
    Failures,
    /// Every one.
    All,
}

/// Where the truth is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "config/default.toml documents each key where it is set"
)]
pub struct DatabaseConfig {
    #[serde(serialize_with = "masked_url")]
    pub url: String,
    pub pool_size: u32,
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    pub migrate: MigrateMode,
    pub sqlite_synchronous: Synchronous,
}

/// What is done about pending migrations at start.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum MigrateMode {
    /// They are run.
    Auto,
    /// They keep the service from starting.
    Check,
}

/// When SQLite waits for the disk.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Before each commit is acknowledged.
    Full,
    /// At checkpoints: a power cut may take the last commits with it.
    Normal,
}

/// Who may do what, and how they prove it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "config/default.toml documents each key where it is set"
)]
pub struct AuthConfig {
    #[serde(serialize_with = "masked")]
    pub jwt_secret: SecretString,
    #[serde(with = "humantime_serde")]
    pub token_ttl: Duration,
    pub admin_email: String,
    #[serde(serialize_with = "masked")]
    pub admin_password: SecretString,
    pub argon2_memory: ByteSize,
    pub argon2_iterations: u32,
    pub argon2_concurrency: usize,
    #[serde(with = "humantime_serde")]
    pub login_window: Duration,
    pub login_attempts: u32,
    pub login_attempts_per_address: u32,
    pub login_attempts_per_account: u32,
}

/// What is kept, where, and for how long.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "config/default.toml documents each key where it is set"
)]
pub struct CacheConfig {
    pub backend: BackendKind,
    pub namespace: String,
    #[serde(with = "humantime_serde")]
    pub default_ttl: Duration,
    #[serde(with = "humantime_serde")]
    pub user_ttl: Duration,
    #[serde(with = "humantime_serde")]
    pub product_ttl: Duration,
    #[serde(with = "humantime_serde")]
    pub negative_ttl: Duration,
    pub jitter: f64,
    pub eager_refresh: f64,
    #[serde(with = "humantime_serde")]
    pub stale_limit: Duration,
    pub memory: MemoryConfig,
    pub redis: RedisConfig,
    pub log: LogConfig,
    pub observer: ObserverConfig,
}

/// Which backend keeps the copies.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// None does.
    Off,
    /// This process's memory.
    Memory,
    /// A Redis that instances share, and this process's memory while it cannot be trusted.
    Redis,
    /// This process's memory in front of a Redis that instances share.
    Tiered,
}

/// The memory backend.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "config/default.toml documents each key where it is set"
)]
pub struct MemoryConfig {
    pub capacity: ByteSize,
}

/// The change log, which tells each instance what the others have changed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "config/default.toml documents each key where it is set"
)]
pub struct LogConfig {
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    #[serde(with = "humantime_serde")]
    pub patience: Duration,
    #[serde(with = "humantime_serde")]
    pub out_of_touch: Duration,
    #[serde(with = "humantime_serde")]
    pub age: Duration,
    pub rows: u32,
}

/// The observer, which compares what is cached with the database.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "config/default.toml documents each key where it is set"
)]
pub struct ObserverConfig {
    pub rate: f64,
}

/// The Redis that the backends `redis` and `tiered` share with other instances.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "config/default.toml documents each key where it is set"
)]
pub struct RedisConfig {
    #[serde(serialize_with = "masked_url")]
    pub url: String,
    pub host: String,
    pub port: u16,
    pub db: u16,
    pub username: String,
    #[serde(serialize_with = "masked")]
    pub password: SecretString,
    pub tls: bool,
    pub mode: RedisMode,
    pub pool_size: usize,
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub budget: Duration,
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    pub max_entry: ByteSize,
}

/// How the Redis is run.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum RedisMode {
    /// As one server.
    Standalone,
}

/// The slow calculation.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "config/default.toml documents each key where it is set"
)]
pub struct CalculationConfig {
    #[serde(with = "humantime_serde")]
    pub duration: Duration,
}

/// A named set of settings. Those of the three known ones are compiled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile(pub(super) String);

impl Profile {
    /// The profile of this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether this is the profile for one's own machine, which is kept to loopback addresses.
    pub fn is_development(&self) -> bool {
        self.0 == "development"
    }

    /// Whether this is one of the profiles whose secrets everybody can read in the repository.
    pub fn has_public_secrets(&self) -> bool {
        self.is_development() || self.0 == "test"
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::named("development")
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const MASK: &str = "********";

fn masked<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.expose_secret().is_empty() {
        ""
    } else {
        MASK
    })
}

fn masked_url<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&mask_url(url))
}

/// The URL with its password, wherever it stands, replaced. What is no URL is replaced whole.
pub(crate) fn mask_url(url: &str) -> String {
    if url.is_empty() {
        return String::new();
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return MASK.to_owned();
    };
    // The last @, before looking for a query: a password may hold a question mark.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    let user = user.map_or_else(String::new, |user| match user.split_once(':') {
        Some((name, _)) => format!("{name}:{MASK}@"),
        None => format!("{user}@"),
    });
    let Some((base, query)) = rest.split_once('?') else {
        return format!("{scheme}://{user}{rest}");
    };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if name.to_ascii_lowercase().contains("pass") => {
                format!("{name}={MASK}")
            }
            _ => pair.to_owned(),
        })
        .collect();
    format!("{scheme}://{user}{base}?{}", pairs.join("&"))
}

/// Networks, where a bare address stands for itself alone.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let network = |text: &String| {
        text.parse()
            .or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()))
    };
    texts
        .iter()
        .map(|text| {
            network(text).map_err(|_| {
                serde::de::Error::custom(format!(
                    "`{text}` is no address and no network; accepted are texts like \
                     \"10.0.0.1\" and \"10.0.0.0/8\""
                ))
            })
        })
        .collect()
}

mod empty_is_none {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse()
            .map(Some)
            .map_err(|error| de::Error::custom(format!("`{text}`: {error}")))
    }

    pub(super) fn serialize<S, T>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: Display,
    {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_str(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::mask_url;

    #[test]
    fn a_password_is_masked_wherever_it_stands() {
        let masked = |url: &str| {
            let masked = mask_url(url);
            assert!(!masked.contains("SECRET"), "{masked}");
            masked
        };
        assert_eq!(
            masked("postgres://u:SECRET@h:5432/d?a=b"),
            "postgres://u:********@h:5432/d?a=b"
        );
        assert_eq!(
            masked("postgres://u:p?SECRET@h/d"),
            "postgres://u:********@h/d"
        );
        assert_eq!(
            masked("postgres://u:a@SECRET@h/d"),
            "postgres://u:********@h/d"
        );
        assert_eq!(
            masked("postgres://h/d?user=u&password=SECRET"),
            "postgres://h/d?user=u&password=********"
        );
        assert_eq!(
            masked("redis+unix:///run/redis.sock?db=1&pass=SECRET"),
            "redis+unix:///run/redis.sock?db=1&pass=********"
        );
        assert_eq!(masked("SECRET"), "********");
        assert_eq!(masked(""), "");
        assert_eq!(masked("sqlite://data/a.db"), "sqlite://data/a.db");
    }
}
