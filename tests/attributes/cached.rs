use std::time::Duration;

use alacena::cache::{Forward, Mode, Source};
use alacena_lab::contract::source::{Failure, Gate, eventually};
use bytes::Bytes;

use crate::shelf::Shelf;

const ONE: Option<Bytes> = Some(Bytes::from_static(b"one"));
const TWO: Option<Bytes> = Some(Bytes::from_static(b"two"));

#[tokio::test]
async fn a_body_runs_once_for_the_same_arguments() {
    let shelf = Shelf::new();
    shelf.put(1, "one");
    shelf.put(2, "two");
    for _ in 0..3 {
        assert_eq!(shelf.thing(1).await, Ok(ONE));
        assert_eq!(shelf.thing(2).await, Ok(TWO));
    }
    assert_eq!(shelf.runs(), 2);
    shelf.clock.advance(Duration::from_secs(60));
    assert_eq!(shelf.thing(1).await, Ok(ONE));
    assert_eq!(shelf.runs(), 3);
}

#[tokio::test]
async fn an_error_is_not_kept() {
    let shelf = Shelf::new();
    shelf.put(1, "one");
    shelf.fail(Some(Failure::Refused));
    for _ in 0..2 {
        assert_eq!(shelf.thing(1).await, Err(Failure::Refused));
    }
    shelf.fail(None);
    assert_eq!(shelf.thing(1).await, Ok(ONE));
    assert_eq!(shelf.runs(), 3);
}

#[tokio::test]
async fn that_there_is_nothing_is_kept_for_the_negative_ttl_alone() {
    let shelf = Shelf::new();
    for _ in 0..2 {
        assert_eq!(shelf.thing(1).await, Ok(None));
    }
    assert_eq!(shelf.runs(), 1);
    shelf.clock.advance(Duration::from_secs(10));
    shelf.put(1, "one");
    assert_eq!(shelf.thing(1).await, Ok(ONE));
    for _ in 0..2 {
        assert_eq!(shelf.known(7).await, Ok(None));
    }
    assert_eq!(shelf.runs(), 4);
}

#[tokio::test]
async fn callers_who_miss_together_share_one_run_whoever_hangs_up() {
    let shelf = Shelf::new();
    shelf.put(1, "one");
    let gate = Gate::shut();
    shelf.hold_back(&gate);
    let call = || {
        let shelf = shelf.clone();
        tokio::spawn(async move { shelf.thing(1).await })
    };
    let first = call();
    gate.arrival().await;
    let others: Vec<_> = (0..20).map(|_| call()).collect();
    eventually("all wait for the first", || {
        shelf.cache.stats().coalesced == 20
    })
    .await;
    first.abort();
    gate.open();
    for other in others {
        assert_eq!(other.await.expect("no panic"), Ok(ONE));
    }
    assert_eq!(shelf.runs(), 1);
}

#[tokio::test]
async fn a_read_says_where_its_answer_came_from() {
    let shelf = Shelf::new();
    shelf.put(1, "one");
    assert!(shelf.peek_thing(1).is_none());
    let read = shelf.read_thing(1, Mode::Read).await.expect("it answers");
    let missed = Source::Loaded {
        reason: Forward::Miss,
        stored: true,
        collapsed: false,
    };
    assert_eq!((read.value, read.source), (ONE, missed));
    let read = shelf.read_thing(1, Mode::Read).await.expect("it answers");
    assert!(matches!(read.source, Source::Hit { ttl: 60, .. }));
    assert_eq!(shelf.peek_thing(1).expect("it is at hand").value, ONE);
    shelf.put(1, "two");
    let read = shelf
        .read_thing(1, Mode::Refresh)
        .await
        .expect("it answers");
    assert_eq!(read.value, TWO);
    assert_eq!(shelf.thing(1).await, Ok(TWO));
    let stats = shelf.cache.stats();
    assert_eq!((stats.hits, stats.misses), (3, 2), "each read counts once");
}

#[tokio::test]
async fn a_function_that_cannot_fail_does_not() {
    let shelf = Shelf::new();
    for _ in 0..2 {
        assert_eq!(shelf.certain("one".to_owned()).await, "one");
        assert_eq!(shelf.perhaps("two").await, TWO);
        assert_eq!(shelf.perhaps("").await, None);
    }
    assert_eq!(shelf.runs(), 3);
}

#[tokio::test]
async fn a_body_that_panics_panics_for_its_caller() {
    let shelf = Shelf::new();
    let calling = shelf.clone();
    let call = tokio::spawn(async move { calling.certain("panic".to_owned()).await });
    assert!(call.await.is_err_and(|error| error.is_panic()));
    let calling = shelf.clone();
    let call = tokio::spawn(async move { calling.perhaps("panic").await });
    assert!(call.await.is_err_and(|error| error.is_panic()));
    assert_eq!(shelf.certain("one".to_owned()).await, "one");
}

#[tokio::test]
async fn an_absence_left_by_an_earlier_version_is_no_answer() {
    use alacena::cache::{KeyBuilder, Policy};

    let shelf = Shelf::new();
    let key = KeyBuilder::new("certain").argument("name", "one").build();
    let policy = Policy {
        negative_ttl: Duration::from_secs(60),
        ..Policy::lasting(Duration::from_secs(60))
    };
    let nothing = || async { Ok::<Option<Bytes>, Failure>(None) };
    let read = shelf.cache.read(&key, policy, Mode::Read, nothing).await;
    assert_eq!(read.expect("it answers").value, None);
    assert_eq!(shelf.certain("one".to_owned()).await, "one");
}
