use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::config::AuthConfig;

/// How long a password may wait for its turn to be hashed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hashes and checks passwords with argon2id, off the threads that serve HTTP, and only so many
/// at once: each takes tens of milliseconds of a core and megabytes of memory.
#[derive(Clone)]
pub struct PasswordHasher {
    argon2: Argon2<'static>,
    turns: Arc<Semaphore>,
    runtime: Handle,
    /// The hash of no password, which unknown users are checked against, so that the time a login
    /// takes does not tell whether there is such a user.
    dummy: Arc<str>,
}

/// Why a password was neither hashed nor checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Too many others are waiting.
    #[error("too many passwords are being checked at once")]
    Overloaded,
    /// The hash in the database is none, or the parameters are impossible.
    #[error("argon2: {0}")]
    Failed(String),
}

impl PasswordHasher {
    /// A hasher with the configured cost.
    ///
    /// # Errors
    /// Where argon2 refuses the cost.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new(config: &AuthConfig) -> Result<Self, HashError> {
        let memory = u32::try_from(config.argon2_memory.as_u64() / 1024).unwrap_or(u32::MAX);
        let params =
            Params::new(memory, config.argon2_iterations, 1, None).map_err(|e| failed(&e))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let turns = if config.argon2_concurrency == 0 {
            cores
        } else {
            config.argon2_concurrency
        };
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
        let dummy = argon2
            .hash_password(&nobody)
            .map_err(|e| failed(&e))?
            .to_string();
        Ok(Self {
            argon2,
            turns: Arc::new(Semaphore::new(turns)),
            runtime: Handle::current(),
            dummy: dummy.into(),
        })
    }

    /// The hash of a password, as a PHC string.
    ///
    /// # Errors
    /// [`HashError::Overloaded`] where its turn does not come in time.
    pub async fn hash(&self, password: SecretString) -> Result<String, HashError> {
        self.in_turn(move |argon2| {
            let hash = argon2.hash_password(password.expose_secret().as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|e| failed(&e))
        })
        .await
    }

    /// Whether this is the password of that hash. Without a hash the answer is no, and takes as
    /// long.
    ///
    /// # Errors
    /// [`HashError::Overloaded`] where its turn does not come in time.
    pub async fn verify(
        &self,
        password: SecretString,
        hash: Option<String>,
    ) -> Result<bool, HashError> {
        let dummy = Arc::clone(&self.dummy);
        self.in_turn(move |argon2| {
            let known = hash.is_some();
            let hash =
                PasswordHash::new(hash.as_deref().unwrap_or(&dummy)).map_err(|e| failed(&e))?;
            let right = argon2
                .verify_password(password.expose_secret().as_bytes(), &hash)
                .is_ok();
            Ok(right && known)
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(HashError::Overloaded);
        };
        let argon2 = self.argon2.clone();
        let work = self.runtime.spawn_blocking(move || {
            // Held until the work is done, even if whoever asked for it is gone.
            let _turn = turn;
            work(&argon2)
        });
        work.await.map_err(|panic| failed(&panic))?
    }
}

fn failed(error: &impl std::fmt::Display) -> HashError {
    HashError::Failed(error.to_string())
}
