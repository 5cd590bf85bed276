//! Whether the instances are well, as they themselves say.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Uri};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::history::fleet::Moment;
use crate::traffic::{Client, Clock};

/// How often an instance is asked: what is told of it is so precise.
const PERIOD: Duration = Duration::from_millis(20);

/// An instance that takes longer to say how it is says nothing.
const PATIENCE: Duration = Duration::from_millis(500);

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
                let asked = timeout(PATIENCE, state_of(&mut client)).await;
                let state = asked.unwrap_or(State::Silent);
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

/// When, from a moment on, all instances were well for the first time; `None` if they never were, or one
/// was not in the end.
pub(super) fn well_from(courses: &[Course], from: Moment) -> Option<Moment> {
    let are_well = |at: Moment| {
        let mut courses = courses.iter();
        courses.all(|course| state_at(course, at) == Some(&State::Well))
    };
    let changes = courses.iter().flatten().map(|(at, _)| *at);
    let mut moments: Vec<Moment> = changes.filter(|&at| at > from).collect();
    moments.push(from);
    moments.sort_unstable();
    let last = *moments.last()?;
    moments
        .into_iter()
        .find(|&at| are_well(at))
        .filter(|_| are_well(last))
}

/// Whether an instance was not well at some time in between.
pub(super) fn was_unwell(courses: &[Course], from: Moment, to: Moment) -> bool {
    let is_unwell = |course: &Course| {
        let meanwhile = course.iter().filter(|(at, _)| (from..=to).contains(at));
        let mut states = state_at(course, from)
            .into_iter()
            .chain(meanwhile.map(|(_, state)| state));
        states.any(|state| *state != State::Well)
    };
    courses.iter().any(is_unwell)
}

fn state_at(course: &Course, at: Moment) -> Option<&State> {
    let next = course.partition_point(|(from, _)| *from <= at);
    let (_, state) = course.get(next.checked_sub(1)?)?;
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn degraded() -> State {
        State::Degraded("so".to_owned())
    }

    fn course(states: &[(u64, State)]) -> Course {
        let states = states.iter().cloned();
        states.map(|(from, state)| (Moment(from), state)).collect()
    }

    #[test]
    fn all_are_well_when_the_last_one_is() {
        let early = course(&[(1, State::Well)]);
        let late = course(&[(1, degraded()), (7, State::Well)]);
        let both = [early.clone(), late.clone()];
        assert_eq!(well_from(&both, Moment(5)), Some(Moment(7)));
        assert_eq!(well_from(&both, Moment(9)), Some(Moment(9)));
        assert_eq!(well_from(&[early, Course::new()], Moment(5)), None);
    }

    #[test]
    fn who_is_well_again_and_then_not_for_a_moment_was_well_at_first() {
        let relapsing = [
            (1, degraded()),
            (7, State::Well),
            (8, degraded()),
            (9, State::Well),
        ];
        assert_eq!(well_from(&[course(&relapsing)], Moment(5)), Some(Moment(7)));
        // But one that is not in the end never was.
        assert_eq!(well_from(&[course(&relapsing[..3])], Moment(5)), None);
    }

    #[test]
    fn what_was_wrong_before_and_after_is_not_what_was_wrong_meanwhile() {
        let course = [course(&[
            (1, degraded()),
            (3, State::Well),
            (8, degraded()),
        ])];
        assert!(!was_unwell(&course, Moment(4), Moment(7)));
        assert!(was_unwell(&course, Moment(2), Moment(7)));
        assert!(was_unwell(&course, Moment(4), Moment(8)));
    }
}
