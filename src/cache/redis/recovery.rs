use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::cmd;
use tokio::time::{sleep, timeout};

use super::link::Link;
use super::names::Names;
use super::random_mark;
use super::script::Script;

/// How long after a failed attempt the next one begins, give or take a quarter: all instances lose
/// Redis together, and should not come back to it together.
const PAUSE: Duration = Duration::from_millis(200);

/// How often an idle connection is heard, so that readiness is true when nobody asks anything.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What must be done besides, before Redis is trusted again.
pub(super) type BeforeTrust = Box<dyn Fn() + Send + Sync>;

/// Watches over the link for as long as the backend lives: recovers it whenever it is open.
pub(super) async fn keep(link: Arc<Link>, names: Names, before_trust: BeforeTrust) {
    loop {
        if link.breaker().is_closed() {
            if timeout(HEARTBEAT, link.breaker().opened()).await.is_err() {
                // Whatever comes of it, the link has learnt it.
                let _ = link.ask(&cmd("PING")).await;
            }
            continue;
        }
        if let Err(why) = recover(&link, &names, &before_trust).await {
            link.breaker().still_open(&why);
            sleep(PAUSE.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        }
    }
}

/// One attempt to be able to trust Redis again. If something went stale meanwhile, the breaker is
/// open still, and another is due (recovery rule 1).
///
/// Nobody knows which voids it missed, or whose data it came back with. So the namespace is dropped,
/// by giving it another token: entries with the old one in their stamp are no hits any more, however
/// many they are.
async fn recover(link: &Link, names: &Names, before_trust: &BeforeTrust) -> Result<(), String> {
    link.connect().await?;
    // After this, voids are sent or raise the count; so the drop below outdates what was missed
    // before, and the count tells what was missed since (recovery rule 1).
    let doubts = link.breaker().doubts();
    for script in Script::ALL {
        link.recover_with(cmd("SCRIPT").arg("LOAD").arg(script.code()))
            .await?;
    }
    // A write that needs memory: a Redis that is full or read-only is of no use.
    let mark = random_mark();
    link.recover_with(cmd("SET").arg(names.token()).arg(&mark[..]))
        .await?;
    before_trust();
    link.breaker().close(doubts);
    Ok(())
}
