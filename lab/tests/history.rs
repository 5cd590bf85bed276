//! The checker finds what is wrong in a history, and nothing in what is right.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use alacena_lab::history::{History, Read, Recorder, Report, Write};
use proptest::collection::vec;
use proptest::prelude::*;

const KEY: &str = "user:1";

/// A history of one register, initially 0, told in milliseconds.
#[derive(Default)]
struct Story(History<&'static str, u32>);

impl Story {
    fn new() -> Self {
        let mut story = Self::default();
        story.0.initial(KEY, 0);
        story
    }

    fn write(mut self, value: u32, began: u64, acknowledged: impl Into<Option<u64>>) -> Self {
        let acknowledged = acknowledged.into().map(Duration::from_millis);
        self.0.write(
            KEY,
            Write {
                value,
                began: Duration::from_millis(began),
                acknowledged,
            },
        );
        self
    }

    fn read(mut self, value: u32, began: u64, ended: u64) -> Self {
        let (began, ended) = (Duration::from_millis(began), Duration::from_millis(ended));
        self.0.read(
            KEY,
            Read {
                value,
                began,
                ended,
            },
        );
        self
    }

    fn check(self) -> Report<&'static str, u32> {
        self.0.check().expect("each value is written once")
    }
}

#[test]
fn a_read_of_the_last_write_is_right() {
    let report = Story::new()
        .write(1, 10, 20)
        .write(2, 30, 40)
        .read(2, 50, 60)
        .check();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.reads, report.writes), (1, 3));
}

#[test]
fn a_read_of_what_was_replaced_before_it_began_is_stale() {
    let report = Story::new()
        .write(1, 10, 20)
        .write(2, 30, 40)
        .read(1, 55, 60)
        .check();
    let [stale] = &report.stale[..] else {
        panic!("{report}")
    };
    assert_eq!((stale.read.value, stale.replaced_by), (1, 2));
    assert_eq!(stale.age, Duration::from_millis(15));
    assert!(report.unwritten.is_empty() && report.from_the_future.is_empty());
}

#[test]
fn the_age_of_a_stale_read_counts_from_the_first_write_that_replaced_it() {
    let report = Story::new()
        .write(1, 10, 90)
        .write(2, 20, 40)
        .write(3, 50, 60)
        .read(0, 100, 101)
        .check();
    assert_eq!(report.stale[0].replaced_by, 2);
    assert_eq!(report.stale[0].age, Duration::from_millis(60));
}

#[test]
fn the_initial_value_is_stale_once_replaced() {
    assert_eq!(
        Story::new()
            .write(1, 10, 20)
            .read(0, 30, 40)
            .check()
            .stale
            .len(),
        1
    );
}

#[test]
fn overlapping_writers_may_end_in_either_order() {
    for value in [1, 2] {
        let report = Story::new()
            .write(1, 10, 40)
            .write(2, 20, 30)
            .read(value, 50, 60)
            .check();
        assert!(report.is_clean(), "{value}: {report}");
    }
}

#[test]
fn writes_that_touch_overlap() {
    assert!(
        Story::new()
            .write(1, 10, 20)
            .write(2, 20, 30)
            .read(1, 40, 50)
            .check()
            .is_clean()
    );
    assert!(
        Story::new()
            .write(1, 10, 20)
            .write(2, 30, 40)
            .read(1, 40, 50)
            .check()
            .is_clean()
    );
}

#[test]
fn a_read_that_overlaps_a_write_may_return_either_value() {
    for value in [0, 1] {
        let report = Story::new().write(1, 10, 30).read(value, 20, 25).check();
        assert!(report.is_clean(), "{value}: {report}");
    }
}

#[test]
fn a_write_of_unknown_outcome_may_be_seen_late_or_never() {
    let story = || Story::new().write(1, 10, None);
    assert!(story().read(0, 500, 501).check().is_clean());
    assert!(
        story()
            .write(2, 20, 30)
            .read(2, 40, 50)
            .read(1, 60, 70)
            .check()
            .is_clean()
    );
    assert_eq!(story().check().unacknowledged, 1);
}

