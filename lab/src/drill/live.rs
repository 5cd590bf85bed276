//! How a drill goes, while it goes.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::{AbortHandle, block_in_place};
use tokio::time::{Instant, interval_at};

use super::outcome::stale_among;
use super::samples::{Counts, Latencies, Sample, Samples};
use super::scenario::Scenario;
use super::scene::Side;
use super::watch::{State, Watch};
use crate::history::fleet::Moment;
use crate::traffic::{Notes, Stage};

/// What is told is about the last while of this length.
const WHILE: Duration = Duration::from_secs(1);

/// How often it is told where there is no terminal.
const LINES: Duration = Duration::from_secs(2);

/// Tells on standard error how a scenario goes, until it is dropped: lines that change on a terminal,
/// a line for each side now and then elsewhere.
pub(super) struct Live {
    phase: Arc<Mutex<String>>,
    display: MultiProgress,
    task: AbortHandle,
}

/// What is known of a side while it is asked.
struct Seen {
    name: &'static str,
    stage: Arc<Stage>,
    samples: Arc<Samples>,
    watches: Vec<Watch>,
    notes: Vec<Notes>,
    /// Up to when reads have been judged, and how many of them were stale.
    judged: Moment,
    stale: u64,
    bar: ProgressBar,
}

impl Live {
    pub(super) fn start(scenario: &Scenario, sides: &[Side], notes: Vec<Vec<Notes>>) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let display = MultiProgress::with_draw_target(if is_terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        let head = display.add(ProgressBar::new(scenario.duration().as_millis() as u64));
        head.set_style(style("{prefix:>14} {bar:24} {msg}"));
        head.set_prefix(scenario.name.clone());
        let mut seen: Vec<Seen> = sides
            .iter()
            .zip(notes)
            .map(|(side, notes)| {
                let bar = display.add(ProgressBar::new_spinner());
                bar.set_style(style("{prefix:>14} {msg}"));
                bar.set_prefix(side.name);
                Seen {
                    name: side.name,
                    stage: Arc::clone(&side.stage),
                    samples: Arc::clone(&side.samples),
                    watches: side.watches.clone(),
                    notes,
                    judged: side.stage.clock.now(),
                    stale: 0,
                    bar,
                }
            })
            .collect();
        let phase = Arc::<Mutex<String>>::default();
        let told = Arc::clone(&phase);
        let scenario = scenario.name.clone();
        let period = if is_terminal { WHILE } else { LINES };
        let tell = async move {
            let began = Instant::now();
            let mut ticks = interval_at(began + period, period);
            loop {
                ticks.tick().await;
                let elapsed = began.elapsed();
                let phase = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
                head.set_position(elapsed.as_millis() as u64);
                head.set_message(phase.clone());
                for side in &mut seen {
                    let line = block_in_place(|| side.line());
                    if is_terminal {
                        side.bar.set_message(line);
                    } else {
                        let seconds = elapsed.as_secs();
                        eprintln!("{scenario} {seconds} s, {phase}: {} {line}", side.name);
                    }
                }
            }
        };
        Self {
            phase,
            display,
            task: tokio::spawn(tell).abort_handle(),
        }
    }

    /// What is going on from now on.
    pub(super) fn phase(&self, phase: &str) {
        let mut told = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        phase.clone_into(&mut told);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.task.abort();
        // What takes its place on a terminal is the scenario's verdict.
        let _ = self.display.clear();
    }
}

impl Seen {
    fn line(&mut self) -> String {
        let now = self.stage.clock.now();
        let since = Moment(now.0.saturating_sub(Moment::from(WHILE).0));
        let time = self.judged..since.max(self.judged);
        let records = self
            .notes
            .iter()
            .map(|notes| notes.with_reads_of(time.clone()));
        self.stale += stale_among(&self.stage, records.collect());
        self.judged = time.end;
        let samples = self.samples.all();
        let first = samples.iter().rposition(|sample| sample.ended < since);
        let last: Vec<Sample> = samples[first.map_or(0, |index| index + 1)..].to_vec();
        let so_far = Counts::of(samples.iter());
        drop(samples);
        let counts = Counts::of(&last);
        let latencies = Latencies::of(&last);
        let ms = |part| {
            let time = latencies.quantile(part);
            time.map_or_else(
                || "-".to_owned(),
                |time| format!("{:.1}", time.as_secs_f64() * 1e3),
            )
        };
        format!(
            "{:>5}/s, p50 {:>4} p99 {:>5} ms, near {:>3.0}% far {:>3.0}%, {} failed, {} refused, {} stale, {}",
            counts.requests(),
            ms(0.5),
            ms(0.99),
            counts.percent_of_reads(counts.near),
            counts.percent_of_reads(counts.far),
            so_far.failed,
            so_far.refused_reads + so_far.refused_writes,
            self.stale,
            self.state(),
        )
    }

    fn state(&self) -> String {
        let states = self.watches.iter().map(|watch| match watch.course().pop() {
            Some((_, state)) => state,
            None => State::Silent,
        });
        let states = states.map(|state| match state {
            State::Well => "well".to_owned(),
            State::Degraded(reason) => {
                let reason: String = reason.chars().take(40).collect();
                format!("degraded ({reason})")
            }
            State::Down => "down".to_owned(),
            State::Silent => "silent".to_owned(),
        });
        states.collect::<Vec<_>>().join(" | ")
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}
