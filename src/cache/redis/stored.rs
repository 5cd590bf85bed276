use bytes::{Buf, Bytes};
use deadpool_redis::redis::Value;

/// How long a mark is: random, and long enough that none is ever drawn twice.
pub(super) const MARK: usize = 16;

/// What is stored under a key: a stamp, and a sealed entry.
///
/// The stamp is the number of its marks as a digit, the namespace's token, and the group's mark if
/// the key is in a group. Redis puts it there, from the lease, so that it is the one of when the
/// ticket was handed out.
pub(super) struct Stored {
    /// The whole stamp.
    pub(super) stamp: Bytes,
    token: Bytes,
    group: Option<Bytes>,
    pub(super) sealed: Bytes,
}

impl Stored {
    pub(super) fn parse(value: Value) -> Option<Self> {
        let Value::BulkString(bytes) = value else {
            return None;
        };
        let mut bytes = Bytes::from(bytes);
        let whole = bytes.clone();
        let marks = match bytes.try_get_u8().ok()? {
            b'1' => 1,
            b'2' => 2,
            _ => return None,
        };
        if bytes.len() < marks * MARK {
            return None;
        }
        Some(Self {
            stamp: whole.slice(..1 + marks * MARK),
            token: bytes.split_to(MARK),
            group: (marks == 2).then(|| bytes.split_to(MARK)),
            sealed: bytes,
        })
    }

    /// Whether it carries the present token.
    pub(super) fn is_of(&self, token: &Value) -> bool {
        is(token, &self.token)
    }

    /// Whether it carries this mark of a group, or rightly none.
    pub(super) fn is_in(&self, group: Option<&Value>) -> bool {
        match (&self.group, group) {
            (Some(stored), Some(present)) => is(present, stored),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether it is in any group.
    pub(super) fn has_group(&self) -> bool {
        self.group.is_some()
    }
}

fn is(mark: &Value, bytes: &Bytes) -> bool {
    matches!(mark, Value::BulkString(mark) if mark == bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> Value {
        Value::BulkString(bytes.to_vec())
    }

    proptest! {
        #[test]
        fn an_entry_is_live_under_its_own_marks_only(
            token: [u8; MARK],
            group: Option<[u8; MARK]>,
            other: [u8; MARK],
            sealed: Vec<u8>,
        ) {
            let digit: &[u8] = if group.is_some() { b"2" } else { b"1" };
            let group_bytes = group.map(Vec::from).unwrap_or_default();
            let stored = [digit, &token, &group_bytes, &sealed].concat();
            let stored = Stored::parse(text(&stored)).expect("it is well-formed");
            prop_assert_eq!(&stored.sealed[..], &sealed[..]);
            prop_assert_eq!(&stored.stamp[..], &[digit, &token, &group_bytes].concat());
            prop_assert!(stored.is_of(&text(&token)));
            prop_assert_eq!(stored.is_of(&text(&other)), token == other);
            prop_assert!(!stored.is_of(&Value::Nil), "a lost token drops everything");
            let mark = group.map(|group| text(&group));
            prop_assert!(stored.is_in(mark.as_ref()));
            prop_assert_eq!(stored.is_in(Some(&text(&other))), group == Some(other));
            prop_assert!(!stored.is_in(Some(&Value::Nil)), "a lost mark drops the group");
        }

        #[test]
        fn any_bytes_are_well_formed_or_nothing(bytes: Vec<u8>) {
            let _ = Stored::parse(text(&bytes));
        }
    }
}
