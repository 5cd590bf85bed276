use std::time::Duration;

use super::backend::Tier;

/// What the cache must know of the errors of the source of truth.
#[diagnostic::on_unimplemented(
    message = "the cache cannot tell what `{Self}` means",
    label = "this is no `SourceError`",
    note = "implement `alacena::cache::SourceError`, which says whether the source was away, and \
            whether a write that failed may have been made all the same"
)]
pub trait SourceError: Clone + Send + Sync + 'static {
    /// Whether the source could not be asked, so that a copy past its time may answer.
    fn is_outage(&self) -> bool;

    /// Whether the write that ended in this error may have been committed all the same.
    fn may_have_committed(&self) -> bool;

    /// The error of work that ended without an answer, as when it panicked.
    fn interrupted() -> Self;

    /// The error of a write that did not answer within `patience`. It goes on, and may yet commit.
    fn unanswered(_patience: Duration) -> Self {
        Self::interrupted()
    }
}

/// The error of work that cannot fail: it ended without an answer, as when it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work ended without an answer")]
pub struct Interrupted;

impl SourceError for Interrupted {
    fn is_outage(&self) -> bool {
        false
    }

    fn may_have_committed(&self) -> bool {
        true
    }

    fn interrupted() -> Self {
        Self
    }
}

/// Where a read's answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The cache. The TTL is in seconds, negative for an answer kept past its time because the
    /// source is away.
    Hit {
        /// The tier that had it.
        tier: Tier,
        /// What is left of its time.
        ttl: i64,
    },
    /// The source of truth.
    Loaded {
        /// Why the cache did not answer.
        reason: Forward,
        /// Whether the cache keeps it now.
        stored: bool,
        /// Whether another reader's load was shared.
        collapsed: bool,
    },
}

/// Why a read went on to the source of truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The cache had nothing.
    Miss,
    /// What the cache had was past its time.
    Stale,
    /// The request asked for it.
    Request,
    /// The cache takes no part.
    Bypass,
}

/// A read's answer.
#[derive(Clone, Debug)]
pub struct Read<T> {
    /// The value; `None` if there is none.
    pub value: Option<T>,
    /// Where it came from.
    pub source: Source,
}

impl<T> Read<T> {
    /// The answer to a read in which the cache takes no part.
    pub fn uncached(value: Option<T>) -> Self {
        Self {
            value,
            source: Source::Loaded {
                reason: Forward::Bypass,
                stored: false,
                collapsed: false,
            },
        }
    }
}

/// A value that was at hand.
pub type Hit<T> = Read<T>;
