//! The rounds: who is asked for what, in which order, and what was measured.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::block_in_place;

use super::load;
use super::meter::Cost;
use super::options::{Extent, Options};
use super::progress::Progress;
use super::scene::Scene;
use super::slice::Slice;
use super::target::Target;
use super::workload::{Ask, Choice, Workload};

/// What part of what the slowest target answers is asked for in the open loop.
const PART: f64 = 0.5;

/// How much longer than a slice it takes to see a cache fill.
const WARMING: u32 = 4;

/// One measurement: what became of its requests, and what they took.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) slice: Slice,
    pub(super) cost: Cost,
}

/// All measurements of a target with a workload, a round each.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// As fast as it answers.
    pub(super) closed: Vec<Sample>,
    /// At a rate.
    pub(super) open: Vec<Sample>,
}

/// What was measured with a workload.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) workload: Workload,
    /// How many requests a second are due in the open loop.
    pub(super) rate: Option<f64>,
    /// In the order of the targets; or why it could not be put to one.
    pub(super) targets: Vec<Result<Series, String>>,
}

impl Measured {
    fn is_put_to(&self, target: usize) -> bool {
        self.targets[target].is_ok()
    }
}

/// Puts all workloads to all targets, in turn.
///
/// # Errors
/// A server of ours ended, or cannot be asked at all.
pub(super) async fn measure(scene: &mut Scene, options: &Options) -> Result<Vec<Measured>> {
    let bench = Bench {
        extent: options.extent(),
        choice: Choice::new(&options.extent()),
    };
    let workloads = options.workloads();
    let progress = Progress::start(bench.planned(&workloads, scene.targets.len()))?;
    let mut all = Vec::new();
    for workload in workloads {
        all.push(
            bench
                .acquaint(scene, workload, options.rate, &progress)
                .await?,
        );
    }
    for round in 0..usize::from(bench.extent.rounds) {
        for measured in &mut all {
            // Nobody is always the first.
            let count = scene.targets.len();
            for target in (0..count).map(|turn| (round + turn) % count) {
                if !measured.is_put_to(target) {
                    continue;
                }
                let (workload, name) = (measured.workload, scene.targets[target].name.clone());
                progress.tell(&format!("{name}, {}, round {}", workload.name(), round + 1));
                let taken = bench
                    .round(
                        &mut scene.targets[target],
                        measured.workload,
                        round,
                        measured.rate,
                    )
                    .await
                    .with_context(|| format!("{} of {name}", workload.name()))?;
                if let Ok(series) = &mut measured.targets[target] {
                    series.closed.extend(taken.closed);
                    series.open.extend(taken.open);
                }
                progress.advance(bench.planned_of(workload));
                scene.check()?;
            }
        }
    }
    progress.end();
    Ok(all)
}

struct Bench {
    extent: Extent,
    choice: Choice,
}

impl Bench {
    /// How long all of it will take, about.
    fn planned(&self, workloads: &[Workload], targets: usize) -> Duration {
        let rounds = u32::from(self.extent.rounds);
        let each = workloads
            .iter()
            .map(|&workload| self.planned_of(workload) * rounds + self.planned_of_trial(workload));
        each.sum::<Duration>() * u32::try_from(targets).unwrap_or(u32::MAX)
    }

    /// How long a round of one target takes, about.
    fn planned_of(&self, workload: Workload) -> Duration {
        let (slice, warm_up) = (self.extent.slice(), self.extent.warm_up());
        let every_row = Duration::from_micros(200) * self.extent.rows;
        match workload {
            Workload::Cold => every_row,
            Workload::Stampede => Duration::from_millis(40) * self.extent.stampedes.into(),
            Workload::Warming => slice * WARMING,
            _ => every_row + warm_up + slice * 2,
        }
    }

    fn planned_of_trial(&self, workload: Workload) -> Duration {
        if workload.has_open_loop() {
            self.extent.slice()
        } else {
            Duration::ZERO
        }
    }

