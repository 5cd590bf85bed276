//! The figures: `bench.json`, and the tables on the terminal. `docs/benchmarks.md` says what each
//! field means; whoever changes one in meaning or name raises [`FORMAT`].

use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use procfs::{Current, LoadAverage, Meminfo};
use serde::{Deserialize, Serialize};

use super::measure::{Measured, Sample, Series};
use super::options::{Extent, Options};
use super::scene::Scene;
use super::slice::{Answers, Latencies, Reads, SLOT, Slice};
use super::target::Target;
use super::workload::Workload;
use crate::traffic::Clients;

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
    /// That of our targets.
    pub(super) database: Option<String>,
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

/// What became of the requests of all rounds.
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
    /// The same as a multiple of the reference's, in the same round. As all that compares, only where
    /// nothing has failed.
    pub(super) throughput_ratio: Option<Spread>,
    /// How many times as long the reference's answers took, in the same round, on average.
    pub(super) speed_up: Option<Spread>,
    /// How long answers took, if there were any.
    pub(super) times: Option<ResponseTimes>,
    /// What one request takes.
    pub(super) cost: Costs,
    /// How much of the time the clients were at work, in percent.
    pub(super) clients_busy: f64,
    /// How much later than they were due 99 of 100 requests were handed to the clients at most, in
    /// milliseconds.
    pub(super) lateness: Option<f64>,
    /// Reads over time, all rounds together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) course: Vec<Moment>,
}

/// How long answers took, in milliseconds.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct ResponseTimes {
    pub(super) mean: Spread,
    pub(super) p50: Spread,
    pub(super) p99: Spread,
    /// Of all rounds together, if there are enough requests to tell.
    pub(super) p999: Option<f64>,
    pub(super) longest: f64,
    /// Parts of all requests, and how long none of them took longer than.
    pub(super) curve: Vec<Tick>,
}

