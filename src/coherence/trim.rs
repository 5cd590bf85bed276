use std::time::Duration;

use crate::db::Database;

/// How often the log is trimmed, give or take a quarter: instances should not all do it at once.
const PERIOD: Duration = Duration::from_secs(60);

/// Trims the change log for as long as it is polled: what is older than `age`, and what exceeds so
/// many rows.
pub async fn keep_trimmed(database: Database, age: Duration, rows: u32) {
    loop {
        tokio::time::sleep(PERIOD.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        match database.trim_changes(age, rows).await {
            Ok(trimmed) => log::debug!("{trimmed} rows of the change log were trimmed"),
            // Whoever follows the log says so where the database is away. There is always a next time.
            Err(error) => log::debug!("the change log was not trimmed: {error}"),
        }
    }
}
