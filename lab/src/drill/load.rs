//! What clients ask for, and how often.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::sleep_until;

use super::options::Options;
use super::samples::{End, Sample, Samples};
use super::scene::Side;
use crate::history::fleet::Moment;
use crate::traffic::{
    Asked, Clients, Failed, Leaver, Notes, Record, Source, Stage, Thing, Visitor, Whom, Work, Zipf,
};

/// How many clients a side has.
const CLIENTS: usize = 16;

/// How often a client who has nothing to do looks whether it is over.
const LOOK_UP: Duration = Duration::from_millis(100);

/// How many users there are, and how many products.
pub(super) const ROWS: usize = 100;

/// How many products a client lets live at once.
const LEAVERS: usize = 2;

/// What clients of a side ask for.
#[derive(Debug)]
struct Mix {
    /// How often, in a second.
    rate: f64,
    /// Of a hundred requests.
    writes: u8,
    /// Which of the rows.
    rows: Zipf,
}

impl Mix {
    fn new(options: &Options) -> Self {
        Self {
            rate: f64::from(options.rate),
            writes: options.writes,
            rows: Zipf::over(ROWS),
        }
    }

    /// A user or a product.
    fn thing(&self) -> Thing {
        let luck = fastrand::f64();
        let index = self.rows.row(luck) as u32;
        if fastrand::bool() {
            Thing::User(index)
        } else {
            Thing::Product(index)
        }
    }

    /// How long after a request the next one is due: as if they knew nothing of each other.
    fn gap(&self) -> Duration {
        let gap = -(1.0 - fastrand::f64()).ln() / self.rate;
        Duration::from_secs_f64(gap)
    }
}

/// When requests of a side are due, whichever of its clients has time for them. So one that waits for
/// an answer keeps the others from nothing; and if all of them wait, what falls due meanwhile is asked
/// late, but asked.
#[derive(Debug)]
struct Schedule {
    next: Mutex<Moment>,
    ends: AtomicU64,
}

impl Schedule {
    fn new(begins: Moment) -> Arc<Self> {
        Arc::new(Self {
            next: Mutex::new(begins),
            ends: AtomicU64::new(u64::MAX),
        })
    }

    /// When the next request is due that nobody else sees to, and so on.
    fn take(&self, mix: &Mix) -> Moment {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = *next + mix.gap();
        *next
    }

    /// Nothing is due after this.
    fn end(&self, at: Moment) {
        self.ends.store(at.0, Ordering::SeqCst);
    }

    fn is_over_at(&self, moment: Moment) -> bool {
        moment.0 > self.ends.load(Ordering::SeqCst)
    }
}

/// Clients at work, at all sides.
pub(super) struct Load {
    clients: Clients,
    /// By side.
    notes: Vec<Vec<Notes>>,
    schedules: Vec<Arc<Schedule>>,
}

impl Load {
    /// Sends each side as many requests, until it is ended.
    pub(super) fn start(sides: &[Side], options: &Options) -> Result<Self> {
        let mix = Arc::new(Mix::new(options));
        let mut works: Vec<Work> = Vec::new();
        let mut notes = vec![Vec::new(); sides.len()];
        let begins = |side: &Side| Schedule::new(side.stage.clock.now());
        let schedules: Vec<Arc<Schedule>> = sides.iter().map(begins).collect();
        // The sides in turn, so that no side's clients are alone on a thread.
        for _ in 0..CLIENTS {
            for ((side, notes), schedule) in sides.iter().zip(&mut notes).zip(&schedules) {
                let visitor = Visitor::new(Arc::clone(&side.stage), Duration::ZERO);
                notes.push(visitor.notes.clone());
                let client = Client {
                    visitor,
                    samples: Arc::clone(&side.samples),
                    mix: Arc::clone(&mix),
                    schedule: Arc::clone(schedule),
                    leavers: VecDeque::new(),
                    written: None,
                };
                works.push(Box::pin(client.work()));
            }
        }
        Ok(Self {
            clients: Clients::start(works)?,
            notes,
            schedules,
        })
    }

    /// What the clients of a side note.
    pub(super) fn notes(&self) -> Vec<Vec<Notes>> {
        self.notes.clone()
    }

    /// Nothing is due after this moment. What was due before is still asked.
    pub(super) fn end(&self, at: Moment) {
        for schedule in &self.schedules {
            schedule.end(at);
        }
    }

    /// What they saw, by side, once it was ended. Blocks.
    pub(super) fn finish(self) -> Result<Vec<Vec<Record>>> {
        self.clients.finish()?;
        let sides = self.notes.iter();
        let records = sides.map(|notes| notes.iter().map(Notes::take).collect());
        Ok(records.collect())
    }
}

struct Client {
    visitor: Visitor,
    samples: Arc<Samples>,
    mix: Arc<Mix>,
    schedule: Arc<Schedule>,
    leavers: VecDeque<Arc<Leaver>>,
    /// What they have written and not looked at since.
    written: Option<Thing>,
}

