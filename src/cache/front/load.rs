//! Loads: in company, in a task of their own, under a lease.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;

use super::{Cache, hit};
use crate::cache::backend::{Filled, Lookup, Mode, Ticket, Tier};
use crate::cache::budget::one_budget;
use crate::cache::cached::Cacheable;
use crate::cache::entry::Entry;
use crate::cache::flight::Flight;
use crate::cache::key::Key;
use crate::cache::policy::Policy;
use crate::cache::source::{Read, SourceError};
use crate::cache::stats::increment;

/// While another instance loads, it is looked again after this, then twice this, and so on ...
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// ... up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What a flight brings home.
#[derive(Clone)]
pub(super) struct Loaded<T> {
    pub(super) value: Option<T>,
    pub(super) stored: bool,
}

impl<T> Loaded<T> {
    fn not_stored(value: Option<T>) -> Self {
        Self {
            value,
            stored: false,
        }
    }
}

/// What came of waiting for another instance.
enum Awaited<T> {
    /// It has stored a value.
    Brought(Loaded<T>),
    /// It has not. With the right to store, if there is one.
    Vainly(Option<Ticket>),
}

impl Cache {
    /// Loads, in company where there is a ticket and the answer may be shared.
    pub(super) async fn load<T, E, F>(
        &self,
        key: &Key,
        policy: Policy,
        mode: Mode,
        ticket: Option<Ticket>,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(Loaded<T>, bool), E>
    where
        T: Cacheable,
        E: SourceError,
        F: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        let Some(ticket) = ticket else {
            return load().await.map(|value| (Loaded::not_stored(value), false));
        };
        // A refresh must not join a load that began before it.
        if mode == Mode::Refresh {
            let cache = self.clone();
            let alone = async move { cache.load_and_fill(ticket, policy, load()).await };
            let loaded = self
                .tasks
                .spawn(alone)
                .await
                .unwrap_or_else(|_| Err(E::interrupted()));
            return loaded.map(|loaded| (loaded, false));
        }
        let (seat, flight) = self.flights.board(key, ticket.epoch());
        let collapsed = flight.is_none();
        let spare = match flight {
            Some(flight) => {
                self.fly(flight, ticket, policy, load);
                None
            }
            None => {
                increment(&self.counts.coalesced);
                // Others need not wait for this ticket: its flight has another.
                if ticket.lease().is_some_and(|lease| !lease.is_awaited) {
                    self.backend.release(ticket).await;
                }
                Some(load)
            }
        };
        match (seat.landing::<Result<Loaded<T>, E>>().await, spare) {
            (Some(outcome), _) => outcome.map(|loaded| (loaded, collapsed)),
            // The flight was abandoned: whoever only waited can still load for themself.
            (None, Some(load)) => load().await.map(|value| (Loaded::not_stored(value), false)),
            (None, None) => Err(E::interrupted()),
        }
    }

