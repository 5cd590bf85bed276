use alacena_lab::contract::source::{Failure, Gate, eventually};
use bytes::Bytes;

use crate::shelf::Shelf;

const OLD: Option<Bytes> = Some(Bytes::from_static(b"old"));
const NEW: Option<Bytes> = Some(Bytes::from_static(b"new"));
const NEWER: Option<Bytes> = Some(Bytes::from_static(b"newer"));

#[tokio::test]
async fn a_write_makes_its_key_and_its_group_stale() {
    let shelf = Shelf::new();
    shelf.put(1, "old");
    assert_eq!(shelf.thing(1).await, Ok(OLD));
    assert_eq!(shelf.count(0).await, Ok("1".into()));
    shelf.put(2, "behind the cache's back");
    assert_eq!(shelf.write(1, "new").await, Ok("new".into()));
    assert_eq!(shelf.thing(1).await, Ok(NEW));
    assert_eq!(shelf.count(0).await, Ok("2".into()));
    assert_eq!(shelf.remove(1).await, Ok(()));
    assert_eq!(shelf.thing(1).await, Ok(None));
    assert_eq!(shelf.count(0).await, Ok("1".into()));
}

#[tokio::test]
async fn what_a_write_hands_through_is_not_loaded() {
    let shelf = Shelf::new();
    assert_eq!(shelf.write(1, "new").await, Ok("new".into()));
    let runs = shelf.runs();
    assert_eq!(shelf.thing(1).await, Ok(NEW));
    assert_eq!(shelf.remove(1).await, Ok(()));
    assert_eq!(shelf.thing(1).await, Ok(None));
    assert_eq!(shelf.runs(), runs + 1, "the removal alone");
}

#[tokio::test]
async fn what_a_write_overtook_is_not_kept() {
    let shelf = Shelf::new();
    shelf.put(1, "old");
    let gate = Gate::shut();
    shelf.hold_back(&gate);
    let reading = shelf.clone();
    let reader = tokio::spawn(async move { reading.thing(1).await });
    gate.arrival().await;
    assert_eq!(shelf.write(1, "new").await, Ok("new".into()));
    gate.open();
    let early = reader.await.expect("no panic");
    assert_eq!(early, Ok(OLD), "it began before the write");
    assert_eq!(shelf.thing(1).await, Ok(NEW));
}

/// The ticket is taken before the body begins: what it hands through after another's void is not
/// kept.
#[tokio::test]
async fn of_overlapping_writes_none_leaves_the_older_value() {
    let shelf = Shelf::new();
    let gate = Gate::shut();
    shelf.hold_back(&gate);
    let writing = shelf.clone();
    let slow = tokio::spawn(async move { writing.write(1, "new").await });
    gate.arrival().await;
    assert_eq!(shelf.write(1, "newer").await, Ok("newer".into()));
    gate.open();
    assert_eq!(slow.await.expect("no panic"), Ok("new".into()));
    assert_eq!(shelf.thing(1).await, Ok(NEWER));
}

#[tokio::test]
async fn a_write_that_is_refused_changes_nothing() {
    let shelf = Shelf::new();
    shelf.put(1, "old");
    shelf.thing(1).await.expect("it answers");
    let gate = Gate::shut();
    shelf.hold_back(&gate);
    let reading = shelf.clone();
    let reader = tokio::spawn(async move { reading.thing(2).await });
    gate.arrival().await;
    shelf.fail(Some(Failure::Refused));
    assert_eq!(shelf.write(1, "new").await, Err(Failure::Refused));
    assert_eq!(shelf.cache.stats().voids, 0);
    shelf.fail(None);
    gate.open();
    reader.await.expect("no panic").expect("it answers");
    let runs = shelf.runs();
    assert_eq!(shelf.thing(1).await, Ok(OLD));
    assert_eq!(shelf.thing(2).await, Ok(None));
    assert_eq!(shelf.runs(), runs, "both are kept");
}

#[tokio::test]
async fn a_write_of_unknown_outcome_voids() {
    let shelf = Shelf::new();
    shelf.put(1, "old");
    shelf.thing(1).await.expect("it answers");
    shelf.count(0).await.expect("it answers");
    shelf.fail(Some(Failure::Unknown));
    assert_eq!(shelf.write(1, "new").await, Err(Failure::Unknown));
    assert_eq!(shelf.cache.stats().distrusts, 0);
    shelf.fail(None);
    assert_eq!(shelf.thing(1).await, Ok(NEW));
    shelf.fail(Some(Failure::Unknown));
    assert_eq!(shelf.add("another").await, Err(Failure::Unknown));
    assert_eq!(shelf.cache.stats().distrusts, 1, "nobody knows its id");
}

#[tokio::test]
async fn what_a_write_makes_new_was_absent_and_is_not_any_more() {
    let shelf = Shelf::new();
    assert_eq!(shelf.thing(1).await, Ok(None));
    assert_eq!(shelf.count(0).await, Ok("0".into()));
    assert_eq!(shelf.add("new").await, Ok(1));
    assert_eq!(shelf.thing(1).await, Ok(NEW));
    assert_eq!(shelf.count(0).await, Ok("1".into()));
}

#[tokio::test]
async fn a_writer_who_hangs_up_has_written_and_voided_all_the_same() {
    let shelf = Shelf::new();
    shelf.put(1, "old");
    shelf.thing(1).await.expect("it answers");
    let gate = Gate::shut();
    shelf.hold_back(&gate);
    let writing = shelf.clone();
    let writer = tokio::spawn(async move { writing.remove(1).await });
    gate.arrival().await;
    writer.abort();
    assert!(writer.await.is_err_and(|error| error.is_cancelled()));
    gate.open();
    eventually("the void", || shelf.cache.stats().voids == 1).await;
    eventually("it is gone", || {
        shelf.peek_thing(1).is_none_or(|hit| hit.value.is_none())
    })
    .await;
}

#[tokio::test]
async fn a_write_is_waited_for_no_longer_than_its_patience_and_goes_on() {
    let shelf = Shelf::new();
    let gate = Gate::shut();
    shelf.hold_back(&gate);
    assert_eq!(shelf.add("new").await, Err(Failure::Interrupted));
    assert_eq!(shelf.cache.stats().voids, 0);
    gate.arrival().await;
    gate.open();
    eventually("the void", || shelf.cache.stats().voids == 1).await;
}
