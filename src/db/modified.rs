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
    /// One of these versions.
    pub versions: Option<Vec<i64>>,
    /// This token version.
    pub token_version: Option<i64>,
}

impl Expected {
    /// Whether a row of this version is as expected.
    pub(super) fn accepts_version(&self, version: i64) -> bool {
        self.versions
            .as_ref()
            .is_none_or(|versions| versions.contains(&version))
    }
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
