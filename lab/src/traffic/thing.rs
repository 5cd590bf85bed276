//! Registers: what has one value at a time, and is read in more than one way.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use serde::Deserialize;

use crate::history::fleet::{Read, Write};

/// A register. Values are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Thing {
    /// The name of a user, who is read by id, by e-mail and in lists.
    User(u32),
    /// The name of a product, which is read by id and in lists.
    Product(u32),
    /// Whether there is anybody of this number's address, by which they are looked for. It begins
    /// with nobody.
    Newcomer(u32),
    /// Whether the product of this id is there, by id and in lists. It begins with being absent, is
    /// made, and then removed.
    Leaver(u32),
}

/// What was read of a thing.
pub(crate) type ThingRead = Read<u32>;
/// What was written to it.
pub(crate) type ThingWrite = Write<u32>;

/// Values of newcomers and leavers.
pub(crate) const ABSENT: u32 = 0;
pub(crate) const THERE: u32 = 1;
pub(crate) const GONE: u32 = 2;

/// What is no value of ours, so nobody wrote it.
pub(crate) const FOREIGN: u32 = u32::MAX;

impl Display for Thing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(number) => write!(f, "user:{number}"),
            Self::Product(number) => write!(f, "product:{number}"),
            Self::Newcomer(number) => write!(f, "newcomer:{number}"),
            Self::Leaver(id) => write!(f, "leaver:{id}"),
        }
    }
}

/// A value as a name.
pub(crate) fn name(value: u32) -> String {
    format!("v{value}")
}

/// As much of a user or a product as the checker needs.
#[derive(Deserialize)]
pub(crate) struct Document<'a> {
    pub(crate) id: i64,
    #[serde(alias = "full_name", borrow)]
    name: Cow<'a, str>,
}

impl Document<'_> {
    /// The value that is its name.
    pub(crate) fn value(&self) -> u32 {
        let number = self.name.strip_prefix('v').map(str::parse);
        number.and_then(Result::ok).unwrap_or(FOREIGN)
    }
}
