use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, SetOnce};

use super::sync::{AtomicU64, Mutex, Ordering};

/// So many failures ...
const FAILURES: usize = 5;

/// ... within this time ...
const WINDOW: Duration = Duration::from_secs(1);

/// ... open a breaker; and if answers were late, among no more commands than this: on a machine that
/// is merely busy a few are late among many that are not.
const AMONG: u64 = 2 * FAILURES as u64;

/// A command that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    /// When it was sent.
    pub(super) sent: Instant,
    /// How many commands have been sent in all.
    pub(super) commands: u64,
    /// Whether its answer was merely late.
    pub(super) is_late: bool,
}

/// Decides whether a far store is asked: a circuit breaker whose memory is the distrust counter.
///
/// It opens after a few failures, so that an outage costs a few waits and not one for each request,
/// and at once where the store may now hold something stale. It closes only by a
/// [recovery](Self::close) during which nothing raised a doubt (recovery rule 1: a counter, not a
/// flag). Nobody tries while it is open but whoever recovers.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Of what it speaks in the log.
    store: String,
    /// Counts whatever makes the store doubtful.
    doubts: AtomicU64,
    /// How many doubts there were when the last successful recovery began. While it is equal to
    /// `doubts`, the breaker is closed.
    settled: AtomicU64,
    state: Mutex<State>,
    opened: Notify,
    tried: SetOnce<()>,
}

#[derive(Debug)]
enum State {
    /// Nobody has tried yet.
    New,
    /// With the last failures, and when they were learnt of.
    Closed(Vec<(Instant, Failure)>),
    Open {
        since: Instant,
        reason: Arc<str>,
    },
}

impl Breaker {
    /// A breaker that is open until the first recovery: start-up is one (recovery rule 7).
    pub(super) fn new(store: String) -> Self {
        Self {
            store,
            doubts: AtomicU64::new(1),
            settled: AtomicU64::new(0),
            state: Mutex::new(State::New),
            opened: Notify::new(),
            tried: SetOnce::new(),
        }
    }

    /// Whether the store is asked and trusted.
    pub(super) fn is_closed(&self) -> bool {
        self.settled.load(Ordering::SeqCst) == self.doubts.load(Ordering::SeqCst)
    }

    /// Why it is open.
    pub(super) fn reason(&self) -> Option<Arc<str>> {
        match &*self.state.lock() {
            State::Closed(_) => None,
            State::New => Some("not connected yet".into()),
            State::Open { reason, .. } => Some(Arc::clone(reason)),
        }
    }

    /// Counts a failure that cost a request nothing but time. Answers whether it was one too many:
    /// commands that were under way together when one answer was long in coming count as one.
    pub(super) fn failure(&self, failure: Failure) -> bool {
        let State::Closed(failures) = &mut *self.state.lock() else {
            return false;
        };
        let now = Instant::now();
        failures.retain(|(learnt, earlier)| {
            let is_among_many = failure.commands > earlier.commands + AMONG;
            now - *learnt < WINDOW && !(failure.is_late && earlier.is_late && is_among_many)
        });
        failures.push((now, failure));
        failures.len() >= FAILURES && failure.sent > failures[0].0
    }

    /// Opens at once: the store may hold what has gone stale, or be another than it was.
    pub(super) fn doubt(&self, reason: &str) {
        {
            let mut state = self.state.lock();
            // With the state locked, so that no recovery ends between the two.
            self.doubts.fetch_add(1, Ordering::SeqCst);
            self.open(&mut state, reason);
        }
        self.opened.notify_one();
    }

    /// The store could not be recovered, for this reason.
    pub(super) fn still_open(&self, reason: &str) {
        let mut state = self.state.lock();
        self.open(&mut state, reason);
        if let State::Open { reason: last, .. } = &mut *state {
            *last = reason.into();
        }
    }

