//! One client: a connection to each instance, and what it saw.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Request, Uri};

use super::client::{Answer, Client, POSITION};
use super::record::{Failed, Record};
use super::stage::{HOT, Leaver, Row, Stage, Written};
use super::thing::{ABSENT, Document, FOREIGN, GONE, THERE, Thing, ThingRead};
use crate::history::fleet::{Instance, Moment, Outcome, Position};

/// How long a client rests after a failure: an instance that was killed is not there at once.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Whom to ask, given who wrote last.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whom {
    /// The same instance.
    TheWriter,
    /// Another.
    AnotherOne,
    /// Another, with the largest position acknowledged so far.
    AnotherOneWithPosition,
}

impl Whom {
    pub(super) fn any() -> Self {
        match fastrand::u8(..100) {
            0..50 => Self::TheWriter,
            50..90 => Self::AnotherOne,
            _ => Self::AnotherOneWithPosition,
        }
    }
}

/// An answer, whose it is, and when.
pub(super) struct Seen {
    pub(super) instance: Instance,
    pub(super) sent: Option<Position>,
    pub(super) began: Moment,
    pub(super) ended: Moment,
    pub(super) answer: Answer,
}

/// A client.
pub(super) struct Visitor {
    pub(super) stage: Arc<Stage>,
    clients: Vec<Client>,
    pub(super) record: Record,
}

impl Visitor {
    pub(super) fn new(stage: Arc<Stage>) -> Self {
        let addresses = stage.addresses.iter();
        let clients = addresses
            .map(|&address| Client::new(address, Some(stage.token.clone())))
            .collect();
        Self {
            stage,
            clients,
            record: Record::default(),
        }
    }

    /// Asks an instance. What is not answered as `is_expected` is a failure, and `Err` tells its
    /// times.
    pub(super) async fn ask(
        &mut self,
        instance: Instance,
        request: Request<Full<Bytes>>,
        is_expected: fn(u16) -> bool,
    ) -> Result<Seen, (Moment, Moment)> {
        let began = self.stage.clock.now();
        let asked = self.clients[usize::from(instance.0)].ask(request).await;
        let ended = self.stage.clock.now();
        let why = match asked {
            Ok(answer) if is_expected(answer.status.as_u16()) => {
                return Ok(Seen {
                    instance,
                    sent: None,
                    began,
                    ended,
                    answer,
                });
            }
            Ok(answer) => answer.complaint(),
            Err(failure) => failure.to_string(),
        };
        self.failed(Failed {
            instance,
            began,
            ended,
            why,
        });
        tokio::time::sleep(AFTER_FAILURE).await;
        Err((began, ended))
    }

    fn failed(&mut self, failed: Failed) {
        self.stage.failed.fetch_add(1, Ordering::Relaxed);
        self.record.failed.push(failed);
    }

    /// A write was acknowledged, but not said where in the log it stands.
    pub(super) fn no_position(&mut self, seen: &Seen) -> Outcome {
        self.failed(Failed {
            instance: seen.instance,
            began: seen.began,
            ended: seen.ended,
            why: format!("{} without {POSITION}", seen.answer.status),
        });
        Outcome::Unknown
    }

    /// Reads something that was last written at `writer`.
    async fn get(&mut self, uri: Uri, writer: Instance, whom: Whom) -> Option<Seen> {
        let (instance, sent) = match whom {
            Whom::TheWriter => (writer, None),
            Whom::AnotherOne => (self.stage.another_instance(writer), None),
            // Before the read begins: whatever is at or before it has been acknowledged.
            Whom::AnotherOneWithPosition => {
                let position = self.stage.position();
                (self.stage.another_instance(writer), position)
            }
        };
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri;
        if let Some(sent) = sent {
            let value = HeaderValue::from(sent.get());
            request.headers_mut().insert(POSITION, value);
        }
        let answered = |status| status == 200 || status == 404;
        let seen = self.ask(instance, request, answered).await.ok()?;
        self.stage.reads.fetch_add(1, Ordering::Relaxed);
        Some(Seen { sent, ..seen })
    }

    fn saw(&mut self, thing: Thing, value: u32, seen: &Seen) {
        let read = ThingRead {
            value,
            instance: seen.instance,
            position: seen.sent,
            began: seen.began,
            ended: seen.ended,
        };
        self.record.reads.push((thing, read));
    }

