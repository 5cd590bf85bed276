//! Steps as they are collected, and what all who send commands have in common.

use super::label::{Label, What, Who};
use super::process::Link;
use super::redis::{Answer, Command};
use super::scenario::{Mutant, Scenario};
use super::state::State;
use super::{reader, recovery, tailer, writer};

/// Collects the steps that can follow a state.
pub(super) struct Steps<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) from: &'a State,
    pub(super) taken: Vec<(Label, State)>,
}

impl Steps<'_> {
    /// A step that makes this change.
    pub(super) fn take(&mut self, who: Who, what: What, change: impl FnOnce(&mut State)) {
        let mut state = *self.from;
        change(&mut state);
        self.taken
            .push((Label { who, what }, state.settled(self.scenario)));
    }

    /// Everything that may become of a command which `who` has sent.
    pub(super) fn send(&mut self, who: Who, command: Command) {
        let scenario = self.scenario;
        let answer = execute(scenario, &mut { *self.from }, who, command);
        self.take(who, What::Asks(command, answer), |state| {
            execute(scenario, state, who, command);
            answered(scenario, state, who, Some(answer));
        });
        if self.from.budget.losses == 0 {
            return;
        }
        self.take(who, What::Loses(command, "request lost"), |state| {
            state.budget.losses -= 1;
            answered(scenario, state, who, None);
        });
        if matches!(command, Command::Get) {
            return;
        }
        self.take(who, What::Loses(command, "answer lost"), |state| {
            state.budget.losses -= 1;
            execute(scenario, state, who, command);
            answered(scenario, state, who, None);
        });
        // On the connections of old, and compared with the number of then: see `execute`.
        if command == Command::Note {
            return;
        }
        self.take(who, What::Loses(command, "late"), |state| {
            state.budget.losses -= 1;
            state.leave(command);
            answered(scenario, state, who, None);
        });
    }
}

/// Executes what `who` has sent. An invalidation advances the sequence number of its instance, so that
/// the other data has a lower one.
fn execute(scenario: &Scenario, state: &mut State, who: Who, command: Command) -> Answer {
    let Some(instance) = who.instance() else {
        return state.redis.execute(command, scenario);
    };
    let is_trusted = matches!(state.instances[instance].link, Link::Trusted { .. });
    if let (Who::Writer(number, _), Command::Note) = (who, command)
        && state.writers[number].connect != state.instances[instance].connects
    {
        return Answer::OtherData;
    }
    let redis = &mut state.redis;
    let answer = redis.execute_for(instance, is_trusted, command, scenario);
    let invalidates = match command {
        Command::Void { .. } | Command::Apply { .. } | Command::Note => true,
        Command::Drop { .. } => !scenario.has(Mutant::DropKeepsSequence),
        Command::Get | Command::Claim { .. } | Command::Fill { .. } => false,
    };
    if invalidates && redis.is_current[instance] {
        state.snapshot.is_current[instance] = false;
    }
    answer
}

/// Whether anything is asked over such a link.
pub(super) fn asks(scenario: &Scenario, link: Link) -> bool {
    match link {
        Link::Down => false,
        Link::Connected => scenario.has(Mutant::AskedBeforeRecovery),
        Link::Trusted { .. } => true,
    }
}

/// Who waits for an answer, and to what command.
pub(super) fn waiting(scenario: &Scenario, state: &State) -> Vec<(Who, Command)> {
    let writers = state.writers.iter().zip(scenario.writers).enumerate();
    let writers = writers.map(|(number, (it, &(at, _)))| (Who::Writer(number, at), it.call));
    let readers = state.readers.iter().zip(scenario.readers).enumerate();
    let readers = readers.map(|(number, (it, &at))| (Who::Reader(number, at), it.call));
    let instances = || state.instances[..scenario.instances].iter().enumerate();
    let tailers = instances().map(|(at, it)| (Who::Tailer(at), it.tailer.call));
    let recoveries = instances().map(|(at, it)| (Who::Recovery(at), it.recovery.call));
    writers
        .chain(readers)
        .chain(tailers)
        .chain(recoveries)
        .filter_map(|(who, call)| Some((who, call?)))
        .collect()
}

/// Hands an answer to whoever waits for it: none if the command failed.
pub(super) fn answered(scenario: &Scenario, state: &mut State, who: Who, answer: Option<Answer>) {
    match who {
        Who::Writer(number, instance) => {
            state.writers[number].call = None;
            writer::answered(scenario, state, (number, instance.into()), answer);
        }
        Who::Reader(number, _) => {
            state.readers[number].call = None;
            reader::answered(scenario, state, number, answer);
        }
        Who::Tailer(instance) => {
            state.instances[instance].tailer.call = None;
            tailer::answered(scenario, state, instance, answer);
        }
        Who::Recovery(instance) => {
            state.instances[instance].recovery.call = None;
            recovery::answered(state, instance, answer);
        }
        Who::Instance(_) | Who::Database | Who::Redis => {}
    }
}
