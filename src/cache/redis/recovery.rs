use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{Cmd, Value, cmd, from_redis_value_ref};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use super::follow::{self, Fence};
use super::info_field;
use super::link::{Generation, Link, NoAnswer};
use super::marks::Marks;
use super::names::Names;
use super::script::{Script, delete};
use crate::cache::clock::{CLOCK_TOLERANCE, Clock};
use crate::cache::key::Key;
use crate::cache::log::{ChangeLog, Position, Replay, Watermark};

/// How long after a failed attempt the next one begins, give or take a quarter: all instances lose
/// Redis together, and should not come back to it together.
const PAUSE: Duration = Duration::from_millis(200);

/// How long new connections have to last before Redis is used again: each loss costs requests a wait, and
/// each recovery a replay, which is more than Redis brings if it is lost again in the next moment.
/// This after a loss, twice that after the next, ...
const FIRST_PROBATION: Duration = Duration::from_millis(150);

/// ... and so on up to this, until Redis ...
const LONGEST_PROBATION: Duration = Duration::from_millis(400);

/// ... has been trusted for so long.
const SETTLED: Duration = Duration::from_secs(5);

/// How long what a recovery stores lives at most, before it is at its end.
const LIFE: Duration = Duration::from_secs(10);

/// So many slow heartbeats in turn are borne.
const SLOW_BEATS: u32 = 2;

/// A connection epoch that was not heard of for so long is not in use any more: its process has ended, or
/// has connected anew.
const EPOCH_LIFE: Duration = Duration::from_secs(3600);

/// How often Redis is heard, so that readiness is true when nobody asks anything.
const HEARTBEAT: Duration = Duration::from_secs(1);

const DIFFERENT: &str = "its connections lead to different servers";

/// Brings Redis back to be trusted, for as long as the backend lives.
pub(super) struct Recovery {
    pub(super) link: Arc<Link>,
    pub(super) names: Names,
    pub(super) marks: Arc<Marks>,
    pub(super) log: Arc<dyn ChangeLog>,
    /// What the clock of Redis is compared with.
    pub(super) clock: Arc<dyn Clock>,
}

