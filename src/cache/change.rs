use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use super::cached::Cacheable;
use super::key::{Group, Key};
use super::log::Position;
use super::pattern::{Pattern, PatternError};
use super::policy::Policy;

/// What a write makes stale.
#[derive(Clone, Debug, Default)]
pub struct Change {
    written: Option<Key>,
    keys: Vec<Key>,
    groups: Vec<Group>,
    position: Option<Position>,
}

impl Change {
    /// A change of the value under `key`, which the write may hand through to the cache.
    pub fn of(key: Key) -> Self {
        Self {
            written: Some(key),
            ..Self::default()
        }
    }

    /// A change whose own key is not known before it is made, as when the database hands out the
    /// id of a new row. If its outcome stays unknown, everything cached is distrusted.
    pub fn of_something_new() -> Self {
        Self::default()
    }

    /// Also makes `key` stale.
    pub fn and(mut self, key: Key) -> Self {
        self.keys.push(key);
        self
    }

    /// Also makes every key of `group` stale.
    pub fn and_group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// The key whose value is written, where it is known beforehand.
    pub fn written(&self) -> Option<&Key> {
        self.written.as_ref()
    }

    /// Every key that goes stale by itself.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.written.iter().chain(&self.keys)
    }

    /// Every group that goes stale.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Where it stands in the change log, once it is committed. Whoever has voided it need not do so
    /// again when the log tells of it.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// The same change, committed at this position of the log.
    pub fn committed(self, position: Option<Position>) -> Self {
        Self { position, ..self }
    }

    pub(super) fn extend(&mut self, keys: Vec<Key>) {
        self.keys.extend(keys);
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys().map(ToString::to_string);
        let groups = self
            .groups
            .iter()
            .map(|group| format!("{}:*", group.name()));
        f.write_str(&keys.chain(groups).collect::<Vec<_>>().join(", "))
    }
}

/// An administrator's clear of what matches a pattern. An id tells it from others: a store that instances
/// share notes the clears that it has done, so that what the change log says of them is done once.
#[derive(Clone, Debug)]
pub struct Clear {
    pattern: Pattern,
    id: i64,
}

impl Clear {
    /// A clear that was not there before.
    pub fn new(pattern: Pattern) -> Self {
        Self::logged(pattern, fastrand::i64(1..))
    }

    /// The clear of this id, of which the change log tells.
    pub fn logged(pattern: Pattern, id: i64) -> Self {
        Self { pattern, id }
    }

    /// Which keys go.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// What tells it from other clears.
    pub fn id(&self) -> i64 {
        self.id
    }
}

impl FromStr for Clear {
    type Err = PatternError;

    fn from_str(pattern: &str) -> Result<Self, PatternError> {
        pattern.parse().map(Self::new)
    }
}

/// What a write has committed: its result, and what the cache should know of it.
#[derive(Debug)]
pub struct Written<T> {
    pub(super) result: T,
    pub(super) also: Vec<Key>,
    pub(super) through: Option<(Option<Bytes>, Policy)>,
    pub(super) position: Option<Position>,
}

impl<T> Written<T> {
    /// A committed write with this result.
    pub fn new(result: T) -> Self {
        Self {
            result,
            also: Vec::new(),
            through: None,
            position: None,
        }
    }

    /// It stands at this position in the change log.
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// Also makes `key` stale, which only the write itself could tell.
    pub fn and(mut self, key: Key) -> Self {
        self.also.push(key);
        self
    }

    /// Hands the new value through to the cache, under the key the change was declared of.
    pub fn through(mut self, value: &impl Cacheable, policy: Policy) -> Self {
        self.through = Some((Some(value.to_bytes()), policy));
        self
    }

    /// The same, with another result.
    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Written<U> {
        Written {
            result: to(self.result),
            also: self.also,
            through: self.through,
            position: self.position,
        }
    }

    /// Hands through that the value is gone.
    pub fn through_absence(mut self, policy: Policy) -> Self {
        self.through = Some((None, policy));
        self
    }
}
