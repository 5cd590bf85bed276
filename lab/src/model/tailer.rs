//! The tailer of an instance: log, far, near, position.

use super::database::Positions;
use super::label::{What, Who};
use super::process::{Link, TailerAt};
use super::redis::{Answer, Command};
use super::scenario::{Mutant, Scenario};
use super::state::State;
use super::steps::Steps;

/// The steps of a tailer that waits for no answer.
pub(super) fn steps(steps: &mut Steps<'_>, instance: usize) {
    let (scenario, from) = (steps.scenario, steps.from);
    let who = Who::Tailer(instance);
    let tailer = &from.instances[instance].tailer;
    match tailer.at {
        TailerAt::Idle => {
            let upto = scenario.horizon(from);
            let mut rows = from.database.log().without(tailer.passed);
            if rows.is_empty() && upto <= tailer.published {
                return;
            }
            if scenario.has(Mutant::OwnRowsSkipped) {
                rows = rows.without(from.database.made_by(instance));
            }
            steps.take(who, What::DoesAt("reads the log up to", upto), |state| {
                let tailer = &mut state.instances[instance].tailer;
                tailer.passed = tailer.passed.and(state.database.log());
                tailer.rows = rows;
                tailer.upto = upto;
                tailer.at = TailerAt::Read;
            });
        }
        TailerAt::Read if scenario.has(Mutant::TailerVoidsNearFirst) => {
            steps.take(who, What::Does("voids near, before far"), |state| {
                void_near(scenario, state, instance);
                state.instances[instance].tailer.at = TailerAt::FarVoidLeft;
            });
        }
        TailerAt::Read | TailerAt::FarVoidLeft => void_far(steps, instance),
        TailerAt::FarVoided if scenario.has(Mutant::PublishedBeforeNearVoid) => {
            steps.take(who, What::Does("publishes its position"), |state| {
                publish(state, instance);
                state.instances[instance].tailer.at = TailerAt::NearVoidLeft;
            });
        }
        TailerAt::FarVoided => {
            let what = What::DoesAt("voids near, and publishes", tailer.upto);
            steps.take(who, what, |state| {
                if !scenario.has(Mutant::TailerVoidsNearFirst) {
                    void_near(scenario, state, instance);
                }
                publish(state, instance);
                rest(scenario, state, instance);
            });
        }
        TailerAt::NearVoidLeft => steps.take(who, What::Does("voids near"), |state| {
            void_near(scenario, state, instance);
            rest(scenario, state, instance);
        }),
        TailerAt::Applying => {}
    }
}

fn void_far(steps: &mut Steps<'_>, instance: usize) {
    let (scenario, from) = (steps.scenario, steps.from);
    let who = Who::Tailer(instance);
    let tailer = &from.instances[instance].tailer;
    let rows = tailer.rows.among(from.database.of_key());
    let command = match from.instances[instance].link {
        Link::Trusted { seen } => Some(Command::Apply {
            rows,
            clears: rows.among(from.database.clears()),
            seen: if scenario.has(Mutant::ApplyIgnoresSeen) {
                0
            } else {
                seen
            },
            upto: tailer.upto,
            is_of_other_history: from.instances[instance].is_history_other,
        }),
        // A clear is left to the recovery, which reads the log itself.
        Link::Connected if !rows.among(from.database.clears()).is_empty() => None,
        Link::Connected if !rows.is_empty() => Some(Command::Void {
            through: None,
            position: None,
        }),
        Link::Connected | Link::Down => None,
    };
    if let Some(command) = command {
        steps.take(who, What::Does("sends its far void"), |state| {
            state.instances[instance].tailer.call = Some(command);
            state.instances[instance].tailer.at = TailerAt::Applying;
        });
        return;
    }
    let is_void_missed = !rows.is_empty();
    let what = if is_void_missed {
        "cannot void far"
    } else {
        "has nothing to void far"
    };
    steps.take(who, What::Does(what), |state| {
        if is_void_missed && !scenario.has(Mutant::UnconfirmedRowIsTrusted) {
            state.doubt(instance);
        }
        state.instances[instance].tailer.at = TailerAt::FarVoided;
    });
}

/// Goes on with what Redis answered, if it did.
pub(super) fn answered(
    scenario: &Scenario,
    state: &mut State,
    instance: usize,
    answer: Option<Answer>,
) {
    match answer {
        Some(Answer::Watermark(Some(watermark))) => {
            if let Link::Trusted { seen } = &mut state.instances[instance].link {
                *seen = watermark.max(*seen);
            }
        }
        Some(Answer::Written(_)) => {}
        Some(_) => state.doubt(instance),
        None if scenario.has(Mutant::UnconfirmedRowIsTrusted) => {}
        None => state.doubt(instance),
    }
    state.instances[instance].tailer.at = TailerAt::FarVoided;
}

fn void_near(scenario: &Scenario, state: &mut State, instance: usize) {
    let rows = state.instances[instance].tailer.rows;
    for position in rows.among(state.database.of_key()).iter() {
        let voided = state.instances[instance].voided;
        if !scenario.is_voided(voided, position, Mutant::NearVoidedComparesOrder) {
            state.raise_epoch(scenario, instance);
            state.instances[instance].near = None;
        }
    }
    let instance = &mut state.instances[instance];
    let settled = Positions::below(instance.tailer.upto);
    instance.voided = instance.voided.without(settled);
}

fn publish(state: &mut State, instance: usize) {
    let tailer = &mut state.instances[instance].tailer;
    tailer.published = tailer.published.max(tailer.upto);
}

fn rest(scenario: &Scenario, state: &mut State, instance: usize) {
    let tailer = &mut state.instances[instance].tailer;
    tailer.at = TailerAt::Idle;
    tailer.rows = Positions::default();
    tailer.upto = 0;
    if scenario.has(Mutant::LateCommitSkipped) {
        tailer.passed = tailer.passed.and(Positions::below(tailer.published));
    }
}
