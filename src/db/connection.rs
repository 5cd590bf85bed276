use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::{Instrumentation, InstrumentationEvent, SimpleConnection};
use diesel::prelude::*;
use diesel::r2d2::R2D2Connection;
use diesel::result::ConnectionError;

use super::damage::Damage;
use super::error::SqliteCause;
use super::reach::{Open, Reach};
use crate::config::{DatabaseConfig, Synchronous};

/// A connection to either database. Queries are written once, against both.
#[derive(diesel::MultiConnection)]
pub(super) enum DbConnection {
    Postgresql(PgConnection),
    Sqlite(SqliteConnection),
}

/// What queries that return the rows they wrote are built for. (Diesel takes `as_returning` for one
/// database only; the columns themselves serve both.)
pub(super) type Backend = <DbConnection as Connection>::Backend;

/// How long SQLite waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes connections for the pool, of the kind that the URL's scheme names. (`MultiConnection`'s
/// own `establish` tries every kind in turn: with PostgreSQL away it would open an SQLite file of
/// that name.)
#[derive(Clone)]
pub(super) struct ConnectionManager {
    target: Target,
    synchronous: Synchronous,
    timeout: Duration,
    queries: Arc<AtomicU64>,
    reach: Reach,
    damage: Damage,
}

#[derive(Clone)]
enum Target {
    Postgresql(String),
    Sqlite(String),
}

/// A pooled connection.
pub(super) struct PooledConnection {
    pub(super) inner: DbConnection,
    /// It leaves the pool.
    pub(super) lost: bool,
    pub(super) opened: Instant,
    _open: Option<Open>,
}

impl ConnectionManager {
    pub(super) fn new(config: &DatabaseConfig, queries: Arc<AtomicU64>) -> Self {
        let target = match config.url.strip_prefix("sqlite://") {
            Some(path) => Target::Sqlite(path.to_owned()),
            None => Target::Postgresql(with_timeouts(&config.url, config.wait)),
        };
        let (synchronous, timeout) = (config.sqlite_synchronous, config.timeout);
        Self {
            target,
            synchronous,
            timeout,
            queries,
            reach: Reach::new(),
            damage: Damage::default(),
        }
    }

    /// The same, for connections that no request is answered on: their statements are not counted.
    pub(super) fn apart(&self) -> Self {
        Self {
            queries: Arc::default(),
            reach: self.reach.apart(),
            ..self.clone()
        }
    }

    /// Whether the database can be reached, which its connections tell of.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Whether the database is damaged, which its connections tell of.
    pub(super) fn damage(&self) -> &Damage {
        &self.damage
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self.target, Target::Sqlite(_))
    }

    /// The file of an SQLite database.
    pub(super) fn file(&self) -> Option<&Path> {
        match &self.target {
            Target::Sqlite(path) => Some(Path::new(path.split('?').next().unwrap_or(path))),
            Target::Postgresql(_) => None,
        }
    }

    /// Makes the folder that an SQLite file is to lie in.
    pub(super) fn prepare(&self) -> std::io::Result<()> {
        let Some(folder) = self.file().and_then(Path::parent) else {
            return Ok(());
        };
        std::fs::create_dir_all(folder).map_err(|error| {
            std::io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
        })
    }

    /// A connection of one's own.
    pub(super) fn establish(&self) -> Result<DbConnection, ConnectionError> {
        let counter = QueryCounter(Arc::clone(&self.queries));
        Ok(match &self.target {
            Target::Postgresql(url) => {
                let mut connection = PgConnection::establish(url).map_err(without_url)?;
                let timeout = self.timeout.as_millis();
                connection
                    .batch_execute(&format!("SET statement_timeout = {timeout}"))
                    .map_err(ConnectionError::CouldntSetupConfiguration)?;
                connection.set_instrumentation(counter);
                DbConnection::Postgresql(connection)
            }
            Target::Sqlite(path) => {
                // SQLite would make a new database where the file was deleted.
                if let Some(file) = self.file() {
                    let file = self.damage.check_file(file);
                    file.map_err(|why| ConnectionError::BadConnection(why.to_string()))?;
                }
                let mut connection = SqliteConnection::establish(&file_uri(path))
                    .map_err(|error| ConnectionError::BadConnection(format!("{path}: {error}")))?;
                self.configure(&mut connection)
                    .map_err(ConnectionError::CouldntSetupConfiguration)?;
                connection.set_instrumentation(counter);
                if let Some(file) = self.file() {
                    self.damage.opened(file);
                }
                DbConnection::Sqlite(connection)
            }
        })
    }

    fn configure(&self, connection: &mut SqliteConnection) -> QueryResult<()> {
        let synchronous = match self.synchronous {
            Synchronous::Full => "FULL",
            Synchronous::Normal => "NORMAL",
        };
        // No memory map: a file that is overwritten or cut short would end the process (SIGBUS).
        connection.batch_execute(&format!(
            "PRAGMA busy_timeout = {}; PRAGMA foreign_keys = ON; PRAGMA synchronous = {synchronous}; \
             PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;",
            BUSY_TIMEOUT.as_millis()
        ))?;
        // WAL stays with the file once set. Setting it takes an exclusive lock that no busy
        // timeout waits for, so several processes that open a new file at once have to retry.
        let deadline = Instant::now() + BUSY_TIMEOUT;
        loop {
            match connection.batch_execute("PRAGMA journal_mode = WAL;") {
                Err(error)
                    if SqliteCause::of(&error) == SqliteCause::Busy
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => return other,
            }
        }
    }
}

