//! What became of the requests of one measurement.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::workload::Ask;
use crate::traffic::Source;

/// The longest time that a histogram tells from longer ones.
const LONGEST: Duration = Duration::from_secs(60);

/// How long a slot of the course over time is.
pub(super) const SLOT: Duration = Duration::from_millis(100);

/// Where answers came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answers {
    pub(super) near: u64,
    pub(super) far: u64,
    pub(super) database: u64,
    /// Reads of servers that do not say.
    pub(super) unknown: u64,
    pub(super) written: u64,
}

impl Answers {
    fn count(&mut self, ask: Ask, source: Option<Source>) {
        let count = match source {
            _ if !ask.is_read() => &mut self.written,
            // What is past its time comes out of a cache too; it is rare where nothing is broken.
            Some(Source::Near | Source::Late) => &mut self.near,
            Some(Source::Far) => &mut self.far,
            Some(Source::Database) => &mut self.database,
            None => &mut self.unknown,
        };
        *count += 1;
    }

    fn add(&mut self, others: &Self) {
        self.near += others.near;
        self.far += others.far;
        self.database += others.database;
        self.unknown += others.unknown;
        self.written += others.written;
    }

    /// Of the reads, in percent; `None` if there were none, or nobody says.
    pub(super) fn hit_rate(&self) -> Option<f64> {
        let reads = self.near + self.far + self.database;
        (reads > 0).then(|| (self.near + self.far) as f64 * 100.0 / reads as f64)
    }
}

/// What became of requests.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// How long answers took, in nanoseconds (Gil Tene's HDR histogram, three digits).
    pub(super) latencies: Histogram<u64>,
    pub(super) answers: Answers,
    pub(super) failed: u64,
    /// Why the first of them failed.
    pub(super) why: Option<String>,
    /// When the first was due, and when the last ended.
    pub(super) span: Option<(Instant, Instant)>,
    /// When each read was answered, and whether out of a cache.
    reads: Vec<(Instant, bool)>,
}

impl Default for Slice {
    fn default() -> Self {
        Self {
            latencies: histogram(),
            answers: Answers::default(),
            failed: 0,
            why: None,
            span: None,
            reads: Vec::new(),
        }
    }
}

/// One that holds nothing.
pub(super) fn histogram() -> Histogram<u64> {
    // Three digits up to a minute are always possible; anything else would be a mistake here.
    let longest = LONGEST.as_nanos() as u64;
    match Histogram::new_with_bounds(1, longest, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("a histogram of {LONGEST:?}: {error}"),
    }
}

impl Slice {
    pub(super) fn answered(
        &mut self,
        ask: Ask,
        source: Option<Source>,
        due: Instant,
        ended: Instant,
    ) {
        let took = ended.duration_since(due).as_nanos();
        self.latencies
            .saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
        self.answers.count(ask, source);
        if ask.is_read()
            && let Some(source) = source
        {
            self.reads.push((ended, source != Source::Database));
        }
        self.widen(due, ended);
    }

    pub(super) fn failed(&mut self, why: String, due: Instant, ended: Instant) {
        self.failed += 1;
        self.why.get_or_insert(why);
        self.widen(due, ended);
    }

    fn widen(&mut self, due: Instant, ended: Instant) {
        let (first, last) = self.span.unwrap_or((due, ended));
        self.span = Some((first.min(due), last.max(ended)));
    }

    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.latencies.add(&other.latencies);
        self.answers.add(&other.answers);
        self.failed += other.failed;
        if self.why.is_none() {
            self.why.clone_from(&other.why);
        }
        if let Some((due, ended)) = other.span {
            self.widen(due, ended);
        }
        self.reads.extend_from_slice(&other.reads);
    }

    pub(super) fn answered_requests(&self) -> u64 {
        self.latencies.len()
    }

    pub(super) fn requests(&self) -> u64 {
        self.answered_requests() + self.failed
    }

    /// Answers in a second.
    pub(super) fn throughput(&self) -> f64 {
        let seconds = self.span.map_or(0.0, |(first, last)| {
            last.duration_since(first).as_secs_f64()
        });
        if seconds > 0.0 {
            self.answered_requests() as f64 / seconds
        } else {
            0.0
        }
    }

    /// Reads and hits in each slot of time, from the first request on.
    pub(super) fn course(&self) -> Vec<Reads> {
        let Some((first, last)) = self.span else {
            return Vec::new();
        };
        let slot = |moment: Instant| {
            let since = moment.saturating_duration_since(first);
            (since.as_nanos() / SLOT.as_nanos()) as usize
        };
        let mut course = vec![Reads::default(); slot(last) + 1];
        for &(moment, is_hit) in &self.reads {
            let reads = &mut course[slot(moment)];
            reads.reads += 1;
            reads.hits += u64::from(is_hit);
        }
        course
    }
}

/// Reads, and those of them that a cache answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reads {
    pub(super) reads: u64,
    pub(super) hits: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn each_request_counts_once_and_from_when_it_was_due() {
        let start = Instant::now();
        let mut one = Slice::default();
        one.answered(Ask::User(1), Some(Source::Near), start, after(start, 10));
        one.answered(
            Ask::User(1),
            Some(Source::Database),
            after(start, 150),
            after(start, 180),
        );
        one.failed("why".into(), start, after(start, 400));
        let mut other = Slice::default();
        other.answered(Ask::Rename(1, 2), None, start, after(start, 500));
        other.answered(Ask::User(1), None, start, after(start, 1));
        one.add(&other);
        assert_eq!(
            (one.requests(), one.answered_requests(), one.failed),
            (5, 4, 1)
        );
        assert_eq!(one.answers.hit_rate(), Some(50.0));
        assert_eq!((one.answers.written, one.answers.unknown), (1, 1));
        assert!((one.throughput() - 8.0).abs() < 1e-9);
        let longest = Duration::from_nanos(one.latencies.max()).as_millis();
        assert_eq!(longest, 500);
        let course = one.course();
        assert_eq!(course.len(), 6);
        assert_eq!(course[0], Reads { reads: 1, hits: 1 });
        assert_eq!(course[1], Reads { reads: 1, hits: 0 });
    }

    #[test]
    fn nothing_asked_is_nothing_answered() {
        let none = Slice::default();
        assert_eq!((none.requests(), none.throughput()), (0, 0.0));
        assert_eq!(none.answers.hit_rate(), None);
        assert!(none.course().is_empty());
    }
}
