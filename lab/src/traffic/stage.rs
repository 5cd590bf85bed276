//! What all clients know of: the rows, and how far the log of changes has got.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::record::Clock;
use super::thing::{Thing, name};
use super::visitor::path_uri;
use crate::history::fleet::{Instance, Position};

/// Rows of each table that everybody wants, and that a page shows.
pub(crate) const HOT: usize = 8;

/// The first value that is written. Those before are the rows' first.
const FIRST_VALUE: u32 = 1_000_000;

/// An admin of the service.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) email: String,
    pub(crate) password: String,
}

impl Credentials {
    /// The admin whom the profile for tests names.
    pub(crate) fn of_tests() -> Self {
        Self {
            email: "admin@example.com".to_owned(),
            password: "admin123".to_owned(),
        }
    }
}

/// A user or a product.
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) uri: Uri,
    /// In two spellings. Products have none.
    pub(crate) by_email: Option<[Uri; 2]>,
    last_writer: AtomicU8,
}

/// A product that is made and removed.
pub(crate) struct Leaver {
    pub(crate) number: u32,
    pub(crate) id: i64,
    /// Set before it is asked for.
    pub(crate) is_leaving: AtomicBool,
    last_writer: AtomicU8,
}

/// Somebody whose address is looked for before they are there.
#[derive(Default)]
pub(crate) struct Newcomer {
    pub(crate) number: AtomicU32,
    last_writer: AtomicU8,
}

/// Who wrote something last.
pub(crate) trait Written {
    fn last_writer(&self) -> &AtomicU8;

    fn written_at(&self, instance: Instance) {
        self.last_writer().store(instance.0, Ordering::Relaxed);
    }

    fn writer(&self) -> Instance {
        Instance(self.last_writer().load(Ordering::Relaxed))
    }
}

macro_rules! written {
    ($($thing:ty),*) => {
        $(impl Written for $thing {
            fn last_writer(&self) -> &AtomicU8 {
                &self.last_writer
            }
        })*
    };
}

written!(Row, Leaver, Newcomer);

