//! One client: a connection to each instance, and what it saw.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Request, Uri};

use super::client::{Answer, Client, POSITION};
use super::record::{Failed, Notes};
use super::stage::{HOT, Leaver, Row, Stage, Written};
use super::thing::{ABSENT, Document, FOREIGN, GONE, THERE, Thing, ThingRead};
use crate::history::fleet::{Instance, Moment, Outcome, Position};

/// Whom to ask, given who wrote last.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whom {
    /// The same instance.
    TheWriter,
    /// Another.
    AnotherOne,
    /// Another, with the largest position acknowledged so far.
    AnotherOneWithPosition,
}

impl Whom {
    pub(crate) fn any() -> Self {
        match fastrand::u8(..100) {
            0..50 => Self::TheWriter,
            50..90 => Self::AnotherOne,
            _ => Self::AnotherOneWithPosition,
        }
    }
}

/// An answer, whose it is, and when.
pub(crate) struct Seen {
    pub(crate) instance: Instance,
    pub(crate) sent: Option<Position>,
    pub(crate) began: Moment,
    pub(crate) ended: Moment,
    pub(crate) answer: Answer,
}

/// What came of a request: what was seen, or why there was nothing to see.
pub(crate) type Asked = Result<Seen, Failed>;

/// A client.
pub(crate) struct Visitor {
    pub(crate) stage: Arc<Stage>,
    clients: Vec<Client>,
    pub(crate) notes: Notes,
    /// How long they rest after a failure.
    rest: Duration,
    /// Whether they want to know what the database says.
    insists: bool,
}

impl Visitor {
    /// One who rests for so long after a failure: an instance that was killed is not there at once.
    pub(crate) fn new(stage: Arc<Stage>, rest: Duration) -> Self {
        let addresses = stage.addresses.iter();
        let clients = addresses
            .map(|&address| Client::new(address, Some(stage.token.clone())))
            .collect();
        Self {
            stage,
            clients,
            notes: Notes::default(),
            rest,
            insists: false,
        }
    }

    /// From now on they ask for no copy (`Cache-Control: no-cache`).
    pub(crate) fn insist(&mut self) {
        self.insists = true;
    }

    /// Asks an instance. What is not answered as `is_expected` is a failure, which is noted.
    pub(super) async fn ask(
        &mut self,
        instance: Instance,
        request: Request<Full<Bytes>>,
        is_expected: fn(u16) -> bool,
    ) -> Asked {
        let began = self.stage.clock.now();
        let asked = self.clients[usize::from(instance.0)].ask(request).await;
        let ended = self.stage.clock.now();
        let (why, is_refusal) = match asked {
            Ok(answer) if is_expected(answer.status.as_u16()) => {
                return Ok(Seen {
                    instance,
                    sent: None,
                    began,
                    ended,
                    answer,
                });
            }
            Ok(answer) => {
                let is_refusal = answer.status == 503 && answer.asks_to_come_back;
                (answer.complaint(), is_refusal)
            }
            Err(failure) => (failure.to_string(), false),
        };
        let failed = Failed {
            instance,
            began,
            ended,
            why,
            is_refusal,
        };
        self.failed(failed.clone());
        if !self.rest.is_zero() {
            tokio::time::sleep(self.rest).await;
        }
        Err(failed)
    }

    fn failed(&mut self, failed: Failed) {
        self.stage.failed.fetch_add(1, Ordering::Relaxed);
        self.notes.record().failed.push(failed);
    }

    /// A write was acknowledged, but not said where in the log it stands.
    pub(super) fn no_position(&mut self, seen: &Seen) -> Outcome {
        self.failed(Failed {
            instance: seen.instance,
            began: seen.began,
            ended: seen.ended,
            why: format!("{} without {POSITION}", seen.answer.status),
            is_refusal: false,
        });
        Outcome::Unknown
    }

