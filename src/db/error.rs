use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::connection::{is_busy, is_lost};

/// Why the database did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DbError {
    /// It cannot be reached. Nothing was changed.
    #[error("the database cannot be reached: {0}")]
    Unavailable(Arc<str>),
    /// Every connection is taken, or another process holds the lock. Nothing was changed.
    #[error("the database is busy")]
    Busy,
    /// It did not say whether a change was committed.
    #[error("the database did not say whether the change was committed: {0}")]
    OutcomeUnknown(Arc<str>),
    /// Somebody else has the e-mail address. Nothing was changed.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// It answered with an error that is nobody's fault but ours. Nothing was changed.
    #[error("the database refused: {0}")]
    Internal(Arc<str>),
}

impl DbError {
    pub(super) fn unavailable(why: impl std::fmt::Display) -> Self {
        Self::Unavailable(why.to_string().into())
    }
}

impl From<DieselError> for DbError {
    fn from(error: DieselError) -> Self {
        match error {
            lost if is_lost(&lost) => Self::unavailable(lost),
            slow if is_busy(&slow) => Self::Busy,
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, information)
                if names_email(information.as_ref()) =>
            {
                Self::EmailTaken
            }
            other => Self::Internal(other.to_string().into()),
        }
    }
}

/// PostgreSQL names the index, SQLite the column.
fn names_email(information: &dyn diesel::result::DatabaseErrorInformation) -> bool {
    let named = information.constraint_name().unwrap_or_default();
    named.contains("email") || information.message().contains("email_canonical")
}