#[test]
fn a_write_of_unknown_outcome_excuses_nobody_else() {
    let report = Story::new()
        .write(1, 10, 20)
        .write(2, 30, None)
        .write(3, 40, 50)
        .read(1, 60, 70)
        .check();
    assert_eq!(report.stale.len(), 1);
}

#[test]
fn what_was_deleted_does_not_come_back() {
    let mut history = History::new();
    let at = Duration::from_millis;
    history.initial("product:7", Some("chair"));
    history.write(
        "product:7",
        Write {
            value: None,
            began: at(10),
            acknowledged: Some(at(20)),
        },
    );
    history.read(
        "product:7",
        Read {
            value: None,
            began: at(30),
            ended: at(40),
        },
    );
    history.read(
        "product:7",
        Read {
            value: Some("chair"),
            began: at(50),
            ended: at(60),
        },
    );
    let report = history.check().expect("each value is written once");
    assert_eq!(report.stale.len(), 1, "{report}");
    assert_eq!(report.stale[0].replaced_by, None);
}

#[test]
fn a_value_that_nobody_wrote_is_no_stale_one() {
    let report = Story::new().write(1, 10, 20).read(9, 30, 40).check();
    assert_eq!(report.unwritten.len(), 1);
    assert!(report.stale.is_empty() && report.from_the_future.is_empty() && !report.is_clean());
}

#[test]
fn a_value_cannot_be_read_before_its_write_begins() {
    let report = Story::new()
        .read(1, 10, 19)
        .read(1, 15, 20)
        .write(1, 20, 30)
        .check();
    assert_eq!(report.from_the_future.len(), 1);
    assert!(report.stale.is_empty() && report.unwritten.is_empty());
}

#[test]
fn registers_do_not_mix() {
    let mut history = History::new();
    let at = Duration::from_millis;
    for key in [1, 2] {
        history.initial(key, "old");
    }
    history.write(
        1,
        Write {
            value: "new",
            began: at(1),
            acknowledged: Some(at(2)),
        },
    );
    for key in [1, 2] {
        history.read(
            key,
            Read {
                value: "old",
                began: at(3),
                ended: at(4),
            },
        );
    }
    let report = history.check().expect("each value is written once");
    assert_eq!(
        report
            .stale
            .iter()
            .map(|stale| stale.key)
            .collect::<Vec<_>>(),
        [1]
    );
}

#[test]
fn a_value_written_twice_is_an_error_of_the_clients() {
    let history = Story::new().write(1, 10, 20).write(1, 30, 40).0;
    let error = history.check().expect_err("1 is written twice");
    assert_eq!((error.key, error.value), (KEY, 1));
}

#[test]
fn a_report_says_in_words_what_is_wrong() {
    let report = Story::new()
        .write(1, 10, 20)
        .read(0, 30, 40)
        .read(7, 50, 60)
        .check();
    assert_eq!(
        report.to_string(),
        "2 reads, 2 writes (0 unacknowledged): 1 stale, 1 of what nobody wrote, 0 from the future\n  \
         stale: \"user:1\" read as 0 at 30ms, replaced by 1 10ms before\n  \
         nobody wrote: \"user:1\" read as 7 at 50ms"
    );
    assert!((report.stale_per_million() - 500_000.0).abs() < 0.1);
}

#[test]
fn a_recorder_notes_each_outcome_of_a_write() {
    let recorder = Recorder::new();
    recorder.initial(KEY, 0);
    let mut client = recorder.client();
    client.write(KEY, 1).acknowledged();
    client.write(KEY, 2).refused();
    drop(client.write(KEY, 3));
    drop(client.read(KEY));
    client.read(KEY).returned(2);
    drop(client);
    let report = recorder
        .finish()
        .check()
        .expect("each value is written once");
    assert_eq!(
        (
            report.reads,
            report.writes,
            report.unacknowledged,
            report.unwritten.len()
        ),
        (1, 3, 1, 1)
    );
}

#[test]
#[should_panic(expected = "every client is dropped")]
fn a_recorder_does_not_finish_without_its_clients() {
    let recorder = Recorder::<u8, u8>::new();
    let _client = recorder.client();
    recorder.finish();
}