    /// Reads a user or a product by one of its addresses.
    pub(super) async fn look_at(&mut self, thing: Thing, whom: Whom) {
        let stage = Arc::clone(&self.stage);
        let Some(row) = row(&stage, thing) else {
            return;
        };
        let uri = match &row.by_email {
            Some([plain, shouted]) => match fastrand::u8(..8) {
                0 => shouted,
                1 => plain,
                _ => &row.uri,
            },
            None => &row.uri,
        };
        if let Some(seen) = self.get(uri.clone(), row.writer(), whom).await {
            let document = serde_json::from_slice::<Document<'_>>(&seen.answer.body);
            let value = match document {
                Ok(document) if document.id == row.id => document.value(),
                _ => FOREIGN,
            };
            self.saw(thing, value, &seen);
        }
    }

    /// Reads a page that shows every hot row, and perhaps some more: each is a read.
    pub(super) async fn look_at_page(&mut self, of_users: bool, whom: Whom) {
        let stage = Arc::clone(&self.stage);
        let (path, rows): (_, &[Row]) = if of_users {
            ("users", &stage.users)
        } else {
            ("products", &stage.products)
        };
        let length = HOT + fastrand::usize(..3);
        let rows = &rows[..length];
        let uri = format!("/{path}?after={}&limit={length}", rows[0].id - 1).parse();
        let Ok(uri) = uri else { return };
        let writer = rows[fastrand::usize(..HOT)].writer();
        let Some(seen) = self.get(uri, writer, whom).await else {
            return;
        };
        let page: Vec<Document<'_>> = serde_json::from_slice(&seen.answer.body).unwrap_or_default();
        for (index, row) in (0..).zip(rows) {
            let thing = if of_users {
                Thing::User(index)
            } else {
                Thing::Product(index)
            };
            let document = page.iter().find(|document| document.id == row.id);
            let value = document.map_or(FOREIGN, Document::value);
            self.saw(thing, value, &seen);
        }
    }

    /// Looks whether a writer's newcomer is there.
    pub(super) async fn look_for_newcomer(&mut self, of_writer: usize, whom: Whom) {
        let stage = Arc::clone(&self.stage);
        let newcomer = &stage.newcomers[of_writer];
        let number = newcomer.number.load(Ordering::SeqCst);
        let uri = format!("/users/by-email/{}", stage.newcomers_email(number)).parse();
        let Ok(uri) = uri else { return };
        if number == 0 {
            return;
        }
        if let Some(seen) = self.get(uri, newcomer.writer(), whom).await {
            let is_there = seen.answer.status == 200;
            let value = if is_there { THERE } else { ABSENT };
            self.saw(Thing::Newcomer(number), value, &seen);
        }
    }

    /// Looks whether a leaver is there, by its id or in a page.
    pub(super) async fn look_for_leaver(&mut self, leaver: &Leaver, whom: Whom) {
        let Leaver { id, .. } = *leaver;
        let in_page = fastrand::bool();
        let uri = if in_page {
            format!("/products?after={}&limit={}", id - 1, fastrand::u8(1..3))
        } else {
            format!("/products/{id}")
        };
        let Ok(uri) = uri.parse() else { return };
        let Some(seen) = self.get(uri, leaver.writer(), whom).await else {
            return;
        };
        let is_there = if in_page {
            let page = serde_json::from_slice::<Vec<Document<'_>>>(&seen.answer.body);
            page.is_ok_and(|page| page.iter().any(|document| document.id == id))
        } else {
            seen.answer.status == 200
        };
        // That it is absent is the value before it was made and the one after it was removed. In
        // doubt it is the one that is right.
        let value = match (is_there, leaver.is_leaving.load(Ordering::SeqCst)) {
            (true, _) => THERE,
            (false, true) => GONE,
            (false, false) => ABSENT,
        };
        self.saw(Thing::Leaver(leaver.number), value, &seen);
    }

    /// Has every instance cache that there is no product after the newest.
    pub(super) async fn look_past_the_end(&mut self) {
        let newest = self.stage.newest.load(Ordering::SeqCst);
        let uri = format!("/products?after={newest}&limit={}", fastrand::u8(1..3)).parse();
        if let Ok(uri) = uri {
            let instance = self.stage.any_instance();
            self.get(uri, instance, Whom::TheWriter).await;
        }
    }
}

/// The row that a thing is.
pub(super) fn row(stage: &Stage, thing: Thing) -> Option<&Row> {
    match thing {
        Thing::User(index) => stage.users.get(index as usize),
        Thing::Product(index) => stage.products.get(index as usize),
        Thing::Newcomer(_) | Thing::Leaver(_) => None,
    }
}
