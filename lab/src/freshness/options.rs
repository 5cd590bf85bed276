//! What can be asked of `alacena-lab freshness`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::fault::{Fault, Faults, Means};
use super::scene::redis_address;
use crate::fleet::Mutant;

/// Measure how fresh the answers of several instances are, while things go wrong
///
/// Starts instances of the service on one database and one Redis, lets clients read and write at all
/// of them, plays faults, and judges every read. Broken are the guarantees if an answer is older than
/// a write which the instance that answered had acknowledged before, or older than the position
/// (Alacena-Position) that the reader sent; if a request fails and its instance was not just killed;
/// or if what another instance wrote goes unnoticed for longer than the limits allow.
///
/// Everything it starts is its own and ends with it. It needs redis-server, and PostgreSQL for
/// --database postgres.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Faults: redis-killed, redis-frozen, redis-old-data, redis-partitioned, redis-evicting, redis-flushed,\n\
instance-killed. They are played in this order, each followed by a time of calm.\n\n\
Exit codes: 0 every guarantee is kept, 1 one is broken or the run failed, 2 wrong usage.\n\n\
Examples:\n  \
alacena-lab freshness                                  # a minute, every fault\n  \
alacena-lab freshness --reads 10000000 --database postgres\n  \
alacena-lab freshness --soak 1h                        # every fault, and nothing may grow\n  \
alacena-lab freshness --backend memory --faults instance-killed --seconds 20")]
pub struct Options {
    /// How many instances of the service to run
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub instances: u8,

    /// The database: sqlite or postgres (each one's own, and empty), or the URL of one. Rows are left
    /// behind in that
    #[arg(long, value_name = "sqlite|postgres|URL", default_value = "sqlite")]
    pub database: String,

    /// A Redis to use instead of one's own, redis://[user:password@]host:port. It is left alone but
    /// for keys of a namespace of their own, so most faults cannot be played on it
    #[arg(long, value_name = "URL", value_parser = with_address)]
    pub redis_url: Option<String>,

    /// The instances' cache backend
    #[arg(long, value_enum, default_value_t = Backend::Tiered)]
    pub backend: Backend,

    /// What goes wrong: all that can be played, none, or names with commas between them
    #[arg(long, value_name = "all|none|NAMES", default_value = "all")]
    pub faults: Faults,

    /// How long to run [default: 60, unless --reads is given]. The faults share the time
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,

    /// End after so many reads instead, but not before each fault has been played once
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    pub reads: Option<u64>,

    /// Run for so long instead (as in 1h), and see that memory, descriptors, threads and tasks of the
    /// instances and the keys in Redis stay flat. Instances are not killed then unless --faults says so
    #[arg(long, value_name = "TIME", conflicts_with_all = ["seconds", "reads"], value_parser = humantime::parse_duration)]
    pub soak: Option<Duration>,

    /// How many readers ask at once, over one connection to each instance
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..))]
    pub readers: u16,

    /// How many writers there are
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub writers: u16,

    /// The longest that a writer rests between two writes
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = humantime::parse_duration)]
    pub rest: Duration,

    /// While all is well, 99 of 100 reads at an instance within a second of a write at another may
    /// miss it for no longer than this
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = humantime::parse_duration)]
    pub limit_p99: Duration,

    /// While all is well, no write may be missed at another instance for longer than this
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = humantime::parse_duration)]
    pub limit_max: Duration,

    /// The same while something goes wrong
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = humantime::parse_duration)]
    pub limit_fault: Duration,

    /// Where to write history.csv.gz, freshness.svg and report.md
    #[arg(long, value_name = "FOLDER", default_value = "freshness")]
    pub output: PathBuf,

    /// Run a service that is broken in this way, to see that it is noticed
    #[arg(long, value_enum, hide = true)]
    pub mutant: Option<Mutant>,
}

/// The instances' cache backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// Memory before Redis
    Tiered,
    /// Redis, and memory while Redis is away
    Redis,
    /// Each instance's own memory; no Redis
    Memory,
}

impl Backend {
    /// As the configuration calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiered => "tiered",
            Self::Redis => "redis",
            Self::Memory => "memory",
        }
    }
}

impl Options {
    /// The faults to play.
    ///
    /// # Errors
    ///
    /// One was named that cannot be played on what there is; the message says why.
    pub fn faults(&self) -> Result<Vec<Fault>, String> {
        let obstacle = |fault: Fault| match fault.means() {
            Means::Instances => None,
            _ if self.backend == Backend::Memory => Some("--backend memory has no Redis"),
            Means::OwnRedis if self.redis_url.is_some() => {
                Some("the Redis of --redis-url is left alone")
            }
            Means::OwnRedis | Means::Proxy => None,
        };
        match &self.faults {
            Faults::All => {
                // A process that is new shows no growth.
                let is_wanted = |fault| self.soak.is_none() || fault != Fault::InstanceKilled;
                let all = Fault::ALL.into_iter().filter(|&fault| is_wanted(fault));
                Ok(all.filter(|&fault| obstacle(fault).is_none()).collect())
            }
            Faults::Named(named) => {
                let refused = |&fault: &Fault| Some((fault, obstacle(fault)?));
                match named.iter().find_map(refused) {
                    Some((fault, why)) => Err(format!("{fault} cannot be played: {why}")),
                    None => Ok(named.clone()),
                }
            }
        }
    }

    /// How long to run, if that is what ends the run.
    pub fn duration(&self) -> Option<Duration> {
        match (self.soak, self.seconds, self.reads) {
            (Some(time), ..) => Some(time),
            (None, Some(seconds), _) => Some(Duration::from_secs(seconds)),
            (None, None, None) => Some(Duration::from_secs(60)),
            (None, None, Some(_)) => None,
        }
    }
}

fn with_address(url: &str) -> Result<String, String> {
    redis_address(url)
        .map(|_| url.to_owned())
        .ok_or_else(|| "is not of the form redis://[user:password@]host:port[/number]".to_owned())
}
