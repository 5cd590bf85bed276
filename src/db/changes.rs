//! The change log: what has changed, for instances to follow.
//!
//! Triggers write a row for each change, in its transaction. Where in the log one has got to is a
//! [`Place`]. What that is differs:
//!
//! * SQLite has one writer at a time. Positions are in the order of the commits, and a place is the
//!   next one.
//! * In PostgreSQL a position is a transaction's id, handed out long before its commit. A place is a
//!   snapshot: it tells which transactions were still open. Their rows are looked for by name, so
//!   that nothing which commits late is skipped, and nothing is read twice. Everything below the
//!   place's *horizon*, the oldest that was open, is settled.
//!
//! A place also remembers the newest row below its horizon, its *witness*. Where the log has no such
//! row, it is another log: a backup was restored, or the row has been trimmed and others with it.

use std::time::Duration;

use chrono::Utc;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text};

use super::connection::{ConnectionManager, DbConnection};
use super::database::Database;
use super::error::DbError;
use super::history::{self, History, Is, LogRow as NewestRow, Memory};
use super::lineage::{begin_or_resume, lineage};
use super::modified::{Committed, Modified};
use super::place::{Place, Witness, parse_snapshot};
use super::schema::{cache_changes, cache_log};

/// So many changes at once are not worth being voided one by one.
const MOST: i64 = 10_000;

/// What was committed since a place, and the place after it, as one snapshot sees it.
const TAIL: &str = "SELECT s.snapshot::text AS snapshot, \
        CASE WHEN $1 = 0 THEN EXISTS (SELECT FROM cache_changes WHERE kind = 'begin' AND mark = $2) \
        ELSE EXISTS (SELECT FROM cache_changes WHERE position = $1 AND mark = $2) END AS is_known, \
        w.position AS witness, \
        coalesce(w.mark, (SELECT mark FROM cache_changes WHERE kind = 'begin' LIMIT 1)) \
        AS witness_mark, \
        c.position, c.kind, c.id, c.detail, \
        (extract(epoch FROM clock_timestamp()) * 1000)::bigint - c.made_at AS age \
     FROM (SELECT pg_current_snapshot() AS snapshot) s \
     LEFT JOIN LATERAL ( \
        SELECT position, mark FROM cache_changes \
        WHERE position < pg_snapshot_xmin(s.snapshot)::text::bigint \
        ORDER BY position DESC, mark DESC LIMIT 1) w ON true \
     LEFT JOIN LATERAL ( \
        SELECT * FROM cache_changes WHERE position >= $3 OR position = ANY($4) LIMIT $5) c ON true";

/// A change that the log tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Where in the log.
    pub position: i64,
    /// What has changed.
    pub changed: Changed,
    /// How long ago, by the database's own clock.
    pub age: Duration,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The user of this id, whose address is, or was, this one in its canonical form.
    User {
        /// The id.
        id: i64,
        /// The address.
        email: Option<String>,
    },
    /// The product of this id.
    Product {
        /// The id.
        id: i64,
    },
    /// Nothing; an admin clears what matches this pattern.
    Cleared {
        /// The pattern.
        pattern: String,
        /// What tells it from other clears.
        id: i64,
    },
    /// Possibly everything.
    Everything,
}

/// What was committed since a place.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The changes, in no order that matters.
    pub changes: Vec<Logged>,
    /// The place after them.
    pub place: Place,
}

/// What the log tells whoever asks what came after a place.
#[derive(Clone, Debug)]
pub enum Since {
    /// This.
    Tail(Tail),
    /// It cannot tell.
    Unknown {
        /// Why not.
        why: &'static str,
        /// Where it ends now.
        end: Place,
    },
}

const ANOTHER_LOG: &str = "saved position not found in the change log (database restored)";
const LOST_IDS: &str = "the server hands out transaction ids again (it has crashed)";
const ANOTHER_LINEAGE: &str =
    "the change log belongs to another server or timeline (failover or restore)";
const TRIMMED: &str = "saved position precedes the change log (log trimmed or begun anew)";
const NO_PLACE: &str = "it is not known what it has missed";
const TOO_MANY: &str = "there were too many changes";

