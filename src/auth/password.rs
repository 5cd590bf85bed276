use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// The hash of no password: what is checked where there is no account.
    dummy: Arc<str>,
    hashes: Arc<AtomicU64>,
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
        let no_password: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
        let dummy = argon2
            .hash_password(&no_password)
            .map_err(|e| failed(&e))?
            .to_string();
        Ok(Self {
            argon2,
            turns: Arc::new(Semaphore::new(turns)),
            runtime: Handle::current(),
            dummy: dummy.into(),
            hashes: Arc::default(),
        })
    }

    /// How many hashes have been computed so far.
    pub fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    /// Whether a hash has the configured cost.
    pub fn has_configured_cost(&self, hash: &str) -> bool {
        cost_of(hash) == cost_of(&self.dummy)
    }

    /// The hash of a password, as a PHC string.
    ///
    /// # Errors
    /// [`HashError::Overloaded`] where its turn does not come in time.
    pub async fn hash(&self, password: SecretString) -> Result<String, HashError> {
        let hashes = Arc::clone(&self.hashes);
        self.in_turn(move |argon2| {
            hashes.fetch_add(1, Ordering::Relaxed);
            let hash = argon2.hash_password(password.expose_secret().as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|e| failed(&e))
        })
        .await
    }

    /// Whether this is the password of that hash; without a hash it is not.
    ///
    /// Computes one hash at the configured cost and at each of `costs`, which are the costs of the
    /// hashes that are present in the database. So it takes the same time with any of those hashes
    /// and without one.
    ///
    /// # Errors
    /// [`HashError::Overloaded`] where its turn does not come in time.
    pub async fn verify(
        &self,
        password: SecretString,
        hash: Option<String>,
        costs: Vec<String>,
    ) -> Result<bool, HashError> {
        let (dummy, hashes) = (Arc::clone(&self.dummy), Arc::clone(&self.hashes));
        self.in_turn(move |argon2| {
            // A hash that argon2 cannot read, written by hand, is that of no password.
            let hash = hash.filter(|hash| PasswordHash::new(hash).is_ok());
            let own = hash.as_deref().map(cost_of);
            let costs = costs.iter().map(String::as_str);
            let costs: BTreeSet<&str> = costs.chain([cost_of(&dummy)]).chain(own).collect();
            let mut is_right = false;
            for cost in costs {
                let is_own = own == Some(cost);
                let other = dummy
                    .strip_prefix(cost_of(&dummy))
                    .map(|end| format!("{cost}{end}"));
                let hash = if is_own {
                    hash.as_deref()
                } else {
                    other.as_deref()
                };
                let Some(hash) = hash.and_then(|hash| PasswordHash::new(hash).ok()) else {
                    continue;
                };
                hashes.fetch_add(1, Ordering::Relaxed);
                let verified = argon2.verify_password(password.expose_secret().as_bytes(), &hash);
                is_right |= verified.is_ok() && is_own;
            }
            Ok(is_right)
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

/// What of a PHC string comes before salt and hash: the algorithm, its version and its parameters.
fn cost_of(hash: &str) -> &str {
    let mut parts = hash.rsplitn(3, '$');
    parts.nth(2).unwrap_or_default()
}

fn failed(error: &impl std::fmt::Display) -> HashError {
    HashError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn hasher(config: &str) -> PasswordHasher {
        let config = Config::for_tests(config).expect("a configuration");
        PasswordHasher::new(&config.auth).expect("a cost that argon2 takes")
    }

    #[tokio::test]
    async fn every_check_computes_one_hash_at_each_cost() {
        let cheap = hasher("auth.argon2_iterations = 1");
        let dear = hasher("auth.argon2_iterations = 2");
        let [old, new] = [&cheap, &dear].map(|hasher| hasher.hash("right".into()));
        let (old, new) = (old.await.expect("a hash"), new.await.expect("a hash"));
        let costs = [&old, &new].map(|hash| cost_of(hash).to_owned()).to_vec();
        for hasher in [cheap, dear] {
            for (hash, password, is_right) in [
                (None, "right", false),
                (Some(&old), "right", true),
                (Some(&new), "right", true),
                (Some(&old), "wrong", false),
                (Some(&new), "wrong", false),
                (Some(&"no hash".to_owned()), "right", false),
            ] {
                let before = hasher.hashes();
                let checked = hasher.verify(password.into(), hash.cloned(), costs.clone());
                assert_eq!(checked.await, Ok(is_right), "{hash:?}");
                assert_eq!(hasher.hashes() - before, 2, "{hash:?}");
            }
        }
    }
}
