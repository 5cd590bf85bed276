//! What a cache costs and gains: the service without one and with each kind, and other servers.
//!
//! ```text
//!                      ┌──▶  service, off                    each of ours on a database
//!   clients ── HTTP ───┼──▶  service, memory                 of its own, with the same rows
//!   (threads of this   ├──▶  service, redis   ──▶  Redis
//!    process)          ├──▶  service, tiered  ──▶  Redis
//!                      └──▶  another server
//! ```
//!
//! One target is asked at a time. [`measure`] says in which order, [`load`] how, [`workload`] for
//! what; [`report`] makes figures of it, [`chart`] pictures.

mod bars;
mod chart;
mod html;
mod load;
mod measure;
mod meter;
mod options;
mod progress;
mod report;
mod scene;
mod slice;
mod tables;
mod target;
mod wire;
mod workload;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use clap::Args;

pub use options::{Backend, Options, Target};
pub use workload::Workload;

use crate::cli::Outcome;
use chart::Picture;
use report::{Machine, Report};
use scene::Scene;

/// What the figures are written to.
const FILE: &str = "bench.json";

/// Runs `alacena-lab bench`.
///
/// # Errors
///
/// Something could not be started or asked, or a file could not be written.
pub async fn run(options: Options) -> Result<Outcome> {
    if let Some(mistake) = options.mistake() {
        eprintln!("alacena-lab: bench: {mistake}");
        return Ok(Outcome::WrongUsage);
    }
    if let Some(plots) = &options.plots {
        // Whoever may not write there should learn it before.
        make_folder(plots)?;
    }
    make_folder(&options.output)?;
    let (machine, began) = (Machine::this()?, (SystemTime::now(), Instant::now()));
    eprintln!("starting the servers, and filling them with users");
    let mut scene = Scene::set(&options).await?;
    let measured = measure::measure(&mut scene, &options).await?;
    let report = Report::new(&options, &scene, machine, began, measured);
    drop(scene);

    let folder = &options.output;
    let json = serde_json::to_string_pretty(&report).context("the report")?;
    write(folder, FILE, &json)?;
    // Out of the file, as whoever draws it again will: numbers may lose their last bit there.
    let report = Report::read(&json).context("reading the report back")?;
    publish(&report, folder, options.plots.as_deref())?;
    Ok(match report.failed() {
        0 => Outcome::Kept,
        _ => Outcome::Broken,
    })
}

/// Draw the report of an earlier benchmark anew, and print its tables
#[derive(Args, Clone, Debug)]
pub struct ReportOptions {
    /// The folder that `bench` wrote to, with bench.json in it
    #[arg(value_name = "FOLDER", default_value = "bench")]
    folder: PathBuf,

    /// Where to write the pictures as files too (SVG)
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

/// Runs `alacena-lab report`.
///
/// # Errors
///
/// There is no such report, it is of another format, or a file could not be written.
pub fn report(options: &ReportOptions) -> Result<Outcome> {
    let path = options.folder.join(FILE);
    let json = fs::read_to_string(&path)
        .with_context(|| format!("reading {} (`alacena-lab bench` makes one)", path.display()))?;
    let report = Report::read(&json).with_context(|| format!("reading {}", path.display()))?;
    publish(&report, &options.folder, options.plots.as_deref())?;
    Ok(Outcome::Kept)
}

/// Draws a report, and prints its tables.
fn publish(report: &Report, folder: &Path, plots: Option<&Path>) -> Result<()> {
    // Whoever does not listen need not.
    let _ = writeln!(std::io::stdout(), "{}", report.tables());
    let pictures = chart::all(report).context("drawing")?;
    write(folder, "bench.html", &html::page(report, &pictures))?;
    if let Some(plots) = plots {
        for Picture { name, svg, .. } in &pictures {
            write(plots, &format!("{name}.svg"), svg)?;
        }
    }
    let _ = writeln!(
        std::io::stdout(),
        "report and figures are in {}",
        folder.display()
    );
    Ok(())
}

/// Writes a file, in a folder that need not be there yet.
fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("making the folder {}", folder.display()))?;
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))
}
