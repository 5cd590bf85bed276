//! The figures for people: tables on the terminal.

use super::report::{Entry, Outcome, Report, ResponseTimes, Spread};
use crate::text::{grouped, table};

impl Report {
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
            "\n×: how many times as many answers as {}, and how many times as fast ones; in brackets the worst \
             and the best round.\nAnswers in a second and what a request takes (queries, Redis commands, µs of a \
             core): {} clients who wait for their answers.\nResponse times in ms: at the rate given. \
             *: limited by the clients. MiB: resident, Redis included.\n",
            self.reference, self.extent.connections
        );
        text
    }
}

impl Entry {
    fn table(&self) -> String {
        let timed = self.name.is_timed();
        let rate = self.rate.map(|rate| grouped(rate as u64));
        let mean = rate.map_or_else(|| "mean".to_owned(), |rate| format!("mean at {rate}/s"));
        let mut head = vec!["target"];
        if timed {
            head.extend(["answers/s", "×"]);
        }
        head.extend([mean.as_str(), "×", "p50", "p99", "p99.9"]);
        head.extend(["hits", "queries", "Redis", "CPU", "Redis CPU", "MiB"]);
        let mut rows = vec![head.into_iter().map(str::to_owned).collect()];
        for outcome in &self.targets {
            let (Some(paced), Some(fast)) = (outcome.paced(), outcome.fast()) else {
                continue;
            };
            let mut row = vec![outcome.name.clone()];
            if timed {
                let limited = if fast.is_limited_by_clients() {
                    "*"
                } else {
                    ""
                };
                row.push(whole(fast.throughput) + limited);
                row.push(median(fast.throughput_ratio, 2));
            }
            let time = |time: fn(&ResponseTimes) -> Option<f64>| {
                let time = paced.times.as_ref().and_then(time);
                time.map_or_else(dash, |time| format!("{time:.3}"))
            };
            let cost = &fast.cost;
            row.extend([
                paced
                    .times
                    .as_ref()
                    .map_or_else(dash, |times| exact(times.mean, 3)),
                median(paced.speed_up, 2),
                time(|times| Some(times.p50.median)),
                time(|times| Some(times.p99.median)),
                time(|times| times.p999),
                paced
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

/// What is not known.
pub(super) fn dash() -> String {
    "-".to_owned()
}

/// The median in whole numbers, and between which ones it lies.
pub(super) fn whole(spread: Spread) -> String {
    let [median, least, most] =
        [spread.median, spread.least, spread.most].map(|figure| grouped(figure.round() as u64));
    format!("{median} ({least}–{most})")
}

/// The same to so many decimals.
pub(super) fn exact(spread: Spread, decimals: usize) -> String {
    let Spread {
        median,
        least,
        most,
    } = spread;
    format!("{median:.decimals$} ({least:.decimals$}–{most:.decimals$})")
}

/// The median alone.
pub(super) fn median(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(dash, |spread| format!("{:.decimals$}", spread.median))
}
