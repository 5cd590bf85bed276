//! One instance of the service, as a process of its own that can be killed.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use alacena::app::Application;
use alacena::cache::CacheBackend;
use alacena::config::{self, Location, Profile};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::staged::{Fills, Staged};
use crate::unsteady::{Hears, Unsteady};

/// How an instance is run. Its configuration is in its environment, on top of the profile for tests.
#[derive(Args, Clone, Copy, Debug)]
pub struct InstanceOptions {
    /// How it goes about its work
    #[arg(long, value_enum)]
    pub pace: Pace,

    /// Break it in this way
    #[arg(long, value_enum)]
    pub mutant: Option<Mutant>,
}

/// How an instance goes about its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pace {
    /// As it does everywhere.
    Usual,
    /// It [dawdles](crate::unsteady) now and then where that is dangerous.
    Dawdling,
}

/// A service that breaks its promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mutant {
    /// Instances do not learn of each other's writes
    IgnoresTheLog,
    /// What was loaded is stored, whatever was written meanwhile
    FillsRegardless,
    /// Nobody tells the cache of writes
    IsNeverTold,
}

impl InstanceOptions {
    /// The same on a command line.
    pub(super) fn arguments(self) -> Vec<String> {
        let mut arguments = vec![argument("pace", &self.pace)];
        arguments.extend(self.mutant.map(|mutant| argument("mutant", &mutant)));
        arguments
    }
}

fn argument(option: &str, value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    let name = value.as_ref().map_or("", |value| value.get_name());
    format!("--{option}={name}")
}

/// Serves until standard input ends: so it ends with whoever started it, however that may end.
///
/// # Errors
///
/// As [`Application::build`], or where the configuration makes no sense.
pub async fn serve(options: InstanceOptions) -> Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_timestamp_millis()
        .init();
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let location = Location {
        profile: Profile::named("test"),
        file: None,
    };
    let config = config::load(&location, std::env::vars_os()).context("the configuration")?;
    let wrap = |backend: Arc<dyn CacheBackend>| -> Arc<dyn CacheBackend> {
        let fills_regardless = || Staged::with(backend.clone(), Fills::Regardless, Duration::ZERO);
        match (options.pace, options.mutant) {
            (Pace::Usual, None) => backend,
            (Pace::Usual, Some(Mutant::FillsRegardless)) => fills_regardless(),
            (Pace::Dawdling, None) => Unsteady::new(backend, Hears::Everything),
            (Pace::Dawdling, Some(Mutant::FillsRegardless)) => {
                Unsteady::new(fills_regardless(), Hears::Everything)
            }
            (_, Some(Mutant::IgnoresTheLog)) => Unsteady::new(backend, Hears::ItsOwn),
            (_, Some(Mutant::IsNeverTold)) => Unsteady::new(backend, Hears::Nothing),
        }
    };
    let application = Application::build_with(&config, wrap).await?;
    println!("listening on http://{}", application.address());
    application.run().await
}
