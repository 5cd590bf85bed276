//! The servers of a scenario, the instances on them, and the means to break them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::load::ROWS;
use super::options::Options;
use super::samples::Samples;
use super::scenario::{Action, Network, Scenario, ToRedis};
use super::watch::{State, Watch};
use crate::fleet::{Fleet, InstanceOptions, Pace, Setting};
use crate::proxy::{Direction, Fault, Proxy};
use crate::servers::{Postgres, Redis, RedisSnapshot};
use crate::traffic::{Clock, Stage};

/// The side that the others are compared with.
pub(super) const REFERENCE: &str = "memory";

/// How often it is looked whether all is well.
const AGAIN: Duration = Duration::from_millis(20);

/// How long a target may take to use the Redis that it is offered.
const PATIENCE: Duration = Duration::from_secs(60);

/// The service with one of the backends, and what its clients know.
pub(super) struct Side {
    /// The backend, or `target`.
    pub(super) name: &'static str,
    pub(super) stage: Arc<Stage>,
    pub(super) samples: Arc<Samples>,
    pub(super) watches: Vec<Watch>,
    /// Unless it is somebody else's.
    fleet: Option<Fleet>,
}

impl Side {
    pub(super) fn is_reference(&self) -> bool {
        self.name == REFERENCE
    }

    /// Makes sure that no instance has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        self.fleet.as_mut().map_or(Ok(()), Fleet::check)
    }

    /// Leaves somebody else's service as it was found.
    pub(super) async fn tidy(&self) -> Result<()> {
        match self.fleet {
            Some(_) => Ok(()),
            None => self.stage.remove_rows().await,
        }
    }
}

/// A side before it has rows.
struct Cast {
    name: &'static str,
    addresses: Vec<SocketAddr>,
    watches: Vec<Watch>,
    fleet: Option<Fleet>,
}

fn are_well(watches: &[Watch]) -> bool {
    let mut courses = watches.iter().map(Watch::course);
    courses.all(|course| matches!(course.last(), Some((_, State::Well))))
}

/// Everything that a scenario is played on. What comes first ends first.
pub(super) struct Scene {
    /// Those that are put to it, and then the reference, if there is one.
    pub(super) sides: Vec<Side>,
    servers: Servers,
}

struct Servers {
    redis: Redis,
    /// What it held when the scenario began.
    old: Option<RedisSnapshot>,
    /// Each instance's way to Redis.
    ways: Vec<Proxy>,
    /// Which of them is broken, if not all.
    only: Option<usize>,
    database: Option<Database>,
    folder: TempDir,
}

/// A PostgreSQL that can be cut off.
struct Database {
    way: Proxy,
    server: Postgres,
}

impl Scene {
    /// Starts all that a scenario needs, and breaks it if it is broken from the start.
    pub(super) async fn set(options: &Options, scenario: &Scenario, clock: Clock) -> Result<Self> {
        let mut servers = Servers::start(options, scenario).await?;
        if scenario.from_the_start {
            servers.act(&scenario.breaks).await?;
        }
        let mut sides = Vec::new();
        if options.target.is_empty() {
            let backends = options.backend.iter().map(|backend| backend.name());
            for name in backends.chain([REFERENCE]) {
                let fleet = servers.instances(name, options, scenario).await?;
                sides.push((name, fleet.addresses(), Some(fleet)));
            }
        } else {
            let instances = &options.target[..scenario.instances.into()];
            sides.push(("target", instances.to_vec(), None));
            let reference = options.reference.map(|address| vec![address]);
            sides.extend(reference.map(|addresses| (REFERENCE, addresses, None)));
        }
        let sides: Vec<Cast> = sides
            .into_iter()
            .map(|(name, addresses, fleet)| {
                let watch = |&address: &SocketAddr| Watch::start(address, clock);
                let watches = addresses.iter().map(watch).collect();
                Cast {
                    name,
                    addresses,
                    watches,
                    fleet,
                }
            })
            .collect();
        if !scenario.from_the_start {
            servers.well(&sides).await?;
        }
        let admin = options.admin();
        let prepared = sides.into_iter().map(async |cast| {
            let name = cast.name;
            let stage = Stage::prepare(cast.addresses, &admin, clock, ROWS, 0);
            let stage = stage.await.with_context(|| format!("preparing {name}"))?;
            Ok::<_, anyhow::Error>(Side {
                name,
                stage: Arc::new(stage),
                samples: Arc::default(),
                watches: cast.watches,
                fleet: cast.fleet,
            })
        });
        let sides = futures_util::future::try_join_all(prepared).await?;
        Ok(Self { sides, servers })
    }

    /// Waits until every instance is well.
    pub(super) async fn are_well(&self) {
        while !self.sides.iter().all(|side| are_well(&side.watches)) {
            sleep(AGAIN).await;
        }
    }

    /// Keeps what Redis holds, for a scenario in which it comes back with that.
    pub(super) fn keep(&mut self) -> Result<()> {
        let kept = block_in_place(|| self.servers.redis.snapshot());
        self.servers.old = Some(kept.context("keeping what Redis holds")?);
        Ok(())
    }

    /// Does something to the servers.
    pub(super) async fn act(&mut self, actions: &[Action]) -> Result<()> {
        self.servers.act(actions).await
    }
}

