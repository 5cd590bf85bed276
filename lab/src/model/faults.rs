//! What goes wrong, and what happens by itself.

use super::database::Positions;
use super::label::{What, Who};
use super::process::{Instance, Link, ReaderAt, Recovery, Tailer, WriterAt};
use super::redis::{Command, Redis};
use super::scenario::{Budget, Mutant, Scenario};
use super::state::State;
use super::steps::{Steps, answered, waiting};

/// Every fault that the budget still allows, and every late event.
pub(super) fn steps(steps: &mut Steps<'_>) {
    late_commands(steps);
    lost_transactions(steps);
    redis_faults(steps);
    evictions(steps);
    for instance in 0..steps.scenario.instances {
        instance_faults(steps, instance);
    }
}

fn late_commands(steps: &mut Steps<'_>) {
    let (scenario, late) = (steps.scenario, steps.from.late);
    for (number, command) in late.into_iter().enumerate() {
        let Some(command) = command else {
            continue;
        };
        let answer = { steps.from.redis }.execute(command, scenario);
        steps.take(Who::Redis, What::Asks(command, answer), |state| {
            state.redis.execute(command, scenario);
            state.late[number] = None;
        });
        let what = What::Loses(command, "never arrives");
        steps.take(Who::Redis, what, |state| state.late[number] = None);
    }
}

fn lost_transactions(steps: &mut Steps<'_>) {
    for (position, origin) in steps.from.database.orphans() {
        let what = What::DoesAt("commits what its writer lost, at", position);
        steps.take(Who::Database, what, |state| {
            state.database.commit(position, origin);
        });
        let what = What::DoesAt("rolls back what its writer lost, at", position);
        steps.take(Who::Database, what, |state| state.database.abort(position));
    }
}

fn redis_faults(steps: &mut Steps<'_>) {
    let (scenario, from) = (steps.scenario, steps.from);
    let Budget {
        saves,
        restarts,
        fallbacks,
        flushes,
        ..
    } = from.budget;
    if saves > 0 && from.redis != from.snapshot {
        steps.take(Who::Redis, What::Does("saves a snapshot"), |state| {
            state.budget.saves -= 1;
            state.snapshot = state.redis;
        });
    }
    if restarts > 0 {
        let what = What::Does("restarts with its snapshot");
        steps.take(Who::Redis, what, |state| {
            restart(scenario, state, state.snapshot);
        });
        steps.take(Who::Redis, What::Does("restarts empty"), |state| {
            restart(scenario, state, Redis::default());
        });
    }
    if fallbacks > 0 {
        let what = What::Does("exchanges its data for the snapshot, unnoticed");
        steps.take(Who::Redis, what, |state| exchange(scenario, state));
        let what = What::Does("takes over the snapshot's data and history, unnoticed");
        steps.take(Who::Redis, what, |state| {
            exchange(scenario, state);
            change_history(state);
        });
    }
    if flushes > 0 {
        steps.take(Who::Redis, What::Does("is emptied"), |state| {
            state.budget.flushes -= 1;
            state.redis = Redis::default();
        });
    }
}

/// Every connection breaks, and every link notices before anything else is sent.
fn restart(scenario: &Scenario, state: &mut State, with: Redis) {
    state.budget.restarts -= 1;
    come_back(scenario, state, with);
    state.late.fill(None);
    for instance in 0..scenario.instances {
        state.doubt(instance);
        state.instances[instance].recovery = Recovery::default();
    }
    for (who, _) in waiting(scenario, state) {
        answered(scenario, state, who, None);
    }
}

/// No connection breaks, as with SWAPDB. What was there may be exchanged back.
fn exchange(scenario: &Scenario, state: &mut State) {
    state.budget.fallbacks -= 1;
    let before = state.redis;
    come_back(scenario, state, state.snapshot);
    state.snapshot = before;
}

/// As with REPLICAOF.
fn change_history(state: &mut State) {
    for instance in &mut state.instances {
        instance.is_history_other = true;
        for call in [&mut instance.tailer.call, &mut instance.recovery.call] {
            call.iter_mut().for_each(Command::outlive_history);
        }
    }
    let late = state.late.iter_mut().flatten();
    late.for_each(Command::outlive_history);
}

