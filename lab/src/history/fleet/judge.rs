//! One register: its writes, ordered so that a read is judged by a few binary searches.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::time::Duration;

use super::{Instance, Moment, Outcome, Position, Read, Staleness, Verdict, Write};

/// Nobody wrote such a value.
pub(super) struct Unknown;

/// The writes of a register.
pub(super) struct Register<V> {
    writes: Vec<Write<V>>,
    by_value: HashMap<V, usize>,
    /// When a write is known to have happened, if it is.
    known: Vec<Option<Moment>>,
    /// The known ones of all instances, and of each.
    all: Successors,
    instances: Vec<(Instance, Successors)>,
}

impl<V: Copy + Eq + Hash> Register<V> {
    /// Fails with a value that was written twice.
    pub(super) fn new(writes: Vec<Write<V>>) -> Result<Self, V> {
        let mut by_value = HashMap::with_capacity(writes.len());
        for (index, write) in writes.iter().enumerate() {
            match by_value.entry(write.value) {
                Entry::Vacant(free) => free.insert(index),
                Entry::Occupied(_) => return Err(write.value),
            };
        }
        let known = |write: &Write<V>| match write.outcome {
            Outcome::Initial | Outcome::Acknowledged(_) => Some(write.ended),
            Outcome::Unknown => None,
        };
        Ok(Self {
            known: writes.iter().map(known).collect(),
            writes,
            by_value,
            all: Successors::default(),
            instances: Vec::new(),
        })
    }

    /// A read returned something: whoever wrote it, it has happened.
    pub(super) fn witness(&mut self, read: &Read<V>) {
        let Some(&index) = self.by_value.get(&read.value) else {
            return;
        };
        let write = &self.writes[index];
        // A value that came before its write was sent is a fault, and proves nothing.
        if write.outcome == Outcome::Unknown && read.ended >= write.began {
            let seen = read.ended.max(write.ended);
            let known = &mut self.known[index];
            *known = Some(known.map_or(seen, |known| known.min(seen)));
        }
    }

    /// All reads have been witnessed.
    pub(super) fn complete(&mut self) {
        let known = || {
            let writes = self.writes.iter().zip(&self.known);
            // What was there from the start replaces nothing.
            let later = writes.filter(|(write, _)| write.outcome != Outcome::Initial);
            later.filter_map(|(write, known)| Some((write, (*known)?)))
        };
        self.all = Successors::of(known());
        let mut instances: Vec<Instance> = known().map(|(write, _)| write.instance).collect();
        instances.sort_unstable();
        instances.dedup();
        let of = |instance| {
            let its_own = known().filter(|(write, _)| write.instance == instance);
            (instance, Successors::of(its_own))
        };
        self.instances = instances.into_iter().map(of).collect();
    }

    pub(super) fn judge(&self, read: &Read<V>) -> Result<Verdict, Unknown> {
        let &index = self.by_value.get(&read.value).ok_or(Unknown)?;
        if read.ended < self.writes[index].began {
            return Ok(Verdict::FromTheFuture);
        }
        let latest = self
            .elsewhere(read.instance)
            .filter_map(|writes| writes.last_known_before(read.began))
            .max();
        let mut staleness = Staleness {
            since_write_elsewhere: latest.map(|latest| read.began.since(latest)),
            ..Staleness::default()
        };
        if let Some(source) = self.known[index] {
            let first = |writes: &Successors| writes.first_known_of_those_after(source);
            staleness.same_instance = age(self.at(read.instance).and_then(first), read);
            let elsewhere = self.elsewhere(read.instance).filter_map(first).min();
            staleness.other_instance = age(elsewhere, read);
            staleness.position = read
                .position
                .and_then(|position| self.age_at(source, position, read));
        }
        Ok(Verdict::Written(staleness))
    }

    fn at(&self, instance: Instance) -> Option<&Successors> {
        let mut instances = self.instances.iter();
        instances
            .find(|(other, _)| *other == instance)
            .map(|(_, writes)| writes)
    }

    fn elsewhere(&self, instance: Instance) -> impl Iterator<Item = &Successors> {
        self.instances
            .iter()
            .filter(move |(other, _)| *other != instance)
            .map(|(_, writes)| writes)
    }

    /// How stale a read is by what stands no later in the log than `position`.
    fn age_at(&self, source: Moment, position: Position, read: &Read<V>) -> Option<Duration> {
        // Most reads are not stale at all.
        age(self.all.first_known_of_those_after(source), read)?;
        let first = self.all.after(source).filter_map(|write| {
            let is_in_time = write.position.is_some_and(|written| written <= position);
            is_in_time.then_some(write.known)
        });
        age(first.min(), read)
    }
}

fn age<V>(replaced: Option<Moment>, read: &Read<V>) -> Option<Duration> {
    replaced
        .filter(|&replaced| replaced < read.began)
        .map(|replaced| read.began.since(replaced))
}

/// Writes that are known to have happened, in the order in which they began.
#[derive(Default)]
struct Successors {
    writes: Vec<Known>,
    /// When the first of this write and all that began later was known.
    first_known: Vec<Moment>,
    /// When they were known, in that order.
    known: Vec<Moment>,
}

struct Known {
    began: Moment,
    known: Moment,
    position: Option<Position>,
}

impl Successors {
    fn of<'a, V: 'a>(writes: impl Iterator<Item = (&'a Write<V>, Moment)>) -> Self {
        let mut writes: Vec<Known> = writes
            .map(|(write, known)| Known {
                began: write.began,
                known,
                position: match write.outcome {
                    Outcome::Acknowledged(position) => Some(position),
                    Outcome::Initial | Outcome::Unknown => None,
                },
            })
            .collect();
        writes.sort_unstable_by_key(|write| write.began);
        let mut first_known: Vec<Moment> = writes.iter().map(|write| write.known).collect();
        let mut known = first_known.clone();
        known.sort_unstable();
        for later in (1..first_known.len()).rev() {
            first_known[later - 1] = first_known[later - 1].min(first_known[later]);
        }
        Self {
            writes,
            first_known,
            known,
        }
    }

    fn index_after(&self, end: Moment) -> usize {
        self.writes.partition_point(|write| write.began <= end)
    }

    /// The writes that began after `end`.
    fn after(&self, end: Moment) -> impl Iterator<Item = &Known> {
        self.writes[self.index_after(end)..].iter()
    }

    /// Of all writes that began after `end`, when the first was known.
    fn first_known_of_those_after(&self, end: Moment) -> Option<Moment> {
        self.first_known.get(self.index_after(end)).copied()
    }

    fn last_known_before(&self, moment: Moment) -> Option<Moment> {
        let before = self.known.partition_point(|&known| known < moment);
        self.known[..before].last().copied()
    }
}