impl Servers {
    async fn start(options: &Options, scenario: &Scenario) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("alacena-drill-").tempdir();
        let folder = folder.context("making a folder")?;
        let redis = block_in_place(Redis::start)?;
        let mut ways = Vec::new();
        for number in 0..usize::from(scenario.instances) {
            let way = match options.proxy.get(number) {
                Some(&address) => Proxy::start_at(address, redis.address()).await,
                None => Proxy::start(redis.address()).await,
            };
            ways.push(way.context("starting a proxy")?);
        }
        let database = if scenario.needs_postgres() {
            let server = block_in_place(Postgres::start)?;
            let address = ([127, 0, 0, 1], server.port()).into();
            let way = Proxy::start(address).await.context("starting a proxy")?;
            Some(Database { way, server })
        } else {
            None
        };
        Ok(Self {
            redis,
            old: None,
            ways,
            only: scenario.only.map(usize::from),
            database,
            folder,
        })
    }

    /// The service with a backend, on a database of its own.
    async fn instances(
        &self,
        backend: &'static str,
        options: &Options,
        scenario: &Scenario,
    ) -> Result<Fleet> {
        let database = match &self.database {
            Some(Database { way, server }) => {
                let url = block_in_place(|| server.create_database())?;
                let (ours, theirs) = (way.address().port(), server.port());
                url.replace(&format!(":{theirs}/"), &format!(":{ours}/"))
            }
            None => {
                let file = self.folder.path().join(format!("{backend}.db"));
                format!("sqlite://{}", file.display())
            }
        };
        let settings = self.ways.iter().map(|way| -> Vec<Setting> {
            vec![
                ("DATABASE__URL", database.clone()),
                // What was acknowledged outlives a killed process, if not a power cut.
                ("DATABASE__SQLITE_SYNCHRONOUS", "normal".into()),
                ("AUTH__TOKEN_TTL", "24h".into()),
                ("CACHE__BACKEND", backend.into()),
                ("CACHE__NAMESPACE", format!("drill-{backend}")),
                ("CACHE__REDIS__URL", format!("redis://{}", way.address())),
            ]
        });
        let logs = logs(&options.output, scenario, backend)?;
        let instance = InstanceOptions {
            pace: Pace::Usual,
            mutant: options.mutant.filter(|_| backend != REFERENCE),
        };
        Fleet::start(settings.collect(), instance, &logs).await
    }

    /// Waits until every instance is well, and uses our Redis.
    async fn well(&self, sides: &[Cast]) -> Result<()> {
        let all_well = async {
            let is_used = |way: &Proxy| way.traffic().to_client > 0;
            while !(sides.iter().all(|side| are_well(&side.watches))
                && self.ways.iter().all(is_used))
            {
                sleep(AGAIN).await;
            }
        };
        if tokio::time::timeout(PATIENCE, all_well).await.is_ok() {
            return Ok(());
        }
        let mut whys = Vec::new();
        for side in sides {
            for (number, watch) in side.watches.iter().enumerate() {
                match watch.course().pop() {
                    Some((_, State::Well)) => {}
                    last => {
                        let state = last.map(|(_, state)| state);
                        whys.push(format!("{} {number} is {state:?}", side.name));
                    }
                }
            }
        }
        for way in &self.ways {
            if way.traffic().to_client == 0 {
                whys.push(format!("nobody uses the Redis at {}", way.address()));
            }
        }
        bail!("not all is well after {PATIENCE:?}: {}", whys.join("; "))
    }

    async fn act(&mut self, actions: &[Action]) -> Result<()> {
        for action in actions {
            match action {
                Action::Redis(what) => self.redis(*what)?,
                Action::Network(network) => {
                    let ways = self.ways.iter().enumerate();
                    for (_, way) in ways.filter(|(n, _)| self.only.is_none_or(|only| only == *n)) {
                        set(way, *network);
                    }
                }
                Action::Database(network) => {
                    let database = self.database.as_ref();
                    set(
                        &database.context("there is a database to cut off")?.way,
                        *network,
                    );
                }
                Action::Command(words) => {
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    block_in_place(|| self.redis.command(&words))
                        .with_context(|| format!("sending Redis {words:?}"))?;
                }
                Action::Wait(time) => sleep(*time).await,
            }
        }
        Ok(())
    }

    fn redis(&mut self, what: ToRedis) -> Result<()> {
        block_in_place(|| match what {
            ToRedis::Kill => self.redis.kill(),
            ToRedis::Start => self.redis.start_again(),
            ToRedis::StartOld => match &self.old {
                Some(old) => self.redis.start_from(old),
                None => self.redis.start_again(),
            },
            ToRedis::Freeze => self.redis.freeze(),
            ToRedis::Thaw => self.redis.thaw(),
        })?;
        Ok(())
    }
}

fn set(way: &Proxy, network: Network) {
    let fault = network.fault();
    // Bytes that mean nothing are answers; a server that got some would hang up.
    match fault {
        Fault::Garbage => {
            way.set(Direction::ToServer, Fault::Pass);
            way.set(Direction::ToClient, fault);
        }
        _ => way.set(Direction::Both, fault),
    }
}

/// A fresh folder for what the instances of a side say.
fn logs(output: &Path, scenario: &Scenario, side: &str) -> Result<std::path::PathBuf> {
    let folder = output.join("logs").join(&scenario.name).join(side);
    let made = match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(&folder),
    };
    made.with_context(|| format!("making the folder {}", folder.display()))?;
    // The instances start elsewhere.
    folder.canonicalize().context("finding the folder again")
}
