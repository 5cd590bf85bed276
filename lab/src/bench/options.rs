//! What can be asked of `alacena-lab bench`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::workload::Workload;
use crate::foreign::{self, AdminOptions};

/// So that there is room for it in pictures.
const LONGEST_NAME: usize = 16;

/// Compare the service without a cache and with each kind of cache, and with other servers
///
/// Starts the service once for each backend, as processes of their own on loopback, all with the same
/// rows, and a Redis for those that need one. Each workload is put to all of them in turn, with the
/// same requests, round after round; so what slows the machine down slows all of them. In each round a
/// target is first asked as fast as it answers, by clients who wait for their answers (closed loop),
/// then at a rate that all targets can bear, whether they have answered or not (open loop): there a
/// request's time counts from when it was due. What was measured while a target warmed up is dropped.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Exit codes: 0 measured, 1 the benchmark failed, 2 wrong usage.\n\n\
Examples:\n  \
alacena-lab bench                            # everything, about twelve minutes\n  \
alacena-lab bench --quick                    # everything, in less than a minute, and less exact\n  \
alacena-lab bench zipf cold --backend off,redis\n  \
alacena-lab bench --target exercise=http://127.0.0.1:9000 --email me@example.com")]
pub struct Options {
    /// What to ask for; everything unless given
    #[arg(value_enum, value_name = "WORKLOAD")]
    pub workloads: Vec<Workload>,

    /// The backends to compare. Others are told as a multiple of the first, or of `off`
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Backend::ALL)]
    pub backend: Vec<Backend>,

    /// Another server to compare with, which has the same routes and an admin; can be given more than
    /// once. The workload `mixed` renames its users
    #[arg(long, value_name = "NAME=http://HOST:PORT")]
    pub target: Vec<Target>,

    /// Start none of our own
    #[arg(long, requires = "target")]
    pub targets_only: bool,

    /// Who may do anything at targets.
    #[command(flatten)]
    pub admin: AdminOptions,

    /// The database: sqlite or postgres (our own, and empty), or the URL of one that nobody else uses:
    /// users are left behind in it, and an admin with a known password
    #[arg(long, value_name = "sqlite|postgres|URL", default_value = "sqlite")]
    pub database_url: String,

    /// Less of everything, to be done within a minute
    #[arg(long)]
    pub quick: bool,

    /// How many users are asked for [default: 1000; 300 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub rows: Option<u32>,

    /// How often each measurement is repeated [default: 7; 3 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: Option<u16>,

    /// How long one takes [default: 1.5s; 150ms with --quick]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub slice: Option<Duration>,

    /// How many requests are under way at most
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: u16,

    /// How many ask for one key at the same time, in `stampede`
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..=4096))]
    pub crowd: u16,

    /// How many requests a second are due in the open loop, unless it is to be half of what the
    /// slowest target answers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: Option<u32>,

    /// How many of a hundred requests are writes, in `mixed` and `warming`
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub writes: u8,

    /// Which requests: the same number makes the same
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Where to write bench.html, bench.json and what the servers say
    #[arg(long, value_name = "FOLDER", default_value = "bench")]
    pub output: PathBuf,

    /// Where to write the pictures as files too (SVG)
    #[arg(long, value_name = "FOLDER")]
    pub plots: Option<PathBuf>,
}

/// A kind of cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// None
    Off,
    /// The service's own memory
    Memory,
    /// Redis
    Redis,
    /// Memory before Redis
    Tiered,
}

impl Backend {
    const ALL: [Self; 4] = [Self::Off, Self::Memory, Self::Redis, Self::Tiered];

    /// As the configuration calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Tiered => "tiered",
        }
    }

    /// Whether it needs a Redis.
    pub(super) fn has_redis(self) -> bool {
        matches!(self, Self::Redis | Self::Tiered)
    }
}

/// A server that somebody else runs.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is called in the report.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The same as it was given.
    pub host: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, url) = text
            .split_once('=')
            .ok_or("is not of the form NAME=http://HOST:PORT")?;
        let is_plain = |c: char| c.is_alphanumeric() || "-_. ".contains(c);
        if !(1..=LONGEST_NAME).contains(&name.chars().count()) || !name.chars().all(is_plain) {
            return Err(format!(
                "the name has 1 to {LONGEST_NAME} letters, digits, blanks or one of -_."
            ));
        }
        let (host, address) = foreign::host_and_address(url)?;
        Ok(Self {
            name: name.to_owned(),
            address,
            host: host.to_owned(),
        })
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Extent {
    pub(super) rows: u32,
    pub(super) rounds: u16,
    pub(super) slice_seconds: f64,
    /// Measured before each slice, and dropped.
    pub(super) warm_up_seconds: f64,
    pub(super) connections: u16,
    pub(super) crowd: u16,
    /// Keys that a crowd asks for in a round.
    pub(super) stampedes: u16,
    pub(super) writes_percent: u8,
    pub(super) seed: u64,
}

impl Extent {
    pub(super) fn slice(&self) -> Duration {
        Duration::from_secs_f64(self.slice_seconds)
    }

    pub(super) fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up_seconds)
    }
}

impl Options {
    pub(super) fn extent(&self) -> Extent {
        let usual = |quick: f64, full: f64| if self.quick { quick } else { full };
        let slice = self
            .slice
            .map_or(usual(0.15, 1.5), |time| time.as_secs_f64());
        Extent {
            rows: self.rows.unwrap_or(if self.quick { 300 } else { 1000 }),
            rounds: self.rounds.unwrap_or(if self.quick { 3 } else { 7 }),
            slice_seconds: slice,
            warm_up_seconds: slice / 4.0,
            connections: self.connections,
            crowd: self.crowd,
            stampedes: if self.quick { 4 } else { 20 },
            writes_percent: self.writes,
            seed: self.seed,
        }
    }

    /// The backends to start.
    pub(super) fn backends(&self) -> &[Backend] {
        if self.targets_only {
            &[]
        } else {
            &self.backend
        }
    }

    /// What to ask for, each once.
    pub(super) fn workloads(&self) -> Vec<Workload> {
        let all = Workload::ALL.into_iter();
        all.filter(|workload| self.workloads.is_empty() || self.workloads.contains(workload))
            .collect()
    }

    /// What makes no sense, if something does not.
    pub(super) fn mistake(&self) -> Option<String> {
        let ours = self.backends().iter().map(|backend| backend.name());
        let theirs = self.target.iter().map(|target| target.name.as_str());
        let mut names = HashSet::new();
        let mut all = ours.chain(theirs);
        all.find(|name| !names.insert(*name))
            .map(|twice| format!("two targets are called {twice}"))
    }
}

fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if (Duration::from_millis(20)..=Duration::from_secs(600)).contains(&time) => {
            Ok(time)
        }
        _ => Err("is no time from 20ms to 10m".to_owned()),
    }
}
