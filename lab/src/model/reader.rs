//! Readers: near ticket, far look, far ticket, load, far fill, near fill.

use super::database::Value;
use super::label::{What, Who};
use super::process::{Link, ReaderAt};
use super::redis::{Answer, Command};
use super::scenario::{Backend, Mutant, Scenario};
use super::state::State;
use super::steps::{Steps, asks};

/// The steps of a reader that waits for no answer.
pub(super) fn steps(steps: &mut Steps<'_>, number: usize) {
    let (scenario, from) = (steps.scenario, steps.from);
    let instance = usize::from(scenario.readers[number]);
    let who = Who::Reader(number, scenario.readers[number]);
    let reader = &from.readers[number];
    let is_asked = asks(scenario, from.instances[instance].link);
    match reader.at {
        // Reads that near can answer change nothing, and every state is checked for their answers.
        ReaderAt::Idle if !finds_near(scenario, from, instance) => {
            let is_late = scenario.has(Mutant::NearTicketAfterFarLook);
            let what = if is_late {
                "misses near"
            } else {
                "misses near, and takes a ticket"
            };
            steps.take(who, What::Does(what), |state| {
                state.readers[number].near = !is_late;
                state.readers[number].floor = state.floor(instance);
                state.readers[number].at = ReaderAt::NearMiss;
            });
        }
        ReaderAt::NearMiss if is_asked => steps.take(who, What::Does("asks far"), |state| {
            state.readers[number].call = Some(Command::Get);
            state.readers[number].at = ReaderAt::Getting;
        }),
        ReaderAt::FarHit => steps.take(who, What::Does("takes a near ticket"), |state| {
            state.readers[number].near = true;
            state.readers[number].at = ReaderAt::NearFill;
        }),
        ReaderAt::FarMiss if is_asked => {
            steps.take(who, What::Does("asks for a far ticket"), |state| {
                take_overdue_ticket(scenario, state, number);
                state.readers[number].call = Some(Command::Claim { id: None });
                state.readers[number].at = ReaderAt::Claiming;
            });
        }
        ReaderAt::NearMiss | ReaderAt::FarMiss => {
            steps.take(who, What::Does("does without far"), |state| {
                take_overdue_ticket(scenario, state, number);
                state.readers[number].at = ReaderAt::Loading;
            });
        }
        ReaderAt::Loading if flight(scenario, from, number).is_some() => {
            steps.take(who, What::Does("joins a flight"), |state| {
                state.readers[number].at = ReaderAt::Aboard;
            });
        }
        ReaderAt::Loading => load(steps, who, number),
        ReaderAt::Loaded => {
            let call = reader.far.zip(reader.found).filter(|_| is_asked);
            let Some((id, value)) = call else {
                steps.take(who, What::Does("cannot fill far"), |state| {
                    state.readers[number].at = ReaderAt::NearFill;
                });
                return;
            };
            steps.take(who, What::Does("sends its far fill"), |state| {
                state.readers[number].call = Some(Command::Fill { id, value });
                state.readers[number].at = ReaderAt::Filling;
            });
        }
        ReaderAt::NearFill => {
            let is_good = reader.near || scenario.has(Mutant::NearFillIgnoresTicket);
            let what = if is_good {
                "fills near, and ends"
            } else {
                "may not fill near, and ends"
            };
            steps.take(who, What::Does(what), |state| {
                if is_good {
                    state.instances[instance].near = reader.found;
                }
                land(scenario, state, number);
            });
        }
        ReaderAt::Idle
        | ReaderAt::Getting
        | ReaderAt::Claiming
        | ReaderAt::Aboard
        | ReaderAt::Filling
        | ReaderAt::Done => {}
    }
}

fn finds_near(scenario: &Scenario, state: &State, instance: usize) -> bool {
    let instance = &state.instances[instance];
    let reads_near = match scenario.backend {
        Backend::Tiered => true,
        Backend::Redis => !matches!(instance.link, Link::Trusted { .. }),
    };
    reads_near && instance.near.is_some()
}

