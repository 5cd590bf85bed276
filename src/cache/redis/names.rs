use crate::cache::change::Change;
use crate::cache::key::{Group, Key};

/// The version of everything that is stored: names, stamps, leases, sealed entries. Part of every
/// name, so that a new release never reads what an old one wrote.
const FORMAT: u8 = 3;

/// What things are called in Redis. Everything begins with the namespace, and nothing else does; then
/// comes the change log's name, so that what was copied out of one database does not pass
/// for what is in another.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    token: String,
    watermark: String,
    voided: String,
    epochs: String,
}

impl Names {
    pub(super) fn new(namespace: &str, log: &str) -> Self {
        let prefix = format!("{namespace}:{FORMAT}:{log}:");
        Self {
            token: format!("{prefix}token"),
            watermark: format!("{prefix}watermark"),
            voided: format!("{prefix}voided"),
            epochs: format!("{prefix}sequences"),
            prefix,
        }
    }

    /// The mark that is part of every entry's stamp: changing it drops them all.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Up to where in the change log everything is voided in this Redis.
    pub(super) fn watermark(&self) -> &str {
        &self.watermark
    }

    /// Which changes after the watermark are voided in this Redis too.
    pub(super) fn voided(&self) -> &str {
        &self.voided
    }

    /// The connection epochs that have a sequence number, by when they were last in use.
    pub(super) fn epochs(&self) -> &str {
        &self.epochs
    }

    /// How many invalidations were acknowledged to a connection epoch.
    pub(super) fn sequence(&self, epoch: &str) -> String {
        self.name("sequence:", epoch)
    }

    /// What a clear is noted as.
    pub(super) fn clear(&self, id: i64) -> String {
        self.name("clear:", &id.to_string())
    }

    /// The mark that is part of the stamp of every entry of a group.
    pub(super) fn group(&self, group: &str) -> String {
        self.name("group:", group)
    }

    pub(super) fn entry(&self, key: &Key) -> String {
        self.name("entry:", key.name())
    }

    pub(super) fn lease(&self, key: &Key) -> String {
        self.name("lease:", key.name())
    }

    /// What is stored of a key.
    pub(super) fn of_key(&self, key: &Key) -> [String; 2] {
        [self.lease(key), self.entry(key)]
    }

    /// What goes with a change: of its keys, and the marks of its groups.
    pub(super) fn of_change(&self, change: &Change) -> impl Iterator<Item = String> {
        let keys = change.keys().flat_map(|key| self.of_key(key));
        let groups = change.groups().iter();
        keys.chain(groups.map(|group| self.group(group.name())))
    }

    pub(super) fn counter(&self, counter: &str) -> String {
        self.name("count:", counter)
    }

    /// The marks that make up the stamp of a key's entry.
    pub(super) fn marks(&self, group: Option<Group>) -> impl Iterator<Item = String> {
        let group = group.map(|group| self.group(group.name()));
        std::iter::once(self.token.clone()).chain(group)
    }

    /// What matches every entry and lease, and what is no one else's: a namespace has no glob
    /// characters.
    pub(super) fn every_key(&self) -> String {
        format!("{}[el]*", self.prefix)
    }

    /// The key of an entry.
    pub(super) fn key_of_entry(&self, name: &[u8]) -> Option<Key> {
        self.key_of("entry:", name)
    }

    /// The key that an entry or a lease belongs to.
    pub(super) fn key_of_either(&self, name: &[u8]) -> Option<Key> {
        self.key_of_entry(name)
            .or_else(|| self.key_of("lease:", name))
    }

    fn key_of(&self, kind: &str, name: &[u8]) -> Option<Key> {
        let name = std::str::from_utf8(name).ok()?.strip_prefix(&self.prefix)?;
        name.strip_prefix(kind).map(Key::named)
    }

    fn name(&self, kind: &str, rest: &str) -> String {
        [&self.prefix, kind, rest].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_told_apart_and_lead_back_to_their_key(one: String, other: String) {
            let names = Names::new("alacena", "log");
            let (key, another) = (Key::named(&one), Key::named(&other));
            prop_assert_eq!(names.entry(&key) == names.entry(&another), one == other);
            prop_assert_ne!(names.entry(&key), names.lease(&another));
            prop_assert_ne!(names.entry(&key), names.counter(&other));
            prop_assert_ne!(names.lease(&key), names.group(&other));
            for name in [names.entry(&key), names.lease(&key)] {
                prop_assert_eq!(names.key_of_either(name.as_bytes()), Some(key.clone()));
            }
            let others = [names.token(), names.watermark(), names.voided(), names.epochs()];
            let others = others.map(str::to_owned).into_iter();
            let named = [names.counter(&one), names.group(&one), names.sequence(&one)];
            for name in others.chain(named) {
                prop_assert_eq!(names.key_of_either(name.as_bytes()), None);
            }
        }

        #[test]
        fn what_another_application_stores_is_none_of_ours(name: Vec<u8>) {
            let ours = ["entry", "lease"]
                .iter()
                .any(|kind| name.starts_with(format!("alacena:3:log:{kind}:").as_bytes()));
            prop_assert_eq!(Names::new("alacena", "log").key_of_either(&name).is_some(), ours);
        }
    }
}
