use std::ops::Range;

use chrono::{DateTime, NaiveDateTime};
use diesel::prelude::*;

use super::connection::DbConnection;
use super::database::Database;
use super::error::DbError;
use super::modified::{Modified, draw};
use super::products::NewProductRow;
use super::schema::{products, users};
use super::users::NewUserRow;
use crate::domain::Role;

/// Plausible rows, the same for the same seed.
///
/// Row `n` of a seed is always the same and is recognised by its mark, so that seeding again goes on
/// after the last that is there.
#[derive(Clone, Copy, Debug)]
pub struct Seed(pub u64);

/// Rows of one statement: SQLite takes at most 32,766 parameters in one.
const BATCH: u64 = 2000;

const FIRST_NAMES: [&str; 24] = [
    "Ana",
    "Luis",
    "María",
    "José",
    "Carmen",
    "Jorge",
    "Lucía",
    "Diego",
    "Sofía",
    "Andrés",
    "Valentina",
    "Mateo",
    "Camila",
    "Santiago",
    "Isabel",
    "Tomás",
    "Elena",
    "Pablo",
    "Laura",
    "Miguel",
    "Rosa",
    "Javier",
    "Paula",
    "Felipe",
];
const LAST_NAMES: [&str; 24] = [
    "García",
    "López",
    "Martínez",
    "Rodríguez",
    "Pérez",
    "Gómez",
    "Díaz",
    "Torres",
    "Ramírez",
    "Flores",
    "Rivera",
    "Castro",
    "Ortiz",
    "Morales",
    "Vargas",
    "Rojas",
    "Herrera",
    "Medina",
    "Aguilar",
    "Guerrero",
    "Mendoza",
    "Salazar",
    "Navarro",
    "Cruz",
];
const ADJECTIVES: [&str; 16] = [
    "Blue", "Wooden", "Large", "Small", "Steel", "Ceramic", "Folding", "Round", "Green", "Copper",
    "Striped", "Glass", "Woven", "Square", "Red", "Light",
];
const THINGS: [&str; 16] = [
    "kettle", "chair", "lamp", "bowl", "basket", "table", "jug", "shelf", "plate", "blanket",
    "mirror", "clock", "tray", "vase", "stool", "pan",
];

/// A mixer after SplitMix64 (Steele, Lea and Flood, 2014): row `n` needs no row before it.
fn mix(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// When row `n` was made: one each minute, from the first of January 2025.
fn born(n: u64) -> NaiveDateTime {
    const FIRST: i64 = 1_735_689_600;
    let seconds = i64::try_from(n % 100_000_000).unwrap_or(0) * 60;
    DateTime::from_timestamp(FIRST + seconds, 0)
        .unwrap_or_default()
        .naive_utc()
}

/// The row after the one of this number, or the first.
fn after(last: Option<&str>) -> u64 {
    last.and_then(|number| number.parse::<u64>().ok())
        .map_or(0, |last| last + 1)
}

fn pick<'a>(from: &[&'a str], random: u64) -> &'a str {
    from[(random % from.len() as u64) as usize]
}

impl Seed {
    fn user(self, n: u64, password_hash: &str) -> NewUserRow {
        let random = mix(self.0, n);
        let (first, last) = (pick(&FIRST_NAMES, random), pick(&LAST_NAMES, random >> 16));
        NewUserRow {
            email: format!("user.s{}.{n}@example.com", self.0),
            full_name: format!("{first} {last}"),
            role: Role::User.as_str(),
            is_active: random >> 32 & 31 != 0,
            password_hash: password_hash.to_owned(),
            token_nonce: draw(),
            revision: draw(),
            created_at: born(n),
            updated_at: born(n),
        }
    }

    fn product(self, n: u64) -> NewProductRow {
        let random = mix(self.0, n);
        let (adjective, thing) = (pick(&ADJECTIVES, random), pick(&THINGS, random >> 16));
        NewProductRow {
            name: format!("{adjective} {thing} s{}-{n}", self.0),
            description: Some(format!(
                "A {} {thing}, well made.",
                adjective.to_lowercase()
            )),
            price_cents: (random >> 24 & 0xFFFF) as i64 + 99,
            stock: (random >> 48 & 0x1FF) as i64,
            is_active: random >> 40 & 31 != 0,
            revision: draw(),
            created_at: born(n),
            updated_at: born(n),
        }
    }
}

impl Database {
    /// Adds what is missing of the first `count` users of the seed, all with this password hash.
    /// `progress` is told how many rows are there.
    ///
    /// # Errors
    /// Why the database did not answer. Batches already in stay.
    pub async fn seed_users(
        &self,
        seed: Seed,
        count: u64,
        password_hash: String,
        progress: impl Fn(u64) + Send,
    ) -> Result<(), DbError> {
        let mark = format!("user.s{}.%@example.com", seed.0);
        let last: Option<String> = self
            .read(move |connection| {
                let marked = users::table.filter(users::email.like(&mark));
                let last = marked.order(users::id.desc()).select(users::email);
                last.first(connection).optional()
            })
            .await?;
        // user.s1.N@example.com
        let last = last
            .as_deref()
            .and_then(|email| email.split(['.', '@']).nth(2));
        // Diesel builds no statement of many rows for both databases at once.
        let insert = move |connection: &mut DbConnection, batch: Range<u64>| {
            let rows: Vec<_> = batch.map(|n| seed.user(n, &password_hash)).collect();
            let insert = diesel::insert_into(users::table).values(&rows);
            match connection {
                DbConnection::Postgresql(postgres) => insert.execute(postgres),
                DbConnection::Sqlite(sqlite) => insert.execute(sqlite),
            }
        };
        self.in_batches(after(last)..count, insert, progress).await
    }

    /// Adds what is missing of the first `count` products of the seed. `progress` is told how many
    /// rows are there.
    ///
    /// # Errors
    /// Why the database did not answer. Batches already in stay.
    pub async fn seed_products(
        &self,
        seed: Seed,
        count: u64,
        progress: impl Fn(u64) + Send,
    ) -> Result<(), DbError> {
        let mark = format!("% s{}-%", seed.0);
        let last: Option<String> = self
            .read(move |connection| {
                let marked = products::table.filter(products::name.like(&mark));
                let last = marked.order(products::id.desc()).select(products::name);
                last.first(connection).optional()
            })
            .await?;
        // Blue kettle s1-N
        let last = last.as_deref().and_then(|name| name.rsplit('-').next());
        let insert = move |connection: &mut DbConnection, batch: Range<u64>| {
            let rows: Vec<_> = batch.map(|n| seed.product(n)).collect();
            let insert = diesel::insert_into(products::table).values(&rows);
            match connection {
                DbConnection::Postgresql(postgres) => insert.execute(postgres),
                DbConnection::Sqlite(sqlite) => insert.execute(sqlite),
            }
        };
        self.in_batches(after(last)..count, insert, progress).await
    }

    async fn in_batches(
        &self,
        rows: Range<u64>,
        insert: impl Fn(&mut DbConnection, Range<u64>) -> QueryResult<usize> + Clone + Send + 'static,
        progress: impl Fn(u64) + Send,
    ) -> Result<(), DbError> {
        let mut next = rows.start;
        while next < rows.end {
            progress(next);
            let batch = next..rows.end.min(next + BATCH);
            next = batch.end;
            let insert = insert.clone();
            let write =
                self.write(move |connection| insert(connection, batch.clone()).map(Modified::Done));
            write.await?;
        }
        progress(rows.end);
        Ok(())
    }
}
