//! The change log is trimmed: rows that every instance has long read are deleted.

use std::time::Duration;

use chrono::Utc;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::changes::end;
use super::connection::DbConnection;
use super::database::Database;
use super::error::DbError;
use super::modified::Modified;
use super::schema::cache_changes;

/// About so many rows at most are trimmed in one transaction.
const TRIMMED_AT_ONCE: i64 = 20_000;

impl Database {
    /// Deletes what is older than `age`, and what exceeds so many rows, but not the newest. Answers
    /// how many rows that were.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn trim_changes(&self, age: Duration, rows: u32) -> Result<u64, DbError> {
        let mut trimmed = 0;
        loop {
            let cut = self
                .read(move |connection| first_kept(connection, age, rows))
                .await?;
            let deleted = self
                .write(move |connection| {
                    let old = cache_changes::table.filter(cache_changes::position.lt(cut));
                    diesel::delete(old).execute(connection).map(Modified::Done)
                })
                .await?;
            let deleted = deleted.done()?.value;
            trimmed += deleted as u64;
            if deleted < TRIMMED_AT_ONCE as usize {
                return Ok(trimmed);
            }
        }
    }
}

/// The lowest position that is not to be trimmed.
fn first_kept(connection: &mut DbConnection, age: Duration, rows: u32) -> QueryResult<i64> {
    use cache_changes::{kind, made_at, position, table};
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let born = now(connection)?.saturating_sub(age);
    // By position in every case: whoever finds their witness must find all that came after it.
    let old: Option<i64> = table
        .filter(made_at.lt(born))
        .select(diesel::dsl::max(position))
        .first(connection)?;
    let exceeding: Option<i64> = table
        .order(position.desc())
        .offset(i64::from(rows))
        .select(position)
        .first(connection)
        .optional()?;
    let first: Option<i64> = table
        .order(position.asc())
        .offset(TRIMMED_AT_ONCE)
        .select(position)
        .first(connection)
        .optional()?;
    let newest = end(connection, "")?.witness.position;
    let begin: Option<i64> = table
        .filter(kind.eq("begin"))
        .select(diesel::dsl::max(position))
        .first(connection)?;
    // The newest that is old stays: somebody's witness may be it, who missed only what came after.
    let cut = old.unwrap_or(0).max(exceeding.unwrap_or(0));
    // All that one transaction has changed goes at once, however much that is.
    let most = first.map_or(i64::MAX, |first| first + 1);
    let cut = cut.min(most).min(newest);
    // A transaction that is older than the log's first row has its rows below that. As long as the first
    // row is there, nothing is missing: it goes with them.
    let is_under_begin = begin.is_some_and(|begin| cut <= begin);
    Ok(if is_under_begin { 0 } else { cut })
}

/// The present time by the clock that dates the log's rows, in milliseconds since the Unix epoch.
fn now(connection: &mut DbConnection) -> QueryResult<i64> {
    #[derive(QueryableByName)]
    struct TimeRow {
        #[diesel(sql_type = BigInt)]
        value: i64,
    }
    match connection {
        DbConnection::Sqlite(_) => Ok(Utc::now().timestamp_millis()),
        DbConnection::Postgresql(postgres) => {
            let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS value";
            let row: TimeRow = diesel::sql_query(now).get_result(postgres)?;
            Ok(row.value)
        }
    }
}
