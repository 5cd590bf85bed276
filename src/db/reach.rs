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
pub(super) struct Reach {
    shared: Arc<Shared>,
    /// It speaks for connections that no request is answered on.
    is_apart: bool,
}

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
        self.0.shared.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Reach {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        let shared = Shared {
            started: Instant::now(),
            answered: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            outage: Mutex::new(None),
        };
        Self {
            shared: Arc::new(shared),
            is_apart: false,
        }
    }

    /// The same knowledge, for connections that no request is answered on. That one of them is open, works,
    /// or cannot be made, says nothing of those that requests need: it neither begins an outage nor ends one.
    pub(super) fn apart(&self) -> Self {
        Self {
            is_apart: true,
            ..self.clone()
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets the caller try, or one caller in a while during an outage.
    pub(super) fn may_try(&self) -> Result<(), DbError> {
        // Who tries apart takes nobody's turn.
        if self.is_apart || !self.is_lost() {
            return Ok(());
        }
        match &mut *self.shared.outage.lock() {
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

    /// Notes a connection that is open for as long as the answer lives, unless it is one apart.
    pub(super) fn open(&self) -> Option<Open> {
        if self.is_apart {
            return None;
        }
        self.shared.open.fetch_add(1, Ordering::SeqCst);
        Some(Open(self.clone()))
    }

    pub(super) fn is_lost(&self) -> bool {
        self.shared.lost.load(Ordering::Acquire)
    }

    /// Why it cannot be reached.
    pub(super) fn error(&self) -> DbError {
        let outage = self.shared.outage.lock();
        let why = outage
            .as_ref()
            .map_or_else(|| "just now".into(), |outage| Arc::clone(&outage.why));
        DbError::Unavailable(why)
    }

    /// The database answered.
    pub(super) fn answered(&self) {
        // One more than it is, so that zero stands for never.
        let now = self.millis() + 1;
        self.shared.answered.store(now, Ordering::Relaxed);
        if self.is_apart || !self.is_lost() {
            return;
        }
        let mut outage = self.shared.outage.lock();
        self.shared.lost.store(false, Ordering::Release);
        if outage.take().is_some() {
            log::info!("the database is back");
        }
    }

    /// The database did not answer. If it answered somebody else within `grace`, that is no outage.
    pub(super) fn failed(&self, why: &str, grace: Duration) {
        if self.is_apart {
            return;
        }
        let answered = self.shared.answered.load(Ordering::Relaxed);
        let quiet = Duration::from_millis(self.millis().saturating_sub(answered));
        if answered > 0 && quiet < grace && !self.is_lost() {
            return;
        }
        let outage = Outage {
            why: why.into(),
            try_again: Instant::now() + RETRY_AFTER,
        };
        let mut known = self.shared.outage.lock();
        let is_new = known.replace(outage).is_none();
        self.shared.lost.store(true, Ordering::Release);
        if is_new {
            log::warn!("the database cannot be reached: {why}");
        }
    }
}

/// r2d2 tries to connect in the background for as long as it takes. A connection that cannot be made
/// tells nothing while others are open: the server may have no more to give.
impl r2d2::HandleError<diesel::r2d2::Error> for Reach {
    fn handle_error(&self, error: diesel::r2d2::Error) {
        log::debug!("the database cannot be connected to: {error}");
        if self.shared.open.load(Ordering::SeqCst) == 0 && !self.is_lost() {
            self.failed(&error.to_string(), Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use r2d2::HandleError;

    use super::*;

    #[test]
    fn what_is_asked_apart_neither_begins_an_outage_nor_ends_one() {
        let reach = Reach::new();
        let apart = reach.apart();
        apart.failed("it is away", Duration::ZERO);
        assert!(!reach.is_lost());
        assert!(apart.open().is_none());
        reach.failed("it is away", Duration::ZERO);
        assert!(reach.is_lost() && reach.may_try().is_err());
        assert!(apart.may_try().is_ok());
        apart.answered();
        assert!(reach.is_lost());
        reach.answered();
        assert!(!reach.is_lost() && reach.may_try().is_ok());
    }

    #[test]
    fn whoever_hears_nothing_while_others_do_has_found_no_outage() {
        let reach = Reach::new();
        // Also if that is somebody apart.
        reach.apart().answered();
        reach.failed("no answer", Duration::from_secs(60));
        assert!(!reach.is_lost());
    }

    #[test]
    fn a_connection_counts_while_it_is_open() {
        let reach = Reach::new();
        let refused = || {
            let refused = diesel::ConnectionError::BadConnection("refused".into());
            reach.handle_error(diesel::r2d2::Error::ConnectionError(refused));
        };
        let open = reach.open();
        refused();
        assert!(!reach.is_lost(), "the server may have no more to give");
        drop(open);
        refused();
        assert!(reach.is_lost());
    }
}
