//! The command line: what can be asked of the laboratory, and how it answers.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::fleet::{self, InstanceOptions};
use crate::freshness;
use crate::{bench, drill};

/// Measures Alacena and breaks it, from outside.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 done and all is well, 1 failed or a guarantee is broken, 2 wrong usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Options),
    Report(bench::ReportOptions),
    Freshness(freshness::Options),
    Drill(drill::Options),
    /// One instance of the service, for the laboratory's own use
    #[command(hide = true)]
    Instance(InstanceOptions),
}

/// How a command ended that could be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Kept,
    /// A guarantee is broken.
    Broken,
    /// What was asked for makes no sense.
    WrongUsage,
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(Outcome::Kept) => ExitCode::SUCCESS,
        Ok(Outcome::Broken) => ExitCode::from(1),
        Ok(Outcome::WrongUsage) => ExitCode::from(2),
        Err(error) => {
            eprintln!("alacena-lab: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn execute(command: Command) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match command {
        Command::Bench(options) => runtime.block_on(bench::run(options)),
        Command::Report(options) => bench::report(&options),
        Command::Drill(options) => runtime.block_on(drill::run(options)),
        Command::Freshness(options) => runtime.block_on(freshness::run(options)),
        Command::Instance(options) => {
            runtime.block_on(fleet::serve(options))?;
            Ok(Outcome::Kept)
        }
    }
}
