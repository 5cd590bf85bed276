use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;

use super::cached_user::CachedUser;
use super::caller::Caller;
use super::error::Error;
use super::throttle::{Door, Throttle};
use super::users::Users;
use crate::auth::{Claims, PasswordHasher, TokenError, Tokens};
use crate::cache::{CacheStats, Mode, Source};
use crate::db::Database;
use crate::domain::{Checked, Credentials, Email};

/// A login's outcome.
#[derive(Debug)]
pub struct Session {
    /// The token to send with each request.
    pub token: String,
    /// How long it is good.
    pub ttl: Duration,
}

/// Logins, and the check of who is calling.
#[derive(Clone)]
pub struct Sessions {
    db: Database,
    users: Users,
    tokens: Tokens,
    hasher: PasswordHasher,
    throttle: Throttle,
}

const REVOKED: Error = Error::Unauthenticated("the token is revoked");

impl Sessions {
    pub(super) fn new(
        db: Database,
        users: &Users,
        tokens: Tokens,
        hasher: PasswordHasher,
        throttle: Throttle,
    ) -> Self {
        // Each request looks its caller up. Counted as reads, they would halve any miss rate.
        Self {
            db,
            users: users.counting_apart(),
            tokens,
            hasher,
            throttle,
        }
    }

    /// Logs in. An unknown address, a wrong password and an inactive user are told apart neither
    /// by the answer nor by the time it takes, also while `auth.argon2_*` is another than it was.
    ///
    /// # Errors
    /// [`Error::WrongCredentials`], [`Error::Throttled`], or why there is no answer.
    pub async fn login(
        &self,
        email: &str,
        password: SecretString,
        address: IpAddr,
    ) -> Result<Session, Error> {
        // Before the account is looked up: if the database is restored meanwhile, the token is refused.
        let history = self.db.history();
        let given = password.clone();
        let check = async {
            let email = Email::parse(email).ok();
            let Checked { account, costs } = self.db.credentials_by_email(email.as_ref()).await?;
            let hash = account.as_ref().map(|known| known.password_hash.clone());
            let right = self.hasher.verify(given, hash, costs).await?;
            Ok(account.filter(|known| right && known.is_active))
        };
        let known = self
            .throttle
            .guard(Door::Login(email), address, check)
            .await?;
        let known = known.ok_or(Error::WrongCredentials)?;
        let token = self.tokens.issue(known.user_id, known.token_nonce, history);
        let token = token.map_err(|error| Error::Internal(error.to_string()))?;
        self.rehash(known, password).await;
        Ok(Session {
            token,
            ttl: self.tokens.ttl(),
        })
    }

    /// Hashes the password at the configured cost. A login that cannot do so is a login all the same:
    /// the next one tries again.
    async fn rehash(&self, known: Credentials, password: SecretString) {
        let Credentials {
            user_id,
            password_hash: old,
            ..
        } = known;
        if self.hasher.has_configured_cost(&old) {
            return;
        }
        let rehashed = async {
            let new = self.hasher.hash(password).await?;
            Ok::<_, Error>(self.db.rehash(user_id, old, new).await?)
        };
        if let Err(error) = rehashed.await {
            log::warn!(
                "password not rehashed at the configured cost user={user_id} reason=\"{error}\""
            );
        }
    }

    /// How many password hashes have been computed so far.
    pub fn password_hashes(&self) -> u64 {
        self.hasher.hashes()
    }

    /// What a token says, if this service issued it in the present history of the database.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`].
    pub fn claims(&self, token: &str) -> Result<Claims, Error> {
        let claims = self.tokens.verify(token).map_err(|error| match error {
            TokenError::Expired => Error::Unauthenticated("the token has expired"),
            TokenError::Invalid => Error::Unauthenticated("the token is not valid"),
        })?;
        if claims.history == self.db.history() {
            Ok(claims)
        } else {
            Err(REVOKED)
        }
    }

    /// Who is calling, if they are at hand: the hot path.
    pub fn peek_caller(&self, claims: &Claims) -> Option<Result<Caller, Error>> {
        let hit = self.users.peek(claims.sub)?;
        if has_other_nonce(hit.value.as_ref(), claims) {
            return None;
        }
        Some(admit(claims, hit.value))
    }

    /// Who is calling.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], or why there is no answer.
    pub async fn caller(&self, claims: &Claims, mode: Mode) -> Result<Caller, Error> {
        let mut user = self.users.get(claims.sub, mode).await?;
        let is_cached = matches!(user.source, Source::Hit { .. });
        if is_cached && has_other_nonce(user.value.as_ref(), claims) {
            user = self.users.get(claims.sub, Mode::Refresh).await?;
        }
        admit(claims, user.value)
    }

    /// What the checks of callers have taken from the cache.
    pub fn stats(&self) -> CacheStats {
        self.users.stats()
    }
}

/// Whether the cached user has another nonce than the token, whose signature says that this service
/// issued it: either may be the older one. The password may have been changed on the command line.
fn has_other_nonce(cached: Option<&CachedUser>, claims: &Claims) -> bool {
    cached.is_some_and(|user| user.token_nonce != claims.nonce)
}

fn admit(claims: &Claims, user: Option<CachedUser>) -> Result<Caller, Error> {
    let user = user.ok_or(REVOKED)?;
    if !user.is_active || user.token_nonce != claims.nonce {
        return Err(REVOKED);
    }
    Ok(Caller {
        id: claims.sub,
        role: user.role,
        email: user.email,
    })
}
