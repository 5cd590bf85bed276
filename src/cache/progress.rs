use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::clock::Timestamp;
use super::log::Position;

/// How often it is looked whether a look at the log has ended.
const PAUSE: Duration = Duration::from_millis(1);

/// How far this process has followed the change log, and when it last could.
///
/// What is cached is only as good as that: without a look at the log for longer than a limit nobody
/// knows what has gone stale.
#[derive(Debug)]
pub struct Progress {
    position: watch::Sender<Position>,
    /// When the last look at the log began, in milliseconds since the Unix epoch.
    looked: AtomicU64,
    limit: Duration,
    patience: Duration,
    is_wanted: Mutex<bool>,
    wanted: Condvar,
}

impl Progress {
    /// Somebody begins to follow the log here and now. Without a look at it for longer than `limit`
    /// the cache is out of touch; a read waits up to `patience` for a position to be reached.
    pub fn new(position: Position, now: Timestamp, limit: Duration, patience: Duration) -> Self {
        Self {
            position: watch::Sender::new(position),
            looked: AtomicU64::new(now.millis()),
            limit,
            patience,
            is_wanted: Mutex::new(false),
            wanted: Condvar::new(),
        }
    }

    /// Every change before this position is voided here.
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// Every change before `position`, and whatever had been committed at `looked`, is voided here.
    /// Only ever called after it is (recovery rule 4).
    pub fn reached(&self, position: Position, looked: Timestamp) {
        self.position.send_if_modified(|present| {
            let is_new = *present != position;
            *present = position;
            is_new
        });
        self.looked.store(looked.millis(), Ordering::SeqCst);
    }

    /// When the last look at the log began.
    pub fn looked(&self) -> Timestamp {
        Timestamp::from_millis(self.looked.load(Ordering::SeqCst))
    }

    /// Since when nothing is known of changes, if that is too long.
    #[inline]
    pub(super) fn out_of_touch(&self, now: Timestamp) -> Option<Timestamp> {
        let looked = self.looked();
        (now.since(looked) > self.limit).then_some(looked)
    }

    /// Waits a while until the change at `position` is voided here. Answers whether it is.
    pub(super) async fn passed(&self, position: Position) -> bool {
        if self.position() > position {
            return true;
        }
        let mut seen = self.position.subscribe();
        self.want_a_look();
        let passed = seen.wait_for(|present| *present > position);
        let passed = tokio::time::timeout(self.patience, passed).await;
        matches!(passed, Ok(Ok(_)))
    }

    /// Waits up to `patience` for the end of a look at the log that began after `then`: whatever had
    /// been committed by then is voided here. Answers whether there was one.
    ///
    /// A transaction that stays open holds up a position, but not this.
    pub async fn looked_after(&self, then: Timestamp, patience: Duration) -> bool {
        let looking = async {
            while self.looked() <= then {
                self.want_a_look();
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(patience, looking).await.is_ok()
    }

    fn want_a_look(&self) {
        *self.is_wanted.lock() = true;
        self.wanted.notify_one();
    }

    /// Blocks until somebody waits for a look, or for `pause`.
    pub fn pause(&self, pause: Duration) {
        let mut is_wanted = self.is_wanted.lock();
        if !*is_wanted {
            self.wanted.wait_for(&mut is_wanted, pause);
        }
        *is_wanted = false;
    }
}
