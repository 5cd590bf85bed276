//! What a client writes, and what they note of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http_body_util::Full;
use hyper::{Method, Request, Uri};
use serde_json::json;

use super::stage::{Leaver, Written, id_of, with_json};
use super::thing::{ABSENT, GONE, THERE, Thing, ThingWrite, name};
use super::visitor::{Asked, Visitor};
use crate::history::fleet::{Instance, Outcome};

impl Visitor {
    /// Gives a user or a product another name.
    pub(crate) async fn rename(&mut self, thing: Thing) -> Asked {
        let stage = Arc::clone(&self.stage);
        let row = stage.row(thing);
        let value = stage.next_value();
        let change = match thing {
            Thing::User(_) => json!({ "full_name": name(value) }),
            _ => json!({ "name": name(value) }),
        };
        let request = with_json(Method::PATCH, row.uri.clone(), &change);
        let instance = stage.any_instance();
        let asked = self.ask(instance, request, |status| status == 200).await;
        if self.wrote(thing, value, instance, &asked) {
            row.written_at(instance);
        }
        asked
    }

    /// Makes the user for whom everybody has been looking, if there is one.
    pub(crate) async fn bring_newcomer(&mut self, of_writer: usize) -> Option<Asked> {
        let stage = Arc::clone(&self.stage);
        let newcomer = &stage.newcomers[of_writer];
        let number = newcomer.number.load(Ordering::SeqCst);
        if number == 0 {
            return None;
        }
        let body = json!({
            "email": stage.newcomers_email(number), "full_name": "New", "password": "a password",
        });
        let request = with_json(Method::POST, Uri::from_static("/users"), &body);
        let instance = stage.any_instance();
        let asked = self.ask(instance, request, |status| status == 201).await;
        if self.wrote(Thing::Newcomer(number), THERE, instance, &asked) {
            newcomer.written_at(instance);
        }
        Some(asked)
    }

    /// Names the next user for whom everybody is to look.
    pub(crate) fn announce_newcomer(&mut self, of_writer: usize) {
        let next = self.stage.next_newcomer();
        let initial = (Thing::Newcomer(next), ABSENT);
        self.notes.record().initial.push(initial);
        let newcomer = &self.stage.newcomers[of_writer];
        newcomer.number.store(next, Ordering::SeqCst);
    }

    /// Makes a product that is removed later. Of one that may have been made nobody knows the id.
    pub(crate) async fn make_leaver(&mut self) -> (Asked, Option<Arc<Leaver>>) {
        let stage = Arc::clone(&self.stage);
        let body = json!({ "name": "Leaver", "price_cents": 1 });
        let request = with_json(Method::POST, Uri::from_static("/products"), &body);
        let instance = stage.any_instance();
        let asked = self.ask(instance, request, |status| status == 201).await;
        let id = asked.as_ref().ok().and_then(|seen| id_of(&seen.answer));
        let Some((id, number)) = id.and_then(|id| Some((id, u32::try_from(id).ok()?))) else {
            return (asked, None);
        };
        let thing = Thing::Leaver(number);
        self.notes.record().initial.push((thing, ABSENT));
        if !self.wrote(thing, THERE, instance, &asked) {
            return (asked, None);
        }
        stage.newest.fetch_max(id, Ordering::SeqCst);
        let leaver = Arc::new(Leaver::new(number, id, instance));
        stage.leavers().push(Arc::clone(&leaver));
        (asked, Some(leaver))
    }

    /// Removes a product that was made to be removed.
    pub(crate) async fn remove_leaver(&mut self, leaver: &Leaver) -> Asked {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::DELETE;
        *request.uri_mut() = leaver.uri();
        leaver.is_leaving.store(true, Ordering::SeqCst);
        let instance = self.stage.any_instance();
        let asked = self.ask(instance, request, |status| status == 204).await;
        if self.wrote(Thing::Leaver(leaver.number), GONE, instance, &asked) {
            leaver.written_at(instance);
        }
        asked
    }

    /// Notes a write. Answers whether it was acknowledged.
    fn wrote(&mut self, thing: Thing, value: u32, instance: Instance, asked: &Asked) -> bool {
        let (began, ended, outcome) = match asked {
            Ok(seen) => {
                let outcome = match seen.answer.position {
                    Some(position) => Outcome::Acknowledged(position),
                    None => self.no_position(seen),
                };
                (seen.began, seen.ended, outcome)
            }
            Err(failed) => (failed.began, failed.ended, Outcome::Unknown),
        };
        let write = ThingWrite {
            value,
            instance,
            began,
            ended,
            outcome,
        };
        self.notes.record().writes.push((thing, write));
        let Outcome::Acknowledged(position) = outcome else {
            return false;
        };
        self.stage.reached(position);
        self.stage.writes.fetch_add(1, Ordering::Relaxed);
        true
    }
}
