use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use tokio::sync::watch;

use super::key::Key;
use super::sync::Mutex;

/// Loads under way, so that readers who miss the same key share one (single flight).
///
/// A flight is named by key *and* epoch: a void raises the epoch, so a reader that arrives after
/// a write was acknowledged never joins a load that started before it (rule 4 of the idea).
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<FlightId, watch::Receiver<Landing>>>>);

type FlightId = (Key, u128);

/// The outcome of a load once there is one; its type is the load's own.
type Landing = Option<Arc<dyn Any + Send + Sync>>;

/// The load itself, held by whoever does it. Dropped without landing, it releases those who wait.
pub(super) struct Flight {
    flights: Flights,
    id: FlightId,
    landing: watch::Sender<Landing>,
}

/// A seat on a flight.
pub(super) struct Seat(watch::Receiver<Landing>);

impl Flights {
    /// Takes a seat on the flight for `key` in `epoch`. Who gets the [`Flight`] too must fly it.
    pub(super) fn board(&self, key: &Key, epoch: u128) -> (Seat, Option<Flight>) {
        let id = (key.clone(), epoch);
        match self.0.lock().entry(id) {
            Entry::Occupied(flight) => (Seat(flight.get().clone()), None),
            Entry::Vacant(vacancy) => {
                let id = vacancy.key().clone();
                let (landing, seat) = watch::channel(None);
                vacancy.insert(seat.clone());
                (
                    Seat(seat),
                    Some(Flight {
                        flights: self.clone(),
                        id,
                        landing,
                    }),
                )
            }
        }
    }
}

impl Flight {
    /// Ends the flight: everybody aboard gets the outcome, errors too, and nobody after them.
    pub(super) fn land<T: Send + Sync + 'static>(self, outcome: T) {
        self.leave_board();
        self.landing.send_replace(Some(Arc::new(outcome)));
    }

    /// Takes the flight, and no later one of the same name, off the board.
    fn leave_board(&self) {
        let mut flights = self.flights.0.lock();
        let is_mine =
            |seat: &watch::Receiver<Landing>| seat.same_channel(&self.landing.subscribe());
        if flights.get(&self.id).is_some_and(is_mine) {
            flights.remove(&self.id);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.leave_board();
    }
}

impl Seat {
    /// The outcome; `None` if the flight was abandoned or carried another type.
    pub(super) async fn landing<T: Clone + Send + Sync + 'static>(mut self) -> Option<T> {
        let landing = self.0.wait_for(Option::is_some).await.ok()?.clone();
        landing?.downcast_ref::<T>().cloned()
    }
}
