use std::fmt;

use bytes::Bytes;

use super::cached::Cacheable;
use super::key::{Group, Key};
use super::log::Position;
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
