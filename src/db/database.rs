use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use diesel::r2d2::R2D2Connection;
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::changes::position;
use super::connection::{ConnectionManager, DbConnection, PooledConnection};
use super::damage::Damage;
use super::error::{Cause, DbError, SqliteCause};
use super::history::History;
use super::modified::{Committed, Modified};
use crate::config::DatabaseConfig;

/// A connection taken out of the pool, which it goes back to when dropped.
type Checkout = r2d2::PooledConnection<ConnectionManager>;

type Transactions = <DbConnection as Connection>::TransactionManager;

/// What a statement may take longer to end than its timeout says.
const MARGIN: Duration = Duration::from_millis(500);

/// After how many timeouts a write that hears nothing is taken to have ended somehow.
const LAST_RESORT: u32 = 6;

/// How often a wait for a connection looks whether there is any hope.
const CHECKOUT_SLICE: Duration = Duration::from_millis(20);

/// The database, SQLite or PostgreSQL, behind a pool of connections.
///
/// Queries run on threads of their own, never on one that serves HTTP. Waiting for a connection
/// and for an answer is bounded. Clones share everything.
#[derive(Clone)]
pub struct Database {
    /// Replaced when its connections no longer answer: whoever waits on one of them waits in vain,
    /// and gives it back to nobody.
    pool: Arc<RwLock<Pool>>,
    pool_size: u32,
    manager: ConnectionManager,
    pub(super) history: History,
    runtime: Handle,
    connections: Arc<Semaphore>,
    /// SQLite has one writer at a time: others wait here rather than on a connection each, which
    /// would leave none to read with.
    writer: Option<Arc<Semaphore>>,
    wait: Duration,
    timeout: Duration,
    queries: Arc<AtomicU64>,
}

/// How often what failed for a reason that may pass is tried again.
const RETRIES: u32 = 3;

/// The longest pause before the first of these; each next one is twice as long.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A pool, and what tells it from those that were there before it.
struct Pool {
    connections: r2d2::Pool<ConnectionManager>,
    generation: u64,
}

impl Pool {
    fn new(generation: u64, manager: &ConnectionManager, size: u32, wait: Duration) -> Self {
        let connections = r2d2::Pool::builder()
            .max_size(size)
            .min_idle(Some(0))
            .test_on_check_out(false)
            .connection_timeout(wait)
            .error_handler(Box::new(manager.reach().clone()))
            .build_unchecked(manager.clone());
        Self {
            connections,
            generation,
        }
    }
}

