//! What readers and writers do all day.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::{Method, Request};
use serde_json::json;
use tokio::task::JoinSet;

use super::record::Record;
use super::stage::{COLD, HOT, Leaver, Stage, Written, id_of, with_json};
use super::thing::{ABSENT, GONE, THERE, Thing, ThingWrite, name};
use super::visitor::{Seen, Visitor, Whom, row};
use crate::history::fleet::{Instance, Moment, Outcome};

/// How many products a writer lets live at once.
const LEAVERS: usize = 2;

/// How often a writer looks at what it has just written.
const LOOKS: usize = 4;

/// Clients at work.
pub(super) struct Load {
    threads: Vec<JoinHandle<Result<Vec<Record>>>>,
}

impl Load {
    /// Lets readers and writers at the stage, until it is over.
    pub(super) fn start(
        stage: &Arc<Stage>,
        readers: usize,
        writers: usize,
        rest: Duration,
    ) -> Result<Self> {
        // The instances need the other half of the machine.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let count = (cores / 2).max(1);
        let threads = (0..count).map(|number| {
            let stage = Arc::clone(stage);
            let work = move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .context("a runtime for clients")?;
                runtime.block_on(async {
                    let mut clients = JoinSet::new();
                    for _ in (number..readers).step_by(count) {
                        clients.spawn(read(Visitor::new(Arc::clone(&stage))));
                    }
                    for writer in (number..writers).step_by(count) {
                        let visitor = Visitor::new(Arc::clone(&stage));
                        clients.spawn(Writer::new(visitor, writer).write(rest));
                    }
                    Ok(clients.join_all().await)
                })
            };
            let thread = thread::Builder::new().name(format!("clients-{number}"));
            thread.spawn(work).context("a thread for clients")
        });
        Ok(Self {
            threads: threads.collect::<Result<_>>()?,
        })
    }

    /// What they saw, once the stage is over.
    pub(super) fn finish(self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for thread in self.threads {
            let seen = thread.join();
            let seen = seen.map_err(|_| anyhow::anyhow!("a client panicked"))?;
            records.append(&mut seen?);
        }
        Ok(records)
    }
}

fn hot() -> u32 {
    fastrand::u32(..HOT as u32)
}

fn cold() -> u32 {
    HOT as u32 + fastrand::u32(..COLD as u32)
}

async fn read(mut visitor: Visitor) -> Record {
    while !visitor.stage.is_over() {
        let whom = Whom::any();
        match fastrand::u8(..100) {
            0..42 => visitor.look_at(Thing::User(hot()), whom).await,
            42..80 => visitor.look_at(Thing::Product(hot()), whom).await,
            80..84 => visitor.look_at(Thing::User(cold()), whom).await,
            84..88 => visitor.look_at(Thing::Product(cold()), whom).await,
            88..90 => visitor.look_at_page(true, whom).await,
            90..92 => visitor.look_at_page(false, whom).await,
            92..95 => {
                let writer = fastrand::usize(..visitor.stage.newcomers.len());
                visitor.look_for_newcomer(writer, whom).await;
            }
            95..99 => {
                let leaver = fastrand::choice(visitor.stage.leavers().iter()).map(Arc::clone);
                if let Some(leaver) = leaver {
                    visitor.look_for_leaver(&leaver, whom).await;
                }
            }
            _ => visitor.look_past_the_end().await,
        }
    }
    visitor.record
}

struct Writer {
    visitor: Visitor,
    number: usize,
    leavers: VecDeque<Arc<Leaver>>,
}

impl Writer {
    fn new(visitor: Visitor, number: usize) -> Self {
        Self {
            visitor,
            number,
            leavers: VecDeque::new(),
        }
    }

    async fn write(mut self, rest: Duration) -> Record {
        while !self.visitor.stage.is_over() {
            match fastrand::u8(..100) {
                0..35 => self.rename(Thing::User(hot())).await,
                35..60 => self.rename(Thing::Product(hot())).await,
                60..66 => self.rename(Thing::User(cold())).await,
                66..72 => self.rename(Thing::Product(cold())).await,
                72..82 => self.bring_a_newcomer().await,
                _ if self.leavers.len() < LEAVERS => self.make_a_leaver().await,
                _ => self.remove_a_leaver().await,
            }
            tokio::time::sleep(rest.mul_f64(fastrand::f64())).await;
        }
        self.visitor.record
    }

