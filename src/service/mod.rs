//! Where the cache meets the database: which key, which group, which time to live.

mod cached_user;
mod calculations;
mod caller;
mod document;
mod error;
mod list;
mod named;
mod policies;
mod products;
mod sessions;
mod stale;
mod throttle;
mod truth;
mod users;
mod written;

pub use cached_user::CachedUser;
pub use calculations::Calculations;
pub use caller::Caller;
pub use document::{Document, PageDocument};
pub use error::Error;
pub use named::key_of;
pub use policies::Policies;
pub use products::Products;
pub use sessions::{Session, Sessions};
pub use stale::made_stale;
pub use truth::{name_version, truth};
pub use users::{UserPatch, Users};

pub use crate::auth::Claims;
pub use crate::db::{Committed, Expected};

use crate::auth::{PasswordHasher, Tokens};
use crate::cache::Cache;
use crate::config::Config;
use crate::db::Database;

/// Every service, built on one database and one cache.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the service it is named after")]
pub struct Services {
    pub users: Users,
    pub products: Products,
    pub calculations: Calculations,
    pub sessions: Sessions,
}

impl Services {
    /// Builds the services.
    ///
    /// # Errors
    /// Where the configured cost of a password hash is impossible.
    pub fn new(config: &Config, db: &Database, cache: &Cache) -> Result<Self, Error> {
        let policies = Policies::from(&config.cache);
        let patience = config.database.timeout;
        let hasher = PasswordHasher::new(&config.auth)?;
        let throttle = throttle::Throttle::new(cache.clone(), &config.auth);
        let users = Users::new(
            db.clone(),
            cache.clone(),
            policies,
            hasher.clone(),
            throttle.clone(),
            patience,
        );
        let products = Products::new(db.clone(), cache.clone(), policies, patience);
        let duration = config.calculation.duration;
        let calculations = Calculations::new(cache.clone(), policies, duration);
        let tokens = Tokens::new(&config.auth);
        let sessions = Sessions::new(db.clone(), &users, tokens, hasher, throttle);
        Ok(Self {
            users,
            products,
            calculations,
            sessions,
        })
    }
}
