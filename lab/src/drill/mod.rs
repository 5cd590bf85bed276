//! Redis broken in every way there is, under load, and what the service makes of it.
//!
//! ```text
//!                      ┌──▶  service, redis   ──┐
//!   clients ── HTTP ───┼──▶  service, tiered  ──┼── proxy ──▶  Redis        each on a database
//!   (threads of this   └──▶  service, memory    └── (one for each            of its own
//!    process)                the reference           instance number)
//! ```
//!
//! All sides are asked as much, at the same time, on the same machine; so what slows the machine
//! down slows all of them. The reference has no Redis, and tells how fast the service is when nothing
//! is broken.

mod chart;
mod html;
mod live;
mod load;
mod options;
mod outcome;
mod play;
mod report;
mod samples;
mod scenario;
mod scene;
mod watch;

use std::fs;
use std::io::Write;

use anyhow::{Context, Result};

pub use options::{Backend, Options};
pub use scenario::{Action, Limits, Network, Scenario, ScenarioError, ToRedis};

use crate::cli::Outcome;
use report::{Entry, Report};

/// Runs `alacena-lab drill`.
///
/// # Errors
///
/// Something could not be started, broken or mended, or a file could not be written.
pub async fn run(options: Options) -> Result<Outcome> {
    if options.list {
        for scenario in Scenario::built_in()? {
            println!("{scenario:<14} {}", scenario.about);
        }
        return Ok(Outcome::Kept);
    }
    let scenarios = match options.scenarios() {
        Ok(scenarios) => scenarios,
        Err(error) => return Ok(wrong_usage(&error.to_string())),
    };
    if options.target.len() != options.proxy.len() {
        return Ok(wrong_usage(
            "--target and --proxy go together, one for each instance",
        ));
    }
    fs::create_dir_all(&options.output)
        .with_context(|| format!("making the folder {}", options.output.display()))?;
    if !options.target.is_empty() {
        report::invite(&options);
    }

    let mut report = Report::new(&options);
    for scenario in scenarios {
        let entry = match options.obstacle(&scenario) {
            Some(why) => Entry::left_out(&scenario, why),
            None => {
                let played = play::play(&options, &scenario).await;
                let played = played.with_context(|| format!("playing {scenario}"));
                Entry::played(&scenario, played)
            }
        };
        eprintln!("{}", entry.line());
        report.scenarios.push(entry);
    }
    let folder = &options.output;
    let json = serde_json::to_string_pretty(&report).context("the report")?;
    fs::write(folder.join("drill.json"), json).context("writing drill.json")?;
    let page = html::page(&report).context("drawing")?;
    fs::write(folder.join("drill.html"), page).context("writing drill.html")?;
    let folder = folder.display();
    // Whoever does not listen need not.
    let _ = writeln!(
        std::io::stdout(),
        "{}\nreport and figures are in {folder}",
        report.table()
    );
    Ok(if report.is_passed() {
        Outcome::Kept
    } else {
        Outcome::Broken
    })
}

fn wrong_usage(message: &str) -> Outcome {
    eprintln!("alacena-lab: drill: {message}");
    Outcome::WrongUsage
}
