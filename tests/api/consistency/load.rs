//! Many clients at once on a few hot rows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alacena_lab::history::{ClientLog, Recorder, Report};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::support::{ADMIN_EMAIL, Answer, Call, TestApp, client};

const CLIENTS: usize = 6;
const HOT: usize = 3;

/// A register: something that has one value at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Thing {
    /// The name of a hot user.
    User(usize),
    /// The name of a hot product.
    Product(usize),
    /// Whether there is anybody of this number's address. It begins with nobody.
    Newcomer(u64),
    /// Whether the product of this id is still there. It begins with being made.
    Leaver(i64),
}

const NOBODY: u64 = 0;
const THERE: u64 = 1;
const GONE: u64 = 2;

type Log = ClientLog<Thing, u64>;

struct Stage {
    base: String,
    admin: String,
    users: Vec<i64>,
    products: Vec<i64>,
    next: AtomicU64,
    /// The number of the newcomer that is looked for at present.
    newcomer: AtomicU64,
    leavers: Mutex<Vec<i64>>,
    is_over: AtomicBool,
    /// The longest that a request took, in microseconds.
    longest: AtomicU64,
}

impl Stage {
    /// The answer, which no outage may turn into a failure.
    async fn answer(&self, call: Call) -> Answer {
        let started = Instant::now();
        let answer = call.await;
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.longest.fetch_max(took, Ordering::Relaxed);
        assert!(!answer.status.is_server_error(), "{answer:?}");
        answer
    }
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) report: Report<Thing, u64>,
    /// The longest that a request took.
    pub(crate) longest: Duration,
}

fn email(index: usize) -> String {
    format!("hot-{index}@example.com")
}

fn newcomers_email(number: u64) -> String {
    format!("newcomer-{number}@example.com")
}

/// A value as a name, and back.
fn name(value: u64) -> String {
    format!("v{value}")
}

fn value(name: &Value) -> u64 {
    let text = name.as_str().unwrap_or_default();
    let digits = text.strip_prefix('v').unwrap_or_default();
    digits.parse().unwrap_or(u64::MAX)
}

/// Makes the hot rows.
async fn prepare(app: &TestApp, recorder: &Recorder<Thing, u64>) -> Stage {
    let admin = app.admin().await;
    let (mut users, mut products) = (vec![], vec![]);
    for index in 0..HOT {
        let first = 10 + index as u64;
        let body = json!({
            "email": email(index), "full_name": name(first), "password": "a password",
        });
        let made = app.post("/users").by(&admin).json(&body).await.expect(201);
        users.push(made.json()["id"].as_i64().expect("an id"));
        let body = json!({ "name": name(first), "price_cents": 1 });
        let made = app.post("/products").by(&admin).json(&body).await;
        products.push(made.expect(201).json()["id"].as_i64().expect("an id"));
        recorder.initial(Thing::User(index), first);
        recorder.initial(Thing::Product(index), first);
    }
    recorder.initial(Thing::Newcomer(0), NOBODY);
    Stage {
        base: app.url(""),
        admin,
        users,
        products,
        next: AtomicU64::new(1000),
        newcomer: AtomicU64::new(0),
        leavers: Mutex::default(),
        is_over: AtomicBool::new(false),
        longest: AtomicU64::new(0),
    }
}

/// One client: its connection, and a log for each operation that it may have under way.
struct Visitor {
    stage: Arc<Stage>,
    client: Client,
    recorder: Arc<Recorder<Thing, u64>>,
    logs: [Log; HOT],
}

impl Visitor {
    fn call(&self, method: Method, path: &str) -> Call {
        let url = format!("{}{path}", self.stage.base);
        let call = Call::new(self.client.request(method, url)).by(&self.stage.admin);
        if fastrand::u8(..10) == 0 {
            call.no_cache()
        } else {
            call
        }
    }

    async fn visit(mut self) {
        while !self.stage.is_over.load(Ordering::Relaxed) {
            let index = fastrand::usize(..HOT);
            match fastrand::u8(..100) {
                0..10 => self.rename(Thing::User(index)).await,
                10..20 => self.rename(Thing::Product(index)).await,
                20..45 => self.read_one(Thing::User(index), &self.user(index)).await,
                45..65 => {
                    let path = self.product(index);
                    self.read_one(Thing::Product(index), &path).await;
                }
                65..75 => {
                    let path = format!("/users/by-email/{}", email(index).to_uppercase());
                    self.read_one(Thing::User(index), &path).await;
                }
                75..80 => self.read_all("/users", "full_name", Thing::User).await,
                80..85 => self.read_all("/products", "name", Thing::Product).await,
                85..92 => self.look_for_the_newcomer().await,
                92..94 => self.bring_the_newcomer().await,
                94..95 => self.make_a_leaver().await,
                95..96 => self.remove_a_leaver().await,
                _ => self.look_for_a_leaver().await,
            }
        }
    }

    fn user(&self, index: usize) -> String {
        format!("/users/{}", self.stage.users[index])
    }

    fn product(&self, index: usize) -> String {
        format!("/products/{}", self.stage.products[index])
    }

    async fn rename(&mut self, thing: Thing) {
        let new = self.stage.next.fetch_add(1, Ordering::Relaxed);
        let (path, change) = match thing {
            Thing::User(index) => (self.user(index), json!({ "full_name": name(new) })),
            Thing::Product(index) => (self.product(index), json!({ "name": name(new) })),
            _ => return,
        };
        let call = self.call(Method::PATCH, &path).json(&change);
        let write = self.logs[0].write(thing, new);
        self.stage.answer(call).await.expect(200);
        write.acknowledged();
    }

