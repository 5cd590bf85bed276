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
mod client;
mod fault;
mod file;
mod fleet;
mod instance;
mod load;
mod options;
mod progress;
mod record;
mod report;
mod scene;
mod schedule;
mod stage;
mod tally;
mod thing;
mod visitor;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};

pub use fault::{Fault, Faults};
pub use instance::{InstanceOptions, serve};
pub use options::{Backend, Mutant, Options};

use crate::cli::Outcome;
use crate::history::fleet::{History, Moment};
use load::Load;
use progress::Progress;
use record::{Failed, Record};
use scene::Scene;
use schedule::{Director, Played};
use stage::{Stage, first_value};
use tally::Tally;
use thing::Thing;

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
    scene.well().await?;
    let writers = usize::from(options.writers);
    let stage = Arc::new(Stage::prepare(scene.fleet.addresses(), writers).await?);
    let load = Load::start(&stage, options.readers.into(), writers, options.rest)?;
    let progress = Progress::start(&stage, &options);
    let mut director = Director {
        scene: &mut scene,
        clock: stage.clock,
        played: Played::default(),
    };
    let directed = match options.duration() {
        Some(time) => director.play_for(&faults, time).await,
        None => {
            let reads = options.reads.unwrap_or_default();
            let is_enough = || stage.reads.load(Ordering::Relaxed) >= reads;
            director.play_until(&faults, is_enough).await
        }
    };
    let played = director.played;
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
        let title = report::title(&tally, &options, lasted);
        let report = report::report(&tally, &title, &broken);
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

/// What all clients saw, as one.
fn assembled(stage: &Stage, records: Vec<Record>) -> (History<Thing, u32>, Vec<Failed>) {
    let mut history = History::new();
    for (index, number) in (0..stage.users.len()).zip(0..) {
        history.initial(Thing::User(number), first_value(index));
    }
    for (index, number) in (0..stage.products.len()).zip(0..) {
        history.initial(Thing::Product(number), first_value(index));
    }
    let mut failed = Vec::new();
    for record in records {
        for (thing, value) in record.initial {
            history.initial(thing, value);
        }
        for (thing, write) in record.writes {
            history.write(thing, write);
        }
        history.reads(record.reads);
        failed.extend(record.failed);
    }
    (history, failed)
}
