//! One instance of the service, as a process of its own that can be killed.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use alacena::app::Application;
use alacena::cache::CacheBackend;
use alacena::config::{self, Location, Profile};
use anyhow::{Context, Result};
use clap::Args;

use super::options::Mutant;
use crate::staged::{Fills, Staged};
use crate::unsteady::{Entries, Unsteady};

/// How an instance is run. Its configuration is in its environment, on top of the profile for tests.
#[derive(Args, Clone, Debug)]
pub struct InstanceOptions {
    /// Break it in this way
    #[arg(long, value_enum)]
    pub mutant: Option<Mutant>,
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
        match options.mutant {
            None => Unsteady::new(backend, Entries::Applied),
            Some(Mutant::IgnoresTheLog) => Unsteady::new(backend, Entries::Ignored),
            Some(Mutant::FillsRegardless) => {
                let staged = Staged::with(backend, Fills::Regardless, Duration::ZERO);
                Unsteady::new(staged, Entries::Applied)
            }
        }
    };
    let application = Application::build_with(&config, wrap).await?;
    println!("listening on http://{}", application.address());
    application.run().await
}
