//! The lineage of the database: which server it is on. It changes with a failover, after which the
//! change log begins anew, and with a restore, after which the [history](History) does too.

use diesel::prelude::*;
use diesel::r2d2::R2D2Connection;
use diesel::sql_types::{Bool, Text};

use super::connection::DbConnection;
use super::error::Cause;
use super::history::{self, History, Is, Memory};
use super::schema::cache_log;

/// Tells a PostgreSQL cluster and its timeline, which a restored backup or a failover ends.
const LINEAGE: &str = "SELECT system_identifier || '.' || \
     left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) AS value FROM pg_control_system()";

/// Whether the service may call the function that tells the cluster.
const MAY_ASK_LINEAGE: &str = "SELECT coalesce(has_function_privilege( \
     to_regprocedure('pg_control_system()')::oid, 'EXECUTE'), false) AS value";

/// The lineage where the service may not ask for it.
const UNTOLD: &str = "-";

/// What tells this database from one that was restored from it elsewhere.
pub(super) fn lineage(connection: &mut DbConnection) -> QueryResult<String> {
    let DbConnection::Postgresql(postgres) = connection else {
        return Ok(String::new());
    };
    // Some services that host PostgreSQL forbid the question, or do not know it. The witness is left.
    let told: QueryResult<Option<TextRow>> = diesel::sql_query(MAY_ASK_LINEAGE)
        .get_result::<BoolRow>(postgres)
        .and_then(|may_ask| match may_ask.value {
            true => diesel::sql_query(LINEAGE).get_result(postgres).map(Some),
            false => Ok(None),
        });
    match told {
        Ok(row) => Ok(row.map_or(UNTOLD.to_owned(), |row| row.value)),
        Err(error) if Cause::of(&error) == Cause::Unknown && postgres.ping().is_ok() => {
            Ok(UNTOLD.to_owned())
        }
        Err(error) => Err(error),
    }
}

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Text)]
    value: String,
}

#[derive(QueryableByName)]
struct BoolRow {
    #[diesel(sql_type = Bool)]
    value: bool,
}

/// Adopts the history of the database, or begins a new one where the database was restored. Begins
/// the log anew where the server is another, as after a failover: the positions in it are that one's.
/// Answers the lineage.
pub(super) fn begin_or_resume(
    connection: &mut DbConnection,
    history: &History,
    memory: Option<&mut Memory>,
) -> QueryResult<String> {
    let present = lineage(connection)?;
    let memory_of = memory.as_deref();
    // What may be read only can be adopted; only a new history needs a lock.
    if !resume(connection, history, memory_of, &present)? {
        history::alone(connection, |connection| {
            // Another instance may have done it meanwhile.
            if resume(connection, history, memory_of, &present)? {
                return Ok(());
            }
            let stored = stored_lineage(connection)?;
            let is_restored = is_restored(connection, history, memory_of, &stored, &present)?;
            let is_copy = is_restored && (memory_of.is_some() || history::is_dumped(connection)?);
            // Those who run already know the log by its name.
            let is_copy = is_copy && history.id().is_none();
            if !history.adopt(connection, is_restored)? {
                history.begin(connection, if is_copy { Is::Copy } else { Is::Same })?;
            } else if !stored.is_empty() {
                history::begin_log(connection)?;
            }
            if present != UNTOLD {
                diesel::update(cache_log::table)
                    .set(cache_log::lineage.eq(&present))
                    .execute(connection)?;
            }
            Ok(())
        })?;
    }
    if let (Some(memory), Some(history)) = (memory, history.id()) {
        memory.remember(history, history::newest(connection)?);
    }
    Ok(present)
}

/// Adopts the history of a database that is on the server, and in the state, in which it was left.
fn resume(
    connection: &mut DbConnection,
    history: &History,
    memory: Option<&Memory>,
    present: &str,
) -> QueryResult<bool> {
    let stored = stored_lineage(connection)?;
    let is_restored = is_restored(connection, history, memory, &stored, present)?;
    let is_present = present == UNTOLD || stored == present;
    Ok(is_present && history.adopt(connection, is_restored)?)
}

fn stored_lineage(connection: &mut DbConnection) -> QueryResult<String> {
    let stored = cache_log::table.select(cache_log::lineage);
    stored.first(connection)
}

/// Whether the database was restored or copied, as far as can be told without its log.
fn is_restored(
    connection: &mut DbConnection,
    history: &History,
    memory: Option<&Memory>,
    stored: &str,
    present: &str,
) -> QueryResult<bool> {
    if let Some(memory) = memory {
        // Whoever has followed the log knows better than the file.
        return Ok(history.id().is_none() && memory.tells_of_restore(connection)?);
    }
    Ok(history::is_dumped(connection)?
        || (present != UNTOLD && history::is_restored(connection, stored, present)?))
}
