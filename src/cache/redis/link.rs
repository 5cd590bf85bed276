use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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
use crate::cache::breaker::{Breaker, Failure};
use crate::cache::budget::Wait;
use crate::cache::log::Position;
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
pub(super) struct Generation {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
    /// Nothing is asked on connections that no recovery has been over.
    is_recovered: AtomicBool,
    /// The position of the watermark that was last seen there.
    seen: AtomicU64,
    /// What Redis called its data's history when it was connected to.
    history: OnceLock<String>,
}

impl Generation {
    /// The least that the watermark must be now.
    pub(super) fn seen(&self) -> Position {
        Position::new(self.seen.load(Ordering::SeqCst))
    }

    /// What Redis called its data's history then.
    pub(super) fn history(&self) -> Option<&str> {
        self.history.get().map(String::as_str)
    }

    /// Redis calls it this.
    pub(super) fn is_of(&self, history: String) {
        let _ = self.history.set(history);
    }

    /// The watermark was seen at this position.
    pub(super) fn saw(&self, position: Position) {
        self.seen.fetch_max(position.number(), Ordering::SeqCst);
    }

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
    /// It is not the Redis that it was: its watermark is lost or behind, or it was made a replica.
    #[error("it has forgotten something, or is another")]
    Changed,
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
        let generation = self.trusted()?;
        self.send_on_budget(&generation, command, self.share())
            .await
    }

    /// Asks for several values at once.
    pub(super) async fn ask_for(&self, command: &Cmd) -> Result<Vec<Value>, NoAnswer> {
        let answer = self.ask(command).await?;
        self.several(answer)
    }

    /// Calls a script that Redis is trusted with.
    pub(super) async fn call(&self, call: &Call) -> Result<Value, NoAnswer> {
        match self.ask(&call.by_hash()).await {
            Err(NoAnswer::NoScript) => self.ask(&call.by_code()).await,
            answer => answer,
        }
    }

    /// Asks what no request's budget is for.
    pub(super) async fn ask_at_leisure(&self, command: &Cmd) -> Result<Value, NoAnswer> {
        let generation = self.trusted()?;
        self.send(&generation, command, self.connect_timeout).await
    }

    /// Asks for many values at once, at leisure.
    pub(super) async fn ask_for_at_leisure(&self, command: &Cmd) -> Result<Vec<Value>, NoAnswer> {
        let answer = self.ask_at_leisure(command).await?;
        self.several(answer)
    }

    fn several(&self, answer: Value) -> Result<Vec<Value>, NoAnswer> {
        match answer {
            Value::Array(values) => Ok(values),
            _ => Err(self.senseless()),
        }
    }

    /// Calls a script that no request waits for.
    pub(super) async fn call_at_leisure(&self, call: &Call) -> Result<Value, NoAnswer> {
        match self.ask_at_leisure(&call.by_hash()).await {
            Err(NoAnswer::NoScript) => self.ask_at_leisure(&call.by_code()).await,
            answer => answer,
        }
    }

    /// The present connections, and whether Redis is trusted on them.
    pub(super) fn connected(&self) -> Result<(Arc<Generation>, bool), NoAnswer> {
        match self.trusted() {
            Ok(generation) => Ok((generation, true)),
            Err(_) => Ok((self.present()?, false)),
        }
    }

    /// The present connections, if Redis is trusted on them. They are looked up before the breaker
    /// is: the next generation has been recovered once it is closed again.
    fn trusted(&self) -> Result<Arc<Generation>, NoAnswer> {
        let generation = self.present()?;
        let is_recovered = generation.is_recovered.load(Ordering::SeqCst);
        if is_recovered && self.breaker.is_closed() {
            Ok(generation)
        } else {
            Err(NoAnswer::NotSent)
        }
    }

    fn present(&self) -> Result<Arc<Generation>, NoAnswer> {
        self.generation.load_full().ok_or(NoAnswer::NotSent)
    }

    /// Sends a void, whether Redis is trusted or not: it is right at any time. If it is not
    /// confirmed, Redis may now hold what is stale: that is a doubt at once (recovery rule 1).
    pub(super) async fn void(&self, command: &Cmd) -> Result<i64, NoAnswer> {
        let answer = self.send_void(command).await;
        self.confirmed(answer)
    }

    /// The same by a script.
    pub(super) async fn void_by(&self, call: &Call) -> Result<i64, NoAnswer> {
        let answer = match self.send_void(&call.by_hash()).await {
            Err(NoAnswer::NoScript) => self.send_void(&call.by_code()).await,
            answer => answer,
        };
        self.confirmed(answer)
    }

    /// The same for as many keys as there are, at leisure.
    pub(super) async fn void_at_leisure(&self, command: &Cmd) -> Result<i64, NoAnswer> {
        let answer = self.send_void_within(command, self.connect_timeout).await;
        self.confirmed(answer)
    }

    /// A void has half of a budget in any case: not to send it would be certain distrust.
    async fn send_void(&self, command: &Cmd) -> Result<Value, NoAnswer> {
        let wait = Wait::begin();
        let left = wait.left(self.budget).max(self.budget / 2);
        self.send_void_within(command, left).await
    }

    async fn send_void_within(&self, command: &Cmd, limit: Duration) -> Result<Value, NoAnswer> {
        let generation = self.present()?;
        self.send(&generation, command, limit).await
    }

    fn confirmed(&self, answer: Result<Value, NoAnswer>) -> Result<i64, NoAnswer> {
        let why = match answer {
            Ok(Value::Int(number)) => return Ok(number),
            Ok(_) => self.senseless(),
            Err(why) => why,
        };
        self.doubt(&format!("a write's void was not confirmed: {why}"));
        Err(why)
    }

    async fn send_on_budget(
        &self,
        generation: &Arc<Generation>,
        command: &Cmd,
        limit: Duration,
    ) -> Result<Value, NoAnswer> {
        let wait = Wait::begin();
        let left = wait.left(limit);
        // The rest of a budget is no time to answer in, and its end no failure of Redis.
        if left < limit / 4 {
            return Err(NoAnswer::NotSent);
        }
        let is_fair = left >= limit * 3 / 4;
        let connection = generation.connection();
        self.send_over(generation, connection, command, left, is_fair)
            .await
    }

    /// Sends a command on a connection of this generation.
    pub(super) async fn send(
        &self,
        generation: &Arc<Generation>,
        command: &Cmd,
        limit: Duration,
    ) -> Result<Value, NoAnswer> {
        let connection = generation.connection();
        self.send_over(generation, connection, command, limit, true)
            .await
    }

    /// Calls a script on a connection of this generation.
    pub(super) async fn call_on(
        &self,
        generation: &Arc<Generation>,
        call: &Call,
        limit: Duration,
    ) -> Result<Value, NoAnswer> {
        match self.send(generation, &call.by_hash(), limit).await {
            Err(NoAnswer::NoScript) => self.send(generation, &call.by_code(), limit).await,
            answer => answer,
        }
    }

    /// Sends a command on each connection of this generation.
    pub(super) async fn send_to_each(
        &self,
        generation: &Arc<Generation>,
        command: &Cmd,
        limit: Duration,
    ) -> Result<Vec<Value>, NoAnswer> {
        let connections = generation.connections.iter().cloned();
        let answers = connections
            .map(|connection| self.send_over(generation, connection, command, limit, true));
        try_join_all(answers).await
    }

    /// Whether the limit is fair decides whether it counts as a failure not to keep it.
    async fn send_over(
        &self,
        generation: &Arc<Generation>,
        mut connection: MultiplexedConnection,
        command: &Cmd,
        limit: Duration,
        is_fair: bool,
    ) -> Result<Value, NoAnswer> {
        self.commands.increment();
        let sent = Instant::now();
        let answer = timeout(limit, command.query_async(&mut connection)).await;
        let is_late = answer.is_err();
        let why = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                return Err(NoAnswer::NoScript);
            }
            Ok(Err(error)) => {
                let why = explain(&error);
                if error.is_unrecoverable_error() && self.is_present(generation) {
                    self.doubt(&format!("connection lost: {why}"));
                }
                why
            }
            Err(_) => format!("no answer within {limit:.0?}"),
        };
        increment(&self.failures);
        // Whoever waited on connections that are given up says nothing about the next.
        if (is_fair || !is_late) && self.is_present(generation) {
            self.count(sent, is_late, &why);
        }
        Err(NoAnswer::Failed(why))
    }

    fn count(&self, sent: Instant, is_late: bool, why: &str) {
        let failure = Failure {
            sent,
            commands: self.commands(),
            is_late,
        };
        if self.breaker.failure(failure) {
            self.doubt(why);
        }
    }

    fn is_present(&self, generation: &Arc<Generation>) -> bool {
        let present = self.generation.load();
        present
            .as_ref()
            .is_some_and(|present| Arc::ptr_eq(present, generation))
    }

    /// An answer that makes no sense.
    pub(super) fn senseless(&self) -> NoAnswer {
        const WHY: &str = "an answer that makes no sense";
        increment(&self.failures);
        self.count(Instant::now(), false, WHY);
        NoAnswer::Failed(WHY.to_owned())
    }

    /// From now on nothing is asked before a recovery, on connections of a new generation.
    pub(super) fn doubt(&self, why: &str) {
        // In this order: a breaker that is closed has connections, or is just being opened.
        self.generation.store(None);
        self.breaker.doubt(why);
    }

    /// Connects anew. From now on voids are sent; nothing is asked before [`trust`](Self::trust).
    pub(super) async fn connect(&self) -> Result<Arc<Generation>, NoAnswer> {
        let connections = (0..self.pool_size).map(|_| async {
            let connection = self.pool.get().await?;
            Ok(Connection::take(connection))
        });
        let connections = try_join_all(connections)
            .await
            .map_err(|error: PoolError| {
                NoAnswer::Failed(match error {
                    PoolError::Backend(error) => format!("cannot connect: {}", explain(&error)),
                    PoolError::Timeout(TimeoutType::Create) => {
                        format!("cannot connect within {:?}", self.connect_timeout)
                    }
                    other => other.to_string(),
                })
            })?;
        let generation = Arc::new(Generation {
            connections,
            next: AtomicUsize::new(0),
            is_recovered: AtomicBool::new(false),
            seen: AtomicU64::new(0),
            history: OnceLock::new(),
        });
        self.generation.store(Some(Arc::clone(&generation)));
        Ok(generation)
    }

    /// How long a read may wait for Redis in all.
    pub(super) fn share(&self) -> Duration {
        self.budget / 2
    }

    /// Ends a recovery that began at so many doubts. Redis is trusted now, unless there were more.
    pub(super) fn trust(&self, generation: &Arc<Generation>, doubts: u64) {
        // Before it closes: whoever finds it closed can ask.
        generation.is_recovered.store(true, Ordering::SeqCst);
        let is_trusted = self.is_present(generation) && self.breaker.close(doubts);
        if !is_trusted {
            generation.is_recovered.store(false, Ordering::SeqCst);
        }
    }

    /// How long a change of another instance may wait for Redis: near waits for it.
    pub(super) fn budget(&self) -> Duration {
        self.budget
    }

    /// How long something may take that nobody waits for.
    pub(super) fn leisure(&self) -> Duration {
        self.connect_timeout
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