    /// Finds out who can be asked for it, and how fast.
    async fn acquaint(
        &self,
        scene: &mut Scene,
        workload: Workload,
        rate: Option<u32>,
        progress: &Progress,
    ) -> Result<Measured> {
        progress.tell(&format!("{}, trying", workload.name()));
        let mut slowest = f64::INFINITY;
        let mut targets = Vec::new();
        for target in &mut scene.targets {
            let tried = target.try_out(workload, &self.choice).await;
            if tried.is_ok() && workload.has_open_loop() {
                let lanes = self.lanes(workload, usize::MAX);
                let trial =
                    block_in_place(|| load::closed(&target.site, lanes, self.extent.slice()));
                let trial = trial.with_context(|| format!("trying {}", target.name))?;
                slowest = slowest.min(trial.throughput());
            }
            progress.advance(self.planned_of_trial(workload));
            targets.push(match tried {
                Ok(()) => Ok(Series::default()),
                Err(why) => Err(format!("{why:#}")),
            });
        }
        let half = (slowest * PART).max(1.0).round();
        let rate = rate.map_or(half, f64::from);
        Ok(Measured {
            workload,
            rate: (workload.has_open_loop() && rate.is_finite()).then_some(rate),
            targets,
        })
    }

    async fn round(
        &self,
        target: &mut Target,
        workload: Workload,
        round: usize,
        rate: Option<f64>,
    ) -> Result<Series> {
        let mut series = Series::default();
        if workload.begins_empty() {
            target.clear("*").await.context("clearing the cache")?;
        } else {
            self.warm_up(target, workload)?;
        }
        match workload {
            Workload::Stampede => series.closed.push(self.stampedes(target, round).await?),
            Workload::Cold => {
                let asks = self.choice.every_row(round).into_iter().map(Ask::User);
                let lanes = load::dealt(asks, self.extent.connections.into());
                let site = target.site.clone();
                let all = || load::closed(&site, lanes, Duration::MAX);
                series.closed.push(measured(target, all).await?);
            }
            _ if workload.has_closed_loop() => {
                let lanes = self.lanes(workload, round);
                let site = target.site.clone();
                let all = || load::closed(&site, lanes, self.extent.slice());
                series.closed.push(measured(target, all).await?);
            }
            _ => {}
        }
        if let Some(rate) = rate {
            let stream = self.choice.stream(workload, round, usize::MAX);
            let time = match workload {
                Workload::Warming => self.extent.slice() * WARMING,
                _ => self.extent.slice(),
            };
            let site = target.site.clone();
            let all = || load::open(&site, stream, rate, self.extent.connections.into(), time);
            series.open.push(measured(target, all).await?);
        }
        Ok(series)
    }

    /// Has everything cached that will be asked for, and everybody at their work.
    fn warm_up(&self, target: &Target, workload: Workload) -> Result<()> {
        let all: Vec<Ask> = (0..self.extent.rows)
            .filter_map(|row| workload.all(row))
            .collect();
        let lanes = load::dealt(all, self.extent.connections.into());
        block_in_place(|| load::closed(&target.site, lanes, Duration::MAX))?;
        let lanes = self.lanes(workload, usize::MAX);
        block_in_place(|| load::closed(&target.site, lanes, self.extent.warm_up()))?;
        Ok(())
    }

    /// A few crowds one after the other, each for a key that was just cleared.
    async fn stampedes(&self, target: &mut Target, round: usize) -> Result<Sample> {
        let mut whole: Option<Sample> = None;
        let rows = self.choice.every_row(round);
        for &row in rows.iter().take(self.extent.stampedes.into()) {
            let id = target.site.script.row(row).id;
            target.clear(&format!("user:{id}")).await?;
            let site = target.site.clone();
            let crowd = || load::crowd(&site, Ask::User(row), self.extent.crowd.into());
            let sample = measured(target, crowd).await?;
            whole = Some(match whole {
                None => sample,
                Some(mut whole) => {
                    whole.slice.add(&sample.slice);
                    whole.cost = whole.cost.and(&sample.cost);
                    whole
                }
            });
        }
        whole.context("there is no stampede")
    }

    /// Requests without end, for each connection.
    fn lanes(
        &self,
        workload: Workload,
        round: usize,
    ) -> Vec<impl Iterator<Item = Ask> + Send + use<>> {
        let lanes = 0..usize::from(self.extent.connections);
        lanes
            .map(|lane| self.choice.stream(workload, round, lane))
            .collect()
    }
}

/// Measures what some load makes of a target.
async fn measured(target: &mut Target, load: impl FnOnce() -> Result<Slice>) -> Result<Sample> {
    let before = target.meter.read().await;
    let slice = block_in_place(load)?;
    let cost = target.meter.read().await.since(&before);
    Ok(Sample { slice, cost })
}
