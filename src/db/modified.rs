use chrono::{NaiveDateTime, SubsecRound, Utc};

use super::error::DbError;

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modified<T> {
    /// It was made.
    Done(T),
    /// There is no such row.
    Absent,
    /// The row is not as the change expects it. Nothing was changed.
    Unexpected,
    /// The change would leave no active administrator. Nothing was changed.
    LastAdministrator,
}

/// What was committed, and where in the change log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    /// What it is.
    pub value: T,
    /// The position of its change. Whoever has followed the log past it knows of it.
    pub position: i64,
}

impl<T> Committed<T> {
    /// The same with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Committed<U> {
        Committed {
            value: f(self.value),
            position: self.position,
        }
    }
}

/// What a change expects of the row as it is.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// One of these revisions.
    pub revisions: Option<Vec<i64>>,
    /// This token nonce.
    pub token_nonce: Option<i64>,
}

impl Expected {
    /// Whether a change needs to look at the row first.
    pub(super) fn expects_nothing(&self) -> bool {
        self.revisions.is_none() && self.token_nonce.is_none()
    }

    /// Whether a row of this revision is as expected.
    pub(super) fn accepts_revision(&self, revision: i64) -> bool {
        self.revisions
            .as_ref()
            .is_none_or(|revisions| revisions.contains(&revision))
    }

    /// Whether an account with this token nonce is as expected.
    pub(super) fn accepts_token_nonce(&self, nonce: i64) -> bool {
        self.token_nonce.is_none_or(|expected| expected == nonce)
    }
}

/// A revision or a token nonce that no row has had before. Random, because a counter comes again in a
/// restored database.
pub(super) fn draw() -> i64 {
    // 0 stands for a value that is missing.
    fastrand::i64(1..)
}

impl<T> Modified<T> {
    /// The value of a change that expects nothing of any row.
    pub(super) fn done(self) -> Result<T, DbError> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Absent | Self::Unexpected | Self::LastAdministrator => {
                Err(DbError::Internal("nothing was written".into()))
            }
        }
    }
}

/// The present time, as precisely as both databases keep it.
pub(super) fn now() -> NaiveDateTime {
    Utc::now().naive_utc().trunc_subsecs(6)
}
