//! What is stored under a key.

use alacena::cache::{Entry, EntryTimes, Key, Timestamp};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The marks that an item was made under: the namespace's, and its group's or none.
pub(crate) type Stamp = [u8; 32];

/// The state of a key: which tickets are good, and an entry if there is one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    /// Drawn at random when the item was made. A ticket is good while this is what it says.
    pub(crate) epoch: u128,
    /// If these are not the present marks, all of this is from before a void of the group.
    pub(crate) stamp: Stamp,
    /// Of the ticket that the entry was stored under.
    pub(crate) order: u64,
    /// The key's name, for whoever looks for names that match.
    pub(crate) name: String,
    /// Its group's name, for whoever has the key's name alone; empty for none.
    pub(crate) group: String,
    pub(crate) entry: Option<Entry>,
}

/// Whoever can write to the memcached cannot make an item: it begins with this many bytes of a keyed
/// hash over where it is stored and what it says.
const SEAL: usize = 16;

/// Seals and unseals items.
pub(crate) struct Sealer([u8; 32]);

impl Sealer {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    pub(crate) fn seal(&self, stored_as: &str, item: &Item) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        bytes.put_u128(item.epoch);
        bytes.put_slice(&item.stamp);
        bytes.put_u64(item.order);
        for text in [&item.name, &item.group] {
            bytes.put_u64(text.len() as u64);
            bytes.put_slice(text.as_bytes());
        }
        if let Some(entry) = &item.entry {
            let times = entry.times();
            for time in [
                times.stored,
                times.refresh_from,
                times.fresh_until,
                times.keep_until,
            ] {
                bytes.put_u64(time.millis());
            }
            bytes.put_u8(u8::from(entry.value().is_some()));
            bytes.put_slice(entry.value().map_or(&[], |value| value));
        }
        let mut sealed = self.hash(stored_as, &bytes).to_vec();
        sealed.extend_from_slice(&bytes);
        sealed
    }

    /// The item, unless this is none that was sealed for this place.
    pub(crate) fn unseal(&self, stored_as: &str, sealed: &Bytes) -> Option<Item> {
        let mut bytes = sealed.clone();
        let seal = bytes.split_to_checked(SEAL)?;
        // Compared in constant time.
        let expected = blake3::Hash::from_bytes(padded(&self.hash(stored_as, &bytes)));
        if expected != blake3::Hash::from_bytes(padded(&seal)) {
            return None;
        }
        let epoch = bytes.try_get_u128().ok()?;
        let stamp = bytes.split_to_checked(32)?.as_ref().try_into().ok()?;
        let order = bytes.try_get_u64().ok()?;
        let mut text = || {
            let length = usize::try_from(bytes.try_get_u64().ok()?).ok()?;
            String::from_utf8(bytes.split_to_checked(length)?.to_vec()).ok()
        };
        let (name, group) = (text()?, text()?);
        let entry = if bytes.is_empty() {
            None
        } else {
            let mut time = || bytes.try_get_u64().ok().map(Timestamp::from_millis);
            let times = EntryTimes {
                stored: time()?,
                refresh_from: time()?,
                fresh_until: time()?,
                keep_until: time()?,
            };
            let has_value = bytes.try_get_u8().ok()? == 1;
            Some(Entry::restored(has_value.then_some(bytes), times))
        };
        Some(Item {
            epoch,
            stamp,
            order,
            name,
            group,
            entry,
        })
    }

    fn hash(&self, stored_as: &str, bytes: &[u8]) -> [u8; SEAL] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher
            .update(stored_as.as_bytes())
            .update(b"\n")
            .update(bytes);
        let mut seal = [0; SEAL];
        hasher.finalize_xof().fill(&mut seal);
        seal
    }
}

fn padded(seal: &[u8]) -> [u8; 32] {
    let mut padded = [0; 32];
    padded[..seal.len()].copy_from_slice(seal);
    padded
}

trait SplitChecked: Sized {
    fn split_to_checked(&mut self, at: usize) -> Option<Self>;
}

impl SplitChecked for Bytes {
    fn split_to_checked(&mut self, at: usize) -> Option<Self> {
        (at <= self.len()).then(|| self.split_to(at))
    }
}

/// How things are called in the memcached: names of limited length, without blanks, and without what
/// its list of names escapes.
pub(crate) struct Names(pub(crate) String);

impl Names {
    pub(crate) fn item(&self, key: &Key) -> String {
        self.of("item", key.name())
    }

    pub(crate) fn is_item(&self, name: &str) -> bool {
        name.strip_prefix(&self.0)
            .is_some_and(|rest| rest.starts_with(".item."))
    }

    pub(crate) fn token(&self) -> String {
        format!("{}.token", self.0)
    }

    pub(crate) fn tickets(&self) -> String {
        format!("{}.tickets", self.0)
    }

    pub(crate) fn group(&self, group: &str) -> String {
        self.of("group", group)
    }

    pub(crate) fn counter(&self, counter: &str) -> String {
        self.of("count", counter)
    }

    /// The note that `what`, an item or a group, was voided for the change at this position.
    pub(crate) fn voided(&self, position: u64, what: &str) -> String {
        self.of("voided", &format!("{position} {what}"))
    }

    fn of(&self, kind: &str, text: &str) -> String {
        format!(
            "{}.{kind}.{}",
            self.0,
            blake3::hash(text.as_bytes()).to_hex()
        )
    }
}