impl Database {
    /// A pool for the configured database. Connects when first asked something.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new(config: &DatabaseConfig) -> Self {
        let queries = Arc::new(AtomicU64::new(0));
        let manager = ConnectionManager::new(config, Arc::clone(&queries));
        let pool = Pool::new(0, &manager, config.pool_size, config.wait);
        Self {
            pool: Arc::new(RwLock::new(pool)),
            pool_size: config.pool_size,
            runtime: Handle::current(),
            connections: Arc::new(Semaphore::new(config.pool_size as usize)),
            writer: manager.is_sqlite().then(|| Arc::new(Semaphore::new(1))),
            manager,
            history: History::default(),
            wait: config.wait,
            timeout: config.timeout,
            queries,
        }
    }

    /// The same database through one connection of its own, whose statements are not counted: for what
    /// nobody waits for.
    pub fn apart(&self) -> Self {
        let manager = self.manager.apart();
        let pool = Pool::new(0, &manager, 1, self.wait);
        Self {
            pool: Arc::new(RwLock::new(pool)),
            pool_size: 1,
            connections: Arc::new(Semaphore::new(1)),
            manager,
            ..self.clone()
        }
    }

    /// How many statements have been sent so far.
    pub fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// The id of the database's history, which every token carries: see [`History`]. 0 until the
    /// change log is first [read](Self::log_reader).
    pub fn history(&self) -> i64 {
        self.history.id().unwrap_or_default()
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
        self.manager.reach().may_try()?;
        let _permit = self.permit(&self.connections).await?;
        let (database, generation) = (self.clone(), self.generation());
        let answer = self.runtime.spawn_blocking(move || {
            let answer = database.on_live_connection(|connection| query(&mut connection.inner));
            answer.map(|(value, _)| value)
        });
        // The server ends a statement of its own accord after `timeout`. Who hears nothing for
        // longer than that hears nothing at all.
        match tokio::time::timeout(self.timeout + MARGIN, answer).await {
            Ok(answer) => {
                answer.unwrap_or_else(|panic| Err(DbError::Internal(panic.to_string().into())))
            }
            Err(_) => {
                let why = format!("no answer within {:?}", self.timeout);
                self.give_up(generation, &why);
                Err(DbError::unavailable(why))
            }
        }
    }

    /// Runs `work` in a transaction that is committed if it ends [`Modified::Done`]. Answers where in
    /// the change log that is. What was certainly rolled back, for a reason that may pass, is run again.
    ///
    /// This waits far longer than any caller does, because the void that follows must not come
    /// before the commit. Callers bound their own patience.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&mut DbConnection) -> QueryResult<Modified<T>> + Send + 'static,
    ) -> Result<Modified<Committed<T>>, DbError> {
        self.manager.reach().may_try()?;
        let _writer = match &self.writer {
            Some(writer) => Some(self.permit(writer).await?),
            None => None,
        };
        let _permit = self.permit(&self.connections).await?;
        let (database, generation) = (self.clone(), self.generation());
        let answer = self
            .runtime
            .spawn_blocking(move || database.transaction(&work));
        match tokio::time::timeout(self.timeout * LAST_RESORT, answer).await {
            Ok(answer) => answer.unwrap_or_else(|panic| Err(outcome_unknown(&panic))),
            Err(_) => {
                let why = format!("no answer within {:?}", self.timeout * LAST_RESORT);
                self.give_up(generation, &why);
                Err(outcome_unknown(&why))
            }
        }
    }

    /// Nobody has answered for too long: others learn it, and the connections of that time are left to
    /// themselves, whoever else may have been answered on one of their own. New ones may well work, as when
    /// a proxy has forgotten the old.
    fn give_up(&self, generation: u64, why: &str) {
        self.manager.reach().failed(why, self.timeout);
        let mut pool = self.pool.write();
        // Whoever waited at the same time may have replaced them already.
        if pool.generation == generation {
            let (size, wait) = (self.pool_size, self.wait);
            *pool = Pool::new(generation + 1, &self.manager, size, wait);
        }
    }

    fn pool(&self) -> r2d2::Pool<ConnectionManager> {
        self.pool.read().connections.clone()
    }

    fn generation(&self) -> u64 {
        self.pool.read().generation
    }

    async fn permit(&self, semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, DbError> {
        match tokio::time::timeout(self.wait, Arc::clone(semaphore).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(DbError::Busy),
        }
    }

    fn transaction<T>(
        &self,
        work: &impl Fn(&mut DbConnection) -> QueryResult<Modified<T>>,
    ) -> Result<Modified<Committed<T>>, DbError> {
        let mut retries = Retries::within(self.timeout, self.pool_size);
        loop {
            match self.attempt(work) {
                Ok(modified) => return Ok(modified),
                Err(failed) => retries.allow(failed)?,
            }
        }
    }

    fn attempt<T>(
        &self,
        work: impl Fn(&mut DbConnection) -> QueryResult<Modified<T>>,
    ) -> Result<Modified<Committed<T>>, Failed> {
        self.check_intact()?;
        // BEGIN is also what tells a lost connection, before anything was changed.
        let ((), mut connection) =
            self.on_live_connection(|connection| begin_to_write(&mut connection.inner))?;
        let PooledConnection { inner, .. } = &mut *connection;
        let mut newest = None;
        let modified = work(inner).and_then(|modified| match modified {
            Modified::Done(value) => {
                let (position, row) = position(inner)?;
                newest = row;
                Ok(Modified::Done(Committed { value, position }))
            }
            Modified::Absent => Ok(Modified::Absent),
            Modified::Unexpected => Ok(Modified::Unexpected),
            Modified::LastAdministrator => Ok(Modified::LastAdministrator),
        });
        let committed = match modified {
            Ok(Modified::Done(committed)) => committed,
            Ok(other) => {
                connection.lost |= Transactions::rollback_transaction(inner).is_err();
                return Ok(other);
            }
            Err(error) => return Err(self.rolled_back(&mut connection, error)),
        };
        if let Err(damaged) = self.check_intact() {
            connection.lost |= Transactions::rollback_transaction(inner).is_err();
            return Err(Failed::for_good(damaged));
        }
        match Transactions::commit_transaction(inner) {
            Ok(()) => {
                if let Some(newest) = newest {
                    self.history.has_committed(newest);
                }
                Ok(Modified::Done(committed))
            }
            Err(error) if is_certainly_rolled_back(inner, &error) => {
                Err(self.rolled_back(&mut connection, error))
            }
            Err(error) => {
                // PostgreSQL may have committed, and SQLite may find the frames of a failed sync in
                // its log again.
                connection.lost = true;
                Err(Failed::for_good(outcome_unknown(&error)))
            }
        }
    }

    /// Ends a transaction that was certainly not committed: if even the rollback fails, the
    /// connection is closed.
    fn rolled_back(
        &self,
        connection: &mut PooledConnection,
        error: diesel::result::Error,
    ) -> Failed {
        let rolled_back = Transactions::rollback_transaction(&mut connection.inner);
        connection.lost |= rolled_back.is_err();
        failed(connection, error, self.manager.damage())
    }

    /// Runs `query` on one connection after another until one is not lost, and again where it failed
    /// for a reason that may pass. Answers that connection too.
    fn on_live_connection<T>(
        &self,
        query: impl Fn(&mut PooledConnection) -> QueryResult<T>,
    ) -> Result<(T, Checkout), DbError> {
        let mut retries = Retries::within(self.timeout, self.pool_size);
        loop {
            let mut connection = self.checkout()?;
            let error = match query(&mut connection) {
                Ok(value) => {
                    self.manager.reach().answered();
                    return Ok((value, connection));
                }
                Err(error) => error,
            };
            let failed = failed(&mut connection, error, self.manager.damage());
            if !connection.lost {
                self.manager.reach().answered();
            }
            retries.allow(failed)?;
        }
    }

    fn checkout(&self) -> Result<Checkout, DbError> {
        let pool = self.pool();
        if let Some(connection) = pool.try_get() {
            return Ok(connection);
        }
        // r2d2 connects in the background and tries for as long as it is given; what keeps it
        // from connecting is learnt from its error handler, long before that.
        let deadline = Instant::now() + self.wait;
        loop {
            match pool.get_timeout(CHECKOUT_SLICE) {
                Ok(connection) => return Ok(connection),
                Err(_) if self.manager.reach().is_lost() => {
                    return Err(self.manager.reach().error());
                }
                Err(_) if Instant::now() >= deadline => return Err(DbError::Busy),
                Err(_) => {}
            }
        }
    }
}

