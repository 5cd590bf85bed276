//! No read answers a value that had been replaced before the read began.

pub(crate) mod load;
mod redis_outage;
mod schedules;
mod under_load;

use std::sync::Arc;
use std::time::Duration;

use alacena::cache::MemoryBackend;
use alacena_lab::staged::{Fills, Staged};

/// The memory backend, on a stage.
pub(crate) fn staged(fills: Fills, delay: Duration) -> Arc<Staged> {
    Staged::with(Arc::new(MemoryBackend::new(64 << 20)), fills, delay)
}
