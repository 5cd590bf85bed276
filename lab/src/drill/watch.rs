//! Whether the instances are well, as they themselves say.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Uri};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use crate::history::fleet::Moment;
use crate::traffic::{Client, Clock};

/// How often an instance is asked: what is told of it is so precise.
const PERIOD: Duration = Duration::from_millis(20);

/// How an instance is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state", content = "reason")]
pub(super) enum State {
    /// It uses all that it has.
    Well,
    /// It goes on without something, and says why.
    Degraded(String),
    /// It cannot do its work.
    Down,
    /// It said nothing sensible.
    Silent,
}

/// From when on an instance was how.
pub(super) type Course = Vec<(Moment, State)>;

/// Asks an instance how it is, until nobody wants to know.
#[derive(Clone)]
pub(super) struct Watch {
    course: Arc<Mutex<Course>>,
}

impl Watch {
    pub(super) fn start(address: SocketAddr, clock: Clock) -> Self {
        let course = Arc::<Mutex<Course>>::default();
        let told = Arc::downgrade(&course);
        tokio::spawn(async move {
            let mut client = Client::new(address, None);
            let mut ticks = interval(PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let state = state_of(&mut client).await;
                let Some(told) = told.upgrade() else { return };
                let mut course = locked(&told);
                if course.last().is_none_or(|(_, last)| *last != state) {
                    course.push((clock.now(), state));
                }
            }
        });
        Self { course }
    }

    /// How it was so far.
    pub(super) fn course(&self) -> Course {
        locked(&self.course).clone()
    }
}

fn locked(course: &Mutex<Course>) -> MutexGuard<'_, Course> {
    course.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `/health/ready` answers, as far as it is of interest.
#[derive(Deserialize)]
struct Ready {
    status: String,
    components: Components,
}

#[derive(Deserialize)]
struct Components {
    cache: Cache,
}

#[derive(Deserialize)]
struct Cache {
    #[serde(default)]
    reason: String,
}

async fn state_of(client: &mut Client) -> State {
    let mut request: Request<Full<Bytes>> = Request::default();
    *request.uri_mut() = Uri::from_static("/health/ready");
    let Ok(answer) = client.ask(request).await else {
        return State::Silent;
    };
    match serde_json::from_slice::<Ready>(&answer.body) {
        Ok(ready) => match ready.status.as_str() {
            "up" => State::Well,
            "degraded" => State::Degraded(ready.components.cache.reason),
            _ => State::Down,
        },
        Err(_) => State::Silent,
    }
}

/// Since when all instances have been well; `None` if one of them is not.
pub(super) fn well_since(courses: &[Course]) -> Option<Moment> {
    let since = courses.iter().map(|course| match course.last() {
        Some((since, State::Well)) => Some(*since),
        _ => None,
    });
    since
        .collect::<Option<Vec<_>>>()
        .map(|since| since.into_iter().max().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_well_since_the_last_one_is() {
        let degraded = || State::Degraded("so".to_owned());
        let since = |from, state| (Moment(from), state);
        let early = vec![since(1, State::Well)];
        let late = vec![since(1, degraded()), since(7, State::Well)];
        let never = vec![since(1, State::Well), since(9, degraded())];
        assert_eq!(well_since(&[early.clone(), late]), Some(Moment(7)));
        assert_eq!(well_since(&[early, never]), None);
        assert_eq!(well_since(&[Vec::new()]), None);
    }
}
