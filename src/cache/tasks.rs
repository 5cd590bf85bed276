use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::budget::same_budget;

/// Runs what must not be cancelled: a task started here goes on when the request that asked for
/// it is gone, on a runtime that outlives the HTTP workers, and is waited for at shutdown.
#[derive(Clone, Debug)]
pub struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
}

impl Tasks {
    /// Tasks on the runtime that the caller is in.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn on_current_runtime() -> Self {
        Self {
            runtime: Handle::current(),
            tracker: TaskTracker::new(),
        }
    }

    /// Starts a task, on the budget of the request that starts it.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tracker.spawn_on(same_budget(future), &self.runtime)
    }

    /// Starts a task that no request waits for.
    pub fn spawn_apart<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tracker.spawn_on(future, &self.runtime)
    }

    /// How many tasks there are on the runtime, of whatever kind.
    pub fn alive(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }

    /// Waits until every task has ended, or for `patience`. Answers whether all have.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(patience, self.tracker.wait())
            .await
            .is_ok()
    }
}
