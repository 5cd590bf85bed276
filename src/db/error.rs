use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// Why the database did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DbError {
    /// It cannot be reached. Nothing was changed.
    #[error("the database cannot be reached: {0}")]
    Unavailable(Arc<str>),
    /// Every connection is taken, or another process holds the lock. Nothing was changed.
    #[error("the database is busy")]
    Busy,
    /// It refused for a reason that may pass: a conflict with another transaction, a timeout, a
    /// read-only server, a full disk. Nothing was changed.
    #[error("the database refused, which may pass: {0}")]
    Transient(Arc<str>),
    /// It is there, but is not what it was. Nothing was changed.
    #[error("the database is damaged: {0}")]
    Damaged(Arc<str>),
    /// It did not say whether a change was committed.
    #[error("the database did not say whether the change was committed: {0}")]
    OutcomeUnknown(Arc<str>),
    /// Somebody else has the e-mail address. Nothing was changed.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// It refused what this service should not have sent. Nothing was changed.
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
        match Cause::of(&error) {
            Cause::Lost => Self::unavailable(error),
            Cause::ReadOnly | Cause::Conflict | Cause::Unknown => {
                Self::Transient(error.to_string().into())
            }
            Cause::EmailTaken => Self::EmailTaken,
            Cause::Refused => Self::Internal(error.to_string().into()),
        }
    }
}

/// What an error says of its cause, and so of what helps. PostgreSQL's texts are in its own language
/// and tell nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The connection is gone.
    Lost,
    /// The server, or this connection, takes no writes.
    ReadOnly,
    /// Another transaction was faster.
    Conflict,
    /// Diesel has no name for it. Most of these may pass: deadlocks, timeouts, cancellations, a full
    /// disk. What does not, such as a missing table, is found by the readiness check.
    Unknown,
    /// Another account has the e-mail address.
    EmailTaken,
    /// Every other answer: the same statement fails again.
    Refused,
}

impl Cause {
    pub(super) fn of(error: &DieselError) -> Self {
        use DatabaseErrorKind as Kind;
        let DieselError::DatabaseError(kind, information) = error else {
            return match error {
                DieselError::BrokenTransactionManager => Self::Lost,
                _ => Self::Refused,
            };
        };
        match kind {
            Kind::ClosedConnection | Kind::UnableToSendCommand => Self::Lost,
            Kind::ReadOnlyTransaction => Self::ReadOnly,
            Kind::SerializationFailure => Self::Conflict,
            Kind::UniqueViolation if names_email(information.as_ref()) => Self::EmailTaken,
            Kind::UniqueViolation
            | Kind::ForeignKeyViolation
            | Kind::RestrictViolation
            | Kind::NotNullViolation
            | Kind::CheckViolation
            | Kind::ExclusionViolation => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

/// What SQLite, whose texts are compiled in, says of an error without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SqliteCause {
    /// Another connection holds the lock, and did so for as long as SQLite was to wait.
    Busy,
    /// The disk or the quota is full.
    Full,
    /// The file cannot be written.
    ReadOnly,
    /// The file is no whole database.
    Corrupt,
    /// Any other.
    Other,
}

impl SqliteCause {
    pub(super) fn of(error: &DieselError) -> Self {
        let DieselError::DatabaseError(_, information) = error else {
            return Self::Other;
        };
        let text = information.message();
        let says = |texts: &[&str]| texts.iter().any(|said| text.contains(said));
        if says(&["database is locked", "database table is locked"]) {
            Self::Busy
        } else if says(&["database or disk is full"]) {
            Self::Full
        } else if says(&["attempt to write a readonly database"]) {
            Self::ReadOnly
        } else if says(&["malformed", "file is not a database"]) {
            Self::Corrupt
        } else {
            Self::Other
        }
    }
}

/// PostgreSQL names the index, SQLite the column.
fn names_email(information: &dyn diesel::result::DatabaseErrorInformation) -> bool {
    let named = information.constraint_name().unwrap_or_default();
    named.contains("email") || information.message().contains("email_canonical")
}