/// What one request takes of servers, where it can be seen.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Costs {
    pub(super) queries: Option<Spread>,
    pub(super) redis_commands: Option<Spread>,
    /// Microseconds of a core.
    pub(super) cpu_us: Option<Spread>,
    pub(super) redis_cpu_us: Option<Spread>,
    /// The most that was resident at the end of a round, Redis's included.
    pub(super) memory_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Tick {
    pub(super) part: f64,
    pub(super) ms: f64,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Moment {
    /// The middle of a slot, counted from the beginning.
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
        let names: Vec<&str> = scene.targets.iter().map(Target::name).collect();
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
            database: scene.database.map(str::to_owned),
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

    /// At the same rate as others where there is one, or else as fast as it answers.
    pub(super) fn paced(&self) -> Option<&Figures> {
        self.open.as_ref().or(self.closed.as_ref())
    }

    /// How response times are spread, if there are enough of them to tell.
    pub(super) fn curve(&self) -> Option<&[Tick]> {
        let times = self.paced()?.times.as_ref()?;
        (!times.curve.is_empty()).then_some(&times.curve[..])
    }

    /// As fast as it answers where that was measured, or else at the rate: what idle work costs is then
    /// shared by the most requests.
    pub(super) fn fast(&self) -> Option<&Figures> {
        self.closed.as_ref().or(self.open.as_ref())
    }
}

impl Figures {
    /// `None` if nothing was measured.
    fn of(samples: &[Sample], reference: Option<&[Sample]>, workload: Workload) -> Option<Self> {
        let mut whole = Slice::default();
        for sample in samples {
            whole.add(&sample.slice);
        }
        let each = |figure: fn(&Sample) -> f64| Spread::of(samples.iter().map(figure));
        let against = |figure: fn(&Slice, &Slice) -> f64| {
            let pairs = samples.iter().zip(reference?);
            let mut pairs = pairs.map(|(one, other)| (&one.slice, &other.slice));
            let has_failed = |(one, other): (&Slice, &Slice)| one.failed + other.failed > 0;
            if pairs.clone().any(has_failed) {
                return None;
            }
            Spread::of(pairs.by_ref().map(|(one, other)| figure(one, other)))
        };
        let took = whole.took?;
        let clients = took.elapsed.as_secs_f64() * Clients::threads() as f64;
        Some(Self {
            requests: whole.requests(),
            failed: whole.failed,
            answers: whole.answers,
            hit_rate: whole.answers.hit_rate(),
            throughput: each(|sample| sample.slice.throughput())?,
            throughput_ratio: against(|one, other| one.throughput() / other.throughput()),
            speed_up: against(|one, other| other.latencies.mean() / one.latencies.mean()),
            times: ResponseTimes::of(samples, &whole.latencies),
            cost: Costs::of(samples),
            clients_busy: took.clients.as_secs_f64() * 100.0 / clients,
            lateness: (!whole.lateness.is_empty())
                .then(|| in_ms(whole.lateness.value_at_quantile(0.99) as f64)),
            course: match workload {
                Workload::Warming => course(samples),
                _ => Vec::new(),
            },
            why: whole.why,
        })
    }

    /// Whether more could not be asked.
    pub(super) fn is_limited_by_clients(&self) -> bool {
        self.clients_busy > 90.0
    }
}

impl ResponseTimes {
    fn of(samples: &[Sample], whole: &Latencies) -> Option<Self> {
        if samples
            .iter()
            .any(|sample| sample.slice.latencies.is_empty())
        {
            return None;
        }
        let each = |figure: fn(&Latencies) -> f64| {
            Spread::of(
                samples
                    .iter()
                    .map(|sample| in_ms(figure(&sample.slice.latencies))),
            )
        };
        let is_known = is_known(0.999, whole.len());
        Some(Self {
            mean: each(Latencies::mean)?,
            p50: each(|latencies| latencies.value_at_quantile(0.5) as f64)?,
            p99: each(|latencies| latencies.value_at_quantile(0.99) as f64)?,
            p999: is_known.then(|| in_ms(whole.value_at_quantile(0.999) as f64)),
            longest: in_ms(whole.max() as f64),
            curve: curve(whole),
        })
    }
}

impl Costs {
    fn of(samples: &[Sample]) -> Self {
        let each = |figure: fn(&Sample) -> Option<f64>| {
            let figures: Option<Vec<f64>> = samples
                .iter()
                .map(|sample| Some(figure(sample)? / sample.slice.requests().max(1) as f64))
                .collect();
            Spread::of(figures?)
        };
        Self {
            queries: each(|sample| Some(sample.cost.queries? as f64)),
            redis_commands: each(|sample| Some(sample.cost.redis_commands? as f64)),
            cpu_us: each(|sample| Some(sample.slice.took?.server?.as_secs_f64() * 1e6)),
            redis_cpu_us: each(|sample| Some(sample.slice.took?.redis?.as_secs_f64() * 1e6)),
            memory_bytes: samples.iter().filter_map(|sample| sample.memory).max(),
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
}

fn in_ms(nanoseconds: f64) -> f64 {
    nanoseconds / 1e6
}

/// Whether so many requests are enough to tell what part of them took no longer than something: ten at
/// least took longer.
fn is_known(part: f64, requests: u64) -> bool {
    requests as f64 * (1.0 - part) >= 10.0
}

fn curve(latencies: &Latencies) -> Vec<Tick> {
    let ticks = latencies.iter_quantiles(TICKS).map(|tick| Tick {
        part: tick.quantile_iterated_to(),
        ms: in_ms(tick.value_iterated_to() as f64),
    });
    ticks
        .take_while(|tick| is_known(tick.part, latencies.len()))
        .collect()
}

/// Reads over time, of all rounds together, for as long as each of them went on. The last slot of a
/// round is not a whole one, and dropped.
fn course(samples: &[Sample]) -> Vec<Moment> {
    let courses = || samples.iter().map(|sample| &sample.slice.course);
    let shortest = courses().map(Vec::len).min().unwrap_or_default();
    let slots = 0..shortest.saturating_sub(1);
    let moment = |slot: usize| {
        let mut reads = Reads::default();
        for course in courses() {
            reads.add(course[slot]);
        }
        Moment {
            seconds: (slot as f64 + 0.5) * SLOT.as_secs_f64(),
            reads,
        }
    };
    slots.map(moment).collect()
}
