use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::connection::DbConnection;
use super::database::Database;
use super::error::DbError;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Any number, the same in every process: whoever holds the lock under it migrates.
const LOCK: i64 = 0x00A1_ACE1A;

/// Why the schema is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A migration failed. None of them was applied.
    #[error("the migrations failed and were rolled back: {0}")]
    Failed(String),
    /// Migrations are pending, and were not to be run.
    #[error("migrations are pending: {}; run `alacena migrate` or set database.migrate = \"auto\"", .0.join(", "))]
    Pending(Vec<String>),
}

impl Database {
    /// Runs the pending migrations, all or none, and answers their names. Any number of processes
    /// may do so at once.
    ///
    /// # Errors
    /// Why they could not be run.
    pub async fn migrate(&self) -> Result<Vec<String>, MigrationError> {
        self.alone(|connection| match connection {
            DbConnection::Sqlite(sqlite) => {
                sqlite.immediate_transaction(|sqlite| run(sqlite, SQLITE))
            }
            DbConnection::Postgresql(postgres) => postgres.transaction(|postgres| {
                // Waiting for another's migrations may take longer than any query should.
                diesel::sql_query("SET LOCAL statement_timeout = 0").execute(postgres)?;
                diesel::sql_query(format!("SELECT pg_advisory_xact_lock({LOCK})"))
                    .execute(postgres)?;
                run(postgres, POSTGRES)
            }),
        })
        .await
    }

    /// Makes sure that no migration is pending.
    ///
    /// # Errors
    /// [`MigrationError::Pending`] names those that are.
    pub async fn check_migrated(&self) -> Result<(), MigrationError> {
        let pending = self
            .alone(|connection| match connection {
                DbConnection::Sqlite(sqlite) => pending(sqlite, SQLITE),
                DbConnection::Postgresql(postgres) => pending(postgres, POSTGRES),
            })
            .await?;
        if pending.is_empty() {
            Ok(())
        } else {
            Err(MigrationError::Pending(pending))
        }
    }

    /// Runs `work` on a connection outside the pool.
    async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, MigrationError> {
        let manager = self.manager().clone();
        let done = tokio::task::spawn_blocking(move || {
            manager.prepare().map_err(DbError::unavailable)?;
            let mut connection = manager.establish().map_err(DbError::unavailable)?;
            work(&mut connection).map_err(|Failure(why)| MigrationError::Failed(why))
        });
        done.await
            .map_err(|panic| MigrationError::Failed(panic.to_string()))?
    }
}

/// What a migration said when it failed.
struct Failure(String);

impl From<diesel::result::Error> for Failure {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.to_string())
    }
}

fn run<DB: diesel::backend::Backend>(
    connection: &mut impl MigrationHarness<DB>,
    migrations: EmbeddedMigrations,
) -> Result<Vec<String>, Failure> {
    let run = connection.run_pending_migrations(migrations);
    let run = run.map_err(|error| Failure(error.to_string()))?;
    Ok(run.iter().map(ToString::to_string).collect())
}

fn pending<DB: diesel::backend::Backend>(
    connection: &mut impl MigrationHarness<DB>,
    migrations: EmbeddedMigrations,
) -> Result<Vec<String>, Failure>
where
    EmbeddedMigrations: diesel::migration::MigrationSource<DB>,
{
    let pending = connection.pending_migrations(migrations);
    let pending = pending.map_err(|error| Failure(error.to_string()))?;
    Ok(pending
        .iter()
        .map(|migration| migration.name().to_string())
        .collect())
}
