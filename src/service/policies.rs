use crate::cache::Policy;
use crate::config::CacheConfig;

/// How long each kind of thing is kept.
#[derive(Clone, Copy, Debug)]
pub struct Policies {
    /// Lists, and the way from an e-mail to its user.
    pub list: Policy,
    /// Users.
    pub user: Policy,
    /// Products.
    pub product: Policy,
}

impl From<&CacheConfig> for Policies {
    fn from(config: &CacheConfig) -> Self {
        let list = Policy {
            ttl: config.default_ttl,
            negative_ttl: config.negative_ttl,
            jitter: config.jitter,
            eager_refresh: config.eager_refresh,
            stale_limit: config.stale_limit,
            patience: Policy::BRIEFLY,
        };
        Self {
            list,
            user: Policy {
                ttl: config.user_ttl,
                ..list
            },
            product: Policy {
                ttl: config.product_ttl,
                ..list
            },
        }
    }
}
