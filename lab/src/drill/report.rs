//! What came of a drill, for people and for programs.

use std::thread;

use anyhow::Result;
use serde::Serialize;

use super::options::Options;
use super::outcome::{Millis, Played, SideOutcome, Window};
use super::scenario::{Limits, Scenario};
use crate::text::{grouped, table};

/// The version of `drill.json`: raised when something changes its meaning or goes.
const FORMAT: u32 = 1;

const HEAD: [&str; 11] = [
    "scenario",
    "side",
    "requests",
    "failed",
    "refused",
    "stale",
    "lost",
    "p99 before",
    "p99 while broken",
    "p99 after",
    "well after",
];

/// All that came of a drill. `docs/drill.md` says what the fields mean.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) format: u32,
    /// The version of the laboratory, and of the service where it started that itself.
    pub(super) version: &'static str,
    pub(super) cores: usize,
    /// What each side was sent in a second.
    pub(super) rate: u32,
    /// Of a hundred requests.
    pub(super) writes: u8,
    pub(super) ignores_speed: bool,
    pub(super) scenarios: Vec<Entry>,
}

/// What came of a scenario.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) about: String,
    /// Its file.
    pub(super) text: String,
    pub(super) limits: Limits,
    /// Why it was not played.
    pub(super) left_out: Option<String>,
    /// Why it could not be played to its end.
    pub(super) error: Option<String>,
    /// In seconds since the load began.
    pub(super) broken: Vec<Broken>,
    pub(super) ended: f64,
    pub(super) sides: Vec<SideOutcome>,
}

/// From when to when something was broken, in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Broken {
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Report {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION"),
            cores: thread::available_parallelism().map_or(1, usize::from),
            rate: options.rate,
            writes: options.writes,
            ignores_speed: options.ignore_speed,
            scenarios: Vec::new(),
        }
    }

    /// Whether something was played, and nothing that was played was not passed.
    pub(super) fn is_passed(&self) -> bool {
        let mut played = self
            .scenarios
            .iter()
            .filter(|entry| entry.left_out.is_none());
        played.clone().next().is_some() && played.all(Entry::is_passed)
    }

    /// A line for each side of each scenario, and what was not passed.
    pub(super) fn table(&self) -> String {
        let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
        for entry in &self.scenarios {
            let sides = entry.sides.iter();
            rows.extend(sides.map(|side| row(&entry.name, side).to_vec()));
        }
        let mut text = table(&rows);
        text += "\np99 in ms, in brackets as a multiple of that of the memory backend at the same time.\n";
        for entry in &self.scenarios {
            for why in entry.whys() {
                text += &format!("\n- {}: {why}", entry.name);
            }
        }
        let count =
            |is: fn(&Entry) -> bool| self.scenarios.iter().filter(|entry| is(entry)).count();
        let passed = count(|entry| entry.left_out.is_none() && entry.is_passed());
        let left_out = count(|entry| entry.left_out.is_some());
        let failed = self.scenarios.len() - passed - left_out;
        text + &format!("\n{passed} scenarios passed, {failed} not passed, {left_out} not played")
    }
}

impl Entry {
    pub(super) fn left_out(scenario: &Scenario, why: String) -> Self {
        Self {
            left_out: Some(why),
            ..Self::of(scenario)
        }
    }

    pub(super) fn played(scenario: &Scenario, played: Result<(Played, Vec<SideOutcome>)>) -> Self {
        let entry = Self::of(scenario);
        match played {
            Ok((played, sides)) => Self {
                broken: played
                    .spans
                    .iter()
                    .map(|span| Broken {
                        from: played.seconds(span.broken),
                        to: played.seconds(span.mended),
                    })
                    .collect(),
                ended: played.seconds(played.ended),
                sides,
                ..entry
            },
            Err(error) => Self {
                error: Some(format!("{error:#}")),
                ..entry
            },
        }
    }

    fn of(scenario: &Scenario) -> Self {
        Self {
            name: scenario.name.clone(),
            about: scenario.about.clone(),
            text: scenario.text.clone(),
            limits: scenario.limits.clone(),
            left_out: None,
            error: None,
            broken: Vec::new(),
            ended: 0.0,
            sides: Vec::new(),
        }
    }

    pub(super) fn is_passed(&self) -> bool {
        self.error.is_none() && self.sides.iter().all(SideOutcome::is_passed)
    }

    /// In a word.
    pub(super) fn verdict(&self) -> &'static str {
        match (&self.left_out, self.is_passed()) {
            (Some(_), _) => "not played",
            (None, true) => "passed",
            (None, false) => "not passed",
        }
    }

    /// Why it was not passed, or not played.
    pub(super) fn whys(&self) -> Vec<String> {
        let whole = self.left_out.iter().chain(&self.error).cloned();
        let sides = self.sides.iter().flat_map(|side| {
            let complaints = side.complaints.iter().filter(|_| !side.is_passed());
            let told = side.breaches.iter().chain(complaints);
            told.map(move |why| format!("{}: {why}", side.name))
        });
        whole.chain(sides).collect()
    }

    /// The verdict, in a line.
    pub(super) fn line(&self) -> String {
        format!("{:<14} {}", self.name, self.verdict())
    }
}

fn row(scenario: &str, side: &SideOutcome) -> [String; HEAD.len()] {
    let counts = &side.counts;
    [
        scenario.to_owned(),
        side.name.to_owned(),
        grouped(counts.requests()),
        grouped(counts.failed),
        grouped(counts.refused_reads + counts.refused_writes),
        grouped(side.stale + side.wrong),
        grouped(side.lost),
        p99(side.before, side.before_ratio),
        p99(side.during, side.during_ratio),
        p99(side.after, side.after_ratio),
        recovery(side),
    ]
}

/// How long after the mend all was well.
pub(super) fn recovery(side: &SideOutcome) -> String {
    match side.recovery {
        Some(_) if !side.is_noticed => "not noticed".to_owned(),
        Some(Millis(took)) => format!("{took:.0} ms"),
        None => "never".to_owned(),
    }
}

/// A p99, and its ratio to the reference's.
pub(super) fn p99(window: Window, ratio: Option<f64>) -> String {
    let Some(Millis(p99)) = window.p99 else {
        return "-".to_owned();
    };
    match ratio {
        Some(ratio) => format!("{p99:.2} ({ratio:.2})"),
        None => format!("{p99:.2}"),
    }
}

/// Tells whoever runs the target what it is to use.
pub(super) fn invite(options: &Options) {
    for (target, proxy) in options.target.iter().zip(&options.proxy) {
        eprintln!(
            "http://{target} is to use this Redis: redis://{proxy}\n  \
             (ALACENA__CACHE__REDIS__URL=redis://{proxy}, and cache.backend \"redis\" or \"tiered\")"
        );
    }
}