/// What failed and was certainly rolled back, and what helps.
struct Failed {
    error: DbError,
    retry: Retry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// The same again, after a pause.
    Again,
    /// The same on another connection: this one, opened at that time, was lost or takes no writes.
    OtherConnection(Instant),
    /// Nothing does.
    Never,
}

impl Failed {
    fn for_good(error: DbError) -> Self {
        let retry = Retry::Never;
        Self { error, retry }
    }
}

/// What was tried again before.
impl From<DbError> for Failed {
    fn from(error: DbError) -> Self {
        Self::for_good(error)
    }
}

/// How often a failed attempt may be repeated.
struct Retries {
    began: Instant,
    deadline: Instant,
    connections: u32,
    done: u32,
}

impl Retries {
    /// Within this time, on each connection that may lie in the pool and on a new one.
    fn within(time: Duration, pool_size: u32) -> Self {
        let began = Instant::now();
        Self {
            began,
            deadline: began + time,
            connections: pool_size,
            done: 0,
        }
    }

    /// Pauses before another attempt, or answers the error if there is to be none.
    fn allow(&mut self, Failed { error, retry }: Failed) -> Result<(), DbError> {
        match retry {
            // What a connection says that was opened since, the server says.
            Retry::OtherConnection(opened) if opened < self.began && self.connections > 0 => {
                self.connections -= 1;
                Ok(())
            }
            Retry::Again if self.done < RETRIES => {
                let pause = (RETRY_PAUSE * 2_u32.pow(self.done)).mul_f64(fastrand::f64());
                if Instant::now() + pause >= self.deadline {
                    return Err(error);
                }
                std::thread::sleep(pause);
                self.done += 1;
                Ok(())
            }
            _ => Err(error),
        }
    }
}

