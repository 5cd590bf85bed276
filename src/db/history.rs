//! The history of the database: which one this is, and whether the database still goes on from it.
//!
//! A database that is restored from a backup starts a new history: ids, positions and revocations of
//! the old one mean nothing in it. Its id is random, and every token carries it. The id is drawn anew
//! where one of these tells of a restore:
//!
//! * PostgreSQL: the row of `database_history` was not written by the transaction that it names (a
//!   dump), the cluster or the database's oid is another (a copy), or the timeline changed and the
//!   server has a recovery target (a point-in-time recovery). A promoted standby keeps the history.
//! * SQLite: a small file beside the database remembers the history, the newest row of the change log
//!   and which file it was. It is missing (a copy), or the database is not what it remembers.
//! * Both: the change log does not contain a row that this process, or Redis, has seen in it.
//!
//! A new history begins the change log anew, so that every instance and every Redis drops its copies.
//! It names its ancestors: an instance that knows one of them adopts it, and draws none of its own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use parking_lot::Mutex;

use super::connection::DbConnection;
use super::damage::FileId;
use super::schema::{cache_changes, cache_log, database_history};

/// So many ancestors are remembered.
const ANCESTORS: usize = 16;

/// Whether the server was told to stop its recovery early, which drops what came later.
const HAS_RECOVERY_TARGET: &str = "SELECT EXISTS (SELECT FROM pg_settings WHERE setting <> '' AND name \
     IN ('recovery_target', 'recovery_target_name', 'recovery_target_time', 'recovery_target_xid', \
     'recovery_target_lsn')) AS value";

/// The row, and whether the transaction and the database that it names are those it is read from.
const POSTGRES_ROW: &str = "SELECT id, ancestors, \
     xmin::text::bigint = written_by & 4294967295 AND database_oid = \
     (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) \
     AND (SELECT count(*) = 1 FROM database_history) AS is_original \
     FROM database_history LIMIT 1";

/// Makes the row an original one, without those that a dump has added: see [`POSTGRES_ROW`].
const SIGN_ROW: &str = "DELETE FROM database_history \
     WHERE ctid <> (SELECT ctid FROM database_history LIMIT 1); \
     UPDATE database_history SET written_by = cache_position(), database_oid = \
     (SELECT oid::bigint FROM pg_database WHERE datname = current_database())";

/// What this process knows of the database's history. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct History(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    /// 0 while it is not known.
    id: AtomicI64,
    committed: Mutex<Option<LogRow>>,
}

/// What a database with a new history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    /// The one that it was, in whatever state.
    Same,
    /// Possibly one of two.
    Copy,
}

/// A row of the change log, told from those of other histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogRow {
    pub(super) position: i64,
    pub(super) mark: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    ancestors: String,
    #[diesel(sql_type = Bool)]
    is_original: bool,
}

impl Row {
    fn read(connection: &mut DbConnection) -> QueryResult<Self> {
        match connection {
            DbConnection::Sqlite(sqlite) => {
                let row = database_history::table
                    .select((database_history::id, database_history::ancestors))
                    .first(sqlite);
                row.map(|(id, ancestors)| Self {
                    id,
                    ancestors,
                    is_original: true,
                })
            }
            DbConnection::Postgresql(postgres) => {
                diesel::sql_query(POSTGRES_ROW).get_result(postgres)
            }
        }
    }

    fn goes_on_from(&self, id: i64) -> bool {
        self.id == id
            || self
                .ancestors
                .split(' ')
                .any(|a| a.parse() == Ok::<i64, std::num::ParseIntError>(id))
    }
}

impl History {
    /// The id; `None` while it is not known.
    pub(super) fn id(&self) -> Option<i64> {
        Some(self.0.id.load(Ordering::Acquire)).filter(|id| *id != 0)
    }

    /// The newest row of the log that a transaction of this process has committed.
    pub(super) fn committed(&self) -> Option<LogRow> {
        *self.0.committed.lock()
    }

    pub(super) fn has_committed(&self, row: LogRow) {
        *self.0.committed.lock() = Some(row);
    }

