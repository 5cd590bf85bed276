use std::fmt;
use std::hash::{Hash, Hasher};

use compact_str::CompactString;

/// Names a set of keys that go stale together, such as every page of a list.
///
/// Voiding a group is one operation however many keys it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group(&'static str);

impl Group {
    /// A group with this name.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The group's name.
    pub const fn name(&self) -> &'static str {
        self.0
    }
}

/// What keys are counted as that have no kind, or whose kind finds no place of its own.
pub(super) const OTHER: &str = "other";

/// Names one cached value, for example `user:7`. A key belongs to at most one [`Group`], which
/// must follow from its name: two keys of the same name are the same key.
///
/// Short names are kept inline, so that making the key of a row allocates nothing.
#[derive(Clone)]
pub struct Key {
    name: CompactString,
    /// How much of the name its kind is; nothing where it has none.
    kind: u32,
    group: Option<Group>,
}

impl Key {
    /// The key `kind:id`.
    pub fn of_id(kind: &str, id: i64) -> Self {
        let mut digits = itoa::Buffer::new();
        Self::of_text(kind, digits.format(id))
    }

    /// The key `kind:text`. The text may hold anything, colons and newlines too.
    pub fn of_text(kind: &str, text: &str) -> Self {
        let mut name = CompactString::with_capacity(kind.len() + 1 + text.len());
        name.push_str(kind);
        name.push(':');
        name.push_str(text);
        Self::of_kind(kind.len(), name)
    }

    /// The key of this name, exactly. Its kind is what stands before the first colon; without one it
    /// has none, since the name may be all that tells it from others, as an e-mail address.
    pub fn named(name: &str) -> Self {
        let kind = name.find(':').unwrap_or_default();
        Self::of_kind(kind, CompactString::new(name))
    }

    /// The key of this name, whose kind is so much of it.
    pub(super) fn of_kind(length: usize, name: CompactString) -> Self {
        Self {
            // A name that long has no kind worth telling.
            kind: u32::try_from(length).unwrap_or_default(),
            name,
            group: None,
        }
    }

    /// The same key as a member of `group`.
    pub fn in_group(self, group: Group) -> Self {
        Self {
            group: Some(group),
            ..self
        }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kind of thing it names, as `user` or `users:list`, or else `other`: reads are counted by
    /// it. It is no part of what tells keys apart.
    pub fn kind(&self) -> &str {
        match self.name.get(..self.kind as usize) {
            None | Some("") => OTHER,
            Some(kind) => kind,
        }
    }

    /// The group it belongs to.
    pub fn group(&self) -> Option<Group> {
        self.group
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The name as logs may have it: e-mail addresses stay out of them.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((before, _)) = self.name.split_once('@') else {
            return f.write_str(&self.name);
        };
        let kind = before.rfind(':').map_or("", |colon| &before[..=colon]);
        write!(f, "{kind}…")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_knows_its_kind() {
        assert_eq!(Key::of_id("user", 7).kind(), "user");
        assert_eq!(Key::of_text("user:email", "a:b").kind(), "user:email");
        assert_eq!(Key::named("users:list:0:100").kind(), "users");
        for without in ["ana@example.com", ":7", ""] {
            assert_eq!(Key::named(without).kind(), OTHER, "{without}");
        }
        let in_group = Key::of_text("users:list", "0:100").in_group(Group::new("users:list"));
        assert_eq!(in_group.kind(), "users:list");
        assert_eq!(
            in_group,
            Key::named("users:list:0:100"),
            "kinds tell no keys apart"
        );
    }

    #[test]
    fn logs_have_no_addresses() {
        let logged = |name: &str| Key::named(name).to_string();
        assert_eq!(logged("user:7"), "user:7");
        assert_eq!(logged("user:email:ana@example.com"), "user:email:…");
        assert_eq!(logged("mail:to=ana@example.com:day=7"), "mail:…");
        assert_eq!(logged("ana@example.com"), "…");
    }
}
