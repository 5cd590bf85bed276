//! The rounds: who is asked for what, in which order, and what was measured.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
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

/// How often it is tried how fast a target is.
const TRIALS: u32 = 3;

/// How much longer than a slice it takes to see a cache fill.
const WARMING: u32 = 4;

/// What ends by itself takes no longer than this, or the target is of no use.
const LIMIT: Duration = Duration::from_secs(120);

/// One measurement: what became of its requests, and what they took.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) slice: Slice,
    pub(super) cost: Cost,
    /// In bytes, when it was over.
    pub(super) memory: Option<u64>,
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

/// Puts all workloads to all targets, in turn.
///
/// # Errors
/// A server of ours ended. What becomes of one target alone is among what was measured.
pub(super) async fn measure(scene: &mut Scene, options: &Options) -> Result<Vec<Measured>> {
    let extent = options.extent();
    let bench = Bench {
        extent,
        choice: Choice::new(&extent),
    };
    let workloads = options.workloads();
    let count = scene.targets.len();
    let progress = Progress::start(bench.planned(&workloads, count))?;
    let mut all = Vec::new();
    progress.stage("finding out how fast each target is");
    for workload in workloads {
        progress.tell(&format!("{}, trying", workload.name()));
        let measured = bench.acquaint(scene, workload, options.rate).await;
        progress.advance(bench.planned_of_trials(workload) * targets(count));
        all.push(measured);
    }
    for round in 0..usize::from(extent.rounds) {
        progress.stage(&format!("round {} of {}", round + 1, extent.rounds));
        for target in &mut scene.targets {
            // Whom it fails with is no worse off than with the token from before.
            let _ = target.log_in().await;
        }
        for measured in &mut all {
            let (workload, rate) = (measured.workload, measured.rate);
            for index in bench.choice.turns(workload, round, count) {
                let target = &mut scene.targets[index];
                let outcome = &mut measured.targets[index];
                if let Ok(series) = outcome {
                    let name = target.name();
                    progress.tell(&format!("{name}, {}, round {}", workload.name(), round + 1));
                    let measured = bench.round(target, workload, round, rate, series).await;
                    scene.check()?;
                    if let Err(why) = measured {
                        *outcome = Err(format!("{why:#}, in round {}", round + 1));
                    }
                }
                progress.advance(bench.planned_of(workload));
            }
        }
    }
    progress.end();
    Ok(all)
}

