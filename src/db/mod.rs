//! The source of truth: every query there is, and no word of a cache.

mod connection;
mod database;
mod error;
mod migrations;
mod modified;
mod products;
mod reach;
mod schema;
mod seed;
mod users;

pub use database::Database;
pub use error::DbError;
pub use migrations::MigrationError;
pub use modified::{Expected, Modified};
pub use seed::Seed;
