use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{Cmd, Value, cmd, from_redis_value_ref};
use tokio::time::{sleep, timeout};

use super::link::{Generation, Link, NoAnswer};
use super::marks::Marks;
use super::names::Names;
use super::script::{Script, delete};
use crate::cache::key::Key;

/// How long after a failed attempt the next one begins, give or take a quarter: all instances lose
/// Redis together, and should not come back to it together.
const PAUSE: Duration = Duration::from_millis(200);

/// A breaker that opens again so soon after it closed ...
const SETTLED: Duration = Duration::from_secs(5);

/// ... is closed again after a pause that doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// How often Redis is heard, so that readiness is true when nobody asks anything.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Whose writes a server has: the id that it shares with those who replicate it.
#[derive(Debug, PartialEq, Eq)]
struct History(String);

impl History {
    fn look() -> Cmd {
        let mut info = cmd("INFO");
        info.arg("replication");
        info
    }

    /// The history that a master tells of itself.
    fn of(info: &Value) -> Option<Self> {
        let text: String = from_redis_value_ref(info).ok()?;
        let told = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            let (_, value) = lines.find(|(key, _)| *key == name)?;
            Some(value.trim().to_owned())
        };
        if told("role")? != "master" {
            return None;
        }
        told("master_replid").map(Self)
    }
}

/// Brings Redis back to be trusted, for as long as the backend lives.
pub(super) struct Recovery {
    pub(super) link: Arc<Link>,
    pub(super) names: Names,
    pub(super) marks: Arc<Marks>,
    /// What must be done besides, before Redis is trusted again.
    pub(super) before_trust: Box<dyn Fn() + Send + Sync>,
}

impl Recovery {
    /// Recovers the link whenever it is open.
    pub(super) async fn keep(self) {
        let breaker = self.link.breaker();
        let mut closed: Option<Instant> = None;
        let mut pause = PAUSE;
        let mut history = None;
        loop {
            if let Some(history) = history.as_ref().filter(|_| breaker.is_closed()) {
                if timeout(HEARTBEAT, breaker.opened()).await.is_err() {
                    self.hear(history).await;
                }
                continue;
            }
            if closed.take().is_some_and(|at| at.elapsed() < SETTLED) {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else {
                pause = PAUSE;
            }
            match self.recover().await {
                Ok(Some(recovered)) => {
                    history = Some(recovered);
                    closed = Some(Instant::now());
                }
                // Something went stale meanwhile (recovery rule 1). Anew, at once.
                Ok(None) => {}
                Err(why) => {
                    breaker.still_open(&why);
                    sleep(PAUSE.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                }
            }
        }
    }

    /// Requests that go unanswered are counted; here, where nobody waits, one is enough.
    ///
    /// A server that was made a replica of another keeps its connections, and takes over the other's
    /// data, which may be old: it has another history then.
    async fn hear(&self, recovered: &History) {
        match self.link.ask_at_leisure(&History::look()).await {
            Ok(info) if History::of(&info).as_ref() == Some(recovered) => {}
            Ok(_) => self
                .link
                .doubt("it has another's data now, or is a replica"),
            Err(why) => self.link.doubt(&why.to_string()),
        }
    }

    /// One attempt to be able to trust Redis again.
    ///
    /// Nobody knows which voids it missed, or whose data it came back with. So the namespace is
    /// dropped, by giving it another token: entries with the old one in their stamp are no hits any
    /// more, however many they are.
    async fn recover(&self) -> Result<Option<History>, String> {
        let generation = self.link.connect().await?;
        // From here on voids are sent, or raise the count. So the drop below outdates what was
        // missed before, and the count tells what was missed since (recovery rule 1).
        let doubts = self.link.breaker().doubts();
        let history = self.prepare(&generation);
        let history = history.await.map_err(|why| why.to_string())?;
        if self.link.breaker().doubts() != doubts {
            return Ok(None);
        }
        (self.before_trust)();
        let is_trusted = self.link.trust(&generation, doubts);
        Ok(is_trusted.then_some(history))
    }

    async fn prepare(&self, generation: &Arc<Generation>) -> Result<History, NoAnswer> {
        // Before the drop: if another's data come after it, the history is another's too.
        let info = self.at_leisure(generation, &History::look()).await?;
        let history = History::of(&info)
            .ok_or_else(|| NoAnswer::Failed("it does not say that it is a master".to_owned()))?;
        self.drop_namespace(generation).await?;
        let rehearsal = timeout(self.link.share(), self.rehearse(generation));
        rehearsal.await.unwrap_or_else(|_| {
            let limit = self.link.share();
            let why = format!("too slow: what a read needs takes longer than {limit:.0?}");
            Err(NoAnswer::Failed(why))
        })?;
        Ok(history)
    }

    async fn drop_namespace(&self, generation: &Arc<Generation>) -> Result<(), NoAnswer> {
        let mut set = cmd("SET");
        set.arg(self.names.token()).arg(&self.marks.draw()[..]);
        self.at_leisure(generation, &set).await?;
        for script in Script::ALL {
            let mut load = cmd("SCRIPT");
            load.arg("LOAD").arg(script.code());
            self.at_leisure(generation, &load).await?;
        }
        // Every connection leads to the same server.
        let mut look = cmd("MGET");
        look.arg(self.names.token());
        let tokens = self.link.ask_each(generation, &look).await?;
        if tokens.windows(2).any(|two| two[0] != two[1]) {
            return Err(NoAnswer::Failed(
                "its connections lead to different servers".to_owned(),
            ));
        }
        Ok(())
    }

    /// Does once what a request that misses does, in the time that it will have for it: a Redis that
    /// is slow, full, read-only or forbids a command would only be trusted to be doubted again.
    async fn rehearse(&self, generation: &Arc<Generation>) -> Result<(), NoAnswer> {
        let id = self.marks.draw();
        // A key of this attempt's own: other instances may be rehearsing too.
        let key = Key::named(&format!("rehearsal:{:x}", u128::from_be_bytes(id)));
        let life = self.link.leisure();
        let names = [self.names.lease(&key), self.names.entry(&key)];
        let token = || self.names.token().to_owned();
        let mut look = cmd("MGET");
        look.arg(token()).arg(&names[1]);
        self.at_leisure(generation, &look).await?;
        let claim = Script::Claim.call().keys(names.clone()).key(token());
        let claim = claim.bytes(id).millis(life).bytes("1").bytes("");
        let claimed = self.at_leisure(generation, &claim.by_hash()).await?;
        let fill = Script::Fill.call().keys(names.clone()).key(token());
        let fill = fill.bytes(id).number(1).millis(life).bytes("entry");
        let filled = self.at_leisure(generation, &fill.by_hash()).await?;
        let void = Script::Void.call().keys(names.clone());
        let void = void.bytes(id).millis(life).bytes("entry");
        let voided = self.at_leisure(generation, &void.by_hash()).await?;
        let removed = self.at_leisure(generation, &delete(&names)).await?;
        let went_well = claimed
            == Value::Array(vec![
                Value::BulkString(id.to_vec()),
                Value::Int(1),
                Value::Int(0),
            ])
            && [filled, voided, removed]
                .iter()
                .all(|done| *done == Value::Int(1));
        if went_well {
            Ok(())
        } else {
            Err(NoAnswer::Failed(
                "a rehearsal of what requests do failed".to_owned(),
            ))
        }
    }

    async fn at_leisure(
        &self,
        generation: &Arc<Generation>,
        command: &Cmd,
    ) -> Result<Value, NoAnswer> {
        self.link
            .send(generation, command, self.link.leisure())
            .await
    }
}