    /// What was committed up to this position need not be looked for any more.
    pub(super) fn has_seen(&self, position: i64) {
        let mut committed = self.0.committed.lock();
        if committed.is_some_and(|row| row.position <= position) {
            *committed = None;
        }
    }

    /// Adopts the history that the database tells of. Answers false, and does nothing, where the
    /// database was restored: `is_restored` says so, or its history does not go on from the one that
    /// this process knows.
    pub(super) fn adopt(
        &self,
        connection: &mut DbConnection,
        is_restored: bool,
    ) -> QueryResult<bool> {
        let row = Row::read(connection)?;
        let can_adopt = match self.id() {
            // Another instance has begun it already.
            Some(known) if row.id != known => row.goes_on_from(known),
            _ => !is_restored,
        };
        if can_adopt {
            self.set(row.id);
        }
        Ok(can_adopt)
    }

    /// Begins a new history, and the change log with it. The caller runs [`alone`].
    pub(super) fn begin(&self, connection: &mut DbConnection, is: Is) -> QueryResult<()> {
        let row = Row::read(connection)?;
        let id = fastrand::i64(1..);
        let known = self.id().filter(|known| *known != row.id);
        let mut ancestors = vec![row.id.to_string()];
        ancestors.extend(known.map(|known| known.to_string()));
        let older = row.ancestors.split_whitespace().map(str::to_owned);
        ancestors.extend(older.take(ANCESTORS));
        let set = (
            database_history::id.eq(id),
            database_history::ancestors.eq(ancestors.join(" ")),
        );
        diesel::update(database_history::table)
            .set(set)
            .execute(connection)?;
        if let DbConnection::Postgresql(postgres) = connection {
            postgres.batch_execute(SIGN_ROW)?;
        }
        if is == Is::Copy {
            // What another database, which this one was copied from, keeps in a Redis that both use
            // is not this one's.
            let identity = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
            diesel::update(cache_log::table)
                .set(cache_log::identity.eq(identity))
                .execute(connection)?;
        }
        begin_log(connection)?;
        self.set(id);
        Ok(())
    }

    fn set(&self, id: i64) {
        let before = self.0.id.swap(id, Ordering::AcqRel);
        if before != 0 && before != id {
            *self.0.committed.lock() = None;
            log::warn!(
                "new history of the database id={id} previous={before} reason=\"the database was \
                 restored, or an administrator revoked all tokens\" effect=\"every token issued \
                 before is refused\""
            );
        }
    }
}

/// Whether the row itself tells that it was restored.
pub(super) fn is_dumped(connection: &mut DbConnection) -> QueryResult<bool> {
    Ok(!Row::read(connection)?.is_original)
}

/// Whether the change from one lineage to the other is a restore. A promotion changes the timeline too.
pub(super) fn is_restored(
    connection: &mut DbConnection,
    from: &str,
    to: &str,
) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Answer {
        #[diesel(sql_type = Bool)]
        value: bool,
    }
    let cluster = |lineage: &str| lineage.split('.').next().map(str::to_owned);
    let DbConnection::Postgresql(postgres) = connection else {
        return Ok(false);
    };
    if from == to || from.is_empty() {
        return Ok(false);
    }
    if cluster(from) != cluster(to) {
        return Ok(true);
    }
    let answer: Answer = diesel::sql_query(HAS_RECOVERY_TARGET).get_result(postgres)?;
    Ok(answer.value)
}

/// Runs `work` in a transaction that no other process runs at the same time.
pub(super) fn alone<T>(
    connection: &mut DbConnection,
    work: impl FnOnce(&mut DbConnection) -> QueryResult<T>,
) -> QueryResult<T> {
    type Transactions = <DbConnection as Connection>::TransactionManager;
    use diesel::connection::TransactionManager;
    super::database::begin_to_write(connection)?;
    let done = lock(connection).and_then(|()| work(connection));
    match done {
        Ok(value) => Transactions::commit_transaction(connection).map(|()| value),
        Err(error) => {
            Transactions::rollback_transaction(connection)?;
            Err(error)
        }
    }
}