fn targets(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

struct Bench {
    extent: Extent,
    choice: Choice,
}

impl Bench {
    /// How long all of it will take, about.
    fn planned(&self, workloads: &[Workload], count: usize) -> Duration {
        let rounds = u32::from(self.extent.rounds);
        let each = workloads
            .iter()
            .map(|&workload| self.planned_of(workload) * rounds + self.planned_of_trials(workload));
        each.sum::<Duration>() * targets(count)
    }

    /// How long a round of one target takes, about.
    fn planned_of(&self, workload: Workload) -> Duration {
        let (slice, warm_up) = (self.extent.slice(), self.extent.warm_up());
        let every_row = Duration::from_micros(200) * self.extent.rows;
        match workload {
            Workload::Cold => every_row * 3,
            Workload::Stampede => Duration::from_millis(40) * self.extent.stampedes.into(),
            Workload::Warming => slice * WARMING,
            _ => every_row + warm_up + slice * 2,
        }
    }

    fn planned_of_trials(&self, workload: Workload) -> Duration {
        match workload {
            Workload::Stampede => Duration::ZERO,
            _ => self.extent.slice() + Duration::from_micros(200) * self.extent.rows,
        }
    }

    /// Finds out who can be asked for it, and how fast.
    async fn acquaint(&self, scene: &mut Scene, workload: Workload, rate: Option<u32>) -> Measured {
        let mut slowest = f64::INFINITY;
        let mut targets = Vec::new();
        for target in &mut scene.targets {
            targets.push(match self.trial(target, workload).await {
                Ok(speed) => {
                    slowest = slowest.min(speed);
                    Ok(Series::default())
                }
                Err(why) => Err(format!("{why:#}")),
            });
        }
        let half = slowest.is_finite().then(|| rounded(slowest * PART));
        let rate = rate.map(f64::from).or(half);
        Measured {
            workload,
            rate: rate.filter(|_| workload.has_open_loop()),
            targets,
        }
    }

    /// How many requests a second it answers, about.
    async fn trial(&self, target: &mut Target, workload: Workload) -> Result<f64> {
        target.try_out(workload, &self.choice).await?;
        if !workload.has_open_loop() {
            return Ok(f64::INFINITY);
        }
        if !workload.begins_empty() {
            self.warm_up(target, workload)?;
        }
        let mut speeds = Vec::new();
        for trial in 0..TRIALS {
            let slice = match workload {
                Workload::Cold => {
                    target.clear().await?;
                    let lanes = self.every_row(trial as usize);
                    block_in_place(|| load::closed(&target.site, lanes, LIMIT))?
                }
                _ => {
                    let lanes = self.lanes(workload, usize::MAX - trial as usize);
                    let time = self.extent.slice() / TRIALS;
                    block_in_place(|| load::closed(&target.site, lanes, time))?
                }
            };
            let why = slice.why.as_deref().unwrap_or_default();
            ensure!(slice.answered_requests() > 0, "nothing was answered: {why}");
            speeds.push(slice.throughput());
        }
        speeds.sort_by(f64::total_cmp);
        Ok(speeds[speeds.len() / 2])
    }

    /// Adds what is measured to the series.
    async fn round(
        &self,
        target: &mut Target,
        workload: Workload,
        round: usize,
        rate: Option<f64>,
        series: &mut Series,
    ) -> Result<()> {
        self.make_ready(target, workload).await?;
        match workload {
            Workload::Stampede => series.closed.push(self.stampedes(target, round).await?),
            Workload::Cold => {
                let (site, lanes) = (target.site.clone(), self.every_row(round));
                let all = || load::closed(&site, lanes, LIMIT);
                series.closed.push(measured(target, all).await?);
                target.clear().await?;
            }
            _ if workload.has_closed_loop() => {
                let (site, lanes) = (target.site.clone(), self.lanes(workload, round));
                let all = || load::closed(&site, lanes, self.extent.slice());
                series.closed.push(measured(target, all).await?);
            }
            _ => {}
        }
        let Some(rate) = rate else { return Ok(()) };
        let (site, connections) = (target.site.clone(), self.extent.connections.into());
        let gaps = self.choice.gaps(workload, round, rate);
        let sample = if workload == Workload::Cold {
            let rows = self.choice.every_row(round).into_iter().map(Ask::User);
            measured(target, || load::open(&site, rows, gaps, connections, LIMIT)).await?
        } else {
            let time = match workload {
                Workload::Warming => self.extent.slice() * WARMING,
                _ => self.extent.slice(),
            };
            let stream = self.choice.stream(workload, round, usize::MAX);
            measured(target, || {
                load::open(&site, stream, gaps, connections, time)
            })
            .await?
        };
        // At a low rate nothing may be due.
        if sample.slice.requests() > 0 {
            series.open.push(sample);
        }
        Ok(())
    }

    /// Has everything cached that will be asked for, and everybody at their work; or nothing.
    async fn make_ready(&self, target: &mut Target, workload: Workload) -> Result<()> {
        if workload.begins_empty() {
            target.clear().await
        } else {
            self.warm_up(target, workload)
        }
    }

    fn warm_up(&self, target: &Target, workload: Workload) -> Result<()> {
        let rows = 0..self.extent.rows;
        let all = rows.filter_map(|row| workload.all(row));
        let lanes = load::dealt(all, self.extent.connections.into());
        block_in_place(|| load::closed(&target.site, lanes, LIMIT)).context("warming up")?;
        let lanes = self.lanes(workload, usize::MAX);
        block_in_place(|| load::closed(&target.site, lanes, self.extent.warm_up()))?;
        Ok(())
    }

    /// A few crowds one after the other, each for another row that is not cached.
    async fn stampedes(&self, target: &mut Target, round: usize) -> Result<Sample> {
        let mut rows = self.choice.every_row(round);
        rows.truncate(self.extent.stampedes.into());
        let site = target.site.clone();
        let crowds = || {
            let mut whole = Slice::default();
            for row in rows {
                let crowd = load::crowd(&site, Ask::User(row), self.extent.crowd.into())?;
                whole.add(&crowd);
            }
            Ok(whole)
        };
        measured(target, crowds).await
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

    /// Each row once.
    fn every_row(&self, round: usize) -> Vec<std::vec::IntoIter<Ask>> {
        let asks = self.choice.every_row(round).into_iter().map(Ask::User);
        load::dealt(asks, self.extent.connections.into())
    }
}

/// Measures what some load makes of a target.
async fn measured(target: &mut Target, load: impl FnOnce() -> Result<Slice>) -> Result<Sample> {
    let before = target.meter.read().await;
    let slice = block_in_place(load)?;
    let cost = target.meter.read().await.since(&before);
    let memory = target.meter.memory();
    Ok(Sample {
        slice,
        cost,
        memory,
    })
}

/// To two digits, and at least one.
fn rounded(rate: f64) -> f64 {
    let digit = 10_f64.powf(rate.log10().floor() - 1.0).max(1.0);
    ((rate / digit).floor() * digit).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn rates_have_two_digits() {
        for (rate, to) in [
            (0.3, 1.0),
            (7.9, 7.0),
            (52.7, 52.0),
            (1999.0, 1900.0),
            (24_567.0, 24_000.0),
        ] {
            assert_eq!(rounded(rate), to);
        }
    }
}
