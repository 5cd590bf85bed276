//! Damage to the database: it is there, but it is not the database that it was.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use diesel::prelude::*;
use diesel::sql_types::Text;
use parking_lot::Mutex;

use super::connection::DbConnection;
use super::database::Database;
use super::error::DbError;

/// How often a corrupt database is looked at as a whole.
const RECHECK: Duration = Duration::from_secs(5);

/// What is missing of the tables, or of the rights to them.
const POSTGRES_MISSING: &str = "SELECT needed || ' (' || permission || ')' AS value FROM (VALUES \
     ('users', 'SELECT'), ('users', 'INSERT'), ('users', 'UPDATE'), ('users', 'DELETE'), \
     ('products', 'SELECT'), ('products', 'INSERT'), ('products', 'UPDATE'), ('products', 'DELETE'), \
     ('cache_changes', 'SELECT'), ('cache_log', 'SELECT'), ('database_history', 'SELECT')) \
     AS needs (needed, permission) \
     WHERE NOT coalesce(has_table_privilege(to_regclass(needed)::oid, permission), false)";
const SQLITE_MISSING: &str = "WITH needs (value) AS (VALUES \
     ('users'), ('products'), ('cache_changes'), ('cache_log'), ('database_history')) \
     SELECT value FROM needs WHERE value NOT IN (SELECT name FROM sqlite_master)";

/// Whether the database can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Up,
    /// It cannot be reached, or does not answer.
    Unreachable(Arc<str>),
    /// It lacks tables or rights, is corrupt, or its file was deleted or replaced. It takes no writes.
    Damaged(Arc<str>),
}

/// What is known of damage. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Damage(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Of the SQLite file that was opened first.
    file: OnceLock<FileId>,
    corrupt: Mutex<Option<Corrupt>>,
    reported: Mutex<Option<Arc<str>>>,
}

#[derive(Debug)]
struct Corrupt {
    why: Arc<str>,
    checked: Option<Instant>,
}

impl Damage {
    /// Notes which file was opened.
    pub(super) fn opened(&self, file: &Path) {
        if let Some(id) = FileId::of(file) {
            self.0.file.get_or_init(|| id);
        }
    }

    /// Whether the path still leads to the file that was opened.
    ///
    /// # Errors
    /// What became of it.
    pub(super) fn check_file(&self, file: &Path) -> Result<(), Arc<str>> {
        let Some(opened) = self.0.file.get() else {
            return Ok(());
        };
        match FileId::of(file) {
            Some(id) if id == *opened => Ok(()),
            Some(_) => Err(format!("the file {} was replaced", file.display()).into()),
            None => Err(format!("the file {} was deleted", file.display()).into()),
        }
    }

    /// A query has found the database to be corrupt. It counts as that until it is seen whole.
    pub(super) fn is_corrupt(&self, why: &str) {
        let mut corrupt = self.0.corrupt.lock();
        if corrupt.is_none() {
            let why: Arc<str> = why.into();
            self.report(Some(&why));
            *corrupt = Some(Corrupt { why, checked: None });
        }
    }

    fn corrupt(&self) -> Option<Arc<str>> {
        let corrupt = self.0.corrupt.lock();
        corrupt.as_ref().map(|corrupt| Arc::clone(&corrupt.why))
    }

    /// Whether a corrupt database is to be looked at again. One caller in a while does so.
    fn is_recheck_due(&self) -> bool {
        let now = Instant::now();
        let mut corrupt = self.0.corrupt.lock();
        corrupt.as_mut().is_some_and(|corrupt| {
            let is_due = corrupt
                .checked
                .is_none_or(|checked| now.duration_since(checked) >= RECHECK);
            if is_due {
                corrupt.checked = Some(now);
            }
            is_due
        })
    }

    fn is_whole(&self) {
        *self.0.corrupt.lock() = None;
    }

    /// Logs that the database is damaged, or is so no more, once.
    fn report(&self, damage: Option<&Arc<str>>) {
        let mut reported = self.0.reported.lock();
        if reported.as_ref() == damage {
            return;
        }
        match damage {
            Some(why) => log::error!(
                "database damaged reason=\"{why}\" effect=\"not ready, writes are refused\" \
                 remedy=\"restore the database, then restart\""
            ),
            None => log::info!("database whole again"),
        }
        *reported = damage.cloned();
    }
}

impl Database {
    /// Whether writes may be acknowledged.
    ///
    /// # Errors
    /// [`DbError::Damaged`].
    pub(super) fn check_intact(&self) -> Result<(), DbError> {
        let manager = self.manager();
        let damage = manager.damage();
        let file = manager
            .file()
            .map_or(Ok(()), |file| damage.check_file(file));
        match file.err().or_else(|| damage.corrupt()) {
            None => Ok(()),
            Some(why) => {
                damage.report(Some(&why));
                Err(DbError::Damaged(why))
            }
        }
    }

    /// Whether it can do its work.
    pub async fn health(&self) -> Health {
        let damage = self.manager().damage();
        if damage.is_recheck_due() {
            // It reads every page. Whoever asks for the health does not wait for it.
            let (database, damage) = (self.clone(), damage.clone());
            tokio::spawn(async move {
                if database.read(is_whole).await.is_ok_and(|is_whole| is_whole) {
                    damage.is_whole();
                }
            });
        }
        let health = match self.check_intact() {
            Ok(()) => match self.read(missing).await {
                Ok(missing) if missing.is_empty() => Health::Up,
                Ok(missing) => Health::Damaged(format!("missing: {}", missing.join(", ")).into()),
                Err(DbError::Damaged(why)) => Health::Damaged(why),
                Err(error) => Health::Unreachable(error.to_string().into()),
            },
            Err(DbError::Damaged(why)) => Health::Damaged(why),
            Err(error) => Health::Unreachable(error.to_string().into()),
        };
        match &health {
            Health::Up => damage.report(None),
            Health::Damaged(why) => damage.report(Some(why)),
            // Nothing new is known.
            Health::Unreachable(_) => {}
        }
        health
    }
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    value: String,
}

fn missing(connection: &mut DbConnection) -> QueryResult<Vec<String>> {
    let query = match connection {
        DbConnection::Sqlite(_) => SQLITE_MISSING,
        DbConnection::Postgresql(_) => POSTGRES_MISSING,
    };
    let missing: Vec<Name> = diesel::sql_query(query).load(connection)?;
    Ok(missing.into_iter().map(|name| name.value).collect())
}

/// Whether every page of an SQLite database is whole.
fn is_whole(connection: &mut DbConnection) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Text)]
        quick_check: String,
    }
    let found: Found = diesel::sql_query("PRAGMA quick_check(1)").get_result(connection)?;
    Ok(found.quick_check == "ok")
}

/// Tells a file from every other, also from a later one that got its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    pub(super) inode: u64,
    /// In nanoseconds since the Unix epoch; 0 where the file system does not tell.
    pub(super) born: u128,
}

impl FileId {
    /// `None` if there is no such file.
    pub(super) fn of(file: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(file).ok()?;
        let born = metadata.created().ok();
        let born = born.and_then(|born| born.duration_since(SystemTime::UNIX_EPOCH).ok());
        Some(Self {
            inode: metadata.ino(),
            born: born.map_or(0, |born| born.as_nanos()),
        })
    }
}