impl Client {
    /// Asks whenever something is due that nobody else sees to.
    async fn work(mut self) {
        let clock = self.visitor.stage.clock;
        loop {
            let mut due = self.schedule.take(&self.mix);
            if due > clock.now() {
                while due > clock.now() && !self.schedule.is_over_at(due) {
                    let look_up = due.min(clock.now() + LOOK_UP);
                    sleep_until(clock.instant(look_up).into()).await;
                }
                // That the timer is late is no fault of the service's.
                due = due.max(clock.now());
            }
            if self.schedule.is_over_at(due) {
                return;
            }
            self.ask(due).await;
        }
    }

    async fn ask(&mut self, due: Moment) {
        let is_write = fastrand::u8(..100) < self.mix.writes;
        let asked = if is_write {
            self.write().await
        } else {
            self.read().await
        };
        let (instance, ended, end) = match &asked {
            Ok(seen) => {
                let source = seen.answer.source.unwrap_or(Source::Database);
                let end = if is_write {
                    End::Written
                } else {
                    End::Read(source)
                };
                (seen.instance, seen.ended, end)
            }
            Err(failed) => {
                let end = match (failed.is_refusal, is_write) {
                    (true, true) => End::RefusedWrite,
                    (true, false) => End::RefusedRead,
                    (false, _) => End::Failed,
                };
                (failed.instance, failed.ended, end)
            }
        };
        self.samples.push(Sample {
            due,
            ended,
            instance,
            end,
        });
    }

    async fn read(&mut self) -> Asked {
        let whom = any_instance();
        // Whoever has written something looks at it next, or at a page that may show it.
        if let Some(thing) = self.written.take() {
            return match fastrand::bool() {
                true => self.visitor.look_at(thing, whom).await,
                false => {
                    let of_users = matches!(thing, Thing::User(_));
                    self.visitor.look_at_page(of_users, whom).await
                }
            };
        }
        match fastrand::u8(..100) {
            0..5 => self.visitor.look_at_page(fastrand::bool(), whom).await,
            5..8 => match self.visitor.stage.any_leaver() {
                Some(leaver) => self.visitor.look_for_leaver(&leaver, whom).await,
                None => self.visitor.look_past_the_end().await,
            },
            // One in four users is looked for by their address.
            _ => self.visitor.look_at(self.mix.thing(), whom).await,
        }
    }

    async fn write(&mut self) -> Asked {
        match fastrand::u8(..100) {
            0..80 => {
                let thing = self.mix.thing();
                self.written = Some(thing);
                self.visitor.rename(thing).await
            }
            _ if self.leavers.len() < LEAVERS => {
                let (asked, leaver) = self.visitor.make_leaver().await;
                self.leavers.extend(leaver);
                asked
            }
            _ => match self.leavers.pop_front() {
                // It stays among those that are looked for.
                Some(leaver) => self.visitor.remove_leaver(&leaver).await,
                None => self.visitor.rename(self.mix.thing()).await,
            },
        }
    }
}

fn any_instance() -> Whom {
    if fastrand::bool() {
        Whom::TheWriter
    } else {
        Whom::AnotherOne
    }
}

/// Has every instance read every row, so that all of it is cached.
pub(super) async fn warm_up(stage: &Arc<Stage>) -> Result<()> {
    let mut visitor = Visitor::new(Arc::clone(stage), Duration::ZERO);
    let read = read_everywhere(&mut visitor).await;
    read.map_err(|failed| anyhow!("reading every row before: {}", failed.why))
}

/// What is to be seen when all is over.
pub(super) struct LastLook {
    pub(super) record: Record,
    /// When it turned from the caches of all instances to the database.
    pub(super) truth_from: Moment,
    /// Whether everything was seen.
    pub(super) is_complete: bool,
}

impl LastLook {
    /// Looks at every row, until something fails.
    pub(super) async fn at(stage: &Arc<Stage>) -> Self {
        let mut visitor = Visitor::new(Arc::clone(stage), Duration::ZERO);
        let cached = read_everywhere(&mut visitor).await;
        visitor.insist();
        let truth_from = stage.clock.now();
        let truth = match cached {
            Ok(()) => read_every_row(&mut visitor, Whom::TheWriter).await,
            failed => failed,
        };
        Self {
            record: visitor.notes.take(),
            truth_from,
            is_complete: truth.is_ok(),
        }
    }
}

/// At the instance that wrote last and, a few times, at some other.
async fn read_everywhere(visitor: &mut Visitor) -> Result<(), Failed> {
    read_every_row(visitor, Whom::TheWriter).await?;
    for _ in 1..visitor.stage.addresses.len() {
        read_every_row(visitor, Whom::AnotherOne).await?;
    }
    Ok(())
}

async fn read_every_row(visitor: &mut Visitor, whom: Whom) -> Result<(), Failed> {
    for row in 0..ROWS as u32 {
        visitor.look_at(Thing::User(row), whom).await?;
        visitor.look_at(Thing::Product(row), whom).await?;
    }
    let leavers = visitor.stage.leavers().clone();
    for leaver in leavers {
        visitor.look_for_leaver(&leaver, whom).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_requests_are_due_as_were_asked_for() {
        let mix = Mix {
            rate: 50.0,
            writes: 5,
            rows: Zipf::over(1),
        };
        let all: Duration = (0..20_000).map(|_| mix.gap()).sum();
        assert!((all.as_secs_f64() - 400.0).abs() < 40.0, "{all:?}");
    }
}
