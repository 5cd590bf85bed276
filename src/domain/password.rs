use secrecy::{ExposeSecret, SecretString};

use super::invalid::Invalid;

/// A password somebody may choose: 8 to 128 characters. Never shown.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

impl Password {
    /// The fewest characters.
    pub const MIN: usize = 8;
    /// The most characters: what is hashed is bounded.
    pub const MAX: usize = 128;

    /// Reads one. Blanks count.
    ///
    /// # Errors
    /// Says what is accepted.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if !(Self::MIN..=Self::MAX).contains(&text.chars().count()) {
            return Err(Invalid::because(format!(
                "must have from {} to {} characters",
                Self::MIN,
                Self::MAX
            )));
        }
        Ok(Self(SecretString::from(text)))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}
