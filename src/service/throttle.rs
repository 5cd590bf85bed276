use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;

use super::error::Error;
use crate::cache::{Cache, one_budget};
use crate::config::AuthConfig;

/// For how long failures from everywhere count against an account.
const ACCOUNT_WINDOW: Duration = Duration::from_secs(60);

/// How long an address is remembered from which an account was logged in to.
const KNOWN_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// How long an attempt may be under way before it is forgotten.
const PENDING_WINDOW: Duration = Duration::from_secs(30);

/// When to come back where only attempts under way stand in the way.
const PENDING_RETRY: Duration = Duration::from_secs(1);

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

/// A limit of one attempt.
struct Limit {
    counter: String,
    window: Duration,
    most: i64,
}

impl Limit {
    /// Where the attempts under way are counted.
    fn pending(&self) -> String {
        format!("{}:pending", self.counter)
    }
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

    /// Runs `check`, which answers what a right password opens and `None` for a wrong one, unless
    /// there were too many wrong ones. What could not be checked counts as neither.
    ///
    /// Attempts under way count against the limits too, so that parallel guesses cannot slip past
    /// them. A caller who hangs up leaves theirs under way for a while.
    pub(super) async fn guard<T>(
        &self,
        door: Door<'_>,
        address: IpAddr,
        check: impl Future<Output = Result<Option<T>, Error>>,
    ) -> Result<Option<T>, Error> {
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
        let limits = self.limits(
            account,
            address,
            self.count(&known, 0, KNOWN_WINDOW).await.0 > 0,
        );
        self.enter(&limits).await?;
        let checked = check.await;
        // On a budget of its own: what was counted in must be counted out, and what failed counts.
        one_budget(async {
            match &checked {
                Ok(Some(_)) => {
                    // Anew, so that the day begins again.
                    self.count(&known, -1, KNOWN_WINDOW).await;
                    self.count(&known, 1, KNOWN_WINDOW).await;
                }
                Ok(None) => {
                    let failed = limits
                        .iter()
                        .map(|limit| self.count(&limit.counter, 1, limit.window));
                    join_all(failed).await;
                }
                Err(_) => {}
            }
            // Last: see `enter`.
            self.leave(&limits).await;
        })
        .await;
        checked
    }

    fn limits(&self, account: String, address: IpAddr, is_known: bool) -> Vec<Limit> {
        // The address first: what it refuses leaves no trace under names of its choosing.
        let mut limits = vec![
            Limit {
                counter: format!("login:from:{address}"),
                window: self.window,
                most: self.per_address,
            },
            Limit {
                counter: format!("{account}:from:{address}"),
                window: self.window,
                most: self.per_account_and_address,
            },
        ];
        if !is_known {
            limits.push(Limit {
                counter: account,
                window: ACCOUNT_WINDOW,
                most: self.per_account,
            });
        }
        limits
    }

    /// Counts an attempt as under way, or refuses it and counts nothing.
    async fn enter(&self, limits: &[Limit]) -> Result<(), Error> {
        for (entered, limit) in limits.iter().enumerate() {
            // In this order: whoever fails counts as failed before they are under way no more, so
            // that each is seen here as the one or the other.
            let (pending, _) = self.count(&limit.pending(), 1, PENDING_WINDOW).await;
            let (failed, remembered) = self.count(&limit.counter, 0, limit.window).await;
            if failed + pending > limit.most {
                self.leave(&limits[..=entered]).await;
                // Those under way may turn out right, and soon.
                let retry_after = if failed >= limit.most {
                    remembered
                } else {
                    PENDING_RETRY
                };
                return Err(Error::Throttled { retry_after });
            }
        }
        Ok(())
    }

    /// The attempt is under way no more.
    async fn leave(&self, limits: &[Limit]) {
        let leaving = limits.iter().map(async |limit| {
            self.count(&limit.pending(), -1, PENDING_WINDOW).await;
        });
        join_all(leaving).await;
    }

    async fn count(&self, counter: &str, by: i64, window: Duration) -> (i64, Duration) {
        self.cache.increment(counter, by, window).await
    }
}

/// Whoever has one IPv6 address usually has its whole /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}