/// The error without what libpq quotes of a URL that it cannot read: parts of a password, perhaps.
fn without_url(error: ConnectionError) -> ConnectionError {
    const HARMLESS: [&str; 2] = ["connection to server", "could not translate host name"];
    match error {
        ConnectionError::BadConnection(why) if !HARMLESS.iter().any(|h| why.starts_with(h)) => {
            ConnectionError::BadConnection(
                "database.url cannot be used; characters such as / ? @ % and blanks in a password \
                 are written as %2F %3F %40 %25 %20"
                    .to_owned(),
            )
        }
        other => other,
    }
}

/// A `file:` URI for the path: without one, SQLite would not read the parameters after a `?`.
fn file_uri(path: &str) -> String {
    let (file, parameters) = path
        .split_once('?')
        .map_or((path, None), |(f, p)| (f, Some(p)));
    let escaped = file.replace('%', "%25").replace('#', "%23");
    match parameters {
        Some(parameters) => format!("file:{escaped}?{parameters}"),
        None => format!("file:{escaped}"),
    }
}

/// The URL with bounds on how long a connection may be sought, and how long a dead one is
/// believed alive, where it does not set them itself.
fn with_timeouts(url: &str, wait: Duration) -> String {
    let connect_timeout = wait.as_secs().max(2).to_string();
    let defaults = [
        ("connect_timeout", connect_timeout.as_str()),
        ("keepalives_idle", "30"),
        ("keepalives_interval", "5"),
        ("keepalives_count", "3"),
        ("tcp_user_timeout", "15000"),
        ("application_name", "alacena"),
    ];
    defaults
        .into_iter()
        .fold(url.to_owned(), |url, (name, value)| {
            if url.contains(&format!("{name}=")) {
                return url;
            }
            let separator = if url.contains('?') { '&' } else { '?' };
            format!("{url}{separator}{name}={value}")
        })
}

impl r2d2::ManageConnection for ConnectionManager {
    type Connection = PooledConnection;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<PooledConnection, Self::Error> {
        let inner = self
            .establish()
            .map_err(diesel::r2d2::Error::ConnectionError)?;
        Ok(PooledConnection {
            inner,
            lost: false,
            opened: Instant::now(),
            _open: self.reach.open(),
        })
    }

    fn is_valid(&self, connection: &mut PooledConnection) -> Result<(), Self::Error> {
        connection
            .inner
            .ping()
            .map_err(diesel::r2d2::Error::QueryError)
    }

    fn has_broken(&self, connection: &mut PooledConnection) -> bool {
        std::thread::panicking() || connection.lost || connection.inner.is_broken()
    }
}

/// Counts what is sent to the database.
struct QueryCounter(Arc<AtomicU64>);

impl Instrumentation for QueryCounter {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let InstrumentationEvent::StartQuery { .. } = event {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
