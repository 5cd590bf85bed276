//! Who somebody is: password hashes and tokens.

mod password;
mod token;

pub use password::{HashError, PasswordHasher};
pub use token::{Claims, TokenError, Tokens};
