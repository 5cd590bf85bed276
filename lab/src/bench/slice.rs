//! What became of the requests of one measurement.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::meter::Times;
use super::workload::Ask;
use crate::traffic::Source;

/// How long a slot of the course over time is.
pub(super) const SLOT: Duration = Duration::from_millis(100);

/// Times in nanoseconds, to three digits (Gil Tene's HDR histogram).
pub(super) type Latencies = Histogram<u32>;

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

/// Reads, and those of them that a cache answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reads {
    pub(super) reads: u64,
    pub(super) hits: u64,
}

impl Reads {
    pub(super) fn add(&mut self, other: Self) {
        self.reads += other.reads;
        self.hits += other.hits;
    }
}

/// What became of requests.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// How long answers took.
    pub(super) latencies: Latencies,
    pub(super) answers: Answers,
    pub(super) failed: u64,
    /// Why the first of them failed.
    pub(super) why: Option<String>,
    /// What all of it took, from when every client was connected to the last answer.
    pub(super) took: Option<Times>,
    /// How much later than they were due requests were handed to the clients: the fault of whoever
    /// measures.
    pub(super) lateness: Latencies,
    /// In slots from this moment on.
    course_from: Option<Instant>,
    pub(super) course: Vec<Reads>,
}

impl Default for Slice {
    fn default() -> Self {
        Self {
            latencies: latencies(),
            answers: Answers::default(),
            failed: 0,
            why: None,
            took: None,
            lateness: latencies(),
            course_from: None,
            course: Vec::new(),
        }
    }
}

fn latencies() -> Latencies {
    match Latencies::new(3) {
        Ok(latencies) => latencies,
        Err(error) => unreachable!("three digits are possible: {error}"),
    }
}

fn record(latencies: &mut Latencies, time: Duration) {
    // It grows with what it records.
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let _ = latencies.record(nanoseconds);
}

impl Slice {
    /// From now on it is noted when reads are answered, counted from this moment.
    pub(super) fn begin_course(&mut self, from: Instant) {
        self.course_from = Some(from);
    }

    pub(super) fn answered(
        &mut self,
        ask: Ask,
        source: Option<Source>,
        due: Instant,
        ended: Instant,
    ) {
        record(&mut self.latencies, ended.duration_since(due));
        self.answers.count(ask, source);
        if ask.is_read()
            && let Some(from) = self.course_from
            && let Some(source) = source
        {
            let since = ended.saturating_duration_since(from);
            let slot = (since.as_nanos() / SLOT.as_nanos()) as usize;
            if self.course.len() <= slot {
                self.course.resize(slot + 1, Reads::default());
            }
            self.course[slot].add(Reads {
                reads: 1,
                hits: u64::from(source != Source::Database),
            });
        }
    }

    pub(super) fn failed(&mut self, why: String) {
        self.failed += 1;
        self.why.get_or_insert(why);
    }

    /// A request was handed to the clients so long after it was due.
    pub(super) fn sent_after(&mut self, time: Duration) {
        record(&mut self.lateness, time);
    }

    pub(super) fn add(&mut self, other: &Self) {
        // They grow with what is added.
        let _ = self.latencies.add(&other.latencies);
        let _ = self.lateness.add(&other.lateness);
        self.answers.add(&other.answers);
        self.failed += other.failed;
        if self.why.is_none() {
            self.why.clone_from(&other.why);
        }
        self.took = match (self.took, other.took) {
            (Some(one), Some(other)) => Some(one.and(&other)),
            (one, other) => one.or(other),
        };
        if self.course.len() < other.course.len() {
            self.course.resize(other.course.len(), Reads::default());
        }
        for (sum, reads) in self.course.iter_mut().zip(&other.course) {
            sum.add(*reads);
        }
    }

    pub(super) fn answered_requests(&self) -> u64 {
        self.latencies.len()
    }

    pub(super) fn requests(&self) -> u64 {
        self.answered_requests() + self.failed
    }

    /// Answers in a second.
    pub(super) fn throughput(&self) -> f64 {
        let seconds = self.took.map_or(0.0, |took| took.elapsed.as_secs_f64());
        if seconds > 0.0 {
            self.answered_requests() as f64 / seconds
        } else {
            0.0
        }
    }
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
        one.begin_course(start);
        one.answered(Ask::User(1), Some(Source::Near), start, after(start, 10));
        let (due, ended) = (after(start, 150), after(start, 180));
        one.answered(Ask::User(1), Some(Source::Database), due, ended);
        one.failed("why".into());
        let mut other = Slice::default();
        other.begin_course(start);
        other.answered(Ask::Rename(1, 2), None, start, after(start, 500));
        other.answered(Ask::User(1), None, start, after(start, 1));
        other.answered(Ask::User(1), Some(Source::Far), start, after(start, 420));
        one.add(&other);
        assert_eq!(
            (one.requests(), one.answered_requests(), one.failed),
            (6, 5, 1)
        );
        assert_eq!(one.why.as_deref(), Some("why"));
        assert_eq!(one.answers.hit_rate(), Some(200.0 / 3.0));
        assert_eq!((one.answers.written, one.answers.unknown), (1, 1));
        let longest = Duration::from_nanos(one.latencies.max()).as_millis();
        assert_eq!(longest, 500);
        let course: Vec<(u64, u64)> = one
            .course
            .iter()
            .map(|slot| (slot.reads, slot.hits))
            .collect();
        assert_eq!(course, [(1, 1), (1, 0), (0, 0), (0, 0), (1, 1)]);
    }

    #[test]
    fn nothing_asked_is_nothing_answered() {
        let none = Slice::default();
        assert_eq!((none.requests(), none.throughput()), (0, 0.0));
        assert_eq!(none.answers.hit_rate(), None);
    }
}
