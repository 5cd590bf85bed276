//! When what goes wrong, and that it is mended.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, sleep_until};

use super::fault::Fault;
use super::scene::{OwnRedis, Scene};
use super::soak::Soak;
use crate::history::fleet::{Instance, Moment};
use crate::proxy::{Direction, Fault as ProxyFault};
use crate::traffic::Clock;

/// How long a fault and the calm after it take where nothing else bounds the run.
const TURN: Duration = Duration::from_secs(8);

/// How long an instance stays dead.
const DEAD: Duration = Duration::from_millis(200);

/// What went wrong, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    pub(super) fault: Fault,
    pub(super) began: Moment,
    /// When it was mended.
    pub(super) mended: Moment,
    /// When every instance was well again.
    pub(super) well: Moment,
}

/// Between these moments an instance was not there, or not ready yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Absence {
    pub(super) instance: Instance,
    pub(super) from: Moment,
    pub(super) to: Moment,
}

/// What was played.
#[derive(Clone, Debug, Default)]
pub(super) struct Played {
    pub(super) acts: Vec<Act>,
    pub(super) absences: Vec<Absence>,
}

/// Plays faults on a scene.
pub(super) struct Director<'a> {
    pub(super) scene: &'a mut Scene,
    pub(super) clock: Clock,
    pub(super) played: Played,
    /// What is sampled at the end of each turn, if it is.
    pub(super) soak: Option<Soak>,
}

impl Director<'_> {
    /// Plays each fault in its share of the time.
    pub(super) async fn play_for(&mut self, faults: &[Fault], time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let turns = u32::try_from(faults.len()).unwrap_or(u32::MAX);
        // As often as it takes for no turn to last much longer than need be.
        let rounds = (time.as_secs_f64() / (TURN.as_secs_f64() * f64::from(turns.max(1)) * 1.5))
            .ceil()
            .max(1.0) as u32;
        let turn = time / rounds / turns.max(1);
        for fault in faults.repeat(rounds as usize) {
            self.turn(fault, turn).await?;
        }
        sleep_until(end).await;
        self.scene.fleet.check()
    }

    /// Plays each fault once, and goes on until it is enough.
    pub(super) async fn play_until(
        &mut self,
        faults: &[Fault],
        is_enough: impl Fn() -> bool,
    ) -> Result<()> {
        for (number, &fault) in faults.iter().cycle().enumerate() {
            if number >= faults.len() && is_enough() {
                break;
            }
            self.turn(fault, TURN).await?;
        }
        while !is_enough() {
            sleep(Duration::from_millis(50)).await;
        }
        self.scene.fleet.check()
    }

    /// A little calm, the fault, and calm for the rest of the time.
    async fn turn(&mut self, fault: Fault, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        self.keep()?;
        sleep(time / 5).await;
        let began = self.clock.now();
        self.act(fault, time * 2 / 5).await?;
        let mended = self.clock.now();
        self.scene.fleet.well().await?;
        self.played.acts.push(Act {
            fault,
            began,
            mended,
            well: self.clock.now(),
        });
        self.scene.fleet.check()?;
        sleep_until(end).await;
        match &mut self.soak {
            Some(soak) => soak.sample(self.scene).await,
            None => Ok(()),
        }
    }

    /// What Redis holds now is what it may come back with later.
    fn keep(&mut self) -> Result<()> {
        match &mut self.scene.redis {
            Some(redis) if redis.old.is_none() => block_in_place(|| redis.keep()),
            _ => Ok(()),
        }
    }

    async fn act(&mut self, fault: Fault, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        match fault {
            Fault::RedisKilled => {
                self.redis(|redis| Ok(redis.server.kill()?))?;
                sleep_until(end).await;
                self.redis(|redis| Ok(redis.server.start_again()?))
            }
            Fault::RedisFrozen => {
                self.redis(|redis| Ok(redis.server.freeze()?))?;
                sleep_until(end).await;
                self.redis(|redis| Ok(redis.server.thaw()?))
            }
            Fault::RedisOldData => {
                self.redis(|redis| Ok(redis.server.kill()?))?;
                sleep_until(end).await;
                self.redis(|redis| {
                    // The next time it shall be what it holds then.
                    match redis.old.take() {
                        Some(old) => redis.server.start_from(&old)?,
                        None => redis.server.start_again()?,
                    }
                    Ok(())
                })
            }
            Fault::RedisPartitioned => {
                let proxies = &self.scene.proxies;
                let Some(proxy) = fastrand::choice(proxies.iter()) else {
                    return Ok(());
                };
                proxy.set(Direction::Both, ProxyFault::Hang);
                sleep(time / 2).await;
                proxy.set(Direction::Both, ProxyFault::Cut);
                sleep_until(end).await;
                proxy.heal();
                Ok(())
            }
            Fault::RedisEvicting => {
                self.redis(|redis| redis.squeeze())?;
                sleep_until(end).await;
                self.redis(|redis| redis.release())
            }
            Fault::RedisFlushed => {
                while Instant::now() < end {
                    self.redis(|redis| redis.flush())?;
                    sleep(time / 4).await;
                }
                Ok(())
            }
            Fault::InstanceKilled => {
                let mut numbers: Vec<usize> = (0..self.scene.fleet.addresses().len()).collect();
                fastrand::shuffle(&mut numbers);
                for number in numbers {
                    self.kill(number).await?;
                    sleep(DEAD).await;
                    if Instant::now() >= end {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    fn redis(&mut self, doing: impl FnOnce(&mut OwnRedis) -> Result<()>) -> Result<()> {
        let redis = self.scene.redis.as_mut();
        block_in_place(|| doing(redis.context("there is a Redis of our own")?))
    }

    async fn kill(&mut self, number: usize) -> Result<()> {
        let from = self.clock.now();
        self.scene.fleet.kill(number).await?;
        sleep(DEAD).await;
        self.scene.fleet.start_again(number).await?;
        self.played.absences.push(Absence {
            instance: Instance(u8::try_from(number).unwrap_or_default()),
            from,
            to: self.clock.now(),
        });
        Ok(())
    }
}
