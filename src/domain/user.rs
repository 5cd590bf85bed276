use chrono::{DateTime, Utc};
use serde::Serialize;

use super::email::Email;
use super::role::Role;
use super::text::FullName;

/// A user as everybody may see them. What proves who they are is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct User {
    /// Never given to anybody else.
    #[schema(example = 7)]
    pub id: i64,
    /// The address as it was written.
    #[schema(example = "ana@example.com")]
    pub email: String,
    /// The user's name.
    #[schema(example = "Ana López")]
    pub full_name: String,
    /// What they may do.
    pub role: Role,
    /// Whether they may do anything at all.
    #[schema(example = true)]
    pub is_active: bool,
    /// When they were made.
    pub created_at: DateTime<Utc>,
    /// When they were last changed.
    pub updated_at: DateTime<Utc>,
    /// One higher with each change.
    #[schema(example = 1)]
    pub version: i64,
    /// What a token of this user must carry. Random, and drawn anew by each revocation.
    #[serde(skip)]
    pub token_nonce: i64,
    /// Names this state of the user. Random, and drawn anew by each change.
    #[serde(skip)]
    pub revision: i64,
}

/// What a password is checked against. Never cached.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The account, if there is one.
    pub account: Option<Credentials>,
    /// Each cost that a password hash in the database has.
    pub costs: Vec<String>,
}

/// What a login checks. Never cached.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Whose they are.
    pub user_id: i64,
    /// The password's hash, in PHC string format.
    pub password_hash: String,
    /// Whether the user may do anything at all.
    pub is_active: bool,
    /// What a new token must carry.
    pub token_nonce: i64,
}

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser<Secret> {
    /// The address, nobody else's.
    pub email: Email,
    /// The name.
    pub full_name: FullName,
    /// The password, or its hash.
    pub password: Secret,
    /// What they may do.
    pub role: Role,
    /// Whether they may do anything at all.
    pub is_active: bool,
}

/// What is to change of a user; `None` leaves it as it is.
#[derive(Clone, Debug)]
pub struct UserChange<Secret> {
    /// The address, nobody else's.
    pub email: Option<Email>,
    /// The name.
    pub full_name: Option<FullName>,
    /// The password, or its hash. A new one revokes every older token.
    pub password: Option<Secret>,
    /// What they may do.
    pub role: Option<Role>,
    /// Whether they may do anything at all.
    pub is_active: Option<bool>,
}

impl<Secret> UserChange<Secret> {
    /// The change that leaves everything as it is.
    pub fn nothing() -> Self {
        Self {
            email: None,
            full_name: None,
            password: None,
            role: None,
            is_active: None,
        }
    }

    /// The same change with the password put otherwise, as its hash for example.
    pub fn with_password<Other>(self, password: Option<Other>) -> UserChange<Other> {
        let Self {
            email,
            full_name,
            password: _,
            role,
            is_active,
        } = self;
        UserChange {
            email,
            full_name,
            password,
            role,
            is_active,
        }
    }
}
