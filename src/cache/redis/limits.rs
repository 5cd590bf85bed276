use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deadpool_redis::redis::{Value, cmd};
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;
use parking_lot::Mutex;

use super::RedisBackend;
use super::link::NoAnswer;
use crate::cache::key::Key;

/// A value of fewer bytes is never what a server refuses for its size.
pub(super) const LARGE: usize = 64 * 1024;

/// How long a key is not asked for in Redis whose value Redis does not take or does not give back, and
/// how long a limit that was learnt from such a value holds.
const FOR: Duration = Duration::from_secs(300);

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
    /// Keys whose last read failed, perhaps for the size of the value.
    suspects: Moka<Key, ()>,
    has_suspects: AtomicBool,
    set_aside: Moka<Key, ()>,
    has_set_aside: AtomicBool,
}

impl Limits {
    /// Values of more than so many bytes are not sent.
    pub(super) fn new(configured: usize) -> Self {
        Self {
            configured,
            learnt: Mutex::new(None),
            suspects: keys(),
            has_suspects: AtomicBool::new(false),
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

    /// A read of this key failed, and the connection with it, or it took too long.
    pub(super) fn suspect(&self, key: &Key) {
        self.suspects.insert(key.clone(), ());
        self.has_suspects.store(true, Ordering::Relaxed);
    }

    /// Whether the last read of this key failed, so that its size is looked at before it is read again.
    pub(super) fn is_suspect(&self, key: &Key) -> bool {
        self.has_suspects.load(Ordering::Relaxed) && self.suspects.contains_key(key)
    }

    /// The size of this key's value is known.
    pub(super) fn clear_of_suspicion(&self, key: &Key) {
        self.suspects.invalidate(key);
    }

    /// A value of this size could not be stored.
    pub(super) fn not_stored(&self, key: &Key, size: usize, why: &impl std::fmt::Display) {
        if size < LARGE {
            return;
        }
        self.set_aside(key);
        let limit = (size / 2).max(LARGE);
        let is_news = self.takes(limit + 1);
        if is_news {
            *self.learnt.lock() = Some((limit, Instant::now() + FOR));
            log::warn!(
                "values above {limit} bytes are kept out of Redis for {FOR:?}, in L1 only: one of {size} \
                 bytes failed reason=\"{why}\""
            );
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

impl RedisBackend {
    /// A value of this size was sent and not stored: its own failure, unless Redis refuses for another
    /// reason.
    pub(super) fn not_stored(&self, key: &Key, size: usize, why: &NoAnswer) {
        let is_its_own = match why {
            NoAnswer::Late(_) | NoAnswer::Lost(_) => true,
            // Not OOM, READONLY, MISCONF and the like.
            NoAnswer::Failed(why) => why.starts_with("ERR"),
            NoAnswer::NotSent | NoAnswer::NoScript | NoAnswer::Changed => false,
        };
        if is_its_own {
            self.limits.not_stored(key, size, why);
        }
    }

    /// Whether a key can be read whose last read failed, perhaps for the size of its value.
    pub(super) async fn is_small_if_suspect(&self, key: &Key) -> bool {
        if !self.limits.is_suspect(key) {
            return true;
        }
        let mut look = cmd("STRLEN");
        match self.link.ask(look.arg(self.names.entry(key))).await {
            Ok(Value::Int(size)) if size < LARGE as i64 => {
                self.limits.clear_of_suspicion(key);
                true
            }
            Ok(Value::Int(size)) => {
                self.limits.clear_of_suspicion(key);
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                self.limits.not_stored(key, size, &"a read of it failed");
                false
            }
            _ => false,
        }
    }
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
    fn a_lower_limit_stays() {
        let limits = Limits::new(1 << 20);
        let key = Key::of_id("user", 7);
        limits.not_stored(&key, 2 * LARGE, &"refused");
        limits.not_stored(&key, 1 << 20, &"refused");
        assert!(limits.takes(LARGE) && !limits.takes(LARGE + 1));
    }

    #[test]
    fn a_key_is_suspect_until_its_size_is_known() {
        let limits = Limits::new(1 << 20);
        let (key, other) = (Key::of_id("user", 7), Key::of_id("user", 8));
        assert!(!limits.is_suspect(&key));
        limits.suspect(&key);
        assert!(limits.is_suspect(&key) && !limits.is_suspect(&other));
        limits.clear_of_suspicion(&key);
        assert!(!limits.is_suspect(&key));
    }
}
