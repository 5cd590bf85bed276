//! The source of truth: every query there is, and no word of a cache.

mod changes;
mod connection;
mod damage;
mod database;
mod error;
mod history;
mod lineage;
mod migrations;
mod modified;
mod place;
mod products;
mod reach;
mod schema;
mod seed;
mod trim;
mod users;

pub use changes::{Changed, LogReader, Logged, Since, Tail};
pub use damage::Health;
pub use database::Database;
pub use error::DbError;
pub use migrations::MigrationError;
pub use modified::{Committed, Expected, Modified};
pub use place::{NoPlace, Place, Witness};
pub use seed::Seed;
