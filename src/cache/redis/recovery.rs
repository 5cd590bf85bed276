use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{Cmd, Value, cmd};
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
        loop {
            if breaker.is_closed() {
                if timeout(HEARTBEAT, breaker.opened()).await.is_err() {
                    self.hear().await;
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
                Ok(true) => closed = Some(Instant::now()),
                // Something went stale meanwhile (recovery rule 1). Anew, at once.
                Ok(false) => {}
                Err(why) => {
                    breaker.still_open(&why);
                    sleep(PAUSE.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                }
            }
        }
    }

    /// Requests that go unanswered are counted; here, where nobody waits, one is enough.
    async fn hear(&self) {
        if let Err(why) = self.link.ask_at_leisure(&cmd("PING")).await {
            self.link.doubt(&why.to_string());
        }
    }

    /// One attempt to be able to trust Redis again.
    ///
    /// Nobody knows which voids it missed, or whose data it came back with. So the namespace is
    /// dropped, by giving it another token: entries with the old one in their stamp are no hits any
    /// more, however many they are.
    async fn recover(&self) -> Result<bool, String> {
        let generation = self.link.connect().await?;
        // From here on voids are sent, or raise the count. So the drop below outdates what was
        // missed before, and the count tells what was missed since (recovery rule 1).
        let doubts = self.link.breaker().doubts();
        let token = self.marks.draw();
        self.drop_namespace(&generation, &token)
            .await
            .map_err(|why| why.to_string())?;
        if self.link.breaker().doubts() != doubts {
            return Ok(false);
        }
        (self.before_trust)();
        Ok(self.link.trust(&generation, doubts))
    }

    async fn drop_namespace(
        &self,
        generation: &Arc<Generation>,
        token: &[u8],
    ) -> Result<(), NoAnswer> {
        let mut set = cmd("SET");
        set.arg(self.names.token()).arg(token);
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
        self.rehearse(generation).await
    }

    /// Does once what requests will do, in the time that they will have for it: a Redis that is
    /// slow, full, read-only or forbids a command would only be trusted to be doubted again.
    async fn rehearse(&self, generation: &Arc<Generation>) -> Result<(), NoAnswer> {
        let id = self.marks.draw();
        // A key of this attempt's own: other instances may be rehearsing too.
        let key = Key::named(&format!("rehearsal:{:x}", u128::from_be_bytes(id)));
        let life = self.link.leisure();
        let names = [self.names.lease(&key), self.names.entry(&key)];
        let token = || self.names.token().to_owned();
        let claim = Script::Claim.call().keys(names.clone()).key(token());
        let claim = claim.bytes(id).millis(life).bytes("1").bytes("");
        let fill = Script::Fill.call().keys(names.clone()).key(token());
        let fill = fill.bytes(id).number(1).millis(life).bytes("entry");
        let void = Script::Void.call().keys(names.clone());
        let void = void.bytes(id).millis(life).bytes("entry");
        for command in [
            claim.by_hash(),
            fill.by_hash(),
            void.by_hash(),
            delete(&names),
        ] {
            self.link.ask_one(generation, &command).await?;
        }
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
