use std::net::IpAddr;
use std::time::Duration;

use super::error::Error;
use crate::cache::Cache;
use crate::config::AuthConfig;

/// For how long failures from everywhere count against an account.
const ACCOUNT_WINDOW: Duration = Duration::from_secs(60);

/// How long an address is remembered from which an account was logged in to.
const KNOWN_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Limits how often somebody may try a password.
///
/// Three limits: for an address over all accounts (a sprayer), for an account from one address (a
/// guesser), and for an account from everywhere (a botnet). The last does not apply to addresses
/// from which the account was logged in to within a day, so that whoever guesses from everywhere
/// keeps its owner out of new places only.
#[derive(Clone)]
pub(super) struct Throttle {
    cache: Cache,
    window: Duration,
    per_account_and_address: i64,
    per_address: i64,
    per_account: i64,
}

/// What is tried.
#[derive(Clone, Copy)]
pub(super) enum Door<'a> {
    /// A login with this name, which may be nobody's.
    Login(&'a str),
    /// The password of the user of this id, who is logged in.
    OwnPassword(i64),
}

/// An attempt that counts as failed until it is known to have succeeded, so that parallel guesses
/// cannot slip past the count.
#[must_use]
pub(super) struct Attempt {
    counted: Vec<(String, Duration)>,
    known: String,
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
    pub(super) async fn attempt(&self, door: Door<'_>, address: IpAddr) -> Result<Attempt, Error> {
        let address = network_of(address);
        let account = match door {
            // A hash, not the name itself: whoever reads the counters learns no e-mails.
            Door::Login(name) => {
                let hash = blake3::hash(name.to_ascii_lowercase().as_bytes()).to_hex();
                format!("login:{}", &hash[..32])
            }
            Door::OwnPassword(id) => format!("password:{id}"),
        };
        let known = format!("{account}:known:{address}");
        let (is_known, _) = self.cache.increment(&known, 0, KNOWN_WINDOW).await;
        // The address first: what it refuses leaves no trace under names of its choosing.
        let mut limits = vec![
            (
                format!("login:from:{address}"),
                self.window,
                self.per_address,
            ),
            (
                format!("{account}:from:{address}"),
                self.window,
                self.per_account_and_address,
            ),
        ];
        if is_known == 0 {
            limits.push((account, ACCOUNT_WINDOW, self.per_account));
        }
        let mut attempt = Attempt {
            counted: Vec::new(),
            known,
        };
        for (counter, window, limit) in limits {
            let (count, remembered) = self.cache.increment(&counter, 1, window).await;
            attempt.counted.push((counter, window));
            if count > limit {
                // What is refused was no attempt.
                self.take_back(&attempt).await;
                return Err(Error::Throttled {
                    retry_after: remembered,
                });
            }
        }
        Ok(attempt)
    }

    /// The attempt was none after all: its password was right.
    pub(super) async fn forgive(&self, attempt: Attempt) {
        self.take_back(&attempt).await;
        self.cache.increment(&attempt.known, 1, KNOWN_WINDOW).await;
    }

    async fn take_back(&self, attempt: &Attempt) {
        for (counter, window) in &attempt.counted {
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
