//! The servers, the instances on them, and the means to break them.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::task::block_in_place;

use super::options::{Backend, Options};
use crate::fleet::{Fleet, InstanceOptions, Pace, Setting};
use crate::proxy::Proxy;
use crate::servers::{Postgres, Redis, RedisSnapshot};

/// Everything that a run stands on. What comes first ends first.
pub(super) struct Scene {
    pub(super) fleet: Fleet,
    /// One for each instance, if there is a Redis.
    pub(super) proxies: Vec<Proxy>,
    pub(super) redis: Option<OwnRedis>,
    _postgres: Option<Postgres>,
    _folder: TempDir,
}

/// A Redis that may be broken.
pub(super) struct OwnRedis {
    pub(super) server: Redis,
    /// What it takes when it holds nothing.
    empty: u64,
    /// What it held a good while ago.
    pub(super) old: Option<RedisSnapshot>,
}

impl Scene {
    /// Starts all that the options ask for.
    pub(super) async fn set(options: &Options) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("alacena-freshness-")
            .tempdir();
        let folder = folder.context("making a folder")?;
        let (postgres, database) = match options.database.as_str() {
            "sqlite" => {
                let file = folder.path().join("alacena.db");
                (None, format!("sqlite://{}", file.display()))
            }
            "postgres" => {
                let server = block_in_place(Postgres::start)?;
                let url = block_in_place(|| server.create_database())?;
                (Some(server), url)
            }
            url => (None, url.to_owned()),
        };
        let redis = match (options.backend, &options.redis_url) {
            (Backend::Memory, _) | (_, Some(_)) => None,
            (_, None) => Some(block_in_place(OwnRedis::start)?),
        };
        let url = match &redis {
            Some(redis) => Some(redis.server.url()),
            None => options.redis_url.clone(),
        };
        let url = url.filter(|_| options.backend != Backend::Memory);
        let namespace = format!("freshness-{:08x}", fastrand::u32(..));
        let (mut proxies, mut settings) = (Vec::new(), Vec::new());
        for _ in 0..options.instances {
            let mut instance: Vec<Setting> = vec![
                ("DATABASE__URL", database.clone()),
                // What was acknowledged outlives a killed process, if not a power cut.
                ("DATABASE__SQLITE_SYNCHRONOUS", "normal".into()),
                ("AUTH__TOKEN_TTL", "24h".into()),
                ("CACHE__BACKEND", options.backend.name().into()),
                ("CACHE__NAMESPACE", namespace.clone()),
            ];
            if let Some(url) = &url {
                let (before, address, after) = redis_address(url).context("the URL of Redis")?;
                let proxy = Proxy::start(address).await.context("starting a proxy")?;
                let url = format!("{before}{}{after}", proxy.address());
                instance.push(("CACHE__REDIS__URL", url));
                proxies.push(proxy);
            }
            settings.push(instance);
        }
        let instance = InstanceOptions {
            pace: Pace::Dawdling,
            mutant: options.mutant,
        };
        let fleet = Fleet::start(settings, instance, folder.path()).await?;
        Ok(Self {
            fleet,
            proxies,
            redis,
            _postgres: postgres,
            _folder: folder,
        })
    }
}

impl OwnRedis {
    fn start() -> Result<Self> {
        let mut redis = Self {
            server: Redis::start()?,
            empty: 0,
            old: None,
        };
        redis.empty = redis.used()?;
        Ok(redis)
    }

    /// How many bytes it takes.
    fn used(&self) -> Result<u64> {
        let info = self.server.command(&["INFO", "memory"])?;
        let mut lines = info.lines();
        let used = lines.find_map(|line| line.strip_prefix("used_memory:"));
        let used = used.context("Redis says how much memory it uses")?;
        Ok(used.trim().parse()?)
    }

    /// Keeps what it holds now, for later.
    pub(super) fn keep(&mut self) -> Result<()> {
        self.old = Some(self.server.snapshot()?);
        Ok(())
    }

    /// Leaves it room for a quarter of what it holds.
    pub(super) fn squeeze(&self) -> Result<()> {
        let room = self.empty + self.used()?.saturating_sub(self.empty) / 4;
        let set = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"];
        self.server.command(&set)?;
        let set = ["CONFIG", "SET", "maxmemory", &room.to_string()];
        self.server.command(&set)?;
        Ok(())
    }

    /// Has it forget everything, its own bookkeeping of us included.
    pub(super) fn flush(&self) -> Result<()> {
        self.server.command(&["FLUSHALL"])?;
        Ok(())
    }

    /// Gives it all the room again.
    pub(super) fn release(&self) -> Result<()> {
        self.server.command(&["CONFIG", "SET", "maxmemory", "0"])?;
        Ok(())
    }
}

/// The address in a Redis URL, and what stands before and after it.
pub(super) fn redis_address(url: &str) -> Option<(&str, SocketAddr, &str)> {
    let rest = url.strip_prefix("redis://")?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let before = url.strip_suffix(after)?.strip_suffix(host)?;
    let address = match host.to_socket_addrs() {
        Ok(mut addresses) => addresses.next(),
        Err(_) => (host, 6379).to_socket_addrs().ok()?.next(),
    };
    Some((before, address?, after))
}

#[cfg(test)]
mod tests {
    use super::redis_address;

    #[test]
    fn a_proxy_takes_the_place_of_the_address_in_a_url() {
        for (url, expected) in [
            ("redis://127.0.0.1:7000", ("redis://", "127.0.0.1:7000", "")),
            ("redis://127.0.0.1", ("redis://", "127.0.0.1:6379", "")),
            (
                "redis://me:se@cret@127.0.0.1:7000/3",
                ("redis://me:se@cret@", "127.0.0.1:7000", "/3"),
            ),
        ] {
            let (before, address, after) = redis_address(url).expect(url);
            assert_eq!((before, &*address.to_string(), after), expected);
        }
    }

    #[test]
    fn what_a_proxy_cannot_stand_before_is_refused() {
        for url in ["", "localhost:6379", "rediss://127.0.0.1", "redis://"] {
            assert!(redis_address(url).is_none(), "{url}");
        }
    }
}
