use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, RedisError, ServerErrorKind, Value,
};
use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime, TimeoutType};
use futures_util::future::try_join_all;
use tokio::time::timeout;

use super::script::Call;
use super::settings::{RedisServerError, RedisSettings};
use crate::cache::breaker::Breaker;
use crate::cache::budget::Wait;
use crate::cache::stats::{ShardedCounter, increment};

/// How many commands may wait to be written to a connection before their senders feel it.
const QUEUE: usize = 1024;

/// The way to Redis: a few connections that everybody shares, a budget for each request's waits,
/// and the breaker.
///
/// The pool only makes the connections. A checkout for each operation would send a ping with it,
/// and try one dead connection after the other against a Redis that hangs.
pub(super) struct Link {
    pool: Pool,
    pool_size: usize,
    connect_timeout: Duration,
    budget: Duration,
    breaker: Breaker,
    generation: ArcSwapOption<Generation>,
    commands: ShardedCounter,
    failures: AtomicU64,
}

/// One time of being connected. What fails on it is never sent again on the next: that may be
/// another server, or the same with other data (recovery rule 6).
struct Generation {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
}

impl Generation {
    fn connection(&self) -> MultiplexedConnection {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[next % self.connections.len()].clone()
    }
}

/// Why there is no answer to a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// Redis is not asked at present, or the request has waited enough.
    #[error("it was not asked")]
    NotSent,
    /// Redis did nothing.
    #[error("it lacks the script")]
    NoScript,
    /// Redis refused, or nobody knows whether it obeyed.
    #[error("{0}")]
    Failed(String),
}