    async fn read_one(&mut self, thing: Thing, path: &str) {
        let call = self.call(Method::GET, path);
        let read = self.logs[0].read(thing);
        let row = self.stage.answer(call).await.expect(200).json();
        let field = match thing {
            Thing::User(_) => "full_name",
            _ => "name",
        };
        read.returned(value(&row[field]));
    }

    /// A page shows every hot row: as many reads as rows.
    async fn read_all(&mut self, path: &str, field: &str, thing: fn(usize) -> Thing) {
        let limit = fastrand::usize(900..903);
        let call = self.call(Method::GET, &format!("{path}?limit={limit}"));
        let ids = match thing(0) {
            Thing::User(_) => self.stage.users.clone(),
            _ => self.stage.products.clone(),
        };
        let reads: Vec<_> = self
            .logs
            .iter_mut()
            .enumerate()
            .map(|(index, log)| log.read(thing(index)))
            .collect();
        let rows = self.stage.answer(call).await.expect(200).json();
        let rows: HashMap<i64, u64> = rows
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|row| Some((row["id"].as_i64()?, value(&row[field]))))
            .collect();
        for (id, read) in ids.iter().zip(reads) {
            read.returned(rows.get(id).copied().unwrap_or(u64::MAX));
        }
    }

    async fn look_for_the_newcomer(&mut self) {
        let number = self.stage.newcomer.load(Ordering::SeqCst);
        let path = format!("/users/by-email/{}", newcomers_email(number));
        let call = self.call(Method::GET, &path);
        let read = self.logs[0].read(Thing::Newcomer(number));
        let answer = self.stage.answer(call).await;
        read.returned(if answer.status.as_u16() == 404 {
            NOBODY
        } else {
            THERE
        });
    }

    /// Makes the user whom everybody looks for, and names the next.
    async fn bring_the_newcomer(&mut self) {
        let number = self.stage.newcomer.load(Ordering::SeqCst);
        let body = json!({
            "email": newcomers_email(number), "full_name": "New", "password": "a password",
        });
        let call = self.call(Method::POST, "/users").json(&body);
        let write = self.logs[0].write(Thing::Newcomer(number), THERE);
        let answer = self.stage.answer(call).await;
        if answer.status.as_u16() == 409 {
            // Somebody else brought them.
            write.refused();
            return;
        }
        answer.expect(201);
        write.acknowledged();
        // A few more looks at this one before the next.
        for _ in 0..5 {
            self.look_for_the_newcomer().await;
        }
        self.recorder.initial(Thing::Newcomer(number + 1), NOBODY);
        self.stage.newcomer.store(number + 1, Ordering::SeqCst);
    }

    async fn make_a_leaver(&mut self) {
        let body = json!({ "name": "Leaver", "price_cents": 1 });
        let made = self.call(Method::POST, "/products").json(&body).await;
        let id = made.expect(201).json()["id"].as_i64().expect("an id");
        // Nobody knows of it before this.
        self.recorder.initial(Thing::Leaver(id), THERE);
        self.stage.leavers.lock().expect("no panics").push(id);
    }

    fn a_leaver(&self) -> Option<i64> {
        let leavers = self.stage.leavers.lock().expect("no panics");
        fastrand::choice(leavers.iter()).copied()
    }

    async fn remove_a_leaver(&mut self) {
        let Some(id) = self.a_leaver() else { return };
        let call = self.call(Method::DELETE, &format!("/products/{id}"));
        let write = self.logs[0].write(Thing::Leaver(id), GONE);
        let answer = self.stage.answer(call).await;
        if answer.status.as_u16() == 404 {
            write.refused();
            return;
        }
        answer.expect(204);
        write.acknowledged();
        for _ in 0..5 {
            self.look_for(id).await;
        }
        let mut leavers = self.stage.leavers.lock().expect("no panics");
        leavers.retain(|other| *other != id);
    }

    async fn look_for_a_leaver(&mut self) {
        if let Some(id) = self.a_leaver() {
            self.look_for(id).await;
        }
    }

    async fn look_for(&mut self, id: i64) {
        let call = self.call(Method::GET, &format!("/products/{id}"));
        let read = self.logs[0].read(Thing::Leaver(id));
        let answer = self.stage.answer(call).await;
        read.returned(if answer.status.as_u16() == 404 {
            GONE
        } else {
            THERE
        });
    }
}

/// Lets clients at the service for as long as `play` goes on. Every answer must be as expected.
pub(crate) async fn run(app: &TestApp, what: &str, play: impl Future<Output = ()>) -> Outcome {
    let recorder = Arc::new(Recorder::new());
    let stage = Arc::new(prepare(app, &recorder).await);
    let visitors: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let visitor = Visitor {
                stage: Arc::clone(&stage),
                client: client(),
                recorder: Arc::clone(&recorder),
                logs: std::array::from_fn(|_| recorder.client()),
            };
            tokio::spawn(visitor.visit())
        })
        .collect();
    play.await;
    stage.is_over.store(true, Ordering::Relaxed);
    for visitor in visitors {
        visitor.await.expect("every answer is as expected");
    }
    // The service itself is none the worse for it.
    app.try_login(ADMIN_EMAIL, "admin123").await.expect(200);
    let recorder = Arc::into_inner(recorder).expect("every client has gone");
    let report = recorder
        .finish()
        .check()
        .expect("no value was written twice");
    let rate = report.stale_per_million();
    let longest = Duration::from_micros(stage.longest.load(Ordering::Relaxed));
    println!("{what}: {report}; {rate} stale per million; longest wait {longest:?}");
    Outcome { report, longest }
}
