use bytes::Bytes;

use crate::domain::Role;

/// Who is calling, as of this request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub id: i64,
    /// What they may do.
    pub role: Role,
    /// Their address in its canonical form.
    pub email: Bytes,
}
