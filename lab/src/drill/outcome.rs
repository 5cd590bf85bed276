//! What came of a scenario, measured and judged.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::samples::{Counts, End, Latencies, Sample};
use super::scenario::Scenario;
use super::watch::{Course, State, was_unwell, well_from};
use crate::history::fleet::{History, Instance, Moment, Staleness, Verdict};
use crate::traffic::{Failed, Thing, assembled};
use crate::traffic::{Record, Stage};

/// So long after it broke requests may take what they take: somebody has to notice first.
const NOTICING: Duration = Duration::from_millis(250);

/// So long after the load began, connections are still being made.
const GETTING_GOING: Duration = Duration::from_millis(500);

/// What is measured is told for each piece of time of this length.
pub(super) const SLOT: Duration = Duration::from_millis(100);

/// The fewest requests whose p99 tells anything.
const ENOUGH: u64 = 100;

/// How many complaints are told in full.
const TOLD: usize = 5;

/// A time in which something was broken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) broken: Moment,
    pub(super) mended: Moment,
}

/// When what was done.
#[derive(Clone, Debug)]
pub(super) struct Played {
    /// When the load began.
    pub(super) began: Moment,
    pub(super) spans: Vec<Span>,
    pub(super) ended: Moment,
}

impl Played {
    pub(super) fn broken(&self) -> Moment {
        self.spans
            .first()
            .map(|span| span.broken)
            .unwrap_or_default()
    }

    pub(super) fn mended(&self) -> Moment {
        self.spans
            .last()
            .map(|span| span.mended)
            .unwrap_or_default()
    }

    fn told(&self, course: Course) -> Told {
        let told = course.into_iter().map(|(from, state)| Since {
            from: self.seconds(from),
            state,
        });
        told.collect()
    }

    /// Seconds since the load began.
    pub(super) fn seconds(&self, moment: Moment) -> f64 {
        moment.since(self.began).as_secs_f64()
    }
}

/// All that is known of a side when the load has ended.
pub(super) struct Evidence<'a> {
    pub(super) stage: &'a Stage,
    pub(super) samples: Vec<Sample>,
    pub(super) records: Vec<Record>,
    pub(super) courses: Vec<Course>,
    /// When clients began to ask what the database says.
    pub(super) truth_from: Moment,
    /// Whether everything could be looked at in the end.
    pub(super) is_complete: bool,
}

/// How long requests took in some time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Window {
    pub(super) requests: u64,
    pub(super) p50: Option<Millis>,
    pub(super) p99: Option<Millis>,
    pub(super) longest: Option<Millis>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub(super) struct Millis(pub(super) f64);

impl From<Duration> for Millis {
    fn from(time: Duration) -> Self {
        Self(time.as_secs_f64() * 1e3)
    }
}

/// What was answered in a slot, and how long that took which was due in it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Slot {
    pub(super) counts: Counts,
    pub(super) p50: Option<Millis>,
    pub(super) p99: Option<Millis>,
}

/// What came of a scenario for one side.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SideOutcome {
    pub(super) name: &'static str,
    pub(super) counts: Counts,
    pub(super) before: Window,
    pub(super) during: Window,
    pub(super) after: Window,
    /// p99 in multiples of the reference's at the same time.
    pub(super) before_ratio: Option<f64>,
    pub(super) during_ratio: Option<f64>,
    pub(super) after_ratio: Option<f64>,
    /// Whether an instance said that something was wrong while it was.
    pub(super) is_noticed: bool,
    /// How long after it was mended all instances were well for the first time; `None` if they never
    /// were.
    pub(super) recovery: Option<Millis>,
    /// What part of the reads and of the writes was refused until all was well again.
    pub(super) refused_reads: f64,
    pub(super) refused_writes: f64,
    /// Values that were older than what the instance that answered had acknowledged.
    pub(super) stale: u64,
    /// How long what another instance had written was missed, at most.
    pub(super) missed_elsewhere: Millis,
    /// Values that nobody had written.
    pub(super) wrong: u64,
    /// Acknowledged writes that the database does not know of at the end.
    pub(super) lost: u64,
    /// Whether everything could be looked at in the end, which is how `lost` is known.
    pub(super) is_complete: bool,
    /// Why it did not pass.
    pub(super) breaches: Vec<String>,
    /// The first requests that failed, and the first reads that were stale.
    pub(super) complaints: Vec<String>,
    pub(super) slots: Vec<Slot>,
    /// Each instance's.
    pub(super) courses: Vec<Told>,
}

/// How an instance was from some second on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Since {
    pub(super) from: f64,
    #[serde(flatten)]
    pub(super) state: State,
}

/// How an instance was, one after the other.
pub(super) type Told = Vec<Since>;