fn lock(connection: &mut DbConnection) -> QueryResult<()> {
    match connection {
        DbConnection::Sqlite(_) => Ok(()),
        // What the holder of the lock committed must be seen, also by the lock's own statement.
        DbConnection::Postgresql(postgres) => postgres.batch_execute(
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; \
             SELECT FROM database_history FOR UPDATE",
        ),
    }
}

/// Begins the change log anew.
pub(super) fn begin_log(connection: &mut DbConnection) -> QueryResult<()> {
    diesel::delete(cache_changes::table).execute(connection)?;
    let begin = cache_changes::kind.eq("begin");
    diesel::insert_into(cache_changes::table)
        .values(begin)
        .execute(connection)
        .map(drop)
}

/// Whether the change log contains a row.
pub(super) fn contains(connection: &mut DbConnection, row: LogRow) -> QueryResult<bool> {
    let row = cache_changes::table
        .filter(cache_changes::position.eq(row.position))
        .filter(cache_changes::mark.eq(row.mark));
    diesel::select(diesel::dsl::exists(row)).get_result(connection)
}

/// The newest row of the change log.
pub(super) fn newest(connection: &mut DbConnection) -> QueryResult<LogRow> {
    let newest = cache_changes::table
        .order(cache_changes::position.desc())
        .select((cache_changes::position, cache_changes::mark));
    let (position, mark) = newest.first(connection)?;
    Ok(LogRow { position, mark })
}

/// What the file beside an SQLite database remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remembered {
    history: i64,
    newest: LogRow,
    file: FileId,
}

impl fmt::Display for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogRow { position, mark } = self.newest;
        let FileId { inode, born } = self.file;
        writeln!(f, "{} {position} {mark} {inode} {born}", self.history)
    }
}

impl FromStr for Remembered {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.split_whitespace();
        let mut number = || numbers.next().unwrap_or_default();
        Ok(Self {
            history: number().parse()?,
            newest: LogRow {
                position: number().parse()?,
                mark: number().parse()?,
            },
            file: FileId {
                inode: number().parse()?,
                born: number().parse()?,
            },
        })
    }
}

/// The file beside an SQLite database that tells whether the database is still the one it was.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    database: PathBuf,
    file: PathBuf,
    /// A file that cannot be written is logged once.
    has_failed: bool,
}

impl Memory {
    pub(super) fn beside(database: &Path) -> Self {
        let mut file = database.as_os_str().to_owned();
        file.push("-history");
        Self {
            database: database.to_owned(),
            file: file.into(),
            has_failed: false,
        }
    }

    /// Whether the database was restored or copied since the file was written, as far as it tells.
    pub(super) fn tells_of_restore(&self, connection: &mut DbConnection) -> QueryResult<bool> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let Ok(remembered) = text.parse::<Remembered>() else {
            return Ok(true);
        };
        let is_same = remembered.history == Row::read(connection)?.id
            && Some(remembered.file) == FileId::of(&self.database)
            && contains(connection, remembered.newest)?;
        Ok(!is_same)
    }

    /// Remembers the history and the log's newest row.
    pub(super) fn remember(&mut self, history: i64, newest: LogRow) {
        // A file that was deleted may be put back.
        let Some(file) = FileId::of(&self.database) else {
            return;
        };
        let remembered = Remembered {
            history,
            newest,
            file,
        };
        match self.replace(&remembered.to_string()) {
            Ok(()) => self.has_failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    let file = self.file.display();
                    log::warn!(
                        "cannot write file={file} reason=\"{error}\" effect=\"tokens end at the next \
                         start\" remedy=\"make the folder writable\""
                    );
                }
            }
        }
    }

    /// Replaces the file as a whole: a reader finds the old text or the new one.
    fn replace(&self, text: &str) -> std::io::Result<()> {
        let mut new = self.file.as_os_str().to_owned();
        new.push(format!(".{:x}", fastrand::u64(..)));
        let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &self.file));
        if written.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        written
    }
}
