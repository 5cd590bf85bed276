use bytes::{Buf, BufMut, Bytes};

use crate::cache::clock::Timestamp;
use crate::cache::entry::Entry;

/// What an entry's bytes in Redis begin with: enough of a keyed hash that nobody finds another
/// text for it.
pub(super) const HEAD: usize = 16;

/// Authenticates entries, so that whoever can write to Redis cannot make one that is believed:
/// roles are read from the cache.
///
/// A sealed entry is the head (a keyed BLAKE3 of the key's length, the key, the stamp's length, the
/// stamp and the rest, cut to 16 bytes), the length and name of its group, its four times, whether it
/// has a value, and the value. The key's name carries the format's version and the namespace; the stamp
/// is what precedes the entry where it is stored.
pub(super) struct Sealer([u8; 32]);

/// An entry that was read back, and the group it was stored in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsealed {
    pub(super) entry: Entry,
    pub(super) group: Bytes,
}

impl Sealer {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    pub(super) fn seal(
        &self,
        key: &str,
        stamp: &[u8],
        group: Option<&str>,
        entry: &Entry,
    ) -> Vec<u8> {
        // The names of groups are short and written in this source.
        let group = group.unwrap_or_default().as_bytes();
        let value = entry.value();
        let length = value.map_or(0, Bytes::len);
        let mut sealed = Vec::with_capacity(HEAD + 1 + group.len() + 4 * 8 + 1 + length);
        sealed.put_bytes(0, HEAD);
        sealed.put_u8(group.len() as u8);
        sealed.put_slice(group);
        for time in [
            entry.stored,
            entry.refresh_from,
            entry.fresh_until,
            entry.keep_until,
        ] {
            sealed.put_u64(time.millis());
        }
        sealed.put_u8(u8::from(value.is_some()));
        sealed.put_slice(value.map_or(&[], |value| value));
        let head = self.head(key, stamp, &sealed[HEAD..]);
        sealed[..HEAD].copy_from_slice(&head);
        sealed
    }

    /// The entry, unless another party made it or put it under another key or stamp.
    pub(super) fn unseal(&self, key: &str, stamp: &[u8], mut sealed: Bytes) -> Option<Unsealed> {
        let mut head = [0; HEAD];
        sealed.try_copy_to_slice(&mut head).ok()?;
        if !is_equal(head, self.head(key, stamp, &sealed)) {
            return None;
        }
        let length = usize::from(sealed.try_get_u8().ok()?);
        if sealed.len() < length {
            return None;
        }
        let group = sealed.split_to(length);
        let mut time = || sealed.try_get_u64().ok().map(Timestamp::from_millis);
        let (stored, refresh_from) = (time()?, time()?);
        let (fresh_until, keep_until) = (time()?, time()?);
        let value = (sealed.try_get_u8().ok()? == 1).then_some(sealed);
        Some(Unsealed {
            entry: Entry {
                value,
                stored,
                refresh_from,
                fresh_until,
                keep_until,
            },
            group,
        })
    }

    fn head(&self, key: &str, stamp: &[u8], rest: &[u8]) -> [u8; HEAD] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        // The length first, so that no part of the one can pass for a part of the next.
        for part in [key.as_bytes(), stamp] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update(rest);
        let mut head = [0; HEAD];
        hasher.finalize_xof().fill(&mut head);
        head
    }
}

/// In a time that tells a forger nothing.
fn is_equal(one: [u8; HEAD], other: [u8; HEAD]) -> bool {
    let differences = one
        .iter()
        .zip(other)
        .fold(0, |so_far, (a, b)| so_far | (a ^ b));
    std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: [u8; 32] = [7; 32];
    const STAMP: &[u8] = b"1a stamp";

    fn entry() -> impl Strategy<Value = Entry> {
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
        (value, any::<[u64; 4]>()).prop_map(|(value, times)| {
            let [stored, refresh_from, fresh_until, keep_until] = times.map(Timestamp::from_millis);
            Entry {
                value: value.map(Bytes::from),
                stored,
                refresh_from,
                fresh_until,
                keep_until,
            }
        })
    }

    proptest! {
        #[test]
        fn entries_come_back_as_they_went_in(
            key: String,
            stamp: Vec<u8>,
            group in proptest::option::of("[a-z:]{1,20}"),
            entry in entry(),
        ) {
            let sealer = Sealer::new(SECRET);
            let sealed = sealer.seal(&key, &stamp, group.as_deref(), &entry);
            let group = group.unwrap_or_default().into();
            let unsealed = sealer.unseal(&key, &stamp, sealed.into());
            prop_assert_eq!(unsealed, Some(Unsealed { entry, group }));
        }

        #[test]
        fn what_was_changed_anywhere_is_refused(entry in entry(), place: usize, bit in 0..8_u8) {
            let sealer = Sealer::new(SECRET);
            let mut sealed = sealer.seal("user:7", STAMP, None, &entry);
            let place = place % sealed.len();
            sealed[place] ^= 1 << bit;
            prop_assert_eq!(sealer.unseal("user:7", STAMP, sealed.into()), None);
        }

        #[test]
        fn what_was_cut_or_grown_is_refused(entry in entry(), by in 1..40_usize) {
            let sealer = Sealer::new(SECRET);
            let sealed = sealer.seal("user:7", STAMP, None, &entry);
            let cut = Bytes::from(sealed.clone()).slice(..sealed.len().saturating_sub(by));
            prop_assert_eq!(sealer.unseal("user:7", STAMP, cut), None);
            let grown = [sealed, vec![0; by]].concat();
            prop_assert_eq!(sealer.unseal("user:7", STAMP, grown.into()), None);
        }

        #[test]
        fn an_entry_of_another_key_stamp_or_secret_is_refused(
            entry in entry(),
            own: String,
            other: String,
        ) {
            prop_assume!(own != other);
            let sealer = Sealer::new(SECRET);
            let sealed = Bytes::from(sealer.seal(&own, own.as_bytes(), None, &entry));
            prop_assert_eq!(sealer.unseal(&other, own.as_bytes(), sealed.clone()), None);
            prop_assert_eq!(sealer.unseal(&own, other.as_bytes(), sealed.clone()), None);
            prop_assert_eq!(Sealer::new([8; 32]).unseal(&own, own.as_bytes(), sealed), None);
        }

        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Sealer::new(SECRET).unseal("user:7", STAMP, bytes.into()), None);
        }
    }
}
