//! Writers: tickets, transaction, far void, near void, acknowledgement.

use super::database::Positions;
use super::label::{What, Who};
use super::process::{Link, WriterAt};
use super::redis::{Answer, Command, LeaseId};
use super::scenario::{Mutant, Scenario, Writes};
use super::state::State;
use super::steps::{Steps, asks};

/// What a clear sends.
const REMOVE: Command = Command::Void {
    through: None,
    position: None,
};

/// The steps of a writer that waits for no answer.
pub(super) fn steps(steps: &mut Steps<'_>, number: usize) {
    let (scenario, from) = (steps.scenario, steps.from);
    let (origin, writes) = scenario.writers[number];
    let instance = usize::from(origin);
    let who = Who::Writer(number, origin);
    let writer = &from.writers[number];
    match writer.at {
        WriterAt::Idle if writes == Writes::OtherKey => {
            if from.has_fallen_back(scenario) {
                steps.take(who, What::Does("writes another key"), |state| {
                    let position = state.database.begin();
                    state.database.commit_other(position);
                    state.writers[number].end();
                });
            }
        }
        WriterAt::Idle if writes == Writes::Clear => {
            steps.take(who, What::Does("begins to clear"), |state| {
                state.database.begin_clear(origin);
                state.writers[number].connect = state.instances[instance].connects;
                state.writers[number].at = WriterAt::ClearBegun;
            });
        }
        WriterAt::Idle => steps.take(who, What::Does("takes a near ticket"), |state| {
            state.writers[number].near = true;
            state.writers[number].at = WriterAt::NearTicket;
        }),
        WriterAt::NearTicket if asks(scenario, from.instances[instance].link) => {
            let is_relied_on = scenario.has(Mutant::UnconfirmedTicketWritesThrough);
            let id = is_relied_on.then(|| LeaseId::of_writer(number));
            steps.take(who, What::Does("asks for a far ticket"), |state| {
                state.writers[number].call = Some(Command::Claim { id });
                state.writers[number].at = WriterAt::Claiming;
            });
        }
        WriterAt::NearTicket => {
            steps.take(who, What::Does("goes without a far ticket"), |state| {
                state.writers[number].at = WriterAt::Ready;
            });
        }
        WriterAt::Ready => {
            let what = What::DoesAt("begins at position", from.database.next());
            steps.take(who, what, |state| {
                state.writers[number].position = Some(state.database.begin());
                state.writers[number].at = WriterAt::Writing;
            });
        }
        WriterAt::Writing => commit(steps, who, number, origin),
        WriterAt::Committed if scenario.has(Mutant::WriterVoidsNearFirst) => {
            steps.take(who, What::Does("voids near, before far"), |state| {
                void_near(scenario, state, number, false);
                state.writers[number].at = WriterAt::FarVoidLeft;
            });
        }
        WriterAt::Committed if remembers_early(steps, number) => {
            steps.take(who, What::Does("has its void remembered"), |state| {
                let remembered = writer.remembered.map(Positions::only).unwrap_or_default();
                if scenario.has(Mutant::RememberedBeforeFarVoid) {
                    state.redis.voided = state.redis.voided.and(remembered);
                } else {
                    let instance = &mut state.instances[instance];
                    instance.voided = instance.voided.and(remembered);
                }
                state.writers[number].at = WriterAt::FarVoidLeft;
            });
        }
        WriterAt::Committed | WriterAt::FarVoidLeft => void_far(steps, who, number, instance),
        WriterAt::NearVoid => {
            let is_through =
                writer.is_through && (writer.near || scenario.has(Mutant::WritersAllWriteThrough));
            let what = if is_through {
                "writes through near, and ends"
            } else {
                "voids near, and ends"
            };
            steps.take(who, What::Does(what), |state| {
                if !scenario.has(Mutant::WriterVoidsNearFirst) {
                    void_near(scenario, state, number, is_through);
                }
                if writer.owes_doubt {
                    state.writers[number].at = WriterAt::OverdueDoubt;
                } else {
                    end(state, number);
                }
            });
        }
        WriterAt::OverdueDoubt => steps.take(who, What::Does("doubts, and ends"), |state| {
            state.doubt(instance);
            end(state, number);
        }),
        WriterAt::ClearBegun => {
            let is_trusted = matches!(from.instances[instance].link, Link::Trusted { .. });
            if !is_trusted {
                steps.take(who, What::Does("cannot clear far"), |state| {
                    state.writers[number].at = WriterAt::ClearNear;
                });
                return;
            }
            let is_noted_first = scenario.has(Mutant::ClearNotedFirst);
            steps.take(who, What::Does("clears far"), |state| {
                let (call, at) = if is_noted_first {
                    (Command::Note, WriterAt::ClearNoting)
                } else {
                    (REMOVE, WriterAt::ClearRemoving)
                };
                state.writers[number].call = Some(call);
                state.writers[number].at = at;
            });
        }
        WriterAt::ClearNear => steps.take(who, What::Does("clears near"), |state| {
            state.raise_epoch(scenario, instance);
            state.instances[instance].near = None;
            state.writers[number].at = WriterAt::ClearLog;
        }),
        WriterAt::ClearLog => steps.take(who, What::Does("logs the clear"), |state| {
            state.writers[number].position = Some(state.database.log_clear());
            state.writers[number].at = WriterAt::ClearLogged;
        }),
        WriterAt::ClearLogged => {
            let published = from.instances[instance].tailer.published;
            let is_applied = writer.position.is_some_and(|position| position < published);
            if is_applied || scenario.has(Mutant::ClearNotAwaited) {
                steps.take(who, What::Does("acknowledges the clear"), |state| {
                    end(state, number);
                });
            }
        }
        WriterAt::Claiming
        | WriterAt::Voiding
        | WriterAt::ClearRemoving
        | WriterAt::ClearNoting
        | WriterAt::Done => {}
    }
}