impl Database {
    /// The name of the log, which is the same for as long as the database is.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn log_identity(&self) -> Result<String, DbError> {
        let identity = |connection: &mut DbConnection| {
            let log = cache_log::table.select(cache_log::identity);
            log.first(connection)
        };
        self.read(identity).await
    }

    /// What was committed since a place. `told` is a position that was committed when it was learnt.
    /// Begins a new history where they tell that the database was restored.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn changes_since(&self, place: Option<Place>, told: i64) -> Result<Since, DbError> {
        let history = self.history.clone();
        let since = move |connection: &mut DbConnection| {
            let lineage = lineage(connection)?;
            let mut since = since(connection, place.as_ref(), &lineage, history.committed())?;
            let (Since::Tail(Tail { place: end, .. }) | Since::Unknown { end, .. }) = &since;
            // Another database's place tells nothing of this one's history, nor does the place of a
            // server that was promoted since: it may lack the last commits.
            let is_of_this_server = place
                .as_ref()
                .is_some_and(|place| place.witness.lineage == lineage);
            if is_of_this_server {
                if end.next <= told {
                    since = Since::Unknown {
                        why: ANOTHER_LOG,
                        end: end.clone(),
                    };
                }
                settle_after(connection, &mut since, &history, &lineage)?;
            }
            Ok(since)
        };
        self.read(since).await
    }

    /// Revokes every token of every account: begins a new history.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn revoke_all_tokens(&self) -> Result<(), DbError> {
        let history = self.history.clone();
        let begin = move |connection: &mut DbConnection| {
            history::alone(connection, |connection| history.begin(connection, Is::Same))
        };
        self.read(begin).await
    }

    /// Tells every instance to clear what matches a pattern.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn log_clear(&self, pattern: String, id: i64) -> Result<Committed<()>, DbError> {
        let inserted = self
            .write(move |connection| {
                let clear = (
                    cache_changes::kind.eq("clear"),
                    cache_changes::id.eq(id),
                    cache_changes::detail.eq(&pattern),
                );
                let insert = diesel::insert_into(cache_changes::table).values(clear);
                insert.execute(connection)?;
                Ok(Modified::Done(()))
            })
            .await?;
        inserted.done()
    }

    /// Somebody who follows the log from its present end, on a connection of their own.
    ///
    /// # Errors
    /// Why the database did not answer.
    pub async fn log_reader(&self) -> Result<LogReader, DbError> {
        // What requests cost is told from what following costs.
        let manager = self.manager().apart();
        let history = self.history.clone();
        let opened = tokio::task::spawn_blocking(move || LogReader::open(manager, history));
        opened
            .await
            .unwrap_or_else(|panic| Err(DbError::Internal(panic.to_string().into())))
    }
}

/// Follows the log. Blocks its thread while it asks the database.
pub struct LogReader {
    manager: ConnectionManager,
    history: History,
    /// SQLite only.
    memory: Option<Memory>,
    following: Option<Following>,
    place: Place,
}

/// A connection that follows the log.
struct Following {
    connection: DbConnection,
    /// Of the server it leads to, which stays what it is.
    lineage: String,
    /// As the log was when it was last read.
    state: Option<String>,
}

impl Following {
    fn connect(
        manager: &ConnectionManager,
        history: &History,
        memory: Option<&mut Memory>,
    ) -> Result<Self, DbError> {
        let mut connection = manager.establish().map_err(DbError::unavailable)?;
        let lineage = begin_or_resume(&mut connection, history, memory)?;
        Ok(Self {
            connection,
            lineage,
            state: None,
        })
    }
}

impl LogReader {
    fn open(manager: ConnectionManager, history: History) -> Result<Self, DbError> {
        let mut memory = manager.file().map(Memory::beside);
        let mut following = Following::connect(&manager, &history, memory.as_mut())?;
        let place = end(&mut following.connection, &following.lineage)?;
        Ok(Self {
            manager,
            history,
            memory,
            following: Some(following),
            place,
        })
    }

    /// Where it has got to.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Looks for what is new, and moves on. Answers nothing where nothing has happened, which costs
    /// next to nothing.
    ///
    /// # Errors
    /// Why the database did not answer. It is connected to anew at the next look.
    pub fn look(&mut self) -> Result<Option<Since>, DbError> {
        let mut following = match self.following.take() {
            Some(following) => following,
            None => Following::connect(&self.manager, &self.history, self.memory.as_mut())?,
        };
        let Following {
            connection,
            lineage,
            state,
        } = &mut following;
        // Before the log is read: what was committed by now must be in it.
        let committed = self.history.committed();
        let now = Some(state_of(connection)?);
        let news = if now == *state {
            None
        } else {
            let mut since = since(connection, Some(&self.place), lineage, committed)?;
            settle_after(connection, &mut since, &self.history, lineage)?;
            *state = now;
            let (Since::Tail(Tail { place, .. }) | Since::Unknown { end: place, .. }) = &since;
            self.place.clone_from(place);
            // From now on the place's own witness tells.
            self.history.has_seen(self.place.witness.position);
            if let (Some(memory), Some(history)) = (&mut self.memory, self.history.id()) {
                let Witness { position, mark, .. } = self.place.witness;
                memory.remember(history, NewestRow { position, mark });
            }
            Some(since)
        };
        self.following = Some(following);
        Ok(news)
    }
}