fn come_back(scenario: &Scenario, state: &mut State, with: Redis) {
    let voided = state.redis.voided;
    state.redis = with;
    if scenario.has(Mutant::VoidedOutsideRedis) {
        state.redis.voided = voided;
    }
}

fn evictions(steps: &mut Steps<'_>) {
    let (scenario, from) = (steps.scenario, steps.from);
    if from.budget.evictions == 0 {
        return;
    }
    let mut evict = |who, what, change: fn(&mut State)| {
        steps.take(who, What::Does(what), |state| {
            state.budget.evictions -= 1;
            change(state);
        });
    };
    if from.redis.entry.is_some() {
        evict(Who::Redis, "evicts the entry", |state| {
            state.redis.entry = None;
        });
    }
    if from.redis.lease.is_some() {
        evict(Who::Redis, "evicts the lease", |state| {
            state.redis.lease = None;
        });
        evict(Who::Redis, "evicts the token", |state| {
            state.redis.drop_namespace();
        });
    }
    if from.redis.watermark.is_some() {
        evict(Who::Redis, "evicts the watermark", |state| {
            state.redis.watermark = None;
        });
    }
    if from.redis.is_current.contains(&true) {
        evict(Who::Redis, "evicts the sequence numbers", |state| {
            state.redis.is_current = [false; 2];
        });
    }
    if !from.redis.voided.is_empty() {
        evict(Who::Redis, "evicts what it remembers as voided", |state| {
            state.redis.voided = Positions::default();
        });
    }
    if from.instances[0].near.is_some() {
        evict(Who::Instance(0), "evicts its copy", |state| {
            state.instances[0].near = None;
        });
    }
    if scenario.instances > 1 && from.instances[1].near.is_some() {
        evict(Who::Instance(1), "evicts its copy", |state| {
            state.instances[1].near = None;
        });
    }
}

fn instance_faults(steps: &mut Steps<'_>, instance: usize) {
    let (scenario, from) = (steps.scenario, steps.from);
    let who = Who::Instance(instance);
    let is_trusted = matches!(from.instances[instance].link, Link::Trusted { .. });
    if from.budget.distrusts > 0 && is_trusted {
        steps.take(who, What::Does("distrusts Redis"), |state| {
            state.budget.distrusts -= 1;
            state.doubt(instance);
        });
    }
    if from.budget.kills == 0 {
        return;
    }
    let sent: Vec<Command> = waiting(scenario, from)
        .into_iter()
        .filter(|(sender, command)| sender.instance() == Some(instance) && *command != Command::Get)
        .map(|(_, command)| command)
        .collect();
    steps.take(who, What::Does("is killed, and starts again"), |state| {
        kill(scenario, state, instance);
    });
    if !sent.is_empty() {
        let what = "is killed, what it sent being late, and starts again";
        steps.take(who, What::Does(what), |state| {
            sent.into_iter().for_each(|command| state.leave(command));
            kill(scenario, state, instance);
        });
    }
}

/// What was in memory is gone. The new process begins to read the log at the horizon.
fn kill(scenario: &Scenario, state: &mut State, instance: usize) {
    state.budget.kills -= 1;
    let is_here = |placed: u8| usize::from(placed) == instance;
    for (writer, &(placed, _)) in state.writers.iter_mut().zip(scenario.writers) {
        if is_here(placed) && writer.at != WriterAt::Idle {
            if let (WriterAt::Writing, Some(position)) = (writer.at, writer.position) {
                state.database.abandon(position, placed);
            }
            writer.end();
        }
    }
    for (reader, &placed) in state.readers.iter_mut().zip(scenario.readers) {
        if is_here(placed) && reader.at != ReaderAt::Idle {
            reader.end();
        }
    }
    let horizon = scenario.horizon(state);
    let passed = state.database.log().among(Positions::below(horizon));
    state.instances[instance] = Instance {
        near: None,
        voided: Positions::default(),
        link: Link::Down,
        is_history_other: false,
        connects: 0,
        tailer: Tailer {
            passed,
            published: horizon,
            ..Tailer::default()
        },
        recovery: Recovery::default(),
    };
}