/// Voids near, and remembers that in the same step.
fn void_near(scenario: &Scenario, state: &mut State, number: usize, is_through: bool) {
    let instance = usize::from(scenario.writers[number].0);
    state.raise_epoch(scenario, instance);
    let writer = &state.writers[number];
    let through = writer.position.filter(|_| is_through);
    let remembered = writer.remembered.map(Positions::only).unwrap_or_default();
    let instance = &mut state.instances[instance];
    instance.near = through.map(|position| state.database.value_at(position));
    instance.voided = instance.voided.and(remembered);
}

/// Whether what should be remembered with the void is remembered before it.
fn remembers_early(steps: &Steps<'_>, number: usize) -> bool {
    let (scenario, from) = (steps.scenario, steps.from);
    let instance = usize::from(scenario.writers[number].0);
    let is_sent = from.instances[instance].link != Link::Down;
    from.writers[number].remembered.is_some()
        && (scenario.has(Mutant::RememberedBeforeNearVoid)
            || (scenario.has(Mutant::RememberedBeforeFarVoid) && is_sent))
}

/// What may become of a transaction.
fn commit(steps: &mut Steps<'_>, who: Who, number: usize, origin: u8) {
    let from = steps.from;
    let Some(position) = from.writers[number].position else {
        return;
    };
    let value = from.database.value() + 1;
    steps.take(who, What::DoesAt("commits value", value), |state| {
        state.database.commit(position, origin);
        state.writers[number].remembered = Some(position);
        state.writers[number].at = WriterAt::Committed;
    });
    let is_remembered = steps.scenario.has(Mutant::UnknownCommitRemembered);
    let gives_up = |state: &mut State, is_voided: bool| {
        if is_voided {
            state.writers[number].position = None;
            state.writers[number].remembered = is_remembered.then_some(position);
            state.writers[number].at = WriterAt::Committed;
        } else {
            state.writers[number].end();
        }
    };
    let is_voided = !steps.scenario.has(Mutant::UnknownCommitNotVoided);
    if from.budget.unknown_commits > 0 {
        let what = What::DoesAt("commits, and does not know, value", value);
        steps.take(who, what, |state| {
            state.budget.unknown_commits -= 1;
            state.database.commit(position, origin);
            gives_up(state, is_voided);
        });
    }
    if from.budget.lost_transactions > 0 {
        steps.take(who, What::Does("loses its transaction"), |state| {
            state.budget.lost_transactions -= 1;
            state.database.abandon(position, origin);
            gives_up(state, is_voided);
        });
    }
}

