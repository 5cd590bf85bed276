//! Thousands of interleavings, half of them drawn at random and half with few switches of threads
//! (probabilistic concurrency testing, Burckhardt et al. 2010). A failure prints the schedule to replay.

use alacena_interleave::scenarios;

const EACH: usize = 2000;

/// Up to so many switches of threads at the places that matter.
const DEPTH: usize = 3;

fn check(scenario: fn()) {
    shuttle::check_random(scenario, EACH);
    shuttle::check_pct(scenario, EACH, DEPTH);
}

#[test]
fn readers_and_writers_of_a_stripe_find_nothing_stale() {
    check(scenarios::readers_and_writers_of_a_stripe);
}

#[test]
fn nothing_outlives_a_drop_of_everything_or_a_clear() {
    check(scenarios::a_drop_of_everything_and_a_clear_beside_fills);
}

#[test]
fn callers_of_one_epoch_share_a_load_and_all_are_answered() {
    check(|| scenarios::callers_of_a_single_flight(false));
    check(|| scenarios::callers_of_a_single_flight(true));
}

#[test]
fn a_breaker_that_is_tripped_during_its_recovery_stays_open() {
    check(scenarios::trips_during_a_recovery);
}
