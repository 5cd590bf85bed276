//! What became of each request of a side, for whoever wants to know while it goes on.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::history::fleet::{Instance, Moment};
use crate::traffic::Source;

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// When it should have been sent: later than that only if the same client still waited for the
    /// answer before, which is then part of how long this one took.
    pub(super) due: Moment,
    /// When it was answered.
    pub(super) ended: Moment,
    pub(super) instance: Instance,
    pub(super) end: End,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A read was answered, from there.
    Read(Source),
    /// A write was acknowledged.
    Written,
    /// Answered 503, with `Retry-After`.
    RefusedRead,
    RefusedWrite,
    /// Not answered, or not as it should have been.
    Failed,
}

impl Sample {
    pub(super) fn took(&self) -> Duration {
        self.ended.since(self.due)
    }
}

/// All requests of a side so far, in the order in which they ended.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<Vec<Sample>>);

impl Samples {
    pub(super) fn push(&self, sample: Sample) {
        self.all().push(sample);
    }

    pub(super) fn all(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many requests there were, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) near: u64,
    pub(super) far: u64,
    pub(super) database: u64,
    /// Reads answered with what was past its time.
    pub(super) late: u64,
    pub(super) written: u64,
    pub(super) refused_reads: u64,
    pub(super) refused_writes: u64,
    pub(super) failed: u64,
}

impl Counts {
    pub(super) fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut counts = Self::default();
        for sample in samples {
            *match sample.end {
                End::Read(Source::Near) => &mut counts.near,
                End::Read(Source::Far) => &mut counts.far,
                End::Read(Source::Database) => &mut counts.database,
                End::Read(Source::Late) => &mut counts.late,
                End::Written => &mut counts.written,
                End::RefusedRead => &mut counts.refused_reads,
                End::RefusedWrite => &mut counts.refused_writes,
                End::Failed => &mut counts.failed,
            } += 1;
        }
        counts
    }

    pub(super) fn reads(&self) -> u64 {
        self.near + self.far + self.database + self.late
    }

    pub(super) fn requests(&self) -> u64 {
        self.reads() + self.written + self.refused_reads + self.refused_writes + self.failed
    }

    /// What part of the answered reads so many are, in percent.
    pub(super) fn percent_of_reads(&self, part: u64) -> f64 {
        part as f64 * 100.0 / self.reads().max(1) as f64
    }
}

/// How long requests took.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Those of answered and of failed requests alike.
    pub(super) fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut all: Vec<Duration> = samples.into_iter().map(Sample::took).collect();
        all.sort_unstable();
        Self(all)
    }

    /// The time that so large a part of them did not exceed; `None` if there were none.
    pub(super) fn quantile(&self, part: f64) -> Option<Duration> {
        let rank = (self.0.len() as f64 * part).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied()
    }

    pub(super) fn longest(&self) -> Option<Duration> {
        self.0.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(millis: u64, end: End) -> Sample {
        Sample {
            due: Moment::default(),
            ended: Duration::from_millis(millis).into(),
            instance: Instance(0),
            end,
        }
    }

    #[test]
    fn a_quantile_is_a_time_that_was_taken() {
        let samples: Vec<Sample> = (1..=200).map(|ms| sample(ms, End::Written)).collect();
        let latencies = Latencies::of(&samples);
        let ms = Duration::from_millis;
        assert_eq!(latencies.quantile(0.5), Some(ms(100)));
        assert_eq!(latencies.quantile(0.99), Some(ms(198)));
        assert_eq!(latencies.quantile(1.0), Some(ms(200)));
        assert_eq!(latencies.longest(), Some(ms(200)));
        assert_eq!(Latencies::of([]).quantile(0.99), None);
    }

    #[test]
    fn each_request_counts_once() {
        let samples = [
            sample(1, End::Read(Source::Near)),
            sample(1, End::Read(Source::Far)),
            sample(1, End::Read(Source::Far)),
            sample(1, End::Written),
            sample(1, End::Failed),
        ];
        let counts = Counts::of(&samples);
        assert_eq!((counts.reads(), counts.requests()), (3, 5));
        assert!((counts.percent_of_reads(counts.far) - 66.67).abs() < 0.01);
        assert_eq!(Counts::default().percent_of_reads(0), 0.0);
    }
}