fn void_far(steps: &mut Steps<'_>, who: Who, number: usize, instance: usize) {
    let (scenario, from) = (steps.scenario, steps.from);
    let writer = &from.writers[number];
    let link = from.instances[instance].link;
    let is_known = writer.position.is_some();
    let is_alone = is_known && writer.far.is_none() && !matches!(link, Link::Trusted { .. });
    if link == Link::Down {
        steps.take(who, What::Does("cannot void far"), |state| {
            state.writers[number].is_alone = is_alone;
            unconfirmed(scenario, state, number, instance);
        });
        return;
    }
    let through = writer.far.zip(writer.position);
    let through = through.map(|(id, at)| (id, from.database.value_at(at)));
    let position = writer.remembered;
    steps.take(who, What::Does("sends its far void"), |state| {
        state.writers[number].call = Some(Command::Void { through, position });
        state.writers[number].is_alone = is_alone;
        state.writers[number].at = WriterAt::Voiding;
    });
}

/// Goes on with what Redis answered, if it did.
pub(super) fn answered(
    scenario: &Scenario,
    state: &mut State,
    (number, instance): (usize, usize),
    answer: Option<Answer>,
) {
    let is_noted_first = scenario.has(Mutant::ClearNotedFirst);
    let writer = &mut state.writers[number];
    match (writer.at, answer) {
        (WriterAt::ClearRemoving, Some(Answer::Written(_))) if !is_noted_first => {
            writer.call = Some(Command::Note);
            writer.at = WriterAt::ClearNoting;
        }
        (WriterAt::ClearNoting, Some(Answer::Done)) if is_noted_first => {
            writer.call = Some(REMOVE);
            writer.at = WriterAt::ClearRemoving;
        }
        // Without the note, it is done by the instances that apply the log.
        (WriterAt::ClearRemoving | WriterAt::ClearNoting, _) => writer.at = WriterAt::ClearNear,
        (WriterAt::Claiming, answer) => {
            writer.far = match answer {
                Some(Answer::Ticket(id)) => Some(id),
                _ if scenario.has(Mutant::UnconfirmedTicketWritesThrough) => {
                    Some(LeaseId::of_writer(number))
                }
                _ => None,
            };
            writer.at = WriterAt::Ready;
        }
        (_, Some(Answer::Written(is_written))) => {
            writer.is_through = is_written || writer.is_alone;
            void_near_next(state, number);
        }
        _ => unconfirmed(scenario, state, number, instance),
    }
}

/// The distrust comes before the near void, and that before the acknowledgement.
fn unconfirmed(scenario: &Scenario, state: &mut State, number: usize, instance: usize) {
    if scenario.has(Mutant::DistrustAfterNearVoid) {
        state.writers[number].owes_doubt = true;
    } else if !scenario.has(Mutant::UnconfirmedVoidIsTrusted) {
        state.doubt(instance);
    }
    let writer = &mut state.writers[number];
    writer.is_through = writer.is_alone;
    void_near_next(state, number);
}

fn void_near_next(state: &mut State, number: usize) {
    let writer = &mut state.writers[number];
    writer.at = WriterAt::NearVoid;
    // What was far void's to decide is decided.
    writer.far = None;
    writer.is_alone = false;
}

/// The write is acknowledged, if its writer knows that it happened.
fn end(state: &mut State, number: usize) {
    if let Some(position) = state.writers[number].position {
        state.database.acknowledge(position);
    }
    state.writers[number].end();
}
