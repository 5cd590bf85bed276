use super::{products, users};
use crate::cache::{Clear, Stale};
use crate::db::Changed;

/// What a change that the log tells of makes stale; `None` if nobody can tell, so that everything may
/// be.
pub fn made_stale(changed: &Changed) -> Option<Stale> {
    match changed {
        Changed::User { id, email } => {
            Some(Stale::Change(users::made_stale(*id, email.as_deref())))
        }
        Changed::Product { id } => Some(Stale::Change(products::made_stale(*id))),
        Changed::Cleared { pattern, id } => {
            let pattern = pattern.parse().ok()?;
            Some(Stale::Cleared(Clear::logged(pattern, *id)))
        }
        Changed::Everything => None,
    }
}
