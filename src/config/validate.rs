use std::net::{IpAddr, ToSocketAddrs};
use std::time::Duration;

use deadpool_redis::redis::IntoConnectionInfo;
use secrecy::ExposeSecret;

use super::model::{Config, Profile};
use crate::domain::{Email, Password};

const MIN_SECRET: usize = 32;
const DEVELOPMENT: [&str; 2] = [
    "development-only-secret-development-only",
    "test-only-secret-test-only-secret",
];
/// The admin that the public profiles make.
pub const DEVELOPMENT_ADMIN: (&str, &str) = ("admin@example.com", "admin123");
const MIN_BUDGET: Duration = Duration::from_millis(1);
const MAX_REDIS_WAIT: Duration = Duration::from_secs(10);
const MAX_CALCULATION: Duration = Duration::from_secs(60);
const MAX_TOKEN_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

/// A setting that must not be used, and why.
pub(super) struct Refusal {
    pub(super) key: &'static str,
    pub(super) message: String,
}

/// Refuses what is well-formed and still must not be used.
pub(super) fn validate(config: &Config, profile: &Profile) -> Result<(), Refusal> {
    let refuse = |key: &'static str, message: String| Err(Refusal { key, message });
    let Config {
        server,
        database,
        auth,
        cache,
        calculation,
    } = config;

    let positive = [
        ("database.wait", database.wait),
        ("database.timeout", database.timeout),
        ("auth.token_ttl", auth.token_ttl),
        ("auth.login_window", auth.login_window),
        ("cache.default_ttl", cache.default_ttl),
        ("cache.user_ttl", cache.user_ttl),
        ("cache.product_ttl", cache.product_ttl),
        ("cache.redis.connect_timeout", cache.redis.connect_timeout),
    ];
    for (key, duration) in positive {
        if duration.is_zero() {
            return refuse(key, "must be longer than 0s".into());
        }
    }
    for (key, share) in [
        ("cache.jitter", cache.jitter),
        ("cache.eager_refresh", cache.eager_refresh),
    ] {
        if !(0.0..=1.0).contains(&share) {
            return refuse(key, format!("is {share}; accepted are numbers from 0 to 1"));
        }
    }
    if cache.redis.pool_size == 0 {
        return refuse("cache.redis.pool_size", "must be at least 1".into());
    }
    let at_least_one = [
        ("database.pool_size", database.pool_size),
        ("auth.argon2_iterations", auth.argon2_iterations),
        ("auth.login_attempts", auth.login_attempts),
        (
            "auth.login_attempts_per_address",
            auth.login_attempts_per_address,
        ),
        (
            "auth.login_attempts_per_account",
            auth.login_attempts_per_account,
        ),
    ];
    for (key, number) in at_least_one {
        if number == 0 {
            return refuse(key, "must be at least 1".into());
        }
    }
    if !(8 * 1024..=4 << 30).contains(&auth.argon2_memory.as_u64()) {
        return refuse("auth.argon2_memory", "must be from 8KiB to 4GiB".into());
    }
    let at_most = [
        ("server.workers", server.workers, 1024),
        ("auth.argon2_concurrency", auth.argon2_concurrency, 1024),
        ("database.pool_size", database.pool_size as usize, 1024),
        ("cache.redis.pool_size", cache.redis.pool_size, 64),
    ];
    for (key, number, most) in at_most {
        if number > most {
            return refuse(key, format!("must be at most {most}"));
        }
    }
    if auth.token_ttl > MAX_TOKEN_TTL {
        return refuse("auth.token_ttl", "must be at most 365 days".into());
    }
    for (key, duration) in [
        ("cache.redis.connect_timeout", cache.redis.connect_timeout),
        ("cache.redis.budget", cache.redis.budget),
    ] {
        if duration > MAX_REDIS_WAIT {
            return refuse(key, "must be at most 10s".into());
        }
    }
    if calculation.duration > MAX_CALCULATION {
        return refuse("calculation.duration", "must be at most 60s".into());
    }
    if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&cache.redis.lease) {
        return refuse("cache.redis.lease", "must be from 100ms to 60s".into());
    }
    let ranges = [
        ("cache.log.poll", cache.log.poll, "1ms", "1s"),
        ("cache.log.patience", cache.log.patience, "0ms", "10s"),
        (
            "cache.log.out_of_touch",
            cache.log.out_of_touch,
            "100ms",
            "1m",
        ),
        ("cache.log.age", cache.log.age, "1m", "30days"),
    ];
    for (key, duration, least, most) in ranges {
        let bound = |text: &str| humantime_serde::re::humantime::parse_duration(text);
        let is_within = bound(least).is_ok_and(|least| duration >= least)
            && bound(most).is_ok_and(|most| duration <= most);
        if !is_within {
            return refuse(key, format!("must be from {least} to {most}"));
        }
    }
    if cache.log.poll * 4 > cache.log.out_of_touch {
        return refuse(
            "cache.log.poll",
            "must be at most a quarter of cache.log.out_of_touch".into(),
        );
    }
    if !(0.0..=1000.0).contains(&cache.observer.rate) {
        return refuse("cache.observer.rate", "must be from 0 to 1000".into());
    }
    if cache.log.rows < 100 {
        return refuse("cache.log.rows", "must be at least 100".into());
    }
    if !(64 << 10..=512 << 20).contains(&cache.redis.max_entry.as_u64()) {
        return refuse(
            "cache.redis.max_entry",
            "must be from 64KiB to 512MiB".into(),
        );
    }
    if cache.redis.budget < MIN_BUDGET {
        return refuse("cache.redis.budget", "must be at least 1ms".into());
    }
    if server.max_connections == 0 {
        return refuse("server.max_connections", "must be at least 1".into());
    }
    if !is_namespace(&cache.namespace) {
        return refuse(
            "cache.namespace",
            "takes 1 to 64 letters, digits, hyphens and underscores".into(),
        );
    }
    if server.max_body.as_u64() == 0 {
        return refuse("server.max_body", "must be at least 1B".into());
    }
    let scheme = database
        .url
        .split_once("://")
        .map_or("", |(scheme, _)| scheme);
    if !["sqlite", "postgres", "postgresql"].contains(&scheme) {
        return refuse(
            "database.url",
            format!("has the scheme `{scheme}`; accepted are sqlite://PATH and postgres://…"),
        );
    }

    if let Some(path) = database.url.strip_prefix("sqlite://") {
        let file = path.split('?').next().unwrap_or(path);
        if file.is_empty() || file.starts_with(':') {
            return refuse(
                "database.url",
                "must name a file, as in sqlite://data/alacena.db".into(),
            );
        }
    }

    let redis = &cache.redis;
    if !redis.url.is_empty()
        && let Err(error) = redis.url.as_str().into_connection_info()
    {
        // Not the whole message, whose end is the library's kind of error; and never the URL, which
        // may hold a password.
        let error = error.to_string();
        let what = error.split(" - ").next().unwrap_or_default();
        return refuse(
            "cache.redis.url",
            format!(
                "is no URL of a Redis ({what}); accepted are \
                 redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://… for TLS, and \
                 redis+unix:///PATH[?db=DB&user=USER&pass=PASSWORD]"
            ),
        );
    }
    if redis.url.ends_with("#insecure") && !profile.has_public_secrets() {
        return refuse(
            "cache.redis.url",
            "ends in #insecure, which accepts any certificate; SSL_CERT_FILE names a bundle of \
             certificates to trust"
                .into(),
        );
    }
    if redis.url.is_empty() && redis.host.is_empty() {
        return refuse("cache.redis.host", "is empty; name a host".into());
    }
    if !redis.username.is_empty() && redis.password.expose_secret().is_empty() {
        return refuse(
            "cache.redis.username",
            "takes cache.redis.password with it".into(),
        );
    }

    let secret = auth.jwt_secret.expose_secret();
    let password = auth.admin_password.expose_secret();
    if secret.len() < MIN_SECRET {
        return refuse(
            "auth.jwt_secret",
            format!(
                "has {} bytes; it takes at least {MIN_SECRET}, for example the output of \
                 `openssl rand -base64 48`",
                secret.len()
            ),
        );
    }
    if auth.admin_email.is_empty() != password.is_empty() {
        return refuse(
            "auth.admin_email",
            "takes auth.admin_password with it, or neither".into(),
        );
    }
    if !password.is_empty() {
        if let Err(invalid) = Email::parse(&auth.admin_email) {
            return refuse("auth.admin_email", invalid.to_string());
        }
        if let Err(invalid) = Password::parse(password) {
            return refuse("auth.admin_password", invalid.to_string());
        }
    }
    if !profile.has_public_secrets() {
        if config.has_public_secrets() {
            return refuse(
                "auth.jwt_secret",
                "is the development one, which everybody knows".into(),
            );
        }
        if password == DEVELOPMENT_ADMIN.1 {
            return refuse(
                "auth.admin_password",
                "is the development one, which everybody knows".into(),
            );
        }
    } else if let Some(address) = server.metrics_address.filter(|a| !a.ip().is_loopback()) {
        return refuse(
            "server.metrics_address",
            format!("is `{address}`: this profile listens on loopback addresses only"),
        );
    } else if !is_loopback(&server.host) {
        return refuse(
            "server.host",
            format!(
                "is `{}`: this profile's secrets are public, so it listens on loopback addresses \
                 only (127.0.0.1, ::1, localhost); choose --profile production",
                server.host
            ),
        );
    }
    Ok(())
}

impl Config {
    /// Whether the secret that signs tokens can be read in the repository.
    pub fn has_public_secrets(&self) -> bool {
        DEVELOPMENT.contains(&self.auth.jwt_secret.expose_secret())
    }
}

fn is_namespace(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// Whether every address the name stands for is this machine's own.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return address.is_loopback();
    }
    (host, 0)
        .to_socket_addrs()
        .is_ok_and(|mut addresses| addresses.all(|a| a.ip().is_loopback()))
}
