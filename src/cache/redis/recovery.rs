use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{Cmd, Value, cmd, from_redis_value_ref};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use super::link::{Generation, Link, NoAnswer};
use super::marks::Marks;
use super::names::Names;
use super::script::{Script, delete};
use crate::cache::key::Key;

/// How long after a failed attempt the next one begins, give or take a quarter: all instances lose
/// Redis together, and should not come back to it together.
const PAUSE: Duration = Duration::from_millis(200);

/// How long after an attempt that led to no lasting trust the next one begins at first; twice that
/// after the next, ...
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// ... and so on up to this, until Redis ...
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// ... has been trusted for so long.
const SETTLED: Duration = Duration::from_secs(5);

/// How long what a rehearsal stores lives at most.
const LIFE: Duration = Duration::from_secs(10);

/// So many slow heartbeats in turn are borne.
const SLOW_BEATS: u32 = 2;

/// How often Redis is heard, so that readiness is true when nobody asks anything.
const HEARTBEAT: Duration = Duration::from_secs(1);

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
        let mut pause = Duration::ZERO;
        let mut slow = 0;
        loop {
            if breaker.is_closed() {
                if timeout(HEARTBEAT, breaker.opened()).await.is_err() {
                    slow = self.hear(slow).await;
                }
                continue;
            }
            if closed.take().is_some_and(|at| at.elapsed() >= SETTLED) {
                pause = Duration::ZERO;
            }
            sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            // Whatever comes of it: the next attempt follows less closely.
            pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            match self.recover().await {
                Ok(()) => closed = Some(Instant::now()),
                Err(why) => {
                    breaker.still_open(&why.to_string());
                    pause = PAUSE;
                }
            }
        }
    }

    /// Requests that go unanswered are counted; here, where nobody waits, one is enough. Answers how
    /// often in turn Redis was slower than reads can do with.
    ///
    /// A server that was made a replica keeps its connections, and takes over another's data, which
    /// may be old.
    async fn hear(&self, slow: u32) -> u32 {
        let asked = Instant::now();
        match self.link.hear().await {
            Ok(answers) if !answers.iter().all(is_master) => {
                self.link.doubt("it is a replica");
                0
            }
            // A miss takes three round trips in that time.
            Ok(_) if asked.elapsed() <= self.link.share() / 3 => 0,
            Ok(_) if slow < SLOW_BEATS => slow + 1,
            Ok(_) => {
                self.link.doubt(&self.too_slow().to_string());
                0
            }
            Err(why) => {
                self.link.doubt(&why.to_string());
                0
            }
        }
    }

    /// One attempt to be able to trust Redis again. If something went stale meanwhile, the breaker is
    /// open still, and another is due (recovery rule 1).
    ///
    /// Nobody knows which voids it missed, or whose data it came back with. So the namespace is
    /// dropped, by giving it another token: entries with the old one in their stamp are no hits any
    /// more, however many they are. An instance that could not use Redis afterwards leaves it to
    /// those who can.
    async fn recover(&self) -> Result<(), NoAnswer> {
        let generation = self.link.connect().await?;
        self.prepare(&generation).await?;
        // Since it is connected, voids are sent, or raise the count. So the drop below outdates what
        // was missed before, and the count tells what was missed since (recovery rule 1).
        let doubts = self.link.breaker().doubts();
        self.drop_namespace(&generation).await?;
        if self.link.breaker().doubts() == doubts {
            (self.before_trust)();
            self.link.trust(&generation, doubts);
        }
        Ok(())
    }

    async fn prepare(&self, generation: &Arc<Generation>) -> Result<(), NoAnswer> {
        let mut look = cmd("INFO");
        look.arg("replication");
        if !is_master(&self.at_leisure(generation, &look).await?) {
            return Err(NoAnswer::Failed("it is a replica".to_owned()));
        }
        for script in Script::ALL {
            let mut load = cmd("SCRIPT");
            load.arg("LOAD").arg(script.code());
            self.at_leisure(generation, &load).await?;
        }
        self.rehearse(generation).await
    }

    /// Does once what requests do, in the time that they will have for it: a Redis that is slow,
    /// full, read-only or forbids a command would only be trusted to be doubted again.
    async fn rehearse(&self, generation: &Arc<Generation>) -> Result<(), NoAnswer> {
        let id = self.marks.draw();
        // Under a key and a mark of its own: other instances may be doing the same.
        let name = format!("rehearsal:{:x}", u128::from_be_bytes(id));
        let key = Key::named(&name);
        let mark = self.names.group(&name);
        let names = [self.names.lease(&key), self.names.entry(&key)];
        // Made here and not by the claim, whose marks stay: nothing of a rehearsal outlives it long,
        // not even of one that comes to nothing.
        let mut make = cmd("SET");
        make.arg(&mark).arg(&id[..]).arg("PX").arg(LIFE.as_millis());
        self.at_leisure(generation, &make).await?;
        let read = async {
            let mut look = cmd("MGET");
            look.arg(&mark).arg(&names[1]);
            self.at_leisure(generation, &look).await?;
            let claim = Script::Claim.call().keys(names.clone()).key(mark.clone());
            let claim = claim.bytes(id).millis(LIFE).bytes("1").bytes("");
            let claimed = self.at_leisure(generation, &claim.by_hash()).await?;
            let fill = Script::Fill.call().keys(names.clone()).key(mark.clone());
            let fill = fill.bytes(id).number(1).millis(LIFE).bytes("entry");
            let filled = self.at_leisure(generation, &fill.by_hash()).await?;
            let id = Value::BulkString(id.to_vec());
            let ticket = Value::Array(vec![id, Value::Int(1), Value::Int(0)]);
            Ok(claimed == ticket && filled == Value::Int(1))
        };
        let write = async {
            let void = Script::Void.call().keys(names.clone());
            let void = void.bytes(id).millis(LIFE).bytes("entry");
            let voided = self.at_leisure(generation, &void.by_hash()).await?;
            let [lease, entry] = names.clone();
            let removed = delete(&[lease, entry, mark.clone()]);
            let removed = self.at_leisure(generation, &removed).await?;
            Ok(voided == Value::Int(1) && removed == Value::Int(2))
        };
        let in_time = |done: Result<Result<bool, NoAnswer>, Elapsed>| match done {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(NoAnswer::Failed(
                "it did not do what it was asked to".into(),
            )),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(self.too_slow()),
        };
        in_time(timeout(self.link.share(), read).await)?;
        in_time(timeout(self.link.share(), write).await)
    }

    fn too_slow(&self) -> NoAnswer {
        let limit = self.link.share();
        NoAnswer::Failed(format!(
            "too slow: what a request needs takes longer than {limit:.0?}"
        ))
    }

    async fn drop_namespace(&self, generation: &Arc<Generation>) -> Result<(), NoAnswer> {
        let mut set = cmd("SET");
        set.arg(self.names.token()).arg(&self.marks.draw()[..]);
        self.at_leisure(generation, &set).await?;
        let mut look = cmd("MGET");
        look.arg(self.names.token());
        // Another instance may be dropping it at the same time: then they agree at a second look.
        for _ in 0..2 {
            let leisure = self.link.leisure();
            let tokens = self.link.send_to_each(generation, &look, leisure).await?;
            if tokens.windows(2).all(|two| two[0] == two[1]) {
                return Ok(());
            }
        }
        let why = "its connections lead to different servers";
        Err(NoAnswer::Failed(why.to_owned()))
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

/// Whether a server says that it is no replica.
fn is_master(info: &Value) -> bool {
    let text: String = from_redis_value_ref(info).unwrap_or_default();
    text.lines().any(|line| line.trim() == "role:master")
}
