//! What a long run takes up: memory, descriptors, threads and tasks of each instance, and keys in Redis.
//! Something that is leaked with each fault or request shows as growth.

use std::fs;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Uri};
use tokio::task::block_in_place;

use super::scene::Scene;
use crate::text::{grouped, table};
use crate::traffic::Client;

/// Fewer samples show no trend.
const FEWEST: usize = 8;

/// A figure, and by how much it may grow besides a quarter: caches fill up, pools open connections.
const FIGURES: [(&str, u64); 5] = [
    ("memory of an instance (KiB)", 32 * 1024),
    ("descriptors of an instance", 16),
    ("threads of an instance", 8),
    ("tasks of an instance", 64),
    ("keys in Redis", 1000),
];

/// The figures at the end of each turn, when all is well. Of the instances, the greatest.
#[derive(Debug, Default)]
pub(super) struct Soak {
    samples: Vec<[u64; FIGURES.len()]>,
}

impl Soak {
    /// Takes a sample.
    pub(super) async fn sample(&mut self, scene: &Scene) -> Result<()> {
        let mut sample = [0; FIGURES.len()];
        for (pid, address) in scene.fleet.pids().zip(scene.fleet.addresses()) {
            let status = fs::read_to_string(format!("/proc/{pid}/status"));
            let status = status.context("reading the state of an instance")?;
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
            let descriptors = descriptors.context("counting descriptors")?.count() as u64;
            let tasks = tasks(&mut Client::new(address, None)).await?;
            let figures = [
                field(&status, "VmRSS:")?,
                descriptors,
                field(&status, "Threads:")?,
                tasks,
            ];
            for (greatest, figure) in sample.iter_mut().zip(figures) {
                *greatest = figure.max(*greatest);
            }
        }
        if let Some(redis) = &scene.redis {
            let keys = block_in_place(|| redis.server.command(&["DBSIZE"]))?;
            sample[4] = keys.trim().parse().context("the number of keys")?;
        }
        self.samples.push(sample);
        Ok(())
    }

    /// Each figure's median in the second quarter and in the last one, and whether it is flat.
    fn trends(&self) -> impl Iterator<Item = (&'static str, u64, u64, bool)> {
        let quarter = self.samples.len() / 4;
        let median = move |samples: &[[u64; FIGURES.len()]], figure: usize| {
            let mut figures: Vec<u64> = samples.iter().map(|sample| sample[figure]).collect();
            figures.sort_unstable();
            figures.get(figures.len() / 2).copied().unwrap_or_default()
        };
        let early = &self.samples[quarter..quarter * 2];
        let late = &self.samples[self.samples.len() - quarter..];
        FIGURES
            .into_iter()
            .enumerate()
            .map(move |(figure, (name, slack))| {
                let (early, late) = (median(early, figure), median(late, figure));
                (name, early, late, late <= early + early / 4 + slack)
            })
    }

    /// What grew, or that there is too little to tell.
    pub(super) fn broken(&self) -> Vec<String> {
        let count = self.samples.len();
        if count < FEWEST {
            return vec![format!(
                "{count} samples of a soak are too few: {FEWEST} are needed"
            )];
        }
        let grown = self.trends().filter(|(.., is_flat)| !is_flat);
        grown
            .map(|(name, early, late, _)| format!("{name} grew from {early} to {late}"))
            .collect()
    }

    /// The figures as a table in Markdown.
    pub(super) fn report(&self) -> String {
        let head = ["", "second quarter", "last quarter"].map(str::to_owned);
        let rows = self
            .trends()
            .map(|(name, early, late, _)| vec![name.to_owned(), grouped(early), grouped(late)]);
        let rows: Vec<Vec<String>> = std::iter::once(head.to_vec()).chain(rows).collect();
        format!(
            "\nMedians of {} samples, one at the end of each turn:\n\n{}",
            self.samples.len(),
            table(&rows)
        )
    }
}

/// A number in `/proc/PID/status`.
fn field(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("no {name} in the state of an instance"))
}

async fn tasks(client: &mut Client) -> Result<u64> {
    let mut request: Request<Full<Bytes>> = Request::default();
    *request.uri_mut() = Uri::from_static("/metrics");
    let answer = client.ask(request).await.context("asking for metrics")?;
    let text = String::from_utf8_lossy(&answer.body);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("alacena_tasks "));
    let number = line.and_then(|line| line.trim().parse().ok());
    number.context("no alacena_tasks in the metrics")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soak(memory: impl Fn(u64) -> u64) -> Soak {
        let sample = |number| [memory(number), 40, 10, 20, 300];
        Soak {
            samples: (0..40).map(sample).collect(),
        }
    }

    #[test]
    fn what_grows_is_told_and_what_is_flat_is_not() {
        let warm = soak(|number| 50_000 + number.min(8) * 10_000);
        assert_eq!(warm.broken(), Vec::<String>::new());
        assert!(
            warm.report().contains("| keys in Redis"),
            "{}",
            warm.report()
        );
        let leaking = soak(|number| 50_000 + number * 10_000);
        assert_eq!(leaking.broken().len(), 1, "{:?}", leaking.broken());
        assert_eq!(Soak::default().broken().len(), 1);
    }
}
