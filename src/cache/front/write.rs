//! Writes, each followed by its void.

use std::time::Duration;

use super::Cache;
use crate::cache::backend::{Ticket, Voided};
use crate::cache::change::{Change, Written};
use crate::cache::entry::Entry;
use crate::cache::source::SourceError;
use crate::cache::stats::increment;

impl Cache {
    /// Writes to the source of truth and makes what it changed stale, in a task that nobody can
    /// cancel: once `work` has committed, its void follows, even if the caller is gone.
    ///
    /// The writer's ticket is taken before `work` begins; the void comes after its commit and
    /// before this answers. What [`Written::through`] hands on is stored only if no other void
    /// came between.
    ///
    /// # Errors
    /// What `work` answers. If it may have committed all the same, its void was sent too.
    pub async fn write<T, E>(
        &self,
        change: Change,
        work: impl Future<Output = Result<Written<T>, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: SourceError,
    {
        let cache = self.clone();
        let task = self
            .tasks
            .spawn(async move { cache.write_and_void(change, work).await });
        task.await.unwrap_or_else(|_| Err(E::interrupted()))
    }

    /// [`write`](Self::write), and waits for it no longer than `patience`. The write itself goes on.
    ///
    /// # Errors
    /// What `work` answers, or [`SourceError::unanswered`].
    pub async fn write_within<T, E>(
        &self,
        patience: Duration,
        change: Change,
        work: impl Future<Output = Result<Written<T>, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: SourceError,
    {
        let write = tokio::time::timeout(patience, self.write(change, work));
        write.await.unwrap_or_else(|_| Err(E::unanswered(patience)))
    }

    async fn write_and_void<T, E: SourceError>(
        &self,
        mut change: Change,
        work: impl Future<Output = Result<Written<T>, E>>,
    ) -> Result<T, E> {
        let unfinished = DistrustOnDrop(self);
        let ticket = match change.written() {
            Some(key) => self.backend.ticket(key).await,
            None => None,
        };
        let result = match work.await {
            Ok(Written {
                result,
                also,
                through,
                position,
            }) => {
                change.extend(also);
                let change = change.committed(position);
                let through = ticket.zip(through).map(|(ticket, (value, policy))| {
                    (ticket, policy.entry(value, self.clock.now()))
                });
                self.void(&change, through).await;
                Ok(result)
            }
            Err(error) if error.may_have_committed() => {
                // A commit whose outcome is unknown voids too (rule 3 of the idea).
                self.void(&change, None).await;
                if change.written().is_none() {
                    self.distrust("a write of unknown outcome may have made something new");
                }
                Err(error)
            }
            Err(error) => Err(error),
        };
        std::mem::forget(unfinished);
        result
    }

    async fn void(&self, change: &Change, through: Option<(Ticket, Entry)>) {
        log::debug!("void {change}");
        increment(&self.counts.voids);
        if self.backend.void(change, through).await == Voided::Unconfirmed {
            increment(&self.counts.voids_unconfirmed);
        }
    }
}

/// Distrusts everything if a write ends without its void, by a panic or by the runtime's end: it
/// may have committed, and nobody knows what.
struct DistrustOnDrop<'a>(&'a Cache);

impl Drop for DistrustOnDrop<'_> {
    fn drop(&mut self) {
        self.0
            .distrust("a write ended before it could void what it changed");
    }
}
