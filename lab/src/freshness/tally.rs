//! What came of a run: for each fault, and for the time when all was well.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::fault::Fault;
use super::schedule::{Absence, Act, Played};
use crate::history::fleet::{History, Instance, Moment, Outcome, Staleness, Verdict};
use crate::traffic::{Failed, Thing, ThingRead};

/// So long after a write at another instance a read counts among those that might have missed it.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// How many violations are kept to be told in full.
const TOLD: usize = 10;

/// How long what other instances had written was missed.
#[derive(Clone, Debug, Default)]
pub(super) struct Missed {
    /// Reads without a position that began soon after a write at another instance, or were stale.
    pub(super) reads: u64,
    /// How stale those were that were stale at all; sorted.
    pub(super) stale: Vec<Duration>,
}

impl Missed {
    /// The staleness that so large a part of the reads soon after a write did not exceed. Most were
    /// not stale.
    pub(super) fn quantile(&self, part: f64) -> Duration {
        let fresh = self.reads - self.stale.len() as u64;
        let rank = (self.reads as f64 * part).ceil() as u64;
        match rank.checked_sub(fresh + 1) {
            Some(index) => self.stale.get(index as usize).copied().unwrap_or_default(),
            None => Duration::ZERO,
        }
    }

    /// The same among those alone that were stale.
    pub(super) fn quantile_of_stale(&self, part: f64) -> Duration {
        let rank = (self.stale.len() as f64 * part).ceil() as usize;
        let stale = self.stale.get(rank.saturating_sub(1));
        stale.copied().unwrap_or_default()
    }

    pub(super) fn max(&self) -> Duration {
        self.stale.last().copied().unwrap_or_default()
    }
}

/// What happened in one kind of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// Answers to reads.
    pub(super) reads: u64,
    /// Values that they told, of which a page has several: so many were judged.
    pub(super) values: u64,
    pub(super) writes: u64,
    /// Failed requests to an instance that had been killed.
    pub(super) explained: u64,
    /// All others.
    pub(super) failed: u64,
    pub(super) stale_same_instance: u64,
    pub(super) stale_with_position: u64,
    /// Values that nobody wrote, or not yet.
    pub(super) wrong: u64,
    pub(super) missed: Missed,
    /// The longest that a request took.
    pub(super) longest: Duration,
}

/// What must not have happened.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) during: Option<Fault>,
    pub(super) what: String,
}

/// A stale read at another instance, for the picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct StaleRead {
    pub(super) began: Moment,
    pub(super) staleness: Duration,
    pub(super) is_violation: bool,
}

/// What happened in a short while, for the picture.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    pub(super) reads: u32,
    pub(super) writes: u32,
    pub(super) failed: u32,
    pub(super) longest: Duration,
}

/// How long such a while is.
pub(super) const WHILE: Duration = Duration::from_millis(250);

/// What came of a run.
pub(super) struct Tally {
    /// By fault; `None` is the time when all was well.
    pub(super) rows: BTreeMap<Option<usize>, Row>,
    pub(super) violations: Vec<Violation>,
    /// How many there were, told or not.
    pub(super) violation_count: u64,
    pub(super) stale: Vec<StaleRead>,
    pub(super) course: Vec<Moments>,
    pub(super) acts: Vec<Act>,
}

impl Tally {
    /// Judges a history.
    pub(super) fn of(
        history: &History<Thing, u32>,
        failed: &[Failed],
        played: &Played,
    ) -> Result<Self> {
        let mut tally = Self {
            rows: BTreeMap::new(),
            violations: Vec::new(),
            violation_count: 0,
            stale: Vec::new(),
            course: Vec::new(),
            acts: played.acts.clone(),
        };
        let mut previous = None;
        history.judge(|thing, read, verdict| {
            // What one answer told has one beginning.
            let is_new =
                previous.replace((read.began, read.instance)) != Some((read.began, read.instance));
            tally.read(thing, read, verdict, is_new);
        })?;
        for (_, write) in history.all_writes() {
            if let Outcome::Acknowledged(_) = write.outcome {
                tally.row(write.began, write.ended).writes += 1;
                tally.took(write.began, write.ended).writes += 1;
            }
        }
        for failed in failed {
            tally.failed(failed, &played.absences);
        }
        for row in tally.rows.values_mut() {
            row.missed.stale.sort_unstable();
        }
        Ok(tally)
    }

    /// All rows as one.
    pub(super) fn total(&self) -> Row {
        let mut total = Row::default();
        for row in self.rows.values() {
            total.reads += row.reads;
            total.values += row.values;
            total.writes += row.writes;
            total.explained += row.explained;
            total.failed += row.failed;
            total.stale_same_instance += row.stale_same_instance;
            total.stale_with_position += row.stale_with_position;
            total.wrong += row.wrong;
            total.missed.reads += row.missed.reads;
            total.missed.stale.extend(&row.missed.stale);
            total.longest = total.longest.max(row.longest);
        }
        total.missed.stale.sort_unstable();
        total
    }

