use crate::cache::{Position, Written};
use crate::db::Committed;

/// What a write has committed, for the cache to be told of.
pub(super) fn written<T>(committed: Committed<T>) -> Written<Committed<T>> {
    let position = position(committed.position);
    Written::new(committed).at(position)
}

/// A position of the database's as the cache counts them.
pub(super) fn position(number: i64) -> Position {
    Position::new(u64::try_from(number).unwrap_or_default())
}
