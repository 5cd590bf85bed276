//! The checker for several instances tells what no read may miss from what another instance may
//! learn a little later.

use std::time::Duration;

use alacena_lab::history::fleet::{
    History, Instance, Moment, Outcome, Position, Read, Staleness, Verdict, Write,
};

const KEY: &str = "user:1";
const ONE: Instance = Instance(1);
const TWO: Instance = Instance(2);

/// A history of one register, initially 0, told in milliseconds.
struct Story {
    history: History<&'static str, u32>,
    reads: Vec<(&'static str, Read<u32>)>,
}

fn at(millis: u64) -> Moment {
    Duration::from_millis(millis).into()
}

fn ms(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

impl Story {
    fn new() -> Self {
        let mut history = History::new();
        history.initial(KEY, 0);
        let reads = Vec::new();
        Self { history, reads }
    }

    fn wrote(self, value: u32, instance: Instance, span: (u64, u64), outcome: Outcome) -> Self {
        let Self { mut history, reads } = self;
        let write = Write {
            value,
            instance,
            began: at(span.0),
            ended: at(span.1),
            outcome,
        };
        history.write(KEY, write);
        Self { history, reads }
    }

    /// An acknowledged write, whose position is its value.
    fn write(self, value: u32, instance: Instance, span: (u64, u64)) -> Self {
        let position = Position::new(value.into()).expect("it is not 0");
        self.wrote(value, instance, span, Outcome::Acknowledged(position))
    }

    fn lost(self, value: u32, instance: Instance, span: (u64, u64)) -> Self {
        self.wrote(value, instance, span, Outcome::Unknown)
    }

    fn read(self, value: u32, instance: Instance, span: (u64, u64)) -> Self {
        self.read_with(value, instance, span, 0)
    }

    fn read_with(mut self, value: u32, instance: Instance, span: (u64, u64), sent: u64) -> Self {
        let read = Read {
            value,
            instance,
            position: Position::new(sent),
            began: at(span.0),
            ended: at(span.1),
        };
        self.reads.push((KEY, read));
        self
    }

    fn verdicts(mut self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        self.history.reads(self.reads);
        let judged = self.history.judge(|_, _, verdict| verdicts.push(verdict));
        judged.expect("each value is written once");
        verdicts
    }

    /// How stale the last read was.
    fn staleness(self) -> Staleness {
        match self.verdicts().last() {
            Some(Verdict::Written(staleness)) => *staleness,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_the_same_instance_acknowledged_must_be_seen() {
    let story = Story::new().write(1, ONE, (10, 20)).read(0, ONE, (25, 30));
    let staleness = story.staleness();
    assert_eq!(staleness.same_instance, ms(5));
    assert_eq!(staleness.other_instance, None);
}

#[test]
fn what_another_instance_acknowledged_may_be_seen_later() {
    let story = Story::new().write(1, ONE, (10, 20)).read(0, TWO, (25, 30));
    let staleness = story.staleness();
    assert_eq!(staleness.same_instance, None);
    assert_eq!(staleness.other_instance, ms(5));
    assert_eq!(staleness.since_write_elsewhere, ms(5));
    assert_eq!(staleness.position, None, "no position was sent");
}

#[test]
fn a_position_binds_every_instance() {
    for instance in [ONE, TWO] {
        let story = Story::new().write(7, ONE, (10, 20));
        let staleness = story.read_with(0, instance, (25, 30), 7).staleness();
        assert_eq!(staleness.position, ms(5));
    }
}

#[test]
fn a_position_does_not_bind_to_what_comes_after_it() {
    let story = Story::new()
        .write(7, ONE, (10, 20))
        .write(9, ONE, (30, 40))
        .read_with(7, TWO, (50, 60), 8);
    let staleness = story.staleness();
    assert_eq!(staleness.position, None);
    assert_eq!(staleness.other_instance, ms(10));
}

#[test]
fn a_position_binds_to_what_stands_before_it_even_if_something_later_was_known_first() {
    let story = Story::new()
        .write(9, ONE, (30, 40))
        .write(8, ONE, (31, 45))
        .read_with(0, TWO, (50, 60), 8);
    let staleness = story.staleness();
    assert_eq!(staleness.position, ms(5));
    assert_eq!(staleness.other_instance, ms(10));
}

#[test]
fn a_read_is_held_to_each_instance_by_itself() {
    let story = Story::new()
        .write(1, ONE, (10, 20))
        .write(2, TWO, (30, 40))
        .read(1, ONE, (50, 60));
    let staleness = story.staleness();
    assert_eq!(staleness.same_instance, None);
    assert_eq!(staleness.other_instance, ms(10));
}

#[test]
fn an_older_value_than_both_is_stale_by_both() {
    let story = Story::new()
        .write(1, ONE, (10, 20))
        .write(2, TWO, (30, 40))
        .read(0, ONE, (50, 60));
    let staleness = story.staleness();
    assert_eq!(staleness.same_instance, ms(30));
    assert_eq!(staleness.other_instance, ms(10));
}

#[test]
fn overlapping_writes_at_two_instances_may_end_in_either_order() {
    for (value, sent) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let story = Story::new().write(1, ONE, (10, 40)).write(2, TWO, (20, 30));
        for instance in [ONE, TWO] {
            let Staleness {
                same_instance,
                other_instance,
                position,
                ..
            } = Story {
                history: story.history.clone(),
                reads: Vec::new(),
            }
            .read_with(value, instance, (50, 60), sent)
            .staleness();
            assert_eq!(
                (same_instance, other_instance, position),
                (None, None, None)
            );
        }
    }
}

#[test]
fn a_read_that_began_before_the_acknowledgement_is_not_stale() {
    let story = Story::new().write(1, ONE, (10, 20));
    let staleness = story.read_with(0, ONE, (20, 30), 1).staleness();
    assert_eq!(staleness, Staleness::default());
}

#[test]
fn a_read_of_the_latest_write_is_none_the_worse_for_being_right_after_it() {
    let story = Story::new().write(1, ONE, (10, 20)).read(1, TWO, (21, 22));
    let staleness = story.staleness();
    assert_eq!(staleness.other_instance, None);
    assert_eq!(staleness.since_write_elsewhere, ms(1));
}

#[test]
fn a_write_of_unknown_outcome_counts_from_when_it_was_seen() {
    let lost = || Story::new().lost(1, ONE, (10, 20));
    let unseen = lost().read(0, ONE, (100, 101)).staleness();
    assert_eq!(unseen, Staleness::default());

    let seen = lost().read(1, TWO, (50, 60)).read(0, ONE, (100, 101));
    assert_eq!(seen.staleness().same_instance, ms(40));
    let seen = lost().read(1, TWO, (50, 60)).read(0, TWO, (100, 101));
    assert_eq!(seen.staleness().other_instance, ms(40));
    let overlapping = lost().read(1, TWO, (50, 60)).read(0, ONE, (55, 101));
    assert_eq!(overlapping.staleness().same_instance, None);
}

#[test]
fn a_write_of_unknown_outcome_does_not_count_before_its_client_gave_up() {
    let story = Story::new()
        .lost(1, ONE, (10, 50))
        .read(1, TWO, (20, 30))
        .read(0, ONE, (40, 41));
    assert_eq!(story.staleness().same_instance, None);
    let story = Story::new()
        .lost(1, ONE, (10, 50))
        .read(1, TWO, (20, 30))
        .read(0, ONE, (55, 56));
    assert_eq!(story.staleness().same_instance, ms(5));
}

#[test]
fn what_was_seen_of_a_write_of_unknown_outcome_can_be_replaced() {
    let story = Story::new()
        .lost(1, ONE, (10, 20))
        .read(1, TWO, (25, 30))
        .write(2, TWO, (40, 50))
        .read(1, TWO, (60, 70));
    assert_eq!(story.staleness().same_instance, ms(10));
}

#[test]
fn a_write_of_unknown_outcome_may_come_late() {
    let story = Story::new()
        .lost(1, ONE, (10, 20))
        .write(2, TWO, (30, 40))
        .read(1, TWO, (50, 60));
    assert_eq!(story.staleness().same_instance, None);
}

#[test]
fn what_nobody_wrote_and_what_comes_before_its_write_is_found() {
    let story = Story::new()
        .write(1, ONE, (50, 60))
        .read(9, ONE, (10, 20))
        .read(1, ONE, (30, 40));
    let verdicts = story.verdicts();
    assert_eq!(verdicts, [Verdict::Unwritten, Verdict::FromTheFuture]);
}

#[test]
fn a_value_written_twice_is_the_clients_fault() {
    let mut story = Story::new().write(1, ONE, (10, 20)).write(1, TWO, (30, 40));
    story.history.reads(Vec::new());
    let judged = story.history.judge(|_, _, _| {});
    assert!(judged.is_err());
}
