//! The figures: `bench.json`, and the tables on the terminal. `docs/benchmarks.md` says what each
//! field means; whoever changes one in meaning or name raises [`FORMAT`].

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use procfs::{Current, LoadAverage, Meminfo};
use serde::{Deserialize, Serialize};

use super::measure::{Measured, Sample, Series};
use super::options::{Extent, Options};
use super::scene::Scene;
use super::slice::{Answers, Reads, SLOT};
use super::workload::Workload;
use crate::text::{grouped, table};

/// The version of what `bench.json` looks like.
const FORMAT: u32 = 1;

/// What others are told as a multiple of, if it is among the targets.
const REFERENCE: &str = "off";

/// The parts of all requests for which the report says how long they took at most, for a curve: this
/// many between one half and three quarters, between three quarters and seven eighths, and so on.
const TICKS: u32 = 6;

/// All that was measured.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Report {
    format: u32,
    /// Of Alacena.
    pub(super) version: String,
    pub(super) began: String,
    pub(super) took_seconds: f64,
    pub(super) is_quick: bool,
    pub(super) machine: Machine,
    pub(super) database: String,
    pub(super) extent: Extent,
    /// The target that others are told as a multiple of.
    pub(super) reference: String,
    pub(super) workloads: Vec<Entry>,
}

/// Where it was measured.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) kernel: String,
    /// Tasks that ran or waited to, on average over the minute before.
    pub(super) load_before: f32,
}

/// What was measured with a workload.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Entry {
    pub(super) name: Workload,
    pub(super) about: String,
    /// How many requests a second were due in the open loop.
    pub(super) rate: Option<f64>,
    pub(super) targets: Vec<Outcome>,
}

/// What was measured of a target.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Outcome {
    pub(super) name: String,
    /// Why the workload was not put to it.
    pub(super) left_out: Option<String>,
    /// As fast as it answers.
    pub(super) closed: Option<Figures>,
    /// At the rate.
    pub(super) open: Option<Figures>,
}

/// A figure's median over all rounds, and its extremes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// What became of the requests of all rounds. Times are in milliseconds.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Figures {
    pub(super) requests: u64,
    pub(super) failed: u64,
    /// Why the first of them failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    pub(super) answers: Answers,
    /// Of the reads, in percent, if the target says where answers come from.
    pub(super) hit_rate: Option<f64>,
    /// Answers in a second.
    pub(super) throughput: Spread,
    /// The same as a multiple of the reference's, in the same round.
    pub(super) throughput_ratio: Option<Spread>,
    pub(super) mean: Spread,
    /// How many times as long the reference's answers took, in the same round, on average.
    pub(super) speed_up: Option<Spread>,
    pub(super) p50: Spread,
    pub(super) p99: Spread,
    /// Of all rounds together.
    pub(super) p999: f64,
    pub(super) longest: f64,
    /// What one request takes.
    pub(super) cost: Costs,
    /// Parts of all requests, and how long none of them took longer than.
    pub(super) curve: Vec<Tick>,
    /// Reads over time, all rounds together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) course: Vec<Moment>,
}

/// What one request takes of servers, where it can be seen.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Costs {
    pub(super) queries: Option<Spread>,
    pub(super) redis_commands: Option<Spread>,
    /// Microseconds of a core.
    pub(super) cpu_us: Option<Spread>,
    pub(super) redis_cpu_us: Option<Spread>,
    /// The most memory that the server had.
    pub(super) memory_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Tick {
    pub(super) part: f64,
    pub(super) ms: f64,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Moment {
    /// The end of a slot, counted from the first request.
    pub(super) seconds: f64,
    #[serde(flatten)]
    pub(super) reads: Reads,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Result<Self> {
        let processors = procfs::CpuInfo::current().context("the processor")?;
        let kernel = procfs::KernelVersion::current().context("the kernel's version")?;
        Ok(Self {
            processor: processors.model_name(0).unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: Meminfo::current().context("the memory")?.mem_total,
            kernel: format!("{}.{}.{}", kernel.major, kernel.minor, kernel.patch),
            load_before: LoadAverage::current().context("the load")?.one,
        })
    }
}

impl Report {
    pub(super) fn new(
        options: &Options,
        scene: &Scene,
        machine: Machine,
        (began, started): (SystemTime, Instant),
        measured: Vec<Measured>,
    ) -> Self {
        let names: Vec<&str> = scene
            .targets
            .iter()
            .map(|target| target.name.as_str())
            .collect();
        let reference = names
            .iter()
            .position(|name| *name == REFERENCE)
            .unwrap_or(0);
        let entries = measured.into_iter();
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            began: humantime::format_rfc3339_seconds(began).to_string(),
            took_seconds: started.elapsed().as_secs_f64(),
            is_quick: options.quick,
            machine,
            database: scene.database.to_owned(),
            extent: options.extent(),
            reference: names[reference].to_owned(),
            workloads: entries
                .map(|measured| Entry::new(&measured, &names, reference))
                .collect(),
        }
    }

    /// What was written earlier.
    ///
    /// # Errors
    /// It is no report, or one of another format.
    pub(super) fn read(json: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_str(json).context("this is no report")?;
        ensure!(
            format == FORMAT,
            "it has format {format}, and this program reads format {FORMAT}"
        );
        Ok(serde_json::from_str(json)?)
    }

    /// Requests that were not answered as they should have been.
    pub(super) fn failed(&self) -> u64 {
        let outcomes = self.workloads.iter().flat_map(|entry| &entry.targets);
        let figures = outcomes.flat_map(|outcome| outcome.closed.iter().chain(&outcome.open));
        figures.map(|figures| figures.failed).sum()
    }

    /// The figures for people.
    pub(super) fn tables(&self) -> String {
        let mut text = String::new();
        for entry in &self.workloads {
            text += &format!(
                "\n{}: {}\n\n{}",
                entry.name.name(),
                entry.about,
                entry.table()
            );
            for outcome in &entry.targets {
                text += &outcome.remarks();
            }
        }
        text += &format!(
            "\n× {}: how many times as many answers, and how many times as fast ones. ±: half of what lies \
             between the best and the worst round.\nCPU: µs of a core for a request. Closed: {} clients who \
             wait for their answers. Open: at the rate given.\n",
            self.reference, self.extent.connections
        );
        text
    }
}

