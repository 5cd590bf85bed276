//! The recovery of an instance: what comes before Redis is trusted.

use super::database::{Position, Positions};
use super::label::{What, Who};
use super::process::{Link, Recovery, RecoveryAt};
use super::redis::{Answer, Command};
use super::scenario::Mutant;
use super::state::State;
use super::steps::Steps;

/// The steps of a recovery that waits for no answer.
pub(super) fn steps(steps: &mut Steps<'_>, instance: usize) {
    let (scenario, from) = (steps.scenario, steps.from);
    let who = Who::Recovery(instance);
    let recovery = &from.instances[instance].recovery;
    match recovery.at {
        RecoveryAt::Idle => {
            if !matches!(from.instances[instance].link, Link::Trusted { .. }) {
                steps.take(who, What::Does("connects, and notes the doubts"), |state| {
                    state.connect(scenario, instance);
                    state.instances[instance].recovery.at = RecoveryAt::Connected;
                });
            } else if !scenario.has(Mutant::NoHeartbeat) && from.finds_another(instance) {
                let what = "hears of another Redis";
                steps.take(who, What::Does(what), |state| state.doubt(instance));
            }
        }
        RecoveryAt::Connected => steps.take(who, What::Does("reads the watermark"), |state| {
            let recovery = &mut state.instances[instance].recovery;
            recovery.watermark = state.redis.watermark;
            recovery.at = RecoveryAt::Marked;
        }),
        RecoveryAt::Marked if scenario.has(Mutant::TrustWithoutReplay) => {
            steps.take(who, What::Does("replays nothing"), |state| {
                let recovery = &mut state.instances[instance].recovery;
                recovery.upto = recovery.watermark.unwrap_or_default();
                recovery.at = RecoveryAt::Replayed;
            });
        }
        RecoveryAt::Marked
            if scenario.has(Mutant::HorizonAfterDrop) && recovery.watermark.is_none() =>
        {
            steps.take(who, What::Does("drops, and knows no horizon"), |state| {
                let recovery = &mut state.instances[instance].recovery;
                recovery.call = Some(Command::Drop { upto: None });
                recovery.at = RecoveryAt::Dropping;
            });
        }
        RecoveryAt::Marked => read_log(steps, instance),
        RecoveryAt::Dropped => steps.take(who, What::Does("reads the horizon"), |state| {
            let recovery = &mut state.instances[instance].recovery;
            recovery.upto = state.database.horizon();
            recovery.at = RecoveryAt::Logged;
        }),
        RecoveryAt::Logged => {
            let (rows, upto) = (recovery.rows, recovery.upto);
            let command = match recovery.watermark {
                Some(seen) => Command::Apply {
                    rows,
                    clears: rows.among(from.database.clears()),
                    seen,
                    upto,
                    is_of_other_history: from.instances[instance].is_history_other,
                },
                None => Command::Drop { upto: Some(upto) },
            };
            steps.take(who, What::Does("sends what is to be voided"), |state| {
                state.instances[instance].recovery.call = Some(command);
                state.instances[instance].recovery.at = RecoveryAt::Replaying;
            });
        }
        RecoveryAt::Replayed if can_trust(steps, instance) => {
            let seen = recovery.upto;
            steps.take(who, What::Does("trusts Redis"), |state| {
                state.instances[instance].link = Link::Trusted { seen };
                state.instances[instance].recovery = Recovery::default();
            });
        }
        RecoveryAt::Replayed => {
            steps.take(who, What::Does("starts over: there were doubts"), |state| {
                state.instances[instance].recovery = Recovery::default();
            });
        }
        RecoveryAt::Dropping | RecoveryAt::Replaying => {}
    }
}

fn can_trust(steps: &Steps<'_>, instance: usize) -> bool {
    let is_doubted = steps.from.instances[instance].recovery.is_doubted;
    !is_doubted || steps.scenario.has(Mutant::DistrustIsAFlag)
}

fn read_log(steps: &mut Steps<'_>, instance: usize) {
    let from = steps.from;
    let upto = steps.scenario.horizon(from);
    let watermark = from.instances[instance].recovery.watermark;
    let passed = Positions::below(watermark.unwrap_or_default());
    let rows = from.database.of_key().without(passed);
    let what = What::DoesAt("reads the log up to", upto);
    steps.take(Who::Recovery(instance), what, |state| {
        let recovery = &mut state.instances[instance].recovery;
        recovery.rows = rows;
        recovery.upto = upto;
        recovery.at = RecoveryAt::Logged;
    });
}

/// Goes on with what Redis answered, if it did.
pub(super) fn answered(state: &mut State, instance: usize, answer: Option<Answer>) {
    let recovery = &mut state.instances[instance].recovery;
    match (answer, recovery.at) {
        (Some(Answer::Done), RecoveryAt::Dropping) => recovery.at = RecoveryAt::Dropped,
        (Some(Answer::Done), _) => replayed(recovery, recovery.upto),
        (Some(Answer::Watermark(Some(watermark))), _) => replayed(recovery, watermark),
        // The link stays connected: voids are sent until the next recovery connects anew.
        _ => *recovery = Recovery::default(),
    }
}

/// Redis is as it should be up to there.
fn replayed(recovery: &mut Recovery, upto: Position) {
    *recovery = Recovery {
        at: RecoveryAt::Replayed,
        is_doubted: recovery.is_doubted,
        upto,
        ..Recovery::default()
    };
}