    fn fly<T, E, F>(
        &self,
        flight: Flight,
        ticket: Ticket,
        policy: Policy,
        load: impl FnOnce() -> F + Send + 'static,
    ) where
        T: Cacheable,
        E: SourceError,
        F: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        let cache = self.clone();
        self.tasks.spawn(async move {
            let outcome = match cache.landed_before(&ticket) {
                Some(loaded) => {
                    cache.backend.release(ticket).await;
                    Ok(loaded)
                }
                None => cache.await_other_or_load(ticket, policy, load).await,
            };
            flight.land(outcome);
        });
    }

    /// What another flight has brought between this reader's look and its boarding.
    fn landed_before<T: Cacheable>(&self, ticket: &Ticket) -> Option<Loaded<T>> {
        let now = self.clock.now();
        if self.out_of_touch(now).is_some() {
            return None;
        }
        let entry = self.backend.peek(ticket.key(), now)?;
        let Read { value, .. } = hit(&entry, Tier::Near, entry.fresh_until(), now)?;
        Some(Loaded {
            value,
            stored: true,
        })
    }

    async fn await_other_or_load<T, E, F>(
        &self,
        ticket: Ticket,
        policy: Policy,
        load: impl FnOnce() -> F,
    ) -> Result<Loaded<T>, E>
    where
        T: Cacheable,
        F: Future<Output = Result<Option<T>, E>>,
    {
        match self.await_other(ticket, policy.patience).await {
            Awaited::Brought(loaded) => Ok(loaded),
            Awaited::Vainly(Some(ticket)) => self.load_and_fill(ticket, policy, load()).await,
            Awaited::Vainly(None) => load().await.map(Loaded::not_stored),
        }
    }

    /// Waits for what another instance is loading, if one is.
    async fn await_other<T: Cacheable>(
        &self,
        mut ticket: Ticket,
        patience: Duration,
    ) -> Awaited<T> {
        let mut pause = FIRST_PAUSE;
        let end = Instant::now() + patience;
        while ticket.lease().is_some_and(|lease| lease.is_awaited) && Instant::now() < end {
            tokio::time::sleep_until(end.min(Instant::now() + pause)).await;
            pause = LONGEST_PAUSE.min(pause * 2);
            let now = self.clock.now();
            // Looking is what one waits with here: it must not use up what the request has left.
            let look = one_budget(self.backend.lookup(ticket.key(), Mode::Read, now));
            ticket = match look.await {
                Lookup::Hit(entry, tier) => match hit(&entry, tier, entry.fresh_until(), now) {
                    Some(Read { value, .. }) => {
                        return Awaited::Brought(Loaded {
                            value,
                            stored: true,
                        });
                    }
                    None => return Awaited::Vainly(None),
                },
                Lookup::Miss(Some(ticket)) | Lookup::Stale(_, _, Some(ticket)) => ticket,
                Lookup::Miss(None) | Lookup::Stale(_, _, None) => return Awaited::Vainly(None),
            };
        }
        Awaited::Vainly(Some(ticket))
    }

    async fn load_and_fill<T, E>(
        &self,
        ticket: Ticket,
        policy: Policy,
        load: impl Future<Output = Result<Option<T>, E>>,
    ) -> Result<Loaded<T>, E>
    where
        T: Cacheable,
    {
        let value = match self.keeping_lease(&ticket, load).await {
            Ok(Some(value)) => Some(value),
            Ok(None) if !policy.negative_ttl.is_zero() => None,
            nothing_to_store => {
                self.backend.release(ticket).await;
                return nothing_to_store.map(Loaded::not_stored);
            }
        };
        let entry = policy.entry(value.as_ref().map(Cacheable::to_bytes), self.clock.now());
        let key = ticket.key().clone();
        let filled = self.backend.fill(ticket, entry).await;
        log::debug!("fill {key}: {filled:?}");
        match filled {
            Filled::Stored => increment(&self.counts.fills),
            Filled::Refused => increment(&self.counts.fills_refused),
            Filled::Failed => {}
        }
        Ok(Loaded {
            value,
            stored: filled == Filled::Stored,
        })
    }

    /// Renews the ticket's lease for as long as the work takes.
    async fn keeping_lease<R>(&self, ticket: &Ticket, work: impl Future<Output = R>) -> R {
        let Some(lease) = ticket.lease() else {
            return work.await;
        };
        tokio::select! {
            biased;
            result = work => result,
            never = self.renew(ticket, lease.life / 3) => match never {},
        }
    }

    async fn renew(&self, ticket: &Ticket, every: Duration) -> Infallible {
        loop {
            tokio::time::sleep(every).await;
            // However long the load takes, the request's budget is for other things.
            one_budget(self.backend.renew(ticket)).await;
        }
    }

    /// Loads an entry anew in the background, if nobody here is doing so.
    pub(super) fn refresh<T, E, F>(
        &self,
        key: &Key,
        entry: &Entry,
        policy: Policy,
        load: impl FnOnce() -> F + Send + 'static,
    ) where
        T: Cacheable,
        E: SourceError,
        F: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        // Named by what it replaces, so that no reader who misses boards it.
        let (_, Some(flight)) = self.flights.board(key, refresh_of(entry)) else {
            return;
        };
        let (cache, key) = (self.clone(), key.clone());
        self.tasks.spawn_apart(async move {
            if let Some(ticket) = cache.backend.ticket(&key).await {
                log::debug!("refresh {key}");
                increment(&cache.counts.refreshes);
                flight.land(cache.load_and_fill(ticket, policy, load()).await);
            }
        });
    }
}

/// The epoch that stands for the refresh of an entry. Real ones are counted from zero, or drawn at
/// random.
fn refresh_of(entry: &Entry) -> u128 {
    u128::MAX - u128::from(entry.stored().millis())
}
