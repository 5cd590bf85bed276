use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::DbError;

/// How long after a failure nobody tries again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Whether the database can be reached, so that an outage costs a few waits and not one for each
/// request, and is logged once and not for each. Clones share the knowledge.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    lost: AtomicBool,
    outage: Mutex<Option<Outage>>,
}

#[derive(Debug)]
struct Outage {
    why: Arc<str>,
    try_again: Instant,
}

impl Reach {
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
        if self.is_lost() && self.0.outage.lock().take().is_some() {
            self.0.lost.store(false, Ordering::Release);
            log::info!("the database is back");
        }
    }

    /// The database did not answer.
    pub(super) fn failed(&self, why: &str) {
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

impl r2d2::HandleError<diesel::r2d2::Error> for Reach {
    fn handle_error(&self, error: diesel::r2d2::Error) {
        self.failed(&error.to_string());
    }
}
