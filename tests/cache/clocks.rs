//! Instances whose clocks differ.

use std::time::Duration;

use alacena::cache::{
    CacheBackend, Clock, Entry, Filled, Key, Lookup, Mode, Policy, SystemClock, Timestamp,
};
use alacena_lab::contract::source::row;
use bytes::Bytes;

use crate::support::{REDIS, Settings};

/// A clock that is wrong by so many milliseconds.
struct Wrong(i64, SystemClock);

impl Wrong {
    fn by(millis: i64) -> Self {
        Self(millis, SystemClock::new())
    }
}

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        let millis = self.1.now().millis().saturating_add_signed(self.0);
        Timestamp::from_millis(millis)
    }
}

const HOUR: i64 = 3_600_000;
const TTL: Duration = Duration::from_secs(6);

fn entry(now: Timestamp) -> Entry {
    Policy::lasting(TTL).entry(Some(Bytes::from_static(b"x")), now)
}

async fn fill(backend: &impl CacheBackend, key: &Key, clock: &Wrong) {
    let now = clock.now();
    let Lookup::Miss(Some(ticket)) = backend.lookup(key, Mode::Read, now).await else {
        panic!("it is a miss");
    };
    assert_eq!(backend.fill(ticket, entry(now)).await, Filled::Stored);
}

async fn left(backend: &impl CacheBackend, key: &Key, clock: &Wrong) -> Duration {
    let now = clock.now();
    match backend.lookup(key, Mode::Read, now).await {
        Lookup::Hit(entry, _) => entry.fresh_until().since(now),
        found => panic!("{found:?}"),
    }
}

#[tokio::test]
async fn an_entry_lives_as_long_for_an_instance_whose_clock_is_wrong() {
    for (writing, reading) in [(HOUR, 0), (0, HOUR), (-HOUR, HOUR)] {
        let settings = Settings::at(&REDIS);
        let one = settings.clone().clock(Wrong::by(writing)).far().await;
        let other = settings.clock(Wrong::by(reading)).far().await;
        for id in 0..20 {
            fill(&one, &row(id), &Wrong::by(writing)).await;
            let left = left(&other, &row(id), &Wrong::by(reading)).await;
            // A busy machine may take a while between the two.
            let expected = TTL - Duration::from_secs(4)..=TTL;
            assert!(expected.contains(&left), "{writing} {reading}: {left:?}");
        }
    }
}

/// Where a clock is set back while the service runs, before the difference is measured again: how old the
/// entry is, is not known.
#[tokio::test]
async fn an_entry_from_the_future_answers_nothing() {
    let settings = Settings::at(&REDIS);
    let one = settings.far().await;
    fill(&one, &row(1), &Wrong::by(HOUR)).await;
    let found = one.lookup(&row(1), Mode::Read, Wrong::by(0).now()).await;
    assert!(matches!(found, Lookup::Miss(Some(_))), "{found:?}");
}

#[tokio::test]
async fn counters_are_forgotten_by_one_clock() {
    let settings = Settings::at(&REDIS);
    let window = Duration::from_secs(300);
    for (counting, asking) in [(HOUR, 0), (0, HOUR)] {
        let one = settings.clone().clock(Wrong::by(counting)).far().await;
        let other = settings.clone().clock(Wrong::by(asking)).far().await;
        let name = format!("c{counting}");
        let counted = one
            .increment(&name, 3, window, Wrong::by(counting).now())
            .await;
        assert_eq!(counted.value, 3);
        let now = Wrong::by(asking).now();
        let asked = other.increment(&name, 0, window, now).await;
        assert_eq!(asked.value, 3, "it is not reset");
        assert!(asked.until.since(now) <= window, "{asked:?}");
    }
}