/// Four threads write and read one register through `read`, which is given the register.
fn threads_at_work(read: fn(&Mutex<Vec<u32>>) -> u32) -> Report<&'static str, u32> {
    let recorder = Recorder::new();
    recorder.initial(KEY, 0);
    let register = Arc::new(Mutex::new(vec![0]));
    let workers: Vec<_> = (1..=4)
        .map(|worker| {
            let mut client = recorder.client();
            let register = Arc::clone(&register);
            thread::spawn(move || {
                for step in 0..500 {
                    let value = step * 10 + worker;
                    let pending = client.write(KEY, value);
                    register.lock().expect("nobody panics").push(value);
                    pending.acknowledged();
                    let pending = client.read(KEY);
                    pending.returned(read(&register));
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("nobody panics");
    }
    recorder
        .finish()
        .check()
        .expect("each value is written once")
}

#[test]
fn threads_that_share_a_correct_register_are_found_correct() {
    let report = threads_at_work(|register| {
        *register
            .lock()
            .expect("nobody panics")
            .last()
            .expect("never empty")
    });
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.reads, report.writes), (2000, 2001));
}

#[test]
fn threads_that_share_a_register_that_lags_are_found_out() {
    let report = threads_at_work(|register| {
        let values = register.lock().expect("nobody panics");
        values[values.len().saturating_sub(50)]
    });
    assert!(report.stale.len() > 100, "{report}");
}

/// The definition, word for word.
fn stale_by_definition(writes: &[Write<u32>], read: &Read<u32>) -> bool {
    let own = writes.iter().find(|write| write.value == read.value);
    let Some(end) = own.and_then(|write| write.acknowledged) else {
        return false;
    };
    writes.iter().any(|other| {
        other.began > end
            && other
                .acknowledged
                .is_some_and(|replaced| replaced < read.began)
    })
}

prop_compose! {
    /// From a beginning, a length.
    fn span()(began in 0..200_u64, length in 0..60_u64) -> (Duration, Duration) {
        (Duration::from_millis(began), Duration::from_millis(began + length))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_checker_agrees_with_the_definition(
        writes in vec((span(), prop::bool::weighted(0.85)), 0..25),
        reads in vec((0..27_u32, span()), 0..60),
    ) {
        let writes: Vec<Write<u32>> = writes
            .into_iter()
            .zip(1..)
            .map(|(((began, end), known), value)| Write { value, began, acknowledged: known.then_some(end) })
            .collect();
        let mut history = History::new();
        for write in &writes {
            history.write(KEY, write.clone());
        }
        let mut expected = (0, 0, 0);
        for (value, (began, ended)) in reads {
            let read = Read { value, began, ended };
            match writes.iter().find(|write| write.value == value) {
                None => expected.1 += 1,
                Some(write) if ended < write.began => expected.2 += 1,
                Some(_) => expected.0 += usize::from(stale_by_definition(&writes, &read)),
            }
            history.read(KEY, read);
        }
        let report = history.check().expect("each value is written once");
        prop_assert_eq!((report.stale.len(), report.unwritten.len(), report.from_the_future.len()), expected);
    }

    /// Operations happen at one instant each, in order, somewhere between their beginning and their
    /// end. A write whose outcome stays unknown happens or does not.
    #[test]
    fn a_correct_register_is_never_accused(
        operations in vec((any::<bool>(), 0..100_u64, 0..100_u64, any::<bool>(), any::<bool>()), 1..80),
    ) {
        let mut story = Story::new();
        let mut current = 0;
        for ((is_write, before, after, known, happens), number) in operations.into_iter().zip(1..) {
            let instant = 100 + u64::from(number) * 7;
            let (began, ended) = (instant - before, instant + after);
            if is_write {
                if known || happens {
                    current = number;
                }
                story = story.write(number, began, known.then_some(ended));
            } else {
                story = story.read(current, began, ended);
            }
        }
        let report = story.check();
        prop_assert!(report.is_clean(), "{}", report);
    }
}
