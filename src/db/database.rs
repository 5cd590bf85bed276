use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::TransactionManager;
use diesel::prelude::*;
use parking_lot::Mutex;
use r2d2::NopErrorHandler;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{ConnectionManager, DbConnection, PooledConnection, is_lost};
use super::error::DbError;
use super::users::Modified;
use crate::config::DatabaseConfig;

type Transactions = <DbConnection as Connection>::TransactionManager;

/// The database, SQLite or PostgreSQL, behind a pool of connections.
///
/// Queries run on threads of their own, never on one that serves HTTP. Waiting for a connection
/// and for an answer is bounded. Clones share everything.
#[derive(Clone)]
pub struct Database {
    pool: r2d2::Pool<ConnectionManager>,
    manager: ConnectionManager,
    runtime: Handle,
    connections: Arc<Semaphore>,
    /// SQLite has one writer at a time: others wait here rather than on a connection each, which
    /// would leave none to read with.
    writer: Option<Arc<Semaphore>>,
    reach: Arc<Reach>,
    wait: Duration,
    timeout: Duration,
    queries: Arc<AtomicU64>,
}

impl Database {
    /// A pool for the configured database. Connects when first asked something.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new(config: &DatabaseConfig) -> Self {
        let queries = Arc::new(AtomicU64::new(0));
        let manager = ConnectionManager::new(config, Arc::clone(&queries));
        let pool = r2d2::Pool::builder()
            .max_size(config.pool_size)
            .min_idle(Some(0))
            .test_on_check_out(false)
            .connection_timeout(config.wait)
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(manager.clone());
        Self {
            pool,
            runtime: Handle::current(),
            connections: Arc::new(Semaphore::new(config.pool_size as usize)),
            writer: manager.is_sqlite().then(|| Arc::new(Semaphore::new(1))),
            manager,
            reach: Arc::default(),
            wait: config.wait,
            timeout: config.timeout,
            queries,
        }
    }

    /// How many statements have been sent so far.
    pub fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self) -> Result<(), DbError> {
        self.read(|connection| diesel::sql_query("SELECT 1").execute(connection).map(drop))
            .await
    }

    pub(super) fn manager(&self) -> &ConnectionManager {
        &self.manager
    }

    /// Runs a query that changes nothing. Where the connection turns out to have been lost while
    /// it lay in the pool, another is tried.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl Fn(&mut DbConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, DbError> {
        let permit = self.permit(&self.connections).await?;
        let database = self.clone();
        let answer = self.runtime.spawn_blocking(move || {
            let _permit = permit;
            database.with_live_connection(|connection| query(&mut connection.inner))
        });
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => {
                answer.unwrap_or_else(|panic| Err(DbError::Internal(panic.to_string().into())))
            }
            Err(_) => Err(DbError::unavailable(format!(
                "no answer within {:?}",
                self.timeout
            ))),
        }
    }

    /// Runs `work` in a transaction that is committed if it ends [`Modified::Done`].
    ///
    /// The first statement must be a write: SQLite then waits for the lock where a reader that
    /// became a writer would fail at once.
    ///
    /// This waits until the outcome is known, however long that takes, because the void that
    /// follows must not come before the commit. Callers bound their own patience.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> QueryResult<Modified<T>> + Send + 'static,
    ) -> Result<Modified<T>, DbError> {
        let _writer = match &self.writer {
            Some(writer) => Some(self.permit(writer).await?),
            None => None,
        };
        let permit = self.permit(&self.connections).await?;
        let database = self.clone();
        let answer = self.runtime.spawn_blocking(move || {
            let _permit = permit;
            database.transaction(work)
        });
        // A panic drops the connection, which rolls back.
        answer
            .await
            .unwrap_or_else(|panic| Err(DbError::Internal(panic.to_string().into())))
    }

    async fn permit(&self, semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, DbError> {
        match tokio::time::timeout(self.wait, Arc::clone(semaphore).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(DbError::Busy),
        }
    }

    fn transaction<T>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> QueryResult<Modified<T>>,
    ) -> Result<Modified<T>, DbError> {
        let mut connection = self.begin()?;
        let PooledConnection { inner, lost } = &mut *connection;
        let modified = match work(inner) {
            Ok(Modified::Done(value)) => value,
            other => {
                // Certainly not committed: if even this fails, the connection is dropped.
                *lost |= other.as_ref().is_err_and(is_lost);
                *lost |= Transactions::rollback_transaction(inner).is_err();
                return other.map_err(DbError::from);
            }
        };
        match Transactions::commit_transaction(inner) {
            Ok(()) => Ok(Modified::Done(modified)),
            Err(error) => {
                // A COMMIT that fails in SQLite has not happened. In PostgreSQL it may have.
                *lost = true;
                if matches!(inner, DbConnection::Sqlite(_)) {
                    Err(DbError::from(error))
                } else {
                    Err(DbError::OutcomeUnknown(error.to_string().into()))
                }
            }
        }
    }

    /// A connection in a transaction. BEGIN is also what tells a lost connection, before anything
    /// was changed.
    fn begin(&self) -> Result<r2d2::PooledConnection<ConnectionManager>, DbError> {
        let mut begun = None;
        self.with_live_connection_kept(
            |connection| Transactions::begin_transaction(&mut connection.inner),
            &mut begun,
        )?;
        begun.ok_or(DbError::Busy)
    }

    fn with_live_connection<T>(
        &self,
        query: impl Fn(&mut PooledConnection) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        self.with_live_connection_kept(query, &mut None)
    }

    /// Runs `query` on one connection after another until one is not lost, at most once for each
    /// that may lie in the pool, and leaves that one in `kept`.
    fn with_live_connection_kept<T>(
        &self,
        query: impl Fn(&mut PooledConnection) -> QueryResult<T>,
        kept: &mut Option<r2d2::PooledConnection<ConnectionManager>>,
    ) -> Result<T, DbError> {
        for _ in 0..=self.pool.max_size() {
            let mut connection = self.checkout()?;
            match query(&mut connection) {
                Err(error) if is_lost(&error) => connection.lost = true,
                result => {
                    *kept = Some(connection);
                    return result.map_err(DbError::from);
                }
            }
        }
        Err(DbError::unavailable("every connection was lost"))
    }

    fn checkout(&self) -> Result<r2d2::PooledConnection<ConnectionManager>, DbError> {
        if let Some(connection) = self.pool.try_get() {
            return Ok(connection);
        }
        self.reach.may_try()?;
        match self.pool.get_timeout(self.wait) {
            Ok(connection) => {
                self.reach.reached();
                Ok(connection)
            }
            Err(_) => {
                // r2d2 does not say why it could not connect; ask once, plainly.
                let error = match self.manager.establish() {
                    Ok(_) => return Err(DbError::Busy),
                    Err(error) => error.to_string(),
                };
                self.reach.lost(&error);
                Err(DbError::unavailable(error))
            }
        }
    }
}

/// Whether the database can be reached, so that an outage costs one wait and not one for each
/// request, and is logged once and not for each.
#[derive(Default)]
struct Reach(Mutex<Option<Outage>>);

struct Outage {
    why: Arc<str>,
    try_again: Instant,
}

/// How long after a failure nobody tries again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

impl Reach {
    /// Lets the caller through, or one caller in a while during an outage.
    fn may_try(&self) -> Result<(), DbError> {
        let mut outage = self.0.lock();
        match &mut *outage {
            Some(outage) if Instant::now() < outage.try_again => {
                Err(DbError::Unavailable(Arc::clone(&outage.why)))
            }
            Some(outage) => {
                outage.try_again = Instant::now() + RETRY_AFTER;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn reached(&self) {
        if self.0.lock().take().is_some() {
            log::info!("the database is back");
        }
    }

    fn lost(&self, why: &str) {
        let outage = Outage {
            why: why.into(),
            try_again: Instant::now() + RETRY_AFTER,
        };
        if self.0.lock().replace(outage).is_none() {
            log::warn!("the database cannot be reached: {why}");
        }
    }
}
