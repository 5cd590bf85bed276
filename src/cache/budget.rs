use std::cell::OnceCell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static SPENT: Spent;
}

/// What one request has waited for a far store so far, in microseconds. Made when it first waits:
/// a near hit allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Spent(OnceCell<Arc<AtomicU64>>);

/// Gives everything that `request` does one budget for its waits on a far store.
pub fn one_budget<F: Future>(request: F) -> TaskLocalFuture<Spent, F> {
    SPENT.scope(Spent::default(), request)
}

/// A part of a request that runs in a task of its own, on the budget of the request that starts it.
pub(super) fn same_budget<F: Future>(part: F) -> TaskLocalFuture<Spent, F> {
    let spent = Spent(OnceCell::from(spent()));
    SPENT.scope(spent, part)
}

/// What the present request has spent. Outside of one, every wait has a budget to itself.
fn spent() -> Arc<AtomicU64> {
    SPENT
        .try_with(|spent| Arc::clone(spent.0.get_or_init(Arc::default)))
        .unwrap_or_default()
}

/// A wait on the present request's budget, which it is charged to when it ends.
pub(super) struct Wait {
    began: Instant,
    spent: Arc<AtomicU64>,
}

impl Wait {
    pub(super) fn begin() -> Self {
        Self {
            began: Instant::now(),
            spent: spent(),
        }
    }

    /// What is left of a budget of `limit` in all.
    pub(super) fn left(&self, limit: Duration) -> Duration {
        limit.saturating_sub(Duration::from_micros(self.spent.load(Ordering::Relaxed)))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.spent.fetch_add(micros, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn left() -> Duration {
        Wait::begin().left(LIMIT)
    }

    async fn wait() {
        let _wait = Wait::begin();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    #[tokio::test]
    async fn waits_of_one_request_add_up_and_those_of_others_do_not() {
        one_budget(async {
            wait().await;
            let once = left();
            assert!(once < LIMIT);
            tokio::spawn(same_budget(wait())).await.expect("no panic");
            assert!(left() < once, "a task of the request spends its budget");
            one_budget(async { assert_eq!(left(), LIMIT) }).await;
        })
        .await;
        wait().await;
        assert_eq!(left(), LIMIT, "outside of a request each wait stands alone");
    }
}
