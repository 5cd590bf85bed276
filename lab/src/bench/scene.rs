//! The targets: ours, with the servers that they stand on, and those of others.

use std::path::{Path, PathBuf};

use alacena::auth::PasswordHasher;
use alacena::config::Config;
use alacena::db::{Database, Seed};
use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::task::block_in_place;

use super::options::Options;
use super::target::{Target, Whereabouts};
use crate::fleet::{Fleet, InstanceOptions, Pace, Setting};
use crate::servers::{Postgres, Redis};
use crate::traffic::Credentials;

/// What the addresses of the users begin with that are filled in.
const SEEDED: &str = "user.s1.";

/// Everything that a run stands on. What comes first ends first.
pub(super) struct Scene {
    pub(super) targets: Vec<Target>,
    /// What ours have for a database, if any are.
    pub(super) database: Option<&'static str>,
    fleet: Fleet,
    _redis: Vec<Redis>,
    _postgres: Option<Postgres>,
    _folder: TempDir,
}

impl Scene {
    /// Starts what is ours, fills it with rows, and makes the acquaintance of everybody.
    pub(super) async fn set(options: &Options) -> Result<Self> {
        let rows = options.extent().rows;
        let folder = tempfile::Builder::new().prefix("alacena-bench-").tempdir();
        let folder = folder.context("making a folder")?;
        let postgres = match options.database_url.as_str() {
            "postgres" if !options.targets_only => Some(block_in_place(Postgres::start)?),
            _ => None,
        };
        let namespace = format!("bench-{:08x}", fastrand::u32(..));
        let (mut settings, mut redis, mut pids) = (Vec::new(), Vec::new(), Vec::new());
        for backend in options.backends() {
            let url = match (options.database_url.as_str(), &postgres) {
                (_, Some(server)) => block_in_place(|| server.create_database())?,
                ("sqlite", None) => {
                    let file = folder.path().join(format!("{}.db", backend.name()));
                    format!("sqlite://{}", file.display())
                }
                (url, None) => url.to_owned(),
            };
            fill(&url, rows).await.context("filling the database")?;
            let mut instance: Vec<Setting> = vec![
                ("DATABASE__URL", url),
                ("SERVER__WORKERS", "0".into()),
                ("AUTH__TOKEN_TTL", "24h".into()),
                ("CACHE__BACKEND", backend.name().into()),
                (
                    "CACHE__NAMESPACE",
                    format!("{namespace}-{}", backend.name()),
                ),
            ];
            let mut pid = None;
            if backend.has_redis() {
                let server = block_in_place(Redis::start)?;
                instance.push(("CACHE__REDIS__URL", server.url()));
                pid = server.pid();
                redis.push(server);
            }
            settings.push(instance);
            pids.push(pid);
        }
        let usual = InstanceOptions {
            pace: Pace::Usual,
            mutant: None,
        };
        let fleet = Fleet::start(settings, usual, &logs(&options.output)?).await?;
        fleet.well().await?;
        let ours = fleet.addresses().into_iter().zip(pids);
        let ours = options.backends().iter().zip(ours);
        let ours = ours.map(|(backend, (address, redis))| Whereabouts {
            name: backend.name().to_owned(),
            address,
            host: address.to_string(),
            admin: Credentials::of_tests(),
            users: SEEDED,
            redis,
        });
        let theirs = options.target.iter().map(|target| Whereabouts {
            name: target.name.clone(),
            address: target.address,
            host: target.host.clone(),
            admin: options.admin.credentials(),
            users: "",
            redis: None,
        });
        let mut targets = Vec::new();
        for whereabouts in ours.chain(theirs) {
            let name = whereabouts.name.clone();
            targets.push(Target::meet(whereabouts, rows).await.context(name)?);
        }
        Ok(Self {
            targets,
            database: database(options),
            fleet,
            _redis: redis,
            _postgres: postgres,
            _folder: folder,
        })
    }

    /// Makes sure that none of ours has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        self.fleet.check()
    }
}

fn database(options: &Options) -> Option<&'static str> {
    let is_sqlite = options.database_url.starts_with("sqlite");
    let name = if is_sqlite { "SQLite" } else { "PostgreSQL" };
    (!options.backends().is_empty()).then_some(name)
}

/// Puts so many users into a database, unless they are there.
async fn fill(url: &str, users: u32) -> Result<()> {
    let config = Config::for_tests(&format!("[database]\nurl = {url:?}\n"))?;
    let database = Database::new(&config.database);
    database.migrate().await?;
    let hasher = PasswordHasher::new(&config.auth)?;
    let hash = hasher.hash("password".to_owned().into()).await?;
    let seeded = database.seed_users(Seed(1), users.into(), hash, |_| {});
    Ok(seeded.await?)
}

/// A folder for what the instances say.
fn logs(output: &Path) -> Result<PathBuf> {
    let folder = output.join("logs");
    if let Err(error) = std::fs::create_dir_all(&folder) {
        bail!("making the folder {}: {error}", folder.display());
    }
    // The instances start elsewhere.
    folder.canonicalize().context("finding the folder again")
}