    async fn rename(&mut self, thing: Thing) {
        let stage = Arc::clone(&self.visitor.stage);
        let Some(row) = row(&stage, thing) else {
            return;
        };
        let value = stage.next_value();
        let change = match thing {
            Thing::User(_) => json!({ "full_name": name(value) }),
            _ => json!({ "name": name(value) }),
        };
        let request = with_json(Method::PATCH, row.uri.clone(), &change);
        let instance = stage.any_instance();
        let asked = self
            .visitor
            .ask(instance, request, |status| status == 200)
            .await;
        if self.wrote(thing, value, instance, &asked) {
            row.written_at(instance);
            for _ in 0..LOOKS {
                let whom = Whom::any();
                match (fastrand::u8(..4), thing) {
                    (0, Thing::User(_)) => self.visitor.look_at_page(true, whom).await,
                    (0, _) => self.visitor.look_at_page(false, whom).await,
                    _ => self.visitor.look_at(thing, whom).await,
                }
            }
        }
    }

    /// Makes a user for whom everybody has been looking, and names the next.
    async fn bring_a_newcomer(&mut self) {
        let stage = Arc::clone(&self.visitor.stage);
        let newcomer = &stage.newcomers[self.number];
        let number = newcomer.number.load(Ordering::SeqCst);
        if number > 0 {
            let body = json!({
                "email": stage.newcomers_email(number), "full_name": "New", "password": "a password",
            });
            let request = with_json(Method::POST, "/users".parse().unwrap_or_default(), &body);
            let instance = stage.any_instance();
            let asked = self
                .visitor
                .ask(instance, request, |status| status == 201)
                .await;
            if self.wrote(Thing::Newcomer(number), THERE, instance, &asked) {
                newcomer.written_at(instance);
                for _ in 0..LOOKS {
                    self.visitor
                        .look_for_newcomer(self.number, Whom::any())
                        .await;
                }
            }
        }
        let next = stage.next_newcomer();
        self.visitor
            .record
            .initial
            .push((Thing::Newcomer(next), ABSENT));
        newcomer.number.store(next, Ordering::SeqCst);
    }

    async fn make_a_leaver(&mut self) {
        let stage = Arc::clone(&self.visitor.stage);
        self.visitor.look_past_the_end().await;
        let body = json!({ "name": "Leaver", "price_cents": 1 });
        let request = with_json(Method::POST, "/products".parse().unwrap_or_default(), &body);
        let instance = stage.any_instance();
        let asked = self
            .visitor
            .ask(instance, request, |status| status == 201)
            .await;
        // Of one that may have been made nobody knows the id.
        let Some(id) = asked.as_ref().ok().and_then(|seen| id_of(&seen.answer)) else {
            return;
        };
        let Ok(number) = u32::try_from(id) else {
            return;
        };
        let thing = Thing::Leaver(number);
        self.visitor.record.initial.push((thing, ABSENT));
        if self.wrote(thing, THERE, instance, &asked) {
            stage.newest.fetch_max(id, Ordering::SeqCst);
            let leaver = Arc::new(Leaver::new(number, id, instance));
            self.leavers.push_back(Arc::clone(&leaver));
            stage.leavers().push(Arc::clone(&leaver));
            for _ in 0..LOOKS {
                self.visitor.look_for_leaver(&leaver, Whom::any()).await;
            }
        }
    }

    async fn remove_a_leaver(&mut self) {
        let stage = Arc::clone(&self.visitor.stage);
        let Some(leaver) = self.leavers.pop_front() else {
            return;
        };
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::DELETE;
        *request.uri_mut() = format!("/products/{}", leaver.id)
            .parse()
            .unwrap_or_default();
        leaver.is_leaving.store(true, Ordering::SeqCst);
        let instance = stage.any_instance();
        let asked = self
            .visitor
            .ask(instance, request, |status| status == 204)
            .await;
        let thing = Thing::Leaver(leaver.number);
        if self.wrote(thing, GONE, instance, &asked) {
            leaver.written_at(instance);
            for _ in 0..LOOKS {
                self.visitor.look_for_leaver(&leaver, Whom::any()).await;
            }
        }
        stage.leavers().retain(|other| other.id != leaver.id);
    }

    /// Notes a write. Answers whether it was acknowledged.
    fn wrote(
        &mut self,
        thing: Thing,
        value: u32,
        instance: Instance,
        asked: &Result<Seen, (Moment, Moment)>,
    ) -> bool {
        let (began, ended, outcome) = match asked {
            Ok(seen) => {
                let outcome = match seen.answer.position {
                    Some(position) => Outcome::Acknowledged(position),
                    None => self.visitor.no_position(seen),
                };
                (seen.began, seen.ended, outcome)
            }
            Err((began, ended)) => (*began, *ended, Outcome::Unknown),
        };
        let write = ThingWrite {
            value,
            instance,
            began,
            ended,
            outcome,
        };
        self.visitor.record.writes.push((thing, write));
        let Outcome::Acknowledged(position) = outcome else {
            return false;
        };
        self.visitor.stage.reached(position);
        self.visitor.stage.writes.fetch_add(1, Ordering::Relaxed);
        true
    }
}