/// What was committed last is remembered.
impl Drop for LogReader {
    fn drop(&mut self) {
        if self.memory.is_some() && self.following.is_some() {
            let _ = self.look();
        }
    }
}

/// Where the log is not the one that the place is from: adopts the history of the database, or begins
/// a new one if the database was restored. The end of the log is then another.
fn settle_after(
    connection: &mut DbConnection,
    since: &mut Since,
    history: &History,
    lineage: &str,
) -> QueryResult<()> {
    if let Since::Unknown { why, end: place } = since
        && [ANOTHER_LOG, TRIMMED].contains(why)
    {
        let is_restored = *why == ANOTHER_LOG;
        if !history.adopt(connection, is_restored)? {
            history::alone(connection, |connection| {
                if history.adopt(connection, is_restored)? {
                    return Ok(());
                }
                history.begin(connection, Is::Same)
            })?;
        }
        *place = end(connection, lineage)?;
    }
    Ok(())
}

/// The position of what the present transaction has changed, and its newest row where that is known.
pub(super) fn position(connection: &mut DbConnection) -> QueryResult<(i64, Option<NewestRow>)> {
    match connection {
        // Nothing else writes meanwhile.
        DbConnection::Sqlite(_) => {
            let newest = history::newest(connection)?;
            Ok((newest.position, Some(newest)))
        }
        DbConnection::Postgresql(postgres) => {
            let position = diesel::select(cache_position()).get_result(postgres)?;
            Ok((position, None))
        }
    }
}

#[derive(QueryableByName)]
struct VersionRow {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    data_version: i32,
}

// What is built of these, and not from a text, is prepared once.
#[diesel::declare_sql_function]
extern "SQL" {
    fn cache_snapshot() -> Text;
    fn cache_position() -> BigInt;
}

/// A text that is another whenever something was committed by another connection since. The
/// cheapest question there is.
fn state_of(connection: &mut DbConnection) -> QueryResult<String> {
    match connection {
        DbConnection::Sqlite(sqlite) => {
            let version = diesel::sql_query("PRAGMA data_version");
            let row: VersionRow = version.get_result(sqlite)?;
            Ok(row.data_version.to_string())
        }
        DbConnection::Postgresql(postgres) => diesel::select(cache_snapshot()).get_result(postgres),
    }
}

/// Where the log ends.
pub(super) fn end(connection: &mut DbConnection, lineage: &str) -> QueryResult<Place> {
    let nowhere = Place {
        horizon: i64::MAX,
        next: i64::MAX,
        open: Vec::new(),
        witness: Witness {
            lineage: lineage.to_owned(),
            position: 0,
            mark: 0,
        },
    };
    let (_, tail) = tail(connection, &nowhere)?;
    Ok(tail.place)
}

fn since(
    connection: &mut DbConnection,
    place: Option<&Place>,
    lineage: &str,
    committed: Option<NewestRow>,
) -> QueryResult<Since> {
    let unknown = |why, end| Ok(Since::Unknown { why, end });
    let Some(place) = place else {
        return unknown(NO_PLACE, end(connection, lineage)?);
    };
    if place.witness.lineage != lineage {
        return unknown(ANOTHER_LINEAGE, end(connection, lineage)?);
    }
    match tail(connection, place)? {
        (false, tail) if begins_after(connection, place)? => unknown(TRIMMED, tail.place),
        (false, tail) => unknown(ANOTHER_LOG, tail.place),
        (true, tail) if !has_kept(connection, committed)? => unknown(ANOTHER_LOG, tail.place),
        // Ids of transactions that left nothing behind are lost with a crash. All that was committed
        // is there.
        (true, tail) if tail.place.is_before(place) => unknown(LOST_IDS, tail.place),
        (true, tail) if tail.changes.len() as i64 > MOST => unknown(TOO_MANY, tail.place),
        (true, tail) => Ok(Since::Tail(tail)),
    }
}

