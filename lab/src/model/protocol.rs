//! The protocol as something that can be explored.

use super::checker::Model;
use super::database::Position;
use super::label::Label;
use super::scenario::{Mutant, Scenario};
use super::state::State;
use super::steps::{Steps, asks, waiting};
use super::{faults, reader, recovery, tailer, writer};

impl Model for Scenario {
    type State = State;
    type Label = Label;

    fn initial(&self) -> State {
        State::initial(self)
    }

    fn steps(&self, state: &State) -> Vec<(Label, State)> {
        let mut steps = Steps {
            scenario: self,
            from: state,
            taken: Vec::new(),
        };
        let waiting = waiting(self, state);
        let is_held_up = self.is_prompt && !waiting.is_empty();
        for (who, command) in waiting {
            steps.send(who, command);
        }
        if is_held_up {
            return steps.taken;
        }
        for number in 0..self.writers.len() {
            writer::steps(&mut steps, number);
        }
        for number in 0..self.readers.len() {
            reader::steps(&mut steps, number);
        }
        for instance in 0..self.instances {
            if !self.has(Mutant::TailerOff) {
                tailer::steps(&mut steps, instance);
            }
            recovery::steps(&mut steps, instance);
        }
        faults::steps(&mut steps);
        steps.taken
    }

    fn check(&self, state: &State) -> Result<(), String> {
        if let Some((reader, value)) = state.stale {
            return Err(format!("reader {reader} was answered v{value}"));
        }
        for instance in 0..self.instances {
            self.check_reads(state, instance)?;
        }
        Ok(())
    }
}

impl Scenario {
    /// What a read would be answered that began now. It may always come upon far, because near may
    /// evict its copy at any time; and upon near, because a doubt may come at any time.
    fn check_reads(&self, state: &State, instance: usize) -> Result<(), String> {
        let value = state.database.value();
        let (least, what) = if state.is_quiescent(self) {
            (value, "for good, where the database has")
        } else {
            (state.floor(instance), "although it is owed")
        };
        let near = state.instances[instance].near;
        let far = state.redis.entry;
        let is_current = state.redis.is_current[instance] || self.has(Mutant::SequenceIgnored);
        let far = far.filter(|_| is_current && asks(self, state.instances[instance].link));
        for (tier, copy) in [("near", near), ("far", far)] {
            if let Some(found) = copy.filter(|&copy| copy < least) {
                return Err(format!(
                    "instance {instance} reads v{found} {tier}, {what} v{least}"
                ));
            }
        }
        Ok(())
    }

    /// Up to where the log is taken to be complete.
    pub(super) fn horizon(&self, state: &State) -> Position {
        if self.has(Mutant::LateCommitSkipped) {
            state.database.end_of_visible()
        } else {
            state.database.horizon()
        }
    }
}
