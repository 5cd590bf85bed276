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
mod target;
mod wire;
mod workload;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};

pub use options::{Backend, Options, Target};
pub use workload::Workload;

use crate::cli::Outcome;
use chart::Picture;
use report::{Machine, Report};
use scene::Scene;

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
    for folder in [Some(&options.output), options.plots.as_ref()]
        .into_iter()
        .flatten()
    {
        fs::create_dir_all(folder)
            .with_context(|| format!("making the folder {}", folder.display()))?;
    }
    let (machine, began) = (Machine::this()?, (SystemTime::now(), Instant::now()));
    let mut scene = Scene::set(&options).await?;
    let measured = measure::measure(&mut scene, &options).await?;
    let report = Report::new(&options, &scene, machine, began, measured);
    drop(scene);

    let pictures = chart::all(&report).context("drawing")?;
    let folder = &options.output;
    let json = serde_json::to_string_pretty(&report).context("the report")?;
    write(folder, "bench.json", &json)?;
    write(folder, "bench.html", &html::page(&report, &pictures))?;
    if let Some(plots) = &options.plots {
        for Picture { name, svg, .. } in &pictures {
            write(plots, &format!("{name}.svg"), svg)?;
        }
    }
    // Whoever does not listen need not.
    let _ = writeln!(
        std::io::stdout(),
        "{}\nreport and figures are in {}",
        report.tables(),
        folder.display()
    );
    Ok(match report.failed() {
        0 => Outcome::Kept,
        _ => Outcome::Broken,
    })
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}