/// Whether every row of the log is newer than the place's witness.
fn begins_after(connection: &mut DbConnection, place: &Place) -> QueryResult<bool> {
    let first: Option<i64> = cache_changes::table
        .select(diesel::dsl::min(cache_changes::position))
        .first(connection)?;
    Ok(first.is_none_or(|first| first > place.witness.position))
}

/// Whether the log contains what this process has committed last.
fn has_kept(connection: &mut DbConnection, committed: Option<NewestRow>) -> QueryResult<bool> {
    committed.map_or(Ok(true), |row| history::contains(connection, row))
}

/// What was committed since a place, up to one more than [`MOST`], and whether the place is one of
/// this log.
fn tail(connection: &mut DbConnection, from: &Place) -> QueryResult<(bool, Tail)> {
    match connection {
        DbConnection::Sqlite(sqlite) => sqlite.transaction(|sqlite| sqlite_tail(sqlite, from)),
        DbConnection::Postgresql(postgres) => postgres_tail(postgres, from),
    }
}

fn sqlite_tail(sqlite: &mut SqliteConnection, from: &Place) -> QueryResult<(bool, Tail)> {
    use cache_changes::{detail, id, kind, made_at, mark, position, table};
    let Witness {
        lineage,
        position: witness,
        mark: witness_mark,
    } = &from.witness;
    let is_witness = position.eq(witness).and(mark.eq(witness_mark));
    let witness = table.filter(is_witness);
    let is_known = diesel::select(diesel::dsl::exists(witness)).get_result(sqlite)?;
    let newest = table.order(position.desc()).select((position, mark));
    let (newest, newest_mark) = newest.first(sqlite)?;
    let now = Utc::now().timestamp_millis().into_sql::<BigInt>();
    let rows = table
        .filter(position.ge(from.next))
        .select((position, now - made_at, kind, id, detail))
        .limit(MOST + 1)
        .load::<LogRow>(sqlite)?;
    Ok((
        is_known,
        Tail {
            changes: rows.into_iter().filter_map(logged).collect(),
            place: Place {
                horizon: newest + 1,
                next: newest + 1,
                open: Vec::new(),
                witness: Witness {
                    lineage: lineage.clone(),
                    position: newest,
                    mark: newest_mark,
                },
            },
        },
    ))
}

/// Position, age in milliseconds, kind, id, detail.
type LogRow = (i64, i64, String, Option<i64>, Option<String>);

#[derive(QueryableByName)]
struct TailRow {
    #[diesel(sql_type = Text)]
    snapshot: String,
    #[diesel(sql_type = Bool)]
    is_known: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    witness: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    witness_mark: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    position: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    age: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    kind: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    detail: Option<String>,
}

fn postgres_tail(postgres: &mut PgConnection, from: &Place) -> QueryResult<(bool, Tail)> {
    let rows: Vec<TailRow> = diesel::sql_query(TAIL)
        .bind::<BigInt, _>(from.witness.position)
        .bind::<BigInt, _>(from.witness.mark)
        .bind::<BigInt, _>(from.next)
        .bind::<Array<BigInt>, _>(&from.open)
        .bind::<BigInt, _>(MOST + 1)
        .load(postgres)?;
    let first = rows.first().ok_or(diesel::result::Error::NotFound)?;
    let snapshot = parse_snapshot(&first.snapshot).ok_or_else(|| {
        diesel::result::Error::DeserializationError(
            format!("`{}` is no snapshot", first.snapshot).into(),
        )
    })?;
    let (horizon, next, open) = snapshot;
    let place = Place {
        horizon,
        next,
        open,
        witness: Witness {
            lineage: from.witness.lineage.clone(),
            position: first.witness.unwrap_or(0),
            mark: first.witness_mark.unwrap_or(0),
        },
    };
    let is_known = first.is_known;
    let changes = rows
        .into_iter()
        .filter_map(|row| logged((row.position?, row.age?, row.kind?, row.id, row.detail)));
    let changes = changes.collect();
    Ok((is_known, Tail { changes, place }))
}

fn logged((position, age, kind, id, detail): LogRow) -> Option<Logged> {
    let changed = match (kind.as_str(), id, detail) {
        ("begin", _, _) => return None,
        ("user", Some(id), email) => Changed::User { id, email },
        ("product", Some(id), _) => Changed::Product { id },
        ("clear", Some(id), Some(pattern)) => Changed::Cleared { pattern, id },
        // Also what a later release may write.
        _ => Changed::Everything,
    };
    Some(Logged {
        position,
        changed,
        age: Duration::from_millis(u64::try_from(age).unwrap_or_default()),
    })
}