impl Recovery {
    /// Recovers the link whenever it is open.
    pub(super) async fn keep(self) {
        let breaker = self.link.breaker();
        let mut closed: Option<Instant> = None;
        // At the start there is nothing to lose.
        let mut probation = Duration::ZERO;
        let mut slow = 0;
        let mut before = None;
        loop {
            if breaker.is_closed() {
                if timeout(HEARTBEAT, breaker.opened()).await.is_err() {
                    slow = self.hear(slow).await;
                }
                continue;
            }
            if closed.take().is_some_and(|at| at.elapsed() >= SETTLED) {
                probation = FIRST_PROBATION;
            }
            match self.recover(probation, &mut before).await {
                Ok(true) => {
                    closed = Some(Instant::now());
                    probation = (probation * 2).clamp(FIRST_PROBATION, LONGEST_PROBATION);
                }
                Ok(false) => probation = probation.max(FIRST_PROBATION),
                Err(why) => {
                    breaker.still_open(&why.to_string());
                    sleep(PAUSE.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                }
            }
        }
    }

    /// Requests that go unanswered are counted; here, where nobody waits, one is enough. Answers how
    /// often in turn Redis was slower than reads can do with.
    async fn hear(&self, slow: u32) -> u32 {
        let asked = Instant::now();
        let heard = self.listen().await;
        let took = asked.elapsed();
        let heard = match heard {
            Ok(generation) => self.register(&generation, None).await,
            Err(why) => Err(why),
        };
        let why = match heard {
            // A miss takes three round trips in that time.
            Ok(()) if took <= self.link.share() / 3 => return 0,
            Ok(()) if slow < SLOW_BEATS => return slow + 1,
            Ok(()) => self.too_slow(),
            // Somebody else has noticed already.
            Err(NoAnswer::NotSent) => return 0,
            Err(why) => why,
        };
        self.link.doubt(&why.to_string());
        0
    }

    /// Whether all connections lead to the server that they led to when it came to be trusted. One that was
    /// made a replica keeps its connections and takes over another's data: then its history has another
    /// name.
    async fn listen(&self) -> Result<Arc<Generation>, NoAnswer> {
        let (generation, is_trusted) = self.link.connected()?;
        if !is_trusted {
            return Err(NoAnswer::NotSent);
        }
        let history = self.history(&generation).await?;
        if generation.history() != Some(history.as_str()) {
            return Err(NoAnswer::Changed);
        }
        Ok(generation)
    }

    /// The name that Redis gives to its data's history (`master_replid`), the same on each connection.
    async fn history(&self, generation: &Arc<Generation>) -> Result<String, NoAnswer> {
        let mut look = cmd("INFO");
        look.arg("replication");
        let leisure = self.link.leisure();
        let answers = self.link.send_to_each(generation, &look, leisure).await?;
        let mut histories = answers.iter().map(history_of_master);
        let first = histories.next().flatten();
        let first = first.ok_or_else(|| NoAnswer::Failed("it is a replica".to_owned()))?;
        if histories.all(|other| other.as_ref() == Some(&first)) {
            Ok(first)
        } else {
            Err(NoAnswer::Failed(DIFFERENT.to_owned()))
        }
    }

    /// One attempt to be able to trust Redis again, on connections that last for a while. If something
    /// went stale meanwhile it answers false, the breaker is open still, and another is due (recovery
    /// rule 1).
    ///
    /// Which voids it missed, and with whose data it came back, its watermark tells: what the log has
    /// since is replayed (recovery rule 5). Where the log cannot tell, the namespace is dropped, by
    /// giving it another token: entries with the old one in their stamp are no hits any more, however
    /// many they are.
    async fn recover(
        &self,
        probation: Duration,
        before: &mut Option<String>,
    ) -> Result<bool, NoAnswer> {
        let epoch = format!("{:032x}", u128::from_be_bytes(self.marks.draw()));
        let sequence = self.names.sequence(&epoch);
        let generation = self.link.connect(sequence).await?;
        // Since it is connected, voids are sent, or raise the count. So what the log tells below makes
        // up for what was missed before, and the count tells what was missed since (recovery rule 1).
        let doubts = self.link.breaker().doubts();
        // Whatever is asked below fails on connections that did not last.
        sleep(probation).await;
        self.prepare(&generation).await?;
        if self.link.breaker().doubts() != doubts {
            return Ok(false);
        }
        self.make_up(&generation).await?;
        // In the data that was made up for, or not at all.
        self.register(&generation, before.as_deref()).await?;
        *before = Some(generation.sequence().to_owned());
        if self.link.breaker().doubts() != doubts {
            return Ok(false);
        }
        Ok(self.link.trust(&generation, doubts))
    }

    /// Makes up for what Redis missed, by replaying the log or by dropping what is there.
    async fn make_up(&self, generation: &Arc<Generation>) -> Result<(), NoAnswer> {
        let watermark = self.watermark(generation).await?;
        let told = self.told(generation).await?;
        let replay = self.log.replay(watermark.as_ref(), told).await;
        let replay = replay.map_err(|error| NoAnswer::Failed(error.to_string()))?;
        match (watermark, replay) {
            (Some(watermark), Replay::Since(batch)) => {
                let target = follow::Target {
                    names: &self.names,
                    marks: &self.marks,
                };
                let (link, seen) = (&self.link, watermark.position());
                let leisure = link.leisure();
                follow::apply(link, generation, target, &batch, seen, leisure).await?;
                log::debug!("{} changes replayed", batch.entries.len());
            }
            (None, Replay::Since(batch)) => {
                self.drop_namespace(generation, &batch.until, "it has no watermark")
                    .await?;
            }
            (_, Replay::Unknown { why, end }) => {
                self.drop_namespace(generation, &end, &why).await?;
            }
        }
        Ok(())
    }

    /// The greatest position that a writer has noted here: the watermark may not have got there.
    async fn told(&self, generation: &Arc<Generation>) -> Result<Position, NoAnswer> {
        let mut look = cmd("ZRANGE");
        look.arg(self.names.voided()).arg("(+inf").arg("-inf");
        look.arg("BYSCORE").arg("REV").arg("LIMIT").arg(0).arg(1);
        look.arg("WITHSCORES");
        let noted = self.at_leisure(generation, &look).await?;
        // What is no such note counts as none.
        let noted: Vec<(Value, f64)> = from_redis_value_ref(&noted).unwrap_or_default();
        // A whole number below 2^53.
        let position = noted.first().map_or(0, |(_, position)| *position as u64);
        Ok(Position::new(position))
    }

    /// The watermark, which every connection must lead to.
    async fn watermark(&self, generation: &Arc<Generation>) -> Result<Option<Watermark>, NoAnswer> {
        let mut look = cmd("MGET");
        look.arg(self.names.token()).arg(self.names.watermark());
        // Another instance may be dropping the namespace at the same time: then they agree at a second
        // look.
        for _ in 0..2 {
            let leisure = self.link.leisure();
            let found = self.link.send_to_each(generation, &look, leisure).await?;
            let found: Vec<(Value, Option<String>)> = found
                .iter()
                .map(|found| from_redis_value_ref(found).map_err(|_| self.link.senseless()))
                .collect::<Result<_, _>>()?;
            if found.windows(2).all(|two| two[0].0 == two[1].0) {
                let texts = found.into_iter().next().and_then(|(_, text)| text);
                return Ok(texts.as_deref().and_then(Watermark::parse));
            }
        }
        Err(NoAnswer::Failed(DIFFERENT.to_owned()))
    }

    async fn prepare(&self, generation: &Arc<Generation>) -> Result<(), NoAnswer> {
        generation.is_of(self.history(generation).await?);
        self.look_at_eviction(generation).await?;
        // For the time of a recovery. One that comes to nothing leaves nothing.
        let mut begin = cmd("SET");
        begin.arg(generation.sequence()).arg(0);
        begin.arg("PX").arg(LIFE.as_millis());
        self.at_leisure(generation, &begin).await?;
        for script in Script::ALL {
            let mut load = cmd("SCRIPT");
            load.arg("LOAD").arg(script.code());
            self.at_leisure(generation, &load).await?;
        }
        self.rehearse(generation).await
    }

    /// What Redis evicts: what invalidation relies on has no TTL, so that policies which evict only keys
    /// with one leave it alone.
    async fn look_at_eviction(&self, generation: &Arc<Generation>) -> Result<(), NoAnswer> {
        let mut look = cmd("INFO");
        look.arg("memory");
        let info = self.at_leisure(generation, &look).await?;
        let info: String = from_redis_value_ref(&info).map_err(|_| self.link.senseless())?;
        let is_limited = info_field(&info, "maxmemory").is_some_and(|limit| limit != "0");
        let policy = info_field(&info, "maxmemory_policy").filter(|_| is_limited);
        self.link.evicts_by(policy.map(Arc::from));
        Ok(())
    }

    /// Notes that this connection epoch is in use, which keeps its sequence number, and removes those of
    /// epochs that are not: of processes that have ended, and `before`, this process's last one. Measures the
    /// clock of Redis besides.
    async fn register(
        &self,
        generation: &Arc<Generation>,
        before: Option<&str>,
    ) -> Result<(), NoAnswer> {
        let fence = Fence::Watermark(generation.seen());
        let call = follow::fenced(Script::Register.call(), &self.names, generation, fence);
        let call = call
            .key(self.names.epochs().to_owned())
            .millis(EPOCH_LIFE)
            .bytes(before.unwrap_or_default());
        let asked = self.clock.now();
        let leisure = self.link.leisure();
        let answer = self.link.call_on(generation, &call, leisure).await?;
        let took = self.clock.now().since(asked);
        let time = self.link.acknowledged(generation, answer)?;
        // What took long, as when the machine was suspended, measures nothing.
        if took <= CLOCK_TOLERANCE {
            let halfway = asked + took / 2;
            self.link
                .measured_offset(time.saturating_sub_unsigned(halfway.millis()));
        }
        Ok(())
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
            let fill = Script::Fill.call().keys(names.clone());
            let fill = fill.keys([mark.clone(), mark.clone()]);
            let fill = fill.bytes(id).number(1).millis(LIFE).bytes("entry");
            let filled = self.at_leisure(generation, &fill.by_hash()).await?;
            let id_bytes = id;
            let id = Value::BulkString(id.to_vec());
            let stamp = Value::BulkString([b"1", &id_bytes[..]].concat());
            let ticket = Value::Array(vec![id, Value::Int(1), Value::Int(0), stamp]);
            Ok(claimed == ticket && filled == Value::Int(1))
        };
        let write = async {
            let void = Script::Void.call();
            let void = follow::fenced(void, &self.names, generation, Fence::Open);
            let void = void.key(self.names.voided().to_owned());
            let void = void.keys(names.clone());
            let void = void.bytes("").bytes(id).millis(LIFE).bytes("entry");
            let voided = self.at_leisure(generation, &void.by_hash()).await?;
            let written = self.link.acknowledged(generation, voided)?;
            let [lease, entry] = names.clone();
            let removed = delete(&[lease, entry, mark.clone()]);
            let removed = self.at_leisure(generation, &removed).await?;
            Ok(written == 1 && removed == Value::Int(2))
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

    /// Nothing that is there is used any more, by anybody. What is stored from now on was loaded later
    /// than the log was read, so it knows of everything before `end`.
    async fn drop_namespace(
        &self,
        generation: &Arc<Generation>,
        end: &Watermark,
        why: &str,
    ) -> Result<(), NoAnswer> {
        log::info!("what is in Redis is dropped: {why}");
        let call = follow::fenced(
            Script::Drop.call(),
            &self.names,
            generation,
            Fence::Sequence,
        );
        let call = call
            .key(self.names.voided().to_owned())
            .key(self.names.token().to_owned())
            .bytes(end.text())
            .bytes(self.marks.draw());
        let leisure = self.link.leisure();
        let answer = self.link.call_on(generation, &call, leisure).await?;
        self.link.acknowledged(generation, answer)?;
        self.watermark(generation).await?;
        generation.saw(end.position());
        Ok(())
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

/// What a server calls its history; nothing if it is a replica.
fn history_of_master(info: &Value) -> Option<String> {
    let text: String = from_redis_value_ref(info).ok()?;
    let is_master = info_field(&text, "role")? == "master";
    let history = info_field(&text, "master_replid").unwrap_or_default();
    is_master.then(|| history.to_owned())
}