impl SideOutcome {
    /// Measures a side, and judges what it answered.
    pub(super) fn of(
        name: &'static str,
        evidence: Evidence<'_>,
        scenario: &Scenario,
        played: &Played,
    ) -> Result<Self> {
        let Evidence {
            stage,
            samples,
            records,
            courses,
            truth_from,
            is_complete,
        } = evidence;
        let (history, failed) = assembled(stage, records);
        let mut judged = Judged::of(&history, played.began, truth_from)?;
        let mended = played.mended();
        let well = well_from(&courses, mended);
        let window = |is_in: &dyn Fn(&Sample) -> bool| Window::of(&samples, is_in);
        let from_the_end_on = mended + scenario.limits.recovery;
        let is_affected = |sample: &Sample| {
            let Instance(number) = sample.instance;
            scenario.only.is_none_or(|only| only == number)
        };
        let is_broken = |sample: &Sample| {
            let mut spans = played.spans.iter();
            spans.any(|span| span.broken + NOTICING <= sample.due && sample.due < span.mended)
        };
        // What is refused when nothing is broken any more is a failure.
        let may_refuse = |from: Moment, to: Moment| {
            to >= played.broken() && from <= well.unwrap_or(played.ended)
        };
        let allowed = |sample: &Sample| may_refuse(sample.due, sample.ended);
        let mut counts = Counts::of(&samples);
        let refused = |end: End| samples.iter().filter(move |sample| sample.end == end);
        let late = |end: End| refused(end).filter(|sample| !allowed(sample)).count() as u64;
        let late = [late(End::RefusedRead), late(End::RefusedWrite)];
        counts.refused_reads -= late[0];
        counts.refused_writes -= late[1];
        counts.failed += late[0] + late[1];
        let meanwhile = Counts::of(samples.iter().filter(|sample| allowed(sample)));
        let part = |part: u64, of: u64| part as f64 / (part + of).max(1) as f64;
        judged.complain(&failed, played.began, &may_refuse);
        Ok(Self {
            name,
            counts,
            before: window(&|sample| {
                sample.due >= played.began + GETTING_GOING && sample.due < played.broken()
            }),
            during: window(&|sample| is_affected(sample) && is_broken(sample)),
            after: window(&|sample| sample.due >= from_the_end_on),
            before_ratio: None,
            during_ratio: None,
            after_ratio: None,
            is_noticed: was_unwell(&courses, played.broken(), mended),
            recovery: well.map(|well| well.since(mended).into()),
            refused_reads: part(meanwhile.refused_reads, meanwhile.reads()),
            refused_writes: part(meanwhile.refused_writes, meanwhile.written),
            stale: judged.stale,
            missed_elsewhere: judged.missed_elsewhere.into(),
            wrong: judged.wrong,
            lost: judged.lost,
            is_complete,
            breaches: Vec::new(),
            complaints: judged.complaints,
            slots: slots(&samples, played),
            courses: courses
                .into_iter()
                .map(|course| played.told(course))
                .collect(),
        })
    }

    /// Compares a side's speed with the reference's.
    pub(super) fn compare(&mut self, reference: &Self) {
        let ratio = |ours: Window, theirs: Window| {
            let (Millis(ours), Millis(theirs)) = (ours.p99?, theirs.p99?);
            (theirs > 0.0).then(|| ours / theirs)
        };
        self.before_ratio = ratio(self.before, reference.before);
        self.during_ratio = ratio(self.during, reference.during);
        self.after_ratio = ratio(self.after, reference.after);
    }

    /// Holds it against the limits of the scenario.
    pub(super) fn hold_against(&mut self, scenario: &Scenario, ignore_speed: bool) {
        let limits = &scenario.limits;
        let mut breaches = Vec::new();
        for (found, limit, what) in [
            (self.counts.failed, limits.failed, "requests failed"),
            (self.stale, limits.stale, "reads were stale"),
            (self.wrong, 0, "reads answered what nobody had written"),
            (self.lost, limits.lost, "acknowledged writes are lost"),
        ] {
            if found > limit {
                breaches.push(format!("{found} {what} (limit {limit})"));
            }
        }
        for (part, limit, what) in [
            (self.refused_reads, limits.refused_reads, "reads"),
            (self.refused_writes, limits.refused_writes, "writes"),
        ] {
            if part > limit {
                let [part, limit] = [part, limit].map(|part| part * 100.0);
                breaches.push(format!(
                    "{part:.1}% of the {what} were refused (limit {limit:.1}%)"
                ));
            }
        }
        if !self.is_complete {
            breaches.push("not everything could be looked at in the end".to_owned());
        }
        let limit = Millis::from(limits.recovery);
        match self.recovery {
            None => breaches.push("not well again until the end".to_owned()),
            Some(Millis(took)) if took > limit.0 && !ignore_speed => {
                let limit = limit.0;
                breaches.push(format!(
                    "well again after {took:.0} ms (limit {limit:.0} ms)"
                ));
            }
            Some(_) => {}
        }
        if !ignore_speed {
            breaches.extend(self.slowness(scenario));
        }
        self.breaches = breaches;
    }