    fn read(&mut self, thing: &Thing, read: &ThingRead, verdict: Verdict, is_new: bool) {
        if is_new {
            self.row(read.began, read.ended).reads += 1;
            self.took(read.began, read.ended).reads += 1;
        }
        self.row(read.began, read.ended).values += 1;
        let staleness = match verdict {
            Verdict::Written(staleness) => staleness,
            Verdict::Unwritten | Verdict::FromTheFuture => {
                self.row(read.began, read.ended).wrong += 1;
                self.violation(thing, read, "which nobody had written");
                return;
            }
        };
        let Staleness {
            same_instance,
            other_instance,
            position,
            since_write_elsewhere,
        } = staleness;
        if let Some(age) = same_instance {
            self.row(read.began, read.ended).stale_same_instance += 1;
            let why =
                format!("replaced {age:?} before by a write that the same instance acknowledged");
            self.violation(thing, read, &why);
        }
        if let Some(age) = position {
            self.row(read.began, read.ended).stale_with_position += 1;
            let why =
                format!("replaced {age:?} before at a position not after the one that was sent");
            self.violation(thing, read, &why);
        }
        if read.position.is_none() {
            let missed = &mut self.row(read.began, read.ended).missed;
            let is_soon = since_write_elsewhere.is_some_and(|since| since <= SOON);
            if is_soon || other_instance.is_some() {
                missed.reads += 1;
            }
            missed.stale.extend(other_instance);
        }
        let is_violation = same_instance.is_some() || position.is_some();
        if let Some(staleness) = [same_instance, other_instance, position]
            .into_iter()
            .flatten()
            .max()
        {
            self.stale.push(StaleRead {
                began: read.began,
                staleness,
                is_violation,
            });
        }
    }

    fn failed(&mut self, failed: &Failed, absences: &[Absence]) {
        let Failed {
            instance,
            began,
            ended,
            why,
            is_refusal: _,
        } = failed;
        let is_explained = absences.iter().any(|absence| {
            absence.instance == *instance && *began <= absence.to && *ended >= absence.from
        });
        self.took(*began, *ended).failed += 1;
        let row = self.row(*began, *ended);
        if is_explained {
            row.explained += 1;
            return;
        }
        row.failed += 1;
        let Instance(number) = instance;
        let what = format!(
            "a request to instance {number} at {} failed: {why}",
            at(*began)
        );
        self.broken(*began, *ended, what);
    }

    fn violation(&mut self, thing: &Thing, read: &ThingRead, why: &str) {
        let ThingRead {
            value,
            instance: Instance(instance),
            position,
            began,
            ended,
        } = read;
        let sent = position.map_or_else(String::new, |sent| format!(" with position {sent}"));
        let what = format!(
            "instance {instance}, asked{sent} at {}, answered {thing} = {value}, {why}",
            at(*began)
        );
        self.broken(*began, *ended, what);
    }

    fn broken(&mut self, began: Moment, ended: Moment, what: String) {
        self.violation_count += 1;
        if self.violations.len() < TOLD {
            let during = self.act(began, ended).map(|act| act.fault);
            self.violations.push(Violation { during, what });
        }
    }

    /// What went wrong at some time in between, until every instance was well again.
    fn act(&self, began: Moment, ended: Moment) -> Option<&Act> {
        let index = self.acts.partition_point(|act| act.well < began);
        self.acts.get(index).filter(|act| act.began <= ended)
    }

    fn row(&mut self, began: Moment, ended: Moment) -> &mut Row {
        let fault = self.act(began, ended).map(|act| act.fault);
        let index = fault.and_then(|fault| Fault::ALL.iter().position(|other| *other == fault));
        let row = self.rows.entry(index).or_default();
        row.longest = row.longest.max(ended.since(began));
        row
    }

    fn took(&mut self, began: Moment, ended: Moment) -> &mut Moments {
        let index = (began.since(Moment::default()).as_nanos() / WHILE.as_nanos()) as usize;
        if self.course.len() <= index {
            self.course.resize(index + 1, Moments::default());
        }
        let moments = &mut self.course[index];
        moments.longest = moments.longest.max(ended.since(began));
        moments
    }
}

/// A moment in seconds.
pub(super) fn at(moment: Moment) -> String {
    format!("{:.3} s", moment.since(Moment::default()).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(reads: u64, millis: &[u64]) -> Missed {
        Missed {
            reads,
            stale: millis.iter().copied().map(Duration::from_millis).collect(),
        }
    }

    #[test]
    fn fresh_reads_count_as_not_stale_at_all() {
        let missed = missed(100, &[3, 7]);
        let ms = Duration::from_millis;
        assert_eq!(missed.quantile(0.5), ms(0));
        assert_eq!(missed.quantile(0.98), ms(0));
        assert_eq!(missed.quantile(0.99), ms(3));
        assert_eq!(missed.quantile(1.0), ms(7));
        assert_eq!(missed.max(), ms(7));
    }

    #[test]
    fn quantiles_of_the_stale_reads_leave_out_the_fresh_ones() {
        let missed = missed(1000, &[1, 2, 3, 4]);
        assert_eq!(missed.quantile_of_stale(0.5), Duration::from_millis(2));
        assert_eq!(missed.quantile_of_stale(0.99), Duration::from_millis(4));
    }

    #[test]
    fn nothing_missed_is_no_staleness() {
        assert_eq!(missed(0, &[]).quantile(0.99), Duration::ZERO);
        assert_eq!(missed(0, &[]).quantile_of_stale(0.99), Duration::ZERO);
    }
}
