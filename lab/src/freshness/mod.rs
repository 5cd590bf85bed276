//! Several instances under load and faults, and how stale what they answer is.
//!
//! ```text
//!   readers and writers  ── HTTP ──▶  instance 0 ── proxy ──┐
//!     (threads of this                instance 1 ── proxy ──┼──▶  Redis
//!      process)                       instance 2 ── proxy ──┘
//!                                         └───────┴──────────▶  database
//! ```
//!
//! Each instance is a process of its own, this same program, so that it can be killed like any other.
//! Its cache backend [dawdles](crate::unsteady) now and then. What clients see goes into a
//! [history](crate::history::fleet), which is judged when the run is over.

mod chart;
mod fault;
mod file;
mod load;
mod options;
mod progress;
mod report;
mod scene;
mod schedule;
mod soak;
mod tally;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};

pub use fault::{Fault, Faults};
pub use options::{Backend, Options};

use crate::cli::Outcome;
use crate::history::fleet::Moment;
use crate::traffic::{Clock, Credentials, Stage, assembled};
use load::{Load, ROWS};
use progress::Progress;
use scene::Scene;
use schedule::{Director, Played};
use soak::Soak;
use tally::Tally;

/// Runs `alacena-lab freshness`.
///
/// # Errors
///
/// Something could not be started, broken or mended, or a file could not be written.
pub async fn run(options: Options) -> Result<Outcome> {
    let faults = match options.faults() {
        Ok(faults) => faults,
        Err(message) => {
            eprintln!("alacena-lab: --faults: {message}");
            return Ok(Outcome::WrongUsage);
        }
    };
    fs::create_dir_all(&options.output)
        .with_context(|| format!("making the folder {}", options.output.display()))?;

    let mut scene = Scene::set(&options).await?;
    scene.fleet.well().await?;
    let writers = usize::from(options.writers);
    let (addresses, admin) = (scene.fleet.addresses(), Credentials::of_tests());
    let stage = Stage::prepare(addresses, &admin, Clock::start(), ROWS, writers).await?;
    let stage = Arc::new(stage);
    let load = Load::start(&stage, options.readers.into(), writers, options.rest)?;
    let progress = Progress::start(&stage, &options);
    let mut director = Director {
        scene: &mut scene,
        clock: stage.clock,
        played: Played::default(),
        soak: options.soak.map(|_| Soak::default()),
    };
    let directed = match options.duration() {
        Some(time) => director.play_for(&faults, time).await,
        None => {
            let reads = options.reads.unwrap_or_default();
            let is_enough = || stage.reads.load(Ordering::Relaxed) >= reads;
            director.play_until(&faults, is_enough).await
        }
    };
    let (played, soak) = (director.played, director.soak);
    stage.end();
    let lasted = stage.clock.now().since(Moment::default());
    let records = tokio::task::block_in_place(|| load.finish())?;
    progress.end();
    drop(scene);
    tokio::task::block_in_place(|| {
        let (history, failed) = assembled(&stage, records);
        let tally = Tally::of(&history, &failed, &played)?;
        let mut broken = report::broken(&tally, &options);
        // What was seen until then is worth having all the same.
        broken.extend(directed.err().map(|error| format!("{error:#}")));
        broken.extend(soak.iter().flat_map(Soak::broken));
        let title = report::title(&tally, &options, lasted);
        let mut report = report::report(&tally, &title, &broken);
        report.extend(soak.iter().map(Soak::report));
        println!("{report}");
        let folder = &options.output;
        fs::write(folder.join("report.md"), report).context("writing the report")?;
        file::write(&folder.join("history.csv.gz"), &history, &failed, &played)
            .context("writing the history")?;
        chart::draw(&folder.join("freshness.svg"), &tally, &title, &options).context("drawing")?;
        println!("history, picture and report are in {}", folder.display());
        Ok(if broken.is_empty() {
            Outcome::Kept
        } else {
            Outcome::Broken
        })
    })
}
