use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::change::{Change, Clear};

/// A position in the change log of the source of truth: that of one change, or the end of all that
/// are settled. Greater is later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The position of this number, which is not zero.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// As databases count, which never count below zero here.
impl From<i64> for Position {
    fn from(number: i64) -> Self {
        Self(u64::try_from(number).unwrap_or_default())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A change that the log tells of.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Where it stands.
    pub position: Position,
    /// What it makes stale.
    pub stale: Stale,
}

/// What a change makes stale.
#[derive(Clone, Debug)]
pub enum Stale {
    /// These keys and groups.
    Change(Change),
    /// Every key that an administrator's clear is of.
    Cleared(Clear),
}

/// Every change at a position before this one's is settled; and what tells this log from another, in
/// the words of whoever keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    position: Position,
    text: Arc<str>,
}

impl Watermark {
    /// A watermark at a position, and the words that tell this log from another.
    pub fn new(position: Position, words: impl fmt::Display) -> Self {
        Self {
            position,
            text: format!("{position} {words}").into(),
        }
    }

    /// A text whose first word is the number of a position.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.split(' ').next()?.parse().ok()?;
        Some(Self {
            position: Position::new(number),
            text: text.into(),
        })
    }

    /// Every change at a lower position is settled.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What the log tells of since some place in it.
#[derive(Clone, Debug)]
pub struct LogBatch {
    /// The changes, in no order that matters.
    pub entries: Vec<LogEntry>,
    /// Every change before this was in here, or lies further back. Some after it may be in here too.
    pub until: Watermark,
}

impl LogBatch {
    /// Whether an admin's clear is among it.
    pub fn has_clear(&self) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| matches!(entry.stale, Stale::Cleared(_)))
    }
}

/// What the log says to whoever asks what came after a watermark.
#[derive(Clone, Debug)]
pub enum Replay {
    /// This did.
    Since(LogBatch),
    /// It cannot tell: the watermark is another log's, or lies too far back, or there is none.
    Unknown {
        /// Why.
        why: Arc<str>,
        /// Where the log ends now.
        end: Watermark,
    },
}

/// The log cannot be read at present.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the change log cannot be read: {0}")]
pub struct LogUnavailable(pub String);

/// What the source of truth knows of its changes, for a store that missed some.
#[async_trait]
pub trait ChangeLog: Send + Sync + 'static {
    /// Every change that a store with this watermark may not know of. `told` is the greatest position
    /// that a writer named to the store: a log that ends before it was restored to an earlier state.
    ///
    /// # Errors
    /// Where the log cannot be read at present.
    async fn replay(
        &self,
        since: Option<&Watermark>,
        told: Position,
    ) -> Result<Replay, LogUnavailable>;
}
