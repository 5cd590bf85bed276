//! What can be asked of `alacena-lab drill`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::scenario::{Scenario, ScenarioError};
use crate::fleet::Mutant;
use crate::foreign::{self, AdminOptions};
use crate::traffic::Credentials;

/// Break Redis in every way there is, under load, and see what the service makes of it
///
/// Starts a Redis of its own behind a proxy, and on it the service with each of the backends, beside
/// the service with the memory backend for comparison. All are asked the same at the same time; then
/// Redis is broken and mended as the scenario says. Every request is timed, every read is judged.
/// A scenario is passed if it stays within its limits.
///
/// It needs redis-server, and PostgreSQL for scenarios that break the database.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Exit codes: 0 every scenario is passed, 1 one is not or the drill failed, 2 wrong usage.\n\n\
Examples:\n  \
alacena-lab drill                                # every scenario, about four minutes\n  \
alacena-lab drill freeze flapping --backend redis\n  \
alacena-lab drill my-outage.toml                 # one of your own; config/drills has examples\n  \
alacena-lab drill --target http://127.0.0.1:8000 --proxy 127.0.0.1:6399")]
pub struct Options {
    /// Names of scenarios, or paths of files with some of your own; all that come along unless given
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<String>,

    /// List the scenarios that come along, and end
    #[arg(long)]
    pub list: bool,

    /// The backends to put to it
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Backend::Redis, Backend::Tiered], conflicts_with = "target")]
    pub backend: Vec<Backend>,

    /// A running instance of the service to put to it instead, http://HOST:PORT; once for each
    /// instance. Rows are made there, and removed again
    #[arg(long, value_name = "URL", value_parser = foreign::address, requires = "proxy")]
    pub target: Vec<SocketAddr>,

    /// Where the proxy listens that the target is to use for its Redis; once for each target
    #[arg(long, value_name = "ADDRESS", requires = "target")]
    pub proxy: Vec<SocketAddr>,

    /// The same service with the memory backend, to compare the target's speed with
    #[arg(long, value_name = "URL", value_parser = foreign::address, requires = "target")]
    pub reference: Option<SocketAddr>,

    /// Who may do anything at targets.
    #[command(flatten)]
    pub admin: AdminOptions,

    /// How many requests each side is sent in a second
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub rate: u32,

    /// How many of a hundred requests are writes
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub writes: u8,

    /// Play everything in so many times the time it would take
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    pub pace: f64,

    /// Judge what must hold on any machine, however busy: failed requests, stale reads, lost writes.
    /// How fast it was is told all the same
    #[arg(long)]
    pub ignore_speed: bool,

    /// Where to write drill.html, drill.json and the instances' logs
    #[arg(long, value_name = "FOLDER", default_value = "drill")]
    pub output: PathBuf,

    /// Run a service that is broken in this way, to see that it is noticed
    #[arg(long, value_enum, hide = true)]
    pub mutant: Option<Mutant>,
}

/// A backend to put to the drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// Redis, and memory while Redis is away
    Redis,
    /// Memory before Redis
    Tiered,
}

impl Backend {
    /// As the configuration calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Tiered => "tiered",
        }
    }
}

impl Options {
    /// The scenarios to play, in the time that they are given.
    ///
    /// # Errors
    /// One does not exist, or makes no sense.
    pub(super) fn scenarios(&self) -> Result<Vec<Scenario>, ScenarioError> {
        let scenarios: Vec<Scenario> = if self.scenarios.is_empty() {
            Scenario::built_in()?
        } else {
            let names = self.scenarios.iter();
            names
                .map(|name| Scenario::find(name))
                .collect::<Result<_, _>>()?
        };
        let mut names = HashSet::new();
        if let Some(twice) = scenarios
            .iter()
            .find(|scenario| !names.insert(&scenario.name))
        {
            let why = "named twice, or two files of this name".to_owned();
            return Err(ScenarioError::Invalid(twice.name.clone(), why));
        }
        let paced = scenarios.into_iter();
        Ok(paced.map(|scenario| scenario.at_pace(self.pace)).collect())
    }

    /// Why a scenario cannot be played, if so.
    pub(super) fn obstacle(&self, scenario: &Scenario) -> Option<String> {
        if self.target.is_empty() {
            return None;
        }
        let (asked, there) = (usize::from(scenario.instances), self.target.len());
        if scenario.needs_postgres() {
            Some("the target's database is left alone".to_owned())
        } else if scenario.from_the_start {
            Some("the target runs already".to_owned())
        } else if asked > there {
            Some(format!(
                "it takes {asked} instances, and --target names {there}"
            ))
        } else {
            None
        }
    }

    /// Who makes the rows.
    pub(super) fn admin(&self) -> Credentials {
        if self.target.is_empty() {
            return Credentials::of_tests();
        }
        self.admin.credentials()
    }
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if (0.05..=20.0).contains(&factor) => Ok(factor),
        _ => Err("is no number from 0.05 to 20".to_owned()),
    }
}