/// Whose load under way this reader joins: one of its instance that began in the same epoch.
fn flight(scenario: &Scenario, state: &State, number: usize) -> Option<usize> {
    let readers = &state.readers[..scenario.readers.len()];
    let has_good_ticket =
        |number: usize| readers[number].near || scenario.has(Mutant::FlightCrossesWrite);
    readers.iter().enumerate().position(|(other, leader)| {
        let is_under_way = matches!(
            leader.at,
            ReaderAt::Loaded | ReaderAt::Filling | ReaderAt::NearFill
        );
        scenario.has_flights
            && other != number
            && is_under_way
            && leader.is_leading
            && scenario.readers[other] == scenario.readers[number]
            && has_good_ticket(other)
            && has_good_ticket(number)
    })
}

fn load(steps: &mut Steps<'_>, who: Who, number: usize) {
    let value = steps.from.database.value();
    let has_flights = steps.scenario.has_flights;
    steps.take(who, What::DoesAt("loads value", value), |state| {
        let reader = &mut state.readers[number];
        reader.found = Some(value);
        reader.is_leading = has_flights;
        reader.at = if reader.far.is_some() {
            ReaderAt::Loaded
        } else {
            ReaderAt::NearFill
        };
    });
}

/// Goes on with what Redis answered, if it did.
pub(super) fn answered(
    scenario: &Scenario,
    state: &mut State,
    number: usize,
    answer: Option<Answer>,
) {
    match (state.readers[number].at, answer) {
        (ReaderAt::Getting, Some(Answer::Entry(found))) => {
            let is_ticket_overdue = scenario.has(Mutant::NearTicketAfterFarLook);
            let reader = &mut state.readers[number];
            reader.found = found;
            reader.at = match found {
                Some(_) if is_ticket_overdue => ReaderAt::FarHit,
                Some(_) => ReaderAt::NearFill,
                None => ReaderAt::FarMiss,
            };
            if let Some(value) = found {
                answer_with(state, number, value);
            }
        }
        (ReaderAt::Claiming, Some(Answer::Ticket(id))) => {
            state.readers[number].far = Some(id);
            state.readers[number].at = ReaderAt::Loading;
        }
        (ReaderAt::Getting, Some(Answer::OtherData)) => {
            state.doubt(usize::from(scenario.readers[number]));
            take_overdue_ticket(scenario, state, number);
            state.readers[number].at = ReaderAt::Loading;
        }
        // It may have been overtaken by a write of another instance, which near does not know of.
        (ReaderAt::Filling, Some(Answer::Written(false))) => land(scenario, state, number),
        (ReaderAt::Filling, _) => {
            state.readers[number].far = None;
            state.readers[number].at = ReaderAt::NearFill;
        }
        _ => {
            take_overdue_ticket(scenario, state, number);
            state.readers[number].at = ReaderAt::Loading;
        }
    }
}

fn take_overdue_ticket(scenario: &Scenario, state: &mut State, number: usize) {
    let reader = &mut state.readers[number];
    let is_overdue = matches!(
        reader.at,
        ReaderAt::NearMiss | ReaderAt::Getting | ReaderAt::FarMiss
    );
    reader.near |= is_overdue && scenario.has(Mutant::NearTicketAfterFarLook);
}

/// Ends a read, and those that joined its load.
fn land(scenario: &Scenario, state: &mut State, number: usize) {
    let leader = state.readers[number];
    state.readers[number].end();
    let Some(found) = leader.found.filter(|_| leader.is_leading) else {
        return;
    };
    for other in 0..scenario.readers.len() {
        let is_aboard = state.readers[other].at == ReaderAt::Aboard
            && scenario.readers[other] == scenario.readers[number];
        if is_aboard {
            answer_with(state, other, found);
            state.readers[other].end();
        }
    }
}

fn answer_with(state: &mut State, number: usize, value: Value) {
    if value < state.readers[number].floor {
        let reader = u8::from(number != 0);
        state.stale = Some((reader, value));
    }
}