    /// Reads something that was last written at `writer`.
    async fn get(&mut self, uri: Uri, writer: Instance, whom: Whom) -> Asked {
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
        if self.insists {
            let value = HeaderValue::from_static("no-cache");
            request.headers_mut().insert(CACHE_CONTROL, value);
        }
        let answered = |status| status == 200 || status == 404;
        let seen = self.ask(instance, request, answered).await?;
        self.stage.reads.fetch_add(1, Ordering::Relaxed);
        Ok(Seen { sent, ..seen })
    }

    fn saw(&mut self, thing: Thing, value: u32, seen: &Seen) {
        let read = ThingRead {
            value,
            instance: seen.instance,
            position: seen.sent,
            began: seen.began,
            ended: seen.ended,
        };
        self.notes.record().reads.push((thing, read));
    }

    /// Reads a user or a product by its id, or a user now and then by their address.
    pub(crate) async fn look_at(&mut self, thing: Thing, whom: Whom) -> Asked {
        let stage = Arc::clone(&self.stage);
        let row = stage.row(thing);
        let uri = match &row.by_email {
            Some([plain, shouted]) => match fastrand::u8(..8) {
                0 => shouted,
                1 => plain,
                _ => &row.uri,
            },
            None => &row.uri,
        };
        let seen = self.get(uri.clone(), row.writer(), whom).await?;
        let document = serde_json::from_slice::<Document<'_>>(&seen.answer.body);
        let value = match document {
            Ok(document) if document.id == row.id => document.value(),
            _ => FOREIGN,
        };
        self.saw(thing, value, &seen);
        Ok(seen)
    }

    /// Reads a page that shows every hot row, and perhaps some more: each is a read.
    pub(crate) async fn look_at_page(&mut self, of_users: bool, whom: Whom) -> Asked {
        let stage = Arc::clone(&self.stage);
        let (path, rows): (_, &[Row]) = if of_users {
            ("users", &stage.users)
        } else {
            ("products", &stage.products)
        };
        let length = HOT + fastrand::usize(..3);
        let rows = &rows[..length];
        let uri = path_uri(format!("/{path}?after={}&limit={length}", rows[0].id - 1));
        let writer = rows[fastrand::usize(..HOT)].writer();
        let seen = self.get(uri, writer, whom).await?;
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
        Ok(seen)
    }

    /// Looks whether a writer's newcomer is there, if they have one yet.
    pub(crate) async fn look_for_newcomer(
        &mut self,
        of_writer: usize,
        whom: Whom,
    ) -> Option<Asked> {
        let stage = Arc::clone(&self.stage);
        let newcomer = &stage.newcomers[of_writer];
        let number = newcomer.number.load(Ordering::SeqCst);
        if number == 0 {
            return None;
        }
        let email = stage.newcomers_email(number);
        let uri = path_uri(format!("/users/by-email/{email}"));
        let asked = self.get(uri, newcomer.writer(), whom).await;
        if let Ok(seen) = &asked {
            let is_there = seen.answer.status == 200;
            let value = if is_there { THERE } else { ABSENT };
            self.saw(Thing::Newcomer(number), value, seen);
        }
        Some(asked)
    }

    /// Looks whether a leaver is there, by its id or in a page.
    pub(crate) async fn look_for_leaver(&mut self, leaver: &Leaver, whom: Whom) -> Asked {
        let Leaver { id, .. } = *leaver;
        let in_page = fastrand::bool();
        let uri = path_uri(if in_page {
            format!("/products?after={}&limit={}", id - 1, fastrand::u8(1..3))
        } else {
            format!("/products/{id}")
        });
        let seen = self.get(uri, leaver.writer(), whom).await?;
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
        Ok(seen)
    }

    /// Has an instance cache that there is no product after the newest.
    pub(crate) async fn look_past_the_end(&mut self) -> Asked {
        let newest = self.stage.newest.load(Ordering::SeqCst);
        let uri = format!("/products?after={newest}&limit={}", fastrand::u8(1..3));
        let instance = self.stage.any_instance();
        self.get(path_uri(uri), instance, Whom::TheWriter).await
    }
}

/// A path that consists of what needs no escape.
pub(super) fn path_uri(path: String) -> Uri {
    Uri::try_from(path).unwrap_or_default()
}
