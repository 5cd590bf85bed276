use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, RedisError, ServerErrorKind, Value, from_redis_value,
};
use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime, TimeoutType};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::script::Call;
use super::settings::{RedisServerError, RedisSettings};
use crate::cache::breaker::{Breaker, Failure};
use crate::cache::budget::Wait;
use crate::cache::clock::CLOCK_TOLERANCE;
use crate::cache::log::Position;
use crate::cache::stats::{ShardedCounter, increment};

/// What a script answers that found other data than its sender knows.
const OTHER_DATA: i64 = -1;

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
    /// What it is called in the log.
    store: String,
    generation: ArcSwapOption<Generation>,
    /// How far the clock of Redis is ahead of this process's, in milliseconds.
    clock_offset: AtomicI64,
    /// What Redis removes when it is full, if it may become full.
    eviction_policy: Mutex<Option<Arc<str>>>,
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
    /// The name in Redis of the sequence number of this epoch, which each invalidation advances.
    sequence: String,
    /// The greatest sequence number that was acknowledged. Data in which it is lower, or missing, is
    /// other data: a backup, another database or server.
    acknowledged: AtomicU64,
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

    /// Where the sequence number is kept.
    pub(super) fn sequence(&self) -> &str {
        &self.sequence
    }

    /// The least that the sequence number must be now.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Redis acknowledged an invalidation with this sequence number.
    pub(super) fn acknowledge(&self, number: u64) {
        self.acknowledged.fetch_max(number, Ordering::SeqCst);
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
    /// It is not the data set that it was: the sequence number or the watermark is missing or too low, or
    /// the replication id is another.
    #[error("it lost data, or is a different server")]
    Changed,
    /// Redis refused.
    #[error("{0}")]
    Failed(String),
    /// It did not answer in time.
    #[error("no answer within {0:.0?}")]
    Late(Duration),
    /// The connection was lost.
    #[error("connection lost: {0}")]
    Lost(String),
}

