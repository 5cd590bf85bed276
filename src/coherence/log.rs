use async_trait::async_trait;

use super::MadeStale;
use crate::cache::{ChangeLog, LogBatch, LogEntry, LogUnavailable, Position, Replay, Watermark};
use crate::db::{Database, Place, Since, Tail};

/// The database's change log, as a store reads it that missed some of it.
#[derive(Clone)]
pub struct Log {
    database: Database,
    made_stale: MadeStale,
}

impl Log {
    /// The log of this database.
    pub fn new(database: Database, made_stale: MadeStale) -> Self {
        Self {
            database,
            made_stale,
        }
    }
}

#[async_trait]
impl ChangeLog for Log {
    async fn replay(
        &self,
        since: Option<&Watermark>,
        told: Position,
    ) -> Result<Replay, LogUnavailable> {
        let place = since.and_then(|watermark| watermark.text().parse().ok());
        let told = i64::try_from(told.number()).unwrap_or(i64::MAX);
        let since = self.database.changes_since(place, told).await;
        let replay = match since.map_err(|error| LogUnavailable(error.to_string()))? {
            Since::Tail(tail) => match batch(&tail, self.made_stale) {
                Some(batch) => Replay::Since(batch),
                None => Replay::Unknown {
                    why: EVERYTHING.into(),
                    end: watermark(&tail.place),
                },
            },
            Since::Unknown { why, end } => Replay::Unknown {
                why: why.into(),
                end: watermark(&end),
            },
        };
        Ok(replay)
    }
}

/// What to say where [`batch`] answers nothing.
pub(super) const EVERYTHING: &str = "a table was emptied, or changed in a way unknown here";

/// What has changed, as the cache takes it; `None` if that may be everything.
pub(super) fn batch(tail: &Tail, made_stale: MadeStale) -> Option<LogBatch> {
    let entries = tail.changes.iter().map(|logged| {
        Some(LogEntry {
            position: Position::from(logged.position),
            stale: made_stale(&logged.changed)?,
        })
    });
    Some(LogBatch {
        entries: entries.collect::<Option<_>>()?,
        until: watermark(&tail.place),
    })
}

/// A place as a store keeps it.
fn watermark(place: &Place) -> Watermark {
    Watermark::new(Position::from(place.horizon()), place.witness())
}
