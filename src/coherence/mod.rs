//! What keeps the copies true: it follows the database's change log, and applies to the cache what
//! others have changed, or what died before it could say so; and it compares the copies with the
//! database, to be told if all this should ever fail.

mod log;
mod observer;
mod tailer;
mod trim;

pub use log::Log;
pub use observer::{NameVersion, Observer, ObserverStats, Told, Truth};
pub use tailer::{Follow, Tailer, TailerStats};
pub use trim::keep_trimmed;

use crate::cache::Stale;
use crate::db::Changed;

/// Which copies a change makes stale; `None` if nobody can tell. The services know.
pub type MadeStale = fn(&Changed) -> Option<Stale>;

/// What those who keep the copies true have to say. Clones share it.
#[derive(Clone, Debug)]
pub struct Coherence {
    /// How the log is followed.
    pub tailed: TailerStats,
    /// What the observer has found.
    pub observed: ObserverStats,
}