/// What a command that fails says of the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blame {
    /// That it fails.
    Store,
    /// The same, unless the answer was merely late: it was not waited for long.
    StoreUnlessLate,
    /// Nothing: a large value was sent.
    Value,
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
            store: settings.server.to_string(),
            generation: ArcSwapOption::empty(),
            clock_offset: AtomicI64::new(0),
            eviction_policy: Mutex::new(None),
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
        self.send_on_budget(&generation, command, self.share(), Blame::Store)
            .await
    }

    /// Asks for several values at once, of these connections.
    pub(super) async fn ask_for(
        &self,
        generation: &Arc<Generation>,
        command: &Cmd,
    ) -> Result<Vec<Value>, NoAnswer> {
        let answer = self
            .send_on_budget(generation, command, self.share(), Blame::Store)
            .await?;
        self.several(answer)
    }

    /// Calls a script that Redis is trusted with.
    pub(super) async fn call(&self, call: &Call) -> Result<Value, NoAnswer> {
        let generation = self.trusted()?;
        let (share, blame) = (self.share(), call.blame());
        let send = async |command| {
            self.send_on_budget(&generation, &command, share, blame)
                .await
        };
        match send(call.by_hash()).await {
            Err(NoAnswer::NoScript) => send(call.by_code()).await,
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
    pub(super) fn trusted(&self) -> Result<Arc<Generation>, NoAnswer> {
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

    /// Sends an invalidation, whether Redis is trusted or not: it is right at any time. Answers what the
    /// script says of it. If it is not acknowledged, Redis may now hold what is stale, which trips the
    /// breaker at once (recovery rule 1).
    ///
    /// It has half of a budget in any case: not to send it would trip the breaker for certain.
    pub(super) async fn invalidate(
        &self,
        call: impl FnOnce(&Generation, bool) -> Call,
    ) -> Result<i64, NoAnswer> {
        let wait = Wait::begin();
        let left = wait.left(self.budget).max(self.budget / 2);
        let answer = async {
            let (generation, is_trusted) = self.connected()?;
            let call = call(&generation, is_trusted);
            let answer = self.call_on(&generation, &call, left).await?;
            self.acknowledged(&generation, answer)
        };
        let answer = answer.await;
        if let Err(why) = &answer {
            self.doubt(&format!("invalidation not acknowledged by Redis: {why}"));
        }
        answer
    }

    /// What a script answered that invalidates, once its sequence number is noted.
    pub(super) fn acknowledged(
        &self,
        generation: &Generation,
        answer: Value,
    ) -> Result<i64, NoAnswer> {
        let answer = from_redis_value::<(i64, u64)>(answer);
        match answer.map_err(|_| self.senseless())? {
            (OTHER_DATA, _) => Err(NoAnswer::Changed),
            (outcome, number) => {
                generation.acknowledge(number);
                Ok(outcome)
            }
        }
    }

    /// What is read on these connections is other data than was connected to.
    pub(super) fn is_other_data(&self, generation: &Arc<Generation>) -> NoAnswer {
        if self.is_present(generation) {
            self.doubt(&NoAnswer::Changed.to_string());
        }
        NoAnswer::Changed
    }

    async fn send_on_budget(
        &self,
        generation: &Arc<Generation>,
        command: &Cmd,
        limit: Duration,
        blame: Blame,
    ) -> Result<Value, NoAnswer> {
        let wait = Wait::begin();
        let left = wait.left(limit);
        // The rest of a budget is no time to answer in, and its end no failure of Redis.
        if left < limit / 4 {
            return Err(NoAnswer::NotSent);
        }
        let blame = match blame {
            Blame::Store if left < limit * 3 / 4 => Blame::StoreUnlessLate,
            other => other,
        };
        let connection = generation.connection();
        self.send_over(generation, connection, command, left, blame)
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
        self.send_over(generation, connection, command, limit, Blame::Store)
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
            .map(|connection| self.send_over(generation, connection, command, limit, Blame::Store));
        try_join_all(answers).await
    }

    async fn send_over(
        &self,
        generation: &Arc<Generation>,
        mut connection: MultiplexedConnection,
        command: &Cmd,
        limit: Duration,
        blame: Blame,
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
                if error.is_unrecoverable_error() {
                    let why = NoAnswer::Lost(why);
                    if self.is_present(generation) {
                        self.doubt(&why.to_string());
                    }
                    why
                } else {
                    NoAnswer::Failed(why)
                }
            }
            Err(_) => NoAnswer::Late(limit),
        };
        increment(&self.failures);
        let counts = match blame {
            Blame::Store => true,
            Blame::StoreUnlessLate => !is_late,
            Blame::Value => false,
        };
        // A command that waited on connections that are given up says nothing about the next.
        if counts && self.is_present(generation) {
            self.count(sent, is_late, &why.to_string());
        }
        Err(why)
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
    ///
    /// `sequence` is the name of a sequence number that no other connections have.
    pub(super) async fn connect(&self, sequence: String) -> Result<Arc<Generation>, NoAnswer> {
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
            sequence,
            acknowledged: AtomicU64::new(0),
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
    /// Answers whether it is.
    pub(super) fn trust(&self, generation: &Arc<Generation>, doubts: u64) -> bool {
        // Before it closes: whoever finds it closed can ask.
        generation.is_recovered.store(true, Ordering::SeqCst);
        let is_trusted = self.is_present(generation) && self.breaker.close(doubts);
        if !is_trusted {
            generation.is_recovered.store(false, Ordering::SeqCst);
        }
        is_trusted
    }

    /// How long a change of another instance may wait for Redis: near waits for it.
    pub(super) fn budget(&self) -> Duration {
        self.budget
    }

    /// How long something may take that nobody waits for.
    pub(super) fn leisure(&self) -> Duration {
        self.connect_timeout
    }

    /// How far the clock of Redis is ahead of this process's, in milliseconds.
    pub(super) fn clock_offset(&self) -> i64 {
        self.clock_offset.load(Ordering::Relaxed)
    }

    /// The clock of Redis was found to be so far ahead. A small difference to what is known changes
    /// nothing, so that a time read back is the one that was stored.
    pub(super) fn measured_offset(&self, millis: i64) {
        let change = Duration::from_millis(millis.abs_diff(self.clock_offset()));
        if change > CLOCK_TOLERANCE {
            self.clock_offset.store(millis, Ordering::Relaxed);
        }
    }

    /// What Redis removes when it is full, if it may become full.
    pub(super) fn eviction_policy(&self) -> Option<Arc<str>> {
        self.eviction_policy.lock().clone()
    }

    /// Redis evicts by this policy. Says so once where that may cost more than entries.
    pub(super) fn evicts_by(&self, policy: Option<Arc<str>>) {
        let mut known = self.eviction_policy.lock();
        if *known == policy {
            return;
        }
        known.clone_from(&policy);
        let effect = match policy.as_deref() {
            Some(any) if any.starts_with("allkeys-") => {
                "it may evict the watermark and version tags, and is recovered each time"
            }
            Some("noeviction") => {
                "it refuses writes once it is full, and is not used until it has room"
            }
            _ => return,
        };
        log::warn!(
            "{} has maxmemory-policy {}: {effect}; set volatile-lru or volatile-ttl, which evict entries \
             only",
            self.store,
            policy.unwrap_or_default()
        );
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