impl Entry {
    fn new(measured: &Measured, names: &[&str], reference: usize) -> Self {
        let reference = measured.targets[reference].as_ref().ok();
        let outcomes = names.iter().zip(&measured.targets);
        Self {
            name: measured.workload,
            about: measured.workload.about().to_owned(),
            rate: measured.rate,
            targets: outcomes
                .map(|(name, series)| Outcome::new(name, series, reference, measured.workload))
                .collect(),
        }
    }

    fn table(&self) -> String {
        let timed = self.name.is_timed();
        let open = self
            .rate
            .map(|rate| format!("open, {}/s: mean ms", grouped(rate as u64)));
        let mut head = vec!["target".to_owned()];
        if timed {
            head.extend(["answers/s", "×"].map(str::to_owned));
        }
        head.push(open.unwrap_or_else(|| "mean ms".to_owned()));
        let rest = [
            "×",
            "p50",
            "p99",
            "p99.9",
            "hits",
            "queries",
            "Redis",
            "CPU",
            "Redis CPU",
            "MiB",
        ];
        head.extend(rest.map(str::to_owned));
        let mut rows = vec![head];
        for outcome in &self.targets {
            let Some(figures) = outcome.open.as_ref().or(outcome.closed.as_ref()) else {
                continue;
            };
            let mut row = vec![outcome.name.clone()];
            if timed && let Some(closed) = &outcome.closed {
                row.push(about(closed.throughput, 0));
                row.push(ratio(closed.throughput_ratio));
            }
            let cost = &figures.cost;
            row.extend([
                about(figures.mean, 3),
                ratio(figures.speed_up),
                ms(figures.p50.median),
                ms(figures.p99.median),
                ms(figures.p999),
                figures
                    .hit_rate
                    .map_or_else(dash, |rate| format!("{rate:.1}%")),
                median(cost.queries, 3),
                median(cost.redis_commands, 3),
                median(cost.cpu_us, 0),
                median(cost.redis_cpu_us, 0),
                cost.memory_bytes
                    .map_or_else(dash, |bytes| (bytes >> 20).to_string()),
            ]);
            rows.push(row);
        }
        table(&rows)
    }
}

impl Outcome {
    fn new(
        name: &str,
        series: &Result<Series, String>,
        reference: Option<&Series>,
        workload: Workload,
    ) -> Self {
        let series = match series {
            Ok(series) => series,
            Err(why) => {
                return Self {
                    name: name.to_owned(),
                    left_out: Some(why.clone()),
                    closed: None,
                    open: None,
                };
            }
        };
        let figures = |samples: fn(&Series) -> &[Sample]| {
            Figures::of(samples(series), reference.map(samples), workload)
        };
        Self {
            name: name.to_owned(),
            left_out: None,
            closed: figures(|series| &series.closed),
            open: figures(|series| &series.open),
        }
    }

    /// What went wrong.
    fn remarks(&self) -> String {
        let mut text = String::new();
        if let Some(why) = &self.left_out {
            text += &format!("{}: left out, {why}\n", self.name);
        }
        for (how, figures) in [("closed", &self.closed), ("open", &self.open)] {
            if let Some(figures) = figures
                && figures.failed > 0
            {
                let why = figures.why.as_deref().unwrap_or_default();
                let failed = grouped(figures.failed);
                text += &format!("{}, {how}: {failed} requests failed: {why}\n", self.name);
            }
        }
        text
    }
}

