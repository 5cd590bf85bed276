use std::net::IpAddr;
use std::time::Duration;

use super::error::Error;
use crate::cache::Cache;
use crate::config::AuthConfig;

/// How long an account can be kept from logging in by failures from elsewhere.
const ACCOUNT_WINDOW: Duration = Duration::from_secs(60);

/// Limits how often somebody may try a password.
///
/// Three limits: for an account from one address (a guesser), for an address over all accounts (a
/// sprayer), and for an account from everywhere (a botnet). The last is wide and its window is
/// short, so that nobody can lock somebody else out for longer than a minute.
#[derive(Clone)]
pub(super) struct Throttle {
    cache: Cache,
    window: Duration,
    per_account_and_address: i64,
    per_address: i64,
    per_account: i64,
}

/// Attempts that are counted as failed until they are known to have succeeded, so that parallel
/// guesses cannot slip past the count.
#[must_use]
pub(super) struct Attempt {
    counters: [(String, Duration); 3],
}

impl Throttle {
    pub(super) fn new(cache: Cache, config: &AuthConfig) -> Self {
        Self {
            cache,
            window: config.login_window,
            per_account_and_address: i64::from(config.login_attempts),
            per_address: i64::from(config.login_attempts_per_address),
            per_account: i64::from(config.login_attempts_per_account),
        }
    }

    /// Counts an attempt, unless there were too many.
    pub(super) async fn attempt(&self, account: &str, address: IpAddr) -> Result<Attempt, Error> {
        let address = network_of(address);
        // A hash, not the address itself: whoever reads the counters learns no e-mails.
        let account = &blake3::hash(account.as_bytes()).to_hex()[..32];
        let counters = [
            (format!("login:{account}:{address}"), self.window),
            (format!("login:address:{address}"), self.window),
            (format!("login:account:{account}"), ACCOUNT_WINDOW),
        ];
        let limits = [
            self.per_account_and_address,
            self.per_address,
            self.per_account,
        ];
        for (taken, ((counter, window), limit)) in counters.iter().zip(limits).enumerate() {
            let (count, remembered) = self.cache.increment(counter, 1, *window).await;
            if count > limit {
                // What was refused was no attempt: take it back everywhere.
                for (counter, window) in &counters[..=taken] {
                    self.cache.increment(counter, -1, *window).await;
                }
                return Err(Error::Throttled {
                    retry_after: remembered,
                });
            }
        }
        Ok(Attempt { counters })
    }

    /// The attempt was none after all: its password was right.
    pub(super) async fn forgive(&self, attempt: Attempt) {
        for (counter, window) in &attempt.counters {
            self.cache.increment(counter, -1, *window).await;
        }
    }
}

/// Whoever has one IPv6 address usually has its whole /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}
