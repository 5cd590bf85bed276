use std::time::Duration;

use crate::auth::HashError;
use crate::cache::SourceError;
use crate::db::{DbError, Modified};

/// Why the service did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("there is no such {0}")]
    Absent(&'static str),
    /// The thing is not of the version that the request expects.
    #[error("the {0} is of another version than If-Match names")]
    Changed(&'static str),
    /// Somebody else has the e-mail address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// The change would leave no active administrator.
    #[error("the last active administrator can be neither deleted, demoted nor deactivated")]
    LastAdministrator,
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// E-mail or password are not right, or the user is not active.
    #[error("the e-mail address or the password is not right")]
    WrongCredentials,
    /// The token is missing, void, or its user may do nothing any more.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// There were too many attempts.
    #[error("too many failed attempts; try again later")]
    Throttled {
        /// When to try again.
        retry_after: Duration,
    },
    /// There is too much to do at present.
    #[error("the service has too much to do")]
    Overloaded,
    /// The database did not answer.
    #[error(transparent)]
    Database(DbError),
    /// It is our fault.
    #[error("{0}")]
    Internal(String),
}

impl From<DbError> for Error {
    fn from(error: DbError) -> Self {
        match error {
            DbError::EmailTaken => Self::EmailTaken,
            other => Self::Database(other),
        }
    }
}

impl From<HashError> for Error {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Overloaded => Self::Overloaded,
            HashError::Failed(why) => Self::Internal(why),
        }
    }
}

impl SourceError for Error {
    fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Database(
                DbError::Unavailable(_)
                    | DbError::Busy
                    | DbError::Transient(_)
                    | DbError::Damaged(_)
            )
        )
    }

    fn may_have_committed(&self) -> bool {
        // What is not certain to have changed nothing: voiding too much is safe.
        match self {
            Self::Database(error) => matches!(error, DbError::OutcomeUnknown(_)),
            Self::Internal(_) => true,
            _ => false,
        }
    }

    fn interrupted() -> Self {
        Self::Internal("the work ended without an answer".into())
    }

    fn unanswered(patience: Duration) -> Self {
        let why = format!("no answer within {patience:?}");
        log::error!(
            "outcome of a write unknown reason=\"{why}\" effect=\"answered 503; it goes on\""
        );
        Self::Database(DbError::OutcomeUnknown(why.into()))
    }
}

/// The value of a change to the row of a `what`, or why it was not made.
pub(super) fn made<T>(what: &'static str, modified: Modified<T>) -> Result<T, Error> {
    match modified {
        Modified::Done(value) => Ok(value),
        Modified::Absent => Err(Error::Absent(what)),
        Modified::Unexpected => Err(Error::Changed(what)),
        Modified::LastAdministrator => Err(Error::LastAdministrator),
    }
}
