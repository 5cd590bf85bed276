use alacena_lab::servers::Postgres;
use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection};
use tempfile::TempDir;

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    Sqlite,
    Postgres,
}

/// A fresh database of either kind, gone once this is dropped.
#[derive(Debug)]
pub(crate) enum Store {
    Sqlite(TempDir),
    Postgres(String),
}

impl Store {
    pub(crate) fn fresh(storage: Storage) -> Self {
        match storage {
            Storage::Sqlite => Self::Sqlite(
                tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
                    .expect("there is room for a folder"),
            ),
            Storage::Postgres => {
                let url = Postgres::shared().create_database();
                Self::Postgres(url.expect("the shared server makes databases"))
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => {
                format!("sqlite://{}", folder.path().join("alacena.db").display())
            }
            Self::Postgres(url) => url.clone(),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Self::Postgres(url) = self {
            let name = url.rsplit('/').next().unwrap_or_default();
            // At worst it lives until the server goes, which is soon.
            let _ = Postgres::shared().query(
                "postgres",
                &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            );
        }
    }
}

/// A look at the database behind the service's back.
pub(crate) enum Truth {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    value: String,
}

impl Truth {
    pub(crate) fn at(url: &str) -> Self {
        match url.strip_prefix("sqlite://") {
            Some(path) => {
                let mut sqlite = SqliteConnection::establish(path).expect("the file opens");
                let patience = sqlite.batch_execute("PRAGMA busy_timeout = 5000");
                patience.expect("SQLite takes a timeout");
                Self::Sqlite(sqlite)
            }
            None => Self::Postgres(PgConnection::establish(url).expect("the server answers")),
        }
    }

    /// Runs SQL.
    pub(crate) fn execute(&mut self, sql: &str) {
        let done = match self {
            Self::Sqlite(sqlite) => sqlite.batch_execute(sql),
            Self::Postgres(postgres) => postgres.batch_execute(sql),
        };
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// From now on the change log is told of nothing.
    pub(crate) fn stop_log(&mut self) {
        match self {
            Self::Postgres(_) => self.execute(
                "ALTER TABLE users DISABLE TRIGGER USER; ALTER TABLE products DISABLE TRIGGER USER",
            ),
            Self::Sqlite(_) => {
                let triggers = "SELECT name AS value FROM sqlite_master WHERE type = 'trigger'";
                for trigger in self.texts(triggers) {
                    self.execute(&format!("DROP TRIGGER {trigger}"));
                }
            }
        }
    }

    /// The texts that a query selects as `value`.
    pub(crate) fn texts(&mut self, sql: &str) -> Vec<String> {
        let query = diesel::sql_query(sql);
        let rows: Result<Vec<Row>, _> = match self {
            Self::Sqlite(sqlite) => query.load(sqlite),
            Self::Postgres(postgres) => query.load(postgres),
        };
        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.into_iter().map(|row| row.value).collect()
    }
}