/// What all clients share.
pub(crate) struct Stage {
    pub(crate) clock: Clock,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) token: HeaderValue,
    /// Tells the addresses of this run from those of others in the same database.
    pub(crate) run: u32,
    /// The hot ones first.
    pub(crate) users: Vec<Row>,
    pub(crate) products: Vec<Row>,
    /// One for each writer.
    pub(crate) newcomers: Vec<Newcomer>,
    next_newcomer: AtomicU32,
    leavers: Mutex<Vec<Arc<Leaver>>>,
    /// The last product that was made.
    pub(crate) newest: AtomicI64,
    next_value: AtomicU32,
    /// The largest that was acknowledged.
    position: AtomicU64,
    is_over: AtomicBool,
    pub(crate) reads: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Stage {
    /// Logs in and makes so many rows of each table, and whatever so many writers need besides.
    pub(crate) async fn prepare(
        addresses: Vec<SocketAddr>,
        admin: &Credentials,
        clock: Clock,
        rows: usize,
        writers: usize,
    ) -> Result<Self> {
        let first = *addresses.first().context("there is an instance")?;
        let token = log_in(first, admin).await.context("logging in")?;
        let run = fastrand::u32(..);
        let maker = Maker {
            client: Client::new(first, Some(token.clone())),
            run,
        };
        let (users, products) = maker.rows(rows).await.context("making the rows")?;
        let newest = products.last().map_or(0, |row| row.id);
        Ok(Self {
            clock,
            addresses,
            token,
            run,
            users,
            products,
            newcomers: (0..writers).map(|_| Newcomer::default()).collect(),
            next_newcomer: AtomicU32::new(0),
            leavers: Mutex::default(),
            newest: AtomicI64::new(newest),
            next_value: AtomicU32::new(FIRST_VALUE),
            position: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// The user or product of this index.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn row(&self, thing: Thing) -> &Row {
        match thing {
            Thing::User(index) => &self.users[index as usize],
            Thing::Product(index) => &self.products[index as usize],
            Thing::Newcomer(_) | Thing::Leaver(_) => unreachable!("{thing} is no row"),
        }
    }

    pub(crate) fn next_value(&self) -> u32 {
        self.next_value.fetch_add(1, Ordering::Relaxed)
    }

    /// A number that no newcomer has had. They count from 1.
    pub(crate) fn next_newcomer(&self) -> u32 {
        self.next_newcomer.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn newcomers_email(&self, number: u32) -> String {
        format!("newcomer-{}-{number}@example.com", self.run)
    }

    /// The largest position that was acknowledged so far.
    pub(crate) fn position(&self) -> Option<Position> {
        Position::new(self.position.load(Ordering::SeqCst))
    }

    /// A write was acknowledged.
    pub(crate) fn reached(&self, position: Position) {
        self.position.fetch_max(position.get(), Ordering::SeqCst);
    }

    pub(crate) fn leavers(&self) -> MutexGuard<'_, Vec<Arc<Leaver>>> {
        self.leavers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn any_leaver(&self) -> Option<Arc<Leaver>> {
        fastrand::choice(self.leavers().iter()).map(Arc::clone)
    }

    pub(crate) fn any_instance(&self) -> Instance {
        Instance(u8::try_from(fastrand::usize(..self.addresses.len())).unwrap_or_default())
    }

    /// Any instance but this one, if there is another.
    pub(crate) fn another_instance(&self, than: Instance) -> Instance {
        let count = self.addresses.len();
        let step = if count > 1 {
            fastrand::usize(1..count)
        } else {
            0
        };
        Instance(u8::try_from((usize::from(than.0) + step) % count).unwrap_or_default())
    }

    /// Removes the rows that were made, the leavers included.
    pub(crate) async fn remove_rows(&self) -> Result<()> {
        let mut client = Client::new(self.addresses[0], Some(self.token.clone()));
        let rows = self.users.iter().chain(&self.products);
        let rows = rows.map(|row| row.uri.clone());
        let leavers: Vec<Uri> = self.leavers().iter().map(|leaver| leaver.uri()).collect();
        for uri in rows.chain(leavers) {
            let mut request = Request::new(Full::default());
            *request.method_mut() = Method::DELETE;
            *request.uri_mut() = uri;
            let removed = client.ask(request).await?;
            let is_gone = [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND].contains(&removed.status);
            ensure!(is_gone, "removing a row: {}", removed.complaint());
        }
        Ok(())
    }

    /// Everybody finishes what they are at.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

impl Leaver {
    pub(crate) fn new(number: u32, id: i64, made_at: Instance) -> Self {
        Self {
            number,
            id,
            is_leaving: AtomicBool::new(false),
            last_writer: AtomicU8::new(made_at.0),
        }
    }

    pub(super) fn uri(&self) -> Uri {
        path_uri(format!("/products/{}", self.id))
    }
}

/// The first name of the row of this index.
pub(crate) fn first_value(index: usize) -> u32 {
    u32::try_from(index).unwrap_or_default() + 1
}

/// A request with a JSON body.
pub(crate) fn with_json(method: Method, uri: Uri, body: &Value) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::from(body.to_string()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(CONTENT_TYPE, json);
    request
}

/// The `id` of what was made.
pub(crate) fn id_of(made: &Answer) -> Option<i64> {
    let document: Value = serde_json::from_slice(&made.body).ok()?;
    document["id"].as_i64()
}

/// Logs in. Answers the whole `Authorization`.
pub(crate) async fn log_in(address: SocketAddr, admin: &Credentials) -> Result<HeaderValue> {
    let form = [("username", &admin.email), ("password", &admin.password)];
    let mut request = Request::new(Full::from(serde_urlencoded::to_string(form)?));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/auth/login");
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form);
    let answer = Client::new(address, None).ask(request).await?;
    ensure!(answer.status.is_success(), "{}", answer.complaint());
    let answer: Value = serde_json::from_slice(&answer.body)?;
    let token = answer["access_token"].as_str().context("no token")?;
    Ok(HeaderValue::try_from(format!("Bearer {token}"))?)
}

/// Makes rows, one after the other: so their ids are, too, and a page shows the hot ones.
struct Maker {
    client: Client,
    run: u32,
}

impl Maker {
    async fn rows(mut self, count: usize) -> Result<(Vec<Row>, Vec<Row>)> {
        let (mut users, mut products) = (Vec::new(), Vec::new());
        for index in 0..count {
            users.push(self.user(index).await?);
            products.push(self.product(index).await?);
        }
        Ok((users, products))
    }

    async fn user(&mut self, index: usize) -> Result<Row> {
        let email = format!("user-{}-{index}@example.com", self.run);
        let body = json!({
            "email": email, "full_name": name(first_value(index)), "password": "a password",
        });
        let id = self.make("/users", &body).await?;
        let path = format!("/users/by-email/{email}");
        let shouted = format!("/users/by-email/{}", email.to_uppercase());
        Ok(Row {
            id,
            uri: format!("/users/{id}").parse()?,
            by_email: Some([path.parse()?, shouted.parse()?]),
            last_writer: AtomicU8::new(0),
        })
    }

    async fn product(&mut self, index: usize) -> Result<Row> {
        let body = json!({ "name": name(first_value(index)), "price_cents": 1 });
        let id = self.make("/products", &body).await?;
        Ok(Row {
            id,
            uri: format!("/products/{id}").parse()?,
            by_email: None,
            last_writer: AtomicU8::new(0),
        })
    }

    async fn make(&mut self, path: &'static str, body: &Value) -> Result<i64> {
        let request = with_json(Method::POST, Uri::from_static(path), body);
        let made = self.client.ask(request).await?;
        ensure!(made.status == 201, "{}", made.complaint());
        id_of(&made).context("what is made has an id")
    }
}
