//! What clients ask for, and how often.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep_until;

use super::options::Options;
use super::samples::{End, Sample, Samples};
use super::scene::Side;
use crate::history::fleet::Moment;
use crate::traffic::{
    Asked, Clients, Leaver, Notes, Record, Source, Stage, Thing, Visitor, Whom, Work,
};

/// How many clients a side has.
const CLIENTS: usize = 16;

/// How many users there are, and how many products.
pub(super) const ROWS: usize = 100;

/// How many products a client lets live at once.
const LEAVERS: usize = 2;

/// How much rarer a row is asked for than the one before it: the n-th is asked for as often as the
/// first, divided by n to this power (Zipf's law).
const SKEW: f64 = 0.99;

/// What clients of a side ask for.
#[derive(Debug)]
struct Mix {
    /// How often, for each client.
    rate: f64,
    /// Of a hundred requests.
    writes: u8,
    /// How likely it is that a row is one of the first so many.
    rows: Vec<f64>,
}

impl Mix {
    fn new(options: &Options) -> Self {
        let weights = (1..=ROWS).map(|rank| (rank as f64).powf(-SKEW));
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        let sums: Vec<f64> = sums.collect();
        let all = sums.last().copied().unwrap_or(1.0);
        Self {
            rate: f64::from(options.rate) / CLIENTS as f64,
            writes: options.writes,
            rows: sums.into_iter().map(|sum| sum / all).collect(),
        }
    }

    /// A user or a product.
    fn thing(&self) -> Thing {
        let luck = fastrand::f64();
        let index = self.rows.partition_point(|&sum| sum <= luck) as u32;
        if fastrand::bool() {
            Thing::User(index)
        } else {
            Thing::Product(index)
        }
    }

    /// How long after a request the next one is due: as if clients knew nothing of each other.
    fn gap(&self) -> Duration {
        let gap = -(1.0 - fastrand::f64()).ln() / self.rate;
        Duration::from_secs_f64(gap.min(60.0))
    }
}

/// Clients at work, at all sides.
pub(super) struct Load {
    clients: Clients,
    /// By side.
    notes: Vec<Vec<Notes>>,
}

impl Load {
    /// Sends each side as many requests, until their stages are over.
    pub(super) fn start(sides: &[Side], options: &Options) -> Result<Self> {
        let mix = Arc::new(Mix::new(options));
        let mut works: Vec<Work> = Vec::new();
        let mut notes = vec![Vec::new(); sides.len()];
        // The sides in turn, so that no side's clients are alone on a thread.
        for _ in 0..CLIENTS {
            for (side, notes) in sides.iter().zip(&mut notes) {
                let visitor = Visitor::new(Arc::clone(&side.stage), Duration::ZERO);
                notes.push(visitor.notes.clone());
                let client = Client {
                    visitor,
                    samples: Arc::clone(&side.samples),
                    mix: Arc::clone(&mix),
                    leavers: VecDeque::new(),
                    written: None,
                };
                works.push(Box::pin(client.work()));
            }
        }
        Ok(Self {
            clients: Clients::start(works)?,
            notes,
        })
    }

    /// What the clients of a side note.
    pub(super) fn notes(&self) -> Vec<Vec<Notes>> {
        self.notes.clone()
    }

    /// What they saw, by side, once the stages are over. Blocks.
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
    leavers: VecDeque<Arc<Leaver>>,
    /// What they have written and not looked at since.
    written: Option<Thing>,
}

impl Client {
    /// Asks whenever something is due. What falls due while an answer is waited for is asked at once
    /// after it, and has taken that long too: a service that stands still is not asked less for it.
    async fn work(mut self) {
        let clock = self.visitor.stage.clock;
        let mut next = clock.now() + self.mix.gap();
        while !self.visitor.stage.is_over() {
            let mut due = next;
            if due > clock.now() {
                sleep_until(clock.instant(due).into()).await;
                // That the timer is late is no fault of the service's.
                due = clock.now();
            }
            self.ask(due).await;
            next = next + self.mix.gap();
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
pub(super) async fn warm_up(stage: &Arc<Stage>) {
    let mut visitor = Visitor::new(Arc::clone(stage), Duration::ZERO);
    read_everywhere(&mut visitor).await;
}

/// What is to be seen when all is over: in the caches of all instances, and then in the database.
/// Answers when the latter began.
pub(super) async fn last_look(stage: &Arc<Stage>) -> (Record, Moment) {
    let mut visitor = Visitor::new(Arc::clone(stage), Duration::ZERO);
    read_everywhere(&mut visitor).await;
    visitor.insist();
    let began = stage.clock.now();
    read_every_row(&mut visitor, Whom::TheWriter).await;
    (visitor.notes.take(), began)
}

/// At the instance that wrote last and, a few times, at some other.
async fn read_everywhere(visitor: &mut Visitor) {
    read_every_row(visitor, Whom::TheWriter).await;
    for _ in 1..visitor.stage.addresses.len() {
        read_every_row(visitor, Whom::AnotherOne).await;
    }
}

async fn read_every_row(visitor: &mut Visitor, whom: Whom) {
    let rows = 0..ROWS as u32;
    for row in rows {
        // What fails is noted.
        let _ = visitor.look_at(Thing::User(row), whom).await;
        let _ = visitor.look_at(Thing::Product(row), whom).await;
    }
    let leavers = visitor.stage.leavers().clone();
    for leaver in leavers {
        let _ = visitor.look_for_leaver(&leaver, whom).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_are_asked_for_most() {
        let rows = 1..=ROWS;
        let weight = |rank: usize| (rank as f64).powf(-SKEW);
        let all: f64 = rows.map(weight).sum();
        let mix = Mix {
            rate: 1.0,
            writes: 5,
            rows: vec![weight(1) / all, 1.0],
        };
        let draws = 20_000;
        let first =
            (0..draws).filter(|_| matches!(mix.thing(), Thing::User(0) | Thing::Product(0)));
        let share = first.count() as f64 / f64::from(draws);
        assert!((share - weight(1) / all).abs() < 0.02, "{share}");
    }

    #[test]
    fn as_many_requests_are_due_as_were_asked_for() {
        let mix = Mix {
            rate: 50.0,
            writes: 5,
            rows: vec![1.0],
        };
        let all: Duration = (0..20_000).map(|_| mix.gap()).sum();
        assert!((all.as_secs_f64() - 400.0).abs() < 40.0, "{all:?}");
    }
}
