use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::document::Document;
use super::error::Error;
use crate::cache::Cacheable;
use crate::domain::{Role, User};

/// A user as the cache keeps them: the answer as it is sent, and what the check of a caller needs.
///
/// As bytes: role, activity, token nonce, length of the address, the address, the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedUser {
    /// What they may do.
    pub role: Role,
    /// Whether they may do anything at all.
    pub is_active: bool,
    /// What a token of this user must carry.
    pub token_nonce: i64,
    /// The address in its canonical form.
    pub email: Bytes,
    /// The user as everybody may see them.
    pub document: Document,
}

impl CachedUser {
    /// What the entity tags of users begin with.
    pub(super) const TAG: char = 'u';

    /// The user as the cache keeps them.
    ///
    /// # Errors
    /// Where the user cannot be serialised.
    pub fn new(user: &User) -> Result<Self, Error> {
        Ok(Self {
            role: user.role,
            is_active: user.is_active,
            token_nonce: user.token_nonce,
            email: user.email.to_ascii_lowercase().into(),
            document: Document::of_row(Self::TAG, user.revision, user)?,
        })
    }

    pub(super) fn of(user: Option<&User>) -> Result<Option<Self>, Error> {
        user.map(Self::new).transpose()
    }
}

impl Cacheable for CachedUser {
    fn to_bytes(&self) -> Bytes {
        let Document { etag, body } = &self.document;
        let length = 12 + self.email.len() + etag.len() + body.len();
        let mut bytes = BytesMut::with_capacity(length);
        bytes.put_u8(u8::from(self.role == Role::Admin));
        bytes.put_u8(u8::from(self.is_active));
        bytes.put_i64(self.token_nonce);
        // An address has at most 254 characters.
        bytes.put_u8(self.email.len() as u8);
        bytes.put_slice(&self.email);
        self.document.put(&mut bytes);
        bytes.freeze()
    }

    fn from_bytes(bytes: &Bytes) -> Option<Self> {
        let mut bytes = bytes.clone();
        let role = if bytes.try_get_u8().ok()? == 1 {
            Role::Admin
        } else {
            Role::User
        };
        let is_active = bytes.try_get_u8().ok()? == 1;
        let token_nonce = bytes.try_get_i64().ok()?;
        let length = usize::from(bytes.try_get_u8().ok()?);
        if bytes.len() < length {
            return None;
        }
        let email = bytes.split_to(length);
        let document = Document::take(bytes)?;
        Some(Self {
            role,
            is_active,
            token_nonce,
            email,
            document,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn users_come_back_as_they_went_in(
            admin: bool,
            is_active: bool,
            token_nonce: i64,
            email in "[a-z.]{1,200}@example\\.com",
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let user = CachedUser {
                role: if admin { Role::Admin } else { Role::User },
                is_active,
                token_nonce,
                email: email.into(),
                document: Document { etag: "\"u1.1\"".into(), body: body.into() },
            };
            prop_assert_eq!(CachedUser::from_bytes(&user.to_bytes()), Some(user));
        }

        #[test]
        fn any_bytes_are_a_user_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = CachedUser::from_bytes(&bytes.into());
        }
    }
}
