//! The protocol keeps its promises in every state it can reach, and each of its rules is needed.

mod mutants;
mod protocol;

use std::time::Instant;

use alacena_lab::model::checker::{Explored, Violation, explore};
use alacena_lab::model::scenario::{Budget, Mutant, Scenario, Writes};

const NOTHING: Budget = Scenario::QUIET.budget;

/// A writer and a reader on one instance, that begin with nothing cached.
const ONE: Scenario = Scenario {
    writers: &[(0, Writes::Key)],
    readers: &[0],
    ..Scenario::QUIET
};

/// A writer on one instance, and copies of the first value in both tiers.
const WARM: Scenario = Scenario {
    readers: &[],
    is_warm: true,
    ..ONE
};

/// A writer on one instance, a reader on the other.
const APART: Scenario = Scenario {
    instances: 2,
    readers: &[1],
    ..ONE
};

/// Two writers on one instance, and copies of the first value in both tiers.
const TOGETHER: Scenario = Scenario {
    writers: &[(0, Writes::Key), (0, Writes::Key)],
    ..WARM
};

/// A writer on each of two instances, and copies of the first value everywhere.
const RIVALS: Scenario = Scenario {
    instances: 2,
    writers: &[(0, Writes::Key), (1, Writes::Key)],
    ..WARM
};

/// Redis takes over older data behind connections that stay. Then another key is written.
const FALLBACK: Scenario = Scenario {
    writers: &[(0, Writes::Key), (0, Writes::OtherKey)],
    is_prompt: true,
    budget: Budget {
        fallbacks: 1,
        ..NOTHING
    },
    ..WARM
};

/// The same, and an instance that distrusts Redis for a reason of its own.
const FALLBACK_AND_DISTRUST: Scenario = Scenario {
    budget: Budget {
        fallbacks: 1,
        distrusts: 1,
        ..NOTHING
    },
    ..FALLBACK
};

/// A scenario goes well.
fn explored(scenario: Scenario) {
    let began = Instant::now();
    match explore(&scenario) {
        Ok(Explored { states, depth }) => {
            let took = began.elapsed();
            println!("{states} states, {depth} deep, {took:.1?}");
        }
        Err(violation) => panic!("{violation}"),
    }
}

/// A scenario goes wrong without these rules.
fn caught(scenario: Scenario, mutants: &'static [Mutant]) -> Violation {
    let began = Instant::now();
    let found = explore(&scenario.with(mutants));
    let violation = found.expect_err("a rule is left out, and nothing goes wrong");
    let (states, steps) = (violation.states, violation.trace.len());
    let took = began.elapsed();
    println!("{mutants:?}: {states} states, {steps} steps, {took:.1?}");
    println!("{violation}");
    violation
}

/// A scenario goes well, and goes wrong without these rules.
fn assert_caught(scenario: Scenario, mutants: &'static [Mutant]) {
    explored(scenario);
    caught(scenario, mutants);
}