impl Figures {
    /// `None` if nothing was measured.
    fn of(samples: &[Sample], reference: Option<&[Sample]>, workload: Workload) -> Option<Self> {
        let mut whole = samples.first()?.slice.clone();
        for sample in &samples[1..] {
            whole.add(&sample.slice);
        }
        let each = |figure: fn(&Sample) -> f64| Spread::of(samples.iter().map(figure));
        let against = |figure: fn(&Sample, &Sample) -> f64| {
            let pairs = samples.iter().zip(reference?);
            Spread::of(pairs.map(|(sample, reference)| figure(sample, reference)))
        };
        let quantile = |part: f64| in_ms(whole.latencies.value_at_quantile(part) as f64);
        let course = match workload {
            Workload::Warming => course(samples),
            _ => Vec::new(),
        };
        Some(Self {
            requests: whole.requests(),
            failed: whole.failed,
            answers: whole.answers,
            hit_rate: whole.answers.hit_rate(),
            throughput: each(|sample| sample.slice.throughput())?,
            throughput_ratio: against(|sample, reference| {
                sample.slice.throughput() / reference.slice.throughput()
            }),
            mean: each(|sample| in_ms(sample.slice.latencies.mean()))?,
            speed_up: against(|sample, reference| {
                reference.slice.latencies.mean() / sample.slice.latencies.mean()
            }),
            p50: each(|sample| in_ms(sample.slice.latencies.value_at_quantile(0.5) as f64))?,
            p99: each(|sample| in_ms(sample.slice.latencies.value_at_quantile(0.99) as f64))?,
            p999: quantile(0.999),
            longest: in_ms(whole.latencies.max() as f64),
            cost: Costs::of(samples),
            curve: curve(&whole.latencies),
            course,
            why: whole.why,
        })
    }
}

impl Costs {
    fn of(samples: &[Sample]) -> Self {
        let each = |figure: fn(&Sample) -> Option<f64>| {
            let figures: Option<Vec<f64>> = samples.iter().map(figure).collect();
            Spread::of(figures?)
        };
        Self {
            queries: each(|sample| per_request(sample, sample.cost.queries? as f64)),
            redis_commands: each(|sample| per_request(sample, sample.cost.redis_commands? as f64)),
            cpu_us: each(|sample| per_request(sample, in_us(sample.cost.cpu?))),
            redis_cpu_us: each(|sample| per_request(sample, in_us(sample.cost.redis_cpu?))),
            memory_bytes: samples.iter().filter_map(|sample| sample.cost.memory).max(),
        }
    }
}

impl Spread {
    /// `None` of nothing, and of what is no number.
    fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        if figures.iter().any(|figure| !figure.is_finite()) {
            return None;
        }
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(figures[middle - 1], figures[middle])
        } else {
            figures[middle]
        };
        Some(Self {
            median,
            least,
            most,
        })
    }

    /// Half of what lies between the extremes, in percent of the median.
    fn percent(&self) -> f64 {
        (self.most - self.least) * 50.0 / self.median.max(f64::MIN_POSITIVE)
    }
}

fn per_request(sample: &Sample, all: f64) -> Option<f64> {
    Some(all / sample.slice.requests().max(1) as f64)
}

fn in_ms(nanoseconds: f64) -> f64 {
    nanoseconds / 1e6
}

fn in_us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn curve(latencies: &Histogram<u64>) -> Vec<Tick> {
    let ticks = latencies.iter_quantiles(TICKS).map(|tick| Tick {
        part: tick.quantile_iterated_to(),
        ms: in_ms(tick.value_iterated_to() as f64),
    });
    ticks.collect()
}

/// Reads over time, of all rounds together. The last slot of a round is not a whole one, and dropped.
fn course(samples: &[Sample]) -> Vec<Moment> {
    let courses: Vec<Vec<Reads>> = samples.iter().map(|sample| sample.slice.course()).collect();
    let shortest = courses.iter().map(Vec::len).min().unwrap_or_default();
    let slots = 0..shortest.saturating_sub(1);
    let moment = |slot: usize| {
        let all = courses.iter().map(|course| course[slot]);
        Moment {
            seconds: (slot + 1) as f64 * SLOT.as_secs_f64(),
            reads: all.fold(Reads::default(), |sum, reads| Reads {
                reads: sum.reads + reads.reads,
                hits: sum.hits + reads.hits,
            }),
        }
    };
    slots.map(moment).collect()
}

fn dash() -> String {
    "-".to_owned()
}

fn ms(ms: f64) -> String {
    format!("{ms:.3}")
}

fn about(spread: Spread, decimals: usize) -> String {
    let number = match decimals {
        0 => grouped(spread.median.round() as u64),
        _ => format!("{:.decimals$}", spread.median),
    };
    format!("{number} ±{:.0}%", spread.percent())
}

fn ratio(spread: Option<Spread>) -> String {
    spread.map_or_else(dash, |spread| format!("{:.2}", spread.median))
}

fn median(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(dash, |spread| format!("{:.decimals$}", spread.median))
}