    /// What opened it is the reason, until a recovery knows better: what fails because it is open
    /// explains nothing.
    fn open(&self, state: &mut State, reason: &str) {
        match state {
            State::Open { .. } => {}
            State::New | State::Closed(_) => {
                log::warn!("{} is not used from now on: {reason}", self.store);
                *state = State::Open {
                    since: Instant::now(),
                    reason: reason.into(),
                };
                let _ = self.tried.set(());
            }
        }
    }

    /// The doubts that a recovery which begins now can settle.
    pub(super) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::SeqCst)
    }

    /// Ends a recovery that began at so many `doubts`. Answers whether that closed the breaker: it
    /// stays open if there have been more since.
    pub(super) fn close(&self, doubts: u64) -> bool {
        let mut state = self.state.lock();
        self.settled.store(doubts, Ordering::SeqCst);
        if !self.is_closed() {
            return false;
        }
        match &*state {
            State::New => log::info!("{} is used", self.store),
            State::Closed(_) => {}
            State::Open { since, .. } => {
                log::info!(
                    "{} is used again, after {:.1?}",
                    self.store,
                    since.elapsed()
                );
            }
        }
        *state = State::Closed(Vec::new());
        let _ = self.tried.set(());
        true
    }

    /// Waits until the store was tried once, with whatever success.
    pub(super) async fn tried(&self) {
        self.tried.wait().await;
    }

    /// Waits until it is opened.
    pub(super) async fn opened(&self) {
        while self.is_closed() {
            self.opened.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed() -> Breaker {
        let breaker = Breaker::new("the store".into());
        assert!(!breaker.is_closed(), "start-up is a recovery");
        assert!(breaker.close(breaker.doubts()));
        breaker
    }

    /// A failure of a command that is sent now, after so many others.
    fn late(commands: u64) -> Failure {
        Failure {
            sent: Instant::now(),
            commands,
            is_late: true,
        }
    }

    #[test]
    fn a_few_failures_are_too_many_and_one_fewer_is_not() {
        let breaker = closed();
        for failures in 1..FAILURES {
            assert!(!breaker.failure(late(failures as u64)));
        }
        assert!(breaker.failure(late(FAILURES as u64)));
    }

    #[test]
    fn a_few_late_answers_among_many_are_not_too_many_and_refusals_are() {
        let breaker = closed();
        for failures in 1..100 {
            assert!(!breaker.failure(late(failures * (AMONG / 2))));
        }
        let refused = |commands| Failure {
            is_late: false,
            ..late(commands)
        };
        let refusals = (1..100).filter(|refusals| breaker.failure(refused(refusals * AMONG)));
        assert!(refusals.count() > 0);
    }

    #[test]
    fn what_was_under_way_together_counts_once() {
        let breaker = closed();
        let together = late(0);
        for _ in 0..100 {
            assert!(!breaker.failure(together));
        }
        assert!(
            breaker.failure(late(0)),
            "one that was sent after they had failed"
        );
    }

    #[test]
    fn failures_before_a_recovery_do_not_count_after_it() {
        let breaker = closed();
        for _ in 1..FAILURES {
            assert!(!breaker.failure(late(0)));
        }
        assert!(breaker.close(breaker.doubts()));
        assert!(!breaker.failure(late(0)));
        assert!(breaker.is_closed());
    }

    #[test]
    fn a_doubt_during_a_recovery_keeps_it_open() {
        let breaker = closed();
        breaker.doubt("a void was lost");
        let doubts = breaker.doubts();
        breaker.doubt("another void was lost");
        assert!(!breaker.close(doubts));
        assert_eq!(breaker.reason().as_deref(), Some("a void was lost"));
        breaker.still_open("nobody there");
        assert_eq!(breaker.reason().as_deref(), Some("nobody there"));
        assert!(breaker.close(breaker.doubts()));
        assert_eq!(breaker.reason(), None);
    }

    #[tokio::test]
    async fn whoever_recovers_is_woken() {
        let breaker = Arc::new(closed());
        let woken = tokio::spawn({
            let breaker = Arc::clone(&breaker);
            async move { breaker.opened().await }
        });
        tokio::task::yield_now().await;
        breaker.doubt("a void was lost");
        woken.await.expect("no panic");
    }
}