    /// Where it was too slow, or nobody can tell, if there is something to compare it with.
    fn slowness(&self, scenario: &Scenario) -> Vec<String> {
        let limits = &scenario.limits;
        let mut breaches = Vec::new();
        let mut hold = |window: Window, ratio: Option<f64>, limit: f64, when: &str, what: &str| {
            if window.requests < ENOUGH {
                let count = window.requests;
                breaches.push(format!("{count} requests {when} are too few for a p99"));
            } else if let Some(ratio) = ratio.filter(|&ratio| ratio > limit) {
                breaches.push(format!(
                    "p99 {when} was {ratio:.2} times {what} (limit {limit:.2})"
                ));
            }
        };
        if self.during_ratio.is_some() || self.after_ratio.is_some() {
            let (ratio, limit) = (self.during_ratio, limits.p99_during);
            let what = "that of the memory backend";
            hold(self.during, ratio, limit, "while it was broken", what);
            // What is normal for a backend it has shown before.
            let normal = self.before_ratio.map(|before| before.max(1.0));
            let ratio = self
                .after_ratio
                .zip(normal)
                .map(|(after, normal)| after / normal);
            let what = "what it was before, both against that of the memory backend";
            hold(self.after, ratio, limits.p99_after, "afterwards", what);
        }
        breaches
    }

    pub(super) fn is_passed(&self) -> bool {
        self.breaches.is_empty()
    }
}

impl Window {
    fn of(samples: &[Sample], is_in: &dyn Fn(&Sample) -> bool) -> Self {
        let inside = || samples.iter().filter(|sample| is_in(sample));
        let latencies = Latencies::of(inside());
        Self {
            requests: inside().count() as u64,
            p50: latencies.quantile(0.5).map(Millis::from),
            p99: latencies.quantile(0.99).map(Millis::from),
            longest: latencies.longest().map(Millis::from),
        }
    }
}

/// What was seen, piece by piece.
fn slots(samples: &[Sample], played: &Played) -> Vec<Slot> {
    let slot = |moment: Moment| (moment.since(played.began).as_nanos() / SLOT.as_nanos()) as usize;
    let count = slot(played.ended);
    let pieces = |moment: fn(&Sample) -> Moment| {
        let mut pieces = vec![Vec::new(); count];
        for sample in samples {
            if let Some(piece) = pieces.get_mut(slot(moment(sample))) {
                piece.push(*sample);
            }
        }
        pieces
    };
    let (ended, due) = (pieces(|sample| sample.ended), pieces(|sample| sample.due));
    let slots = ended.iter().zip(&due).map(|(ended, due)| {
        let latencies = Latencies::of(due);
        Slot {
            counts: Counts::of(ended),
            p50: latencies.quantile(0.5).map(Millis::from),
            p99: latencies.quantile(0.99).map(Millis::from),
        }
    });
    slots.collect()
}

/// What the history says.
#[derive(Default)]
struct Judged {
    stale: u64,
    wrong: u64,
    lost: u64,
    missed_elsewhere: Duration,
    complaints: Vec<String>,
}

impl Judged {
    fn of(history: &History<Thing, u32>, began: Moment, truth_from: Moment) -> Result<Self> {
        let mut judged = Self::default();
        history.judge(|thing, read, verdict| {
            let staleness = match verdict {
                Verdict::Written(staleness) => Some(staleness),
                Verdict::Unwritten | Verdict::FromTheFuture => None,
            };
            let Instance(instance) = read.instance;
            let at = read.began.since(began).as_secs_f64();
            let answer = format!("at {at:.3} s instance {instance} answered {thing}");
            let Some(Staleness {
                same_instance,
                other_instance,
                ..
            }) = staleness
            else {
                judged.wrong += 1;
                judged.tell(|| format!("{answer} with what nobody had written"));
                return;
            };
            if read.began >= truth_from {
                if same_instance.or(other_instance).is_some() {
                    judged.lost += 1;
                    judged.tell(|| format!("{thing} is older in the database than acknowledged"));
                }
                return;
            }
            judged.missed_elsewhere = judged
                .missed_elsewhere
                .max(other_instance.unwrap_or_default());
            if let Some(age) = same_instance {
                judged.stale += 1;
                judged.tell(|| format!("{answer} with what was replaced {age:.1?} before"));
            }
        })?;
        Ok(judged)
    }

    fn complain(
        &mut self,
        failed: &[Failed],
        began: Moment,
        may_refuse: &impl Fn(Moment, Moment) -> bool,
    ) {
        for failed in failed {
            if !(failed.is_refusal && may_refuse(failed.began, failed.ended)) {
                let Instance(instance) = failed.instance;
                let (at, why) = (failed.began.since(began).as_secs_f64(), &failed.why);
                self.tell(|| format!("at {at:.3} s instance {instance}: {why}"));
            }
        }
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.complaints.len() < TOLD {
            self.complaints.push(what());
        }
    }
}

/// How many reads were stale among those that clients noted. What they read, others may not have
/// noted yet that they wrote.
pub(super) fn stale_among(stage: &Stage, records: Vec<Record>) -> u64 {
    let (history, _) = assembled(stage, records);
    Judged::of(&history, Moment::default(), Moment(u64::MAX)).map_or(0, |judged| judged.stale)
}