impl Link {
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, RedisServerError> {
        let connecting = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            // Each wait has its own limit, which depends on what its request has left.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let manager = Manager::new_with_config(settings.server.info(), connecting)?;
        let limit = Some(settings.connect_timeout);
        let pool = Pool::builder(manager)
            .max_size(settings.pool_size)
            .wait_timeout(limit)
            .create_timeout(limit)
            .recycle_timeout(limit)
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Self {
            pool,
            pool_size: settings.pool_size,
            connect_timeout: settings.connect_timeout,
            budget: settings.budget,
            breaker: Breaker::new(settings.server.to_string()),
            generation: ArcSwapOption::empty(),
            commands: ShardedCounter::new(),
            failures: AtomicU64::new(0),
        })
    }

    /// Whether Redis is asked and trusted, and if not, why.
    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Asks something that Redis is trusted with. Half of a request's budget is for this; the other
    /// half is kept for its void.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, NoAnswer> {
        self.trusted()?;
        self.send_on_budget(command, self.budget / 2).await
    }

    /// Asks for several values at once.
    pub(super) async fn ask_for(&self, command: &Cmd) -> Result<Vec<Value>, NoAnswer> {
        match self.ask(command).await? {
            Value::Array(values) => Ok(values),
            _ => Err(self.senseless()),
        }
    }

    /// Asks what neither a read nor a write waits for.
    pub(super) async fn ask_at_leisure(&self, command: &Cmd) -> Result<Value, NoAnswer> {
        self.trusted()?;
        self.send(command, self.connect_timeout).await
    }

    /// Calls a script that Redis is trusted with.
    pub(super) async fn call(&self, call: &Call) -> Result<Value, NoAnswer> {
        match self.ask(&call.by_hash()).await {
            Err(NoAnswer::NoScript) => self.ask(&call.by_code()).await,
            answer => answer,
        }
    }

    fn trusted(&self) -> Result<(), NoAnswer> {
        self.breaker
            .is_closed()
            .then_some(())
            .ok_or(NoAnswer::NotSent)
    }

    /// Sends a void, whether Redis is trusted or not. If it is not confirmed, Redis may now hold
    /// what is stale: that is a doubt at once (recovery rule 1).
    pub(super) async fn void(&self, command: &Cmd) -> Result<(), NoAnswer> {
        let answer = self.send_on_budget(command, self.budget).await;
        self.confirmed(answer)
    }

    /// The same by a script.
    pub(super) async fn void_by(&self, call: &Call) -> Result<(), NoAnswer> {
        let answer = match self.send_on_budget(&call.by_hash(), self.budget).await {
            Err(NoAnswer::NoScript) => self.send_on_budget(&call.by_code(), self.budget).await,
            answer => answer,
        };
        self.confirmed(answer)
    }

    fn confirmed(&self, answer: Result<Value, NoAnswer>) -> Result<(), NoAnswer> {
        let why = match answer {
            Ok(Value::Int(_)) => return Ok(()),
            Ok(_) => self.senseless(),
            Err(why) => why,
        };
        self.doubt(&format!("a write's void was not confirmed: {why}"));
        Err(why)
    }

    async fn send_on_budget(&self, command: &Cmd, limit: Duration) -> Result<Value, NoAnswer> {
        let wait = Wait::begin();
        self.send(command, wait.left(limit)).await
    }

    async fn send(&self, command: &Cmd, limit: Duration) -> Result<Value, NoAnswer> {
        let generation = self.generation.load_full().ok_or(NoAnswer::NotSent)?;
        if limit.is_zero() {
            return Err(NoAnswer::NotSent);
        }
        self.commands.increment();
        let mut connection = generation.connection();
        let answer = timeout(limit, command.query_async(&mut connection)).await;
        let why = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                return Err(NoAnswer::NoScript);
            }
            Ok(Err(error)) => {
                let why = explain(&error);
                if error.is_unrecoverable_error() {
                    self.lost(&generation, &format!("connection lost: {why}"));
                }
                why
            }
            Err(_) => format!("no answer within {limit:.0?}"),
        };
        Err(self.failed(why))
    }

    /// An answer that makes no sense.
    pub(super) fn senseless(&self) -> NoAnswer {
        self.failed("an answer that makes no sense".to_owned())
    }

    fn failed(&self, why: String) -> NoAnswer {
        increment(&self.failures);
        self.breaker.failure(&why);
        NoAnswer::Failed(why)
    }

    /// A connection broke. If it was of the present generation, that one is over.
    fn lost(&self, generation: &Arc<Generation>, why: &str) {
        let present = self.generation.load();
        if present
            .as_ref()
            .is_some_and(|present| Arc::ptr_eq(present, generation))
        {
            self.doubt(why);
        }
    }

    /// From now on nothing is asked before a recovery, on connections of a new generation.
    pub(super) fn doubt(&self, why: &str) {
        self.breaker.doubt(why);
        self.generation.store(None);
    }

    /// Connects anew. From now on voids are sent, which are right at any time; nothing is asked
    /// before the breaker closes.
    pub(super) async fn connect(&self) -> Result<(), String> {
        let connections = (0..self.pool_size).map(|_| async {
            let connection = self.pool.get().await?;
            Ok(Connection::take(connection))
        });
        let connections =
            try_join_all(connections)
                .await
                .map_err(|error: PoolError| match error {
                    PoolError::Backend(error) => format!("cannot connect: {}", explain(&error)),
                    PoolError::Timeout(TimeoutType::Create) => {
                        format!("cannot connect within {:?}", self.connect_timeout)
                    }
                    other => other.to_string(),
                })?;
        self.generation.store(Some(Arc::new(Generation {
            connections,
            next: AtomicUsize::new(0),
        })));
        Ok(())
    }

    /// A command of the recovery itself, which no request waits for.
    pub(super) async fn recover_with(&self, command: &Cmd) -> Result<Value, String> {
        let sent = self.send(command, self.connect_timeout).await;
        sent.map_err(|why| why.to_string())
    }

    /// Commands sent so far.
    pub(super) fn commands(&self) -> u64 {
        self.commands.get()
    }

    /// Commands that failed.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// An error as an operator wants to read it: Redis' own words, in one line.
fn explain(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string().replace(['\r', '\n'], " "),
    }
}
