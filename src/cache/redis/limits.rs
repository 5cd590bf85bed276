use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;
use parking_lot::Mutex;

use crate::cache::key::Key;

/// A value of fewer bytes is never what a server refuses for its size.
pub(super) const LARGE: usize = 64 * 1024;

/// How long a key is not asked for in Redis whose value Redis does not take or does not give back, and
/// how long a limit that was learnt from such a value holds.
const FOR: Duration = Duration::from_secs(300);

/// So many connections lost while a key was read set that key aside: one may be lost for any reason.
const STRIKES: u8 = 2;

/// How many keys are remembered.
const KEYS: u64 = 10_000;

/// Keeps the failures of one value from being taken for failures of the store. Servers limit the size of
/// a value (`proto-max-bulk-len`, and managed ones at about 1 MB), of what waits to be sent to a client
/// (`client-output-buffer-limit`), or are too slow for a large one; some close the connection over it.
/// Without this one large page, read again and again, would keep the breaker open for everything.
pub(super) struct Limits {
    configured: usize,
    /// What a value that failed has shown to be too much, and until when that holds.
    learnt: Mutex<Option<(usize, Instant)>>,
    /// Sizes of large values that were stored lately.
    large: Moka<Key, usize>,
    strikes: Moka<Key, u8>,
    set_aside: Moka<Key, ()>,
    has_set_aside: AtomicBool,
}

impl Limits {
    /// Values of more than so many bytes are not sent.
    pub(super) fn new(configured: usize) -> Self {
        Self {
            configured,
            learnt: Mutex::new(None),
            large: keys(),
            strikes: keys(),
            set_aside: keys(),
            has_set_aside: AtomicBool::new(false),
        }
    }

    /// Whether a value of this size is sent.
    pub(super) fn takes(&self, size: usize) -> bool {
        if size < LARGE {
            return true;
        }
        let learnt = self
            .learnt
            .lock()
            .filter(|(_, until)| Instant::now() < *until);
        size <= learnt.map_or(self.configured, |(limit, _)| limit.min(self.configured))
    }

    /// Whether Redis is not asked for this key at present.
    pub(super) fn is_set_aside(&self, key: &Key) -> bool {
        self.has_set_aside.load(Ordering::Relaxed) && self.set_aside.contains_key(key)
    }

    /// From now on Redis is not asked for this key for a while.
    pub(super) fn set_aside(&self, key: &Key) {
        self.set_aside.insert(key.clone(), ());
        self.has_set_aside.store(true, Ordering::Relaxed);
    }

    /// A value of this size was stored.
    pub(super) fn stored(&self, key: &Key, size: usize) {
        if size >= LARGE {
            self.large.insert(key.clone(), size);
        }
    }

    /// A value of this size could not be stored.
    pub(super) fn not_stored(&self, key: &Key, size: usize, why: &impl std::fmt::Display) {
        if size < LARGE {
            return;
        }
        self.set_aside(key);
        let limit = (size / 2).max(LARGE);
        let is_news = self.takes(limit + 1);
        *self.learnt.lock() = Some((limit, Instant::now() + FOR));
        if is_news {
            log::warn!(
                "values above {limit} bytes are kept out of Redis for {FOR:?}, in L1 only: one of {size} \
                 bytes failed reason=\"{why}\""
            );
        }
    }

    /// A read of this key failed, and the connection with it, or only because it took too long.
    pub(super) fn not_read(
        &self,
        key: &Key,
        is_connection_lost: bool,
        why: &impl std::fmt::Display,
    ) {
        if let Some(size) = self.large.remove(key) {
            self.not_stored(key, size, why);
        } else if is_connection_lost {
            let strikes = self.strikes.get(key).unwrap_or_default() + 1;
            self.strikes.insert(key.clone(), strikes);
            if strikes >= STRIKES {
                self.set_aside(key);
            }
        }
    }
}

fn keys<V: Clone + Send + Sync + 'static>() -> Moka<Key, V> {
    Moka::builder()
        .max_capacity(KEYS)
        .eviction_policy(EvictionPolicy::lru())
        .time_to_live(FOR)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_failed_limits_the_next_and_a_small_one_does_not() {
        let limits = Limits::new(1 << 20);
        assert!(limits.takes(1 << 20) && !limits.takes((1 << 20) + 1));
        let key = Key::of_id("user", 7);
        limits.not_stored(&key, LARGE - 1, &"refused");
        assert!(limits.takes(1 << 20) && !limits.is_set_aside(&key));
        limits.not_stored(&key, 1 << 19, &"refused");
        assert!(limits.takes(1 << 18) && !limits.takes((1 << 18) + 1));
        assert!(limits.is_set_aside(&key));
        limits.not_stored(&key, LARGE, &"refused");
        assert!(limits.takes(LARGE) && !limits.takes(LARGE + 1));
    }

    #[test]
    fn a_key_is_set_aside_for_a_connection_that_is_lost_again() {
        let limits = Limits::new(1 << 20);
        let (key, other) = (Key::of_id("user", 7), Key::of_id("user", 8));
        for is_lost in [false, false, true] {
            limits.not_read(&key, is_lost, &"failed");
            assert!(!limits.is_set_aside(&key));
        }
        limits.not_read(&key, true, &"failed");
        assert!(limits.is_set_aside(&key) && !limits.is_set_aside(&other));
        // One that is known to be large needs no second time.
        limits.stored(&other, 1 << 19);
        limits.not_read(&other, false, &"late");
        assert!(limits.is_set_aside(&other) && !limits.takes(1 << 19));
    }
}
