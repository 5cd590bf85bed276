use crate::cache::{Position, Written};
use crate::db::Committed;

/// What a write has committed, for the cache to be told of.
pub(super) fn written<T>(committed: Committed<T>) -> Written<Committed<T>> {
    let position = Position::from(committed.position);
    Written::new(committed).at(position)
}
