use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::DbError;

/// How long after a failure nobody tries again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Whether the database can be reached, so that an outage costs a few waits and not one for each
/// request, and is logged once and not for each. Clones share the knowledge.
#[derive(Clone, Debug)]
pub(super) struct Reach(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started: Instant,
    /// When it last answered, in milliseconds after `started`.
    answered: AtomicU64,
    lost: AtomicBool,
    open: AtomicUsize,
    outage: Mutex<Option<Outage>>,
}

#[derive(Debug)]
struct Outage {
    why: Arc<str>,
    try_again: Instant,
}

/// A connection that is open.
pub(super) struct Open(Reach);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Reach {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            started: Instant::now(),
            answered: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            outage: Mutex::new(None),
        }))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets the caller try, or one caller in a while during an outage.
    pub(super) fn may_try(&self) -> Result<(), DbError> {
        if !self.is_lost() {
            return Ok(());
        }
        match &mut *self.0.outage.lock() {
            Some(outage) if Instant::now() < outage.try_again => {
                Err(DbError::Unavailable(Arc::clone(&outage.why)))
            }
            Some(outage) => {
                outage.try_again = Instant::now() + RETRY_AFTER;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Notes a connection that is open for as long as the answer lives.
    pub(super) fn open(&self) -> Open {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        Open(self.clone())
    }

    pub(super) fn is_lost(&self) -> bool {
        self.0.lost.load(Ordering::Acquire)
    }

    /// Why it cannot be reached.
    pub(super) fn error(&self) -> DbError {
        let outage = self.0.outage.lock();
        let why = outage
            .as_ref()
            .map_or_else(|| "just now".into(), |outage| Arc::clone(&outage.why));
        DbError::Unavailable(why)
    }

    /// The database answered.
    pub(super) fn answered(&self) {
        // One more than it is, so that zero stands for never.
        self.0.answered.store(self.millis() + 1, Ordering::Relaxed);
        if !self.is_lost() {
            return;
        }
        let mut outage = self.0.outage.lock();
        self.0.lost.store(false, Ordering::Release);
        if outage.take().is_some() {
            log::info!("the database is back");
        }
    }

    /// The database did not answer. If it answered somebody else within `grace`, that is no outage.
    pub(super) fn failed(&self, why: &str, grace: Duration) {
        let answered = self.0.answered.load(Ordering::Relaxed);
        let quiet = Duration::from_millis(self.millis().saturating_sub(answered));
        if answered > 0 && quiet < grace && !self.is_lost() {
            return;
        }
        let outage = Outage {
            why: why.into(),
            try_again: Instant::now() + RETRY_AFTER,
        };
        let mut known = self.0.outage.lock();
        let is_new = known.replace(outage).is_none();
        self.0.lost.store(true, Ordering::Release);
        if is_new {
            log::warn!("the database cannot be reached: {why}");
        }
    }
}

/// r2d2 tries to connect in the background for as long as it takes. A connection that cannot be made
/// tells nothing while others are open: the server may have no more to give.
impl r2d2::HandleError<diesel::r2d2::Error> for Reach {
    fn handle_error(&self, error: diesel::r2d2::Error) {
        if self.0.open.load(Ordering::SeqCst) == 0 && !self.is_lost() {
            self.failed(&error.to_string(), Duration::ZERO);
        }
    }
}
