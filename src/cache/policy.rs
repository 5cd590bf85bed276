use std::time::Duration;

use bytes::Bytes;

use super::clock::Timestamp;
use super::entry::Entry;

/// How long entries of a kind live.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// How long a value answers reads.
    pub ttl: Duration,
    /// How long the knowledge that there is nothing answers reads.
    pub negative_ttl: Duration,
    /// By what share of its TTL an entry may live shorter, so that what was stored together does
    /// not expire together. From 0 to 1.
    pub jitter: f64,
    /// In what last share of its life a hit loads the entry anew in the background. From 0
    /// (never) to 1.
    pub eager_refresh: f64,
    /// How long past its TTL an entry may answer while the source is away.
    pub stale_limit: Duration,
    /// How long a load that another instance has begun is waited for, before one loads for oneself.
    /// Worth about as much as the load itself; an instance that dies is not waited for.
    pub patience: Duration,
}

impl Policy {
    /// The patience with loads that are queries.
    pub const BRIEFLY: Duration = Duration::from_millis(100);

    /// Values answer reads for this long. That there is nothing is not remembered, and nothing
    /// answers past its time.
    pub const fn lasting(ttl: Duration) -> Self {
        Self {
            ttl,
            negative_ttl: Duration::ZERO,
            jitter: 0.0,
            eager_refresh: 0.0,
            stale_limit: Duration::ZERO,
            patience: Self::BRIEFLY,
        }
    }

    /// The entry for a value, or for its absence, that is stored at `now`.
    pub fn entry(&self, value: Option<Bytes>, now: Timestamp) -> Entry {
        let ttl = if value.is_some() {
            self.ttl
        } else {
            self.negative_ttl
        };
        let life = ttl.mul_f64(1.0 - self.jitter * fastrand::f64());
        let refresh_from = now + life.mul_f64(1.0 - self.eager_refresh);
        let fresh_until = now + life;
        Entry {
            refresh_from: if self.eager_refresh > 0.0 {
                refresh_from
            } else {
                fresh_until
            },
            keep_until: fresh_until + self.stale_limit,
            value,
            stored: now,
            fresh_until,
        }
    }
}