/// What follows from an error on this connection, which is in no transaction.
fn failed(
    connection: &mut PooledConnection,
    error: diesel::result::Error,
    damage: &Damage,
) -> Failed {
    let is_sqlite = matches!(connection.inner, DbConnection::Sqlite(_));
    let cause = match Cause::of(&error) {
        // Only the connection itself tells whether it survived.
        Cause::Unknown if !is_sqlite && (connection.lost || connection.inner.ping().is_err()) => {
            Cause::Lost
        }
        Cause::Unknown if is_sqlite => match SqliteCause::of(&error) {
            // It has waited long enough.
            SqliteCause::Busy => return Failed::for_good(DbError::Busy),
            SqliteCause::Full => return Failed::for_good(error.into()),
            SqliteCause::Corrupt => {
                // A new connection reads every page anew.
                connection.lost = true;
                let why = error.to_string();
                damage.is_corrupt(&why);
                return Failed::for_good(DbError::Damaged(why.into()));
            }
            SqliteCause::ReadOnly => Cause::ReadOnly,
            SqliteCause::Other => Cause::Unknown,
        },
        cause => cause,
    };
    let retry = match cause {
        // Sessions that began while a server was read-only stay so.
        Cause::Lost | Cause::ReadOnly => Retry::OtherConnection(connection.opened),
        Cause::Conflict | Cause::Unknown => Retry::Again,
        Cause::EmailTaken | Cause::Refused => Retry::Never,
    };
    connection.lost |= matches!(cause, Cause::Lost | Cause::ReadOnly);
    let error = match cause {
        Cause::Lost => DbError::unavailable(error),
        _ => error.into(),
    };
    Failed { error, retry }
}

/// Whether an error of COMMIT says that nothing was committed.
fn is_certainly_rolled_back(connection: &DbConnection, error: &diesel::result::Error) -> bool {
    match connection {
        DbConnection::Sqlite(_) => matches!(
            SqliteCause::of(error),
            SqliteCause::Busy | SqliteCause::Full | SqliteCause::ReadOnly
        ),
        DbConnection::Postgresql(_) => !matches!(Cause::of(error), Cause::Lost | Cause::Unknown),
    }
}

fn outcome_unknown(why: &dyn std::fmt::Display) -> DbError {
    log::error!(
        "outcome of a commit unknown reason=\"{why}\" effect=\"answered 503; what it may have \
         changed is dropped from the cache\""
    );
    DbError::OutcomeUnknown(why.to_string().into())
}

/// Begins a transaction that writes. In SQLite it takes the writer's lock at once: a reader that
/// becomes a writer fails where another has written meanwhile.
pub(super) fn begin_to_write(connection: &mut DbConnection) -> QueryResult<()> {
    match connection {
        DbConnection::Sqlite(sqlite) => {
            AnsiTransactionManager::begin_transaction_sql(sqlite, "BEGIN IMMEDIATE")
        }
        DbConnection::Postgresql(_) => Transactions::begin_transaction(connection),
    }
}
