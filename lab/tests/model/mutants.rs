//! What becomes of the protocol without each rule.

use alacena_lab::model::scenario::{Budget, Mutant, Scenario, Writes};

use super::{
    APART, FALLBACK, FALLBACK_AND_DISTRUST, NOTHING, ONE, RIVALS, TOGETHER, WARM, assert_caught,
    caught, explored,
};

/// A command may be lost.
const LOSSY: Scenario = Scenario {
    budget: Budget {
        losses: 1,
        ..NOTHING
    },
    ..WARM
};

/// A command of either of two rivals may be. Without a mutant, that is a deep one among what the
/// protocol keeps.
const LOSSY_RIVALS: Scenario = Scenario {
    is_prompt: true,
    budget: LOSSY.budget,
    ..RIVALS
};

/// Redis may restart.
const RESTARTING: Scenario = Scenario {
    budget: Budget {
        restarts: 1,
        ..NOTHING
    },
    ..WARM
};

#[test]
fn a_near_fill_that_ignores_its_ticket_is_caught() {
    assert_caught(ONE, &[Mutant::NearFillIgnoresTicket]);
}

#[test]
fn a_far_fill_that_ignores_its_ticket_is_caught() {
    assert_caught(ONE, &[Mutant::FarFillIgnoresTicket]);
}

#[test]
fn overlapping_writers_that_all_write_through_are_caught() {
    assert_caught(TOGETHER, &[Mutant::WritersAllWriteThrough]);
}

#[test]
fn a_writer_that_voids_near_before_far_is_caught() {
    let warm = Scenario {
        is_warm: true,
        ..ONE
    };
    assert_caught(warm, &[Mutant::WriterVoidsNearFirst]);
}

#[test]
fn a_tailer_that_voids_near_before_far_is_caught() {
    let warm = Scenario {
        is_warm: true,
        ..APART
    };
    assert_caught(warm, &[Mutant::TailerVoidsNearFirst]);
}

#[test]
fn a_near_ticket_taken_after_the_far_look_is_caught() {
    let evicting = Scenario {
        is_warm: true,
        budget: Budget {
            evictions: 1,
            ..NOTHING
        },
        ..ONE
    };
    assert_caught(evicting, &[Mutant::NearTicketAfterFarLook]);
}

#[test]
fn a_tailer_that_is_off_is_caught() {
    assert_caught(APART, &[Mutant::TailerOff]);
}

#[test]
fn a_recovery_that_replays_nothing_is_caught() {
    assert_caught(RESTARTING, &[Mutant::TrustWithoutReplay]);
}

#[test]
fn positions_that_move_past_a_late_commit_are_caught() {
    assert_caught(RIVALS, &[Mutant::LateCommitSkipped]);
}

#[test]
fn a_flight_that_crosses_a_write_is_caught() {
    let sharing = Scenario {
        readers: &[0, 0],
        has_flights: true,
        ..ONE
    };
    assert_caught(sharing, &[Mutant::FlightCrossesWrite]);
}

#[test]
fn a_commit_of_unknown_outcome_is_voided_twice_over() {
    let unknown = Scenario {
        budget: Budget {
            unknown_commits: 1,
            ..NOTHING
        },
        ..WARM
    };
    explored(unknown.with(&[Mutant::UnknownCommitNotVoided]));
    explored(unknown.with(&[Mutant::TailerOff]));
    assert_caught(
        unknown,
        &[Mutant::UnknownCommitNotVoided, Mutant::TailerOff],
    );
}

#[test]
fn a_distrust_that_is_a_flag_is_caught() {
    let distrusting = Scenario {
        budget: Budget {
            losses: 1,
            distrusts: 1,
            ..NOTHING
        },
        ..WARM
    };
    assert_caught(distrusting, &[Mutant::DistrustIsAFlag]);
}

#[test]
fn an_unconfirmed_void_that_raises_no_doubt_is_caught() {
    assert_caught(LOSSY, &[Mutant::UnconfirmedVoidIsTrusted]);
}

#[test]
fn a_row_passed_without_a_confirmed_void_that_raises_no_doubt_is_caught() {
    let killed = Scenario {
        instances: 2,
        budget: Budget {
            losses: 1,
            kills: 1,
            ..NOTHING
        },
        ..WARM
    };
    assert_caught(killed, &[Mutant::UnconfirmedRowIsTrusted]);
}

#[test]
fn a_distrust_that_comes_after_the_near_void_is_caught() {
    let reading = Scenario {
        readers: &[0],
        ..LOSSY
    };
    assert_caught(reading, &[Mutant::DistrustAfterNearVoid]);
}

/// Every read of far proves that it is answered from data with each invalidation that was acknowledged
/// to this instance. So near keeps what it copied, whatever becomes of Redis.
#[test]
fn a_sequence_number_that_is_not_looked_at_is_caught() {
    let reading = Scenario {
        readers: &[0],
        ..FALLBACK
    };
    assert_caught(reading, &[Mutant::SequenceIgnored]);
    let back = Scenario {
        budget: Budget {
            fallbacks: 2,
            ..NOTHING
        },
        ..reading
    };
    assert_caught(back, &[Mutant::SequenceIgnored]);
}

/// A copy of the data that was taken while a recovery was under way is other data after it.
#[test]
fn a_drop_that_keeps_the_sequence_number_is_caught() {
    let copied = Scenario {
        readers: &[0],
        budget: Budget {
            saves: 1,
            fallbacks: 1,
            evictions: 1,
            ..NOTHING
        },
        writers: WARM.writers,
        ..FALLBACK
    };
    assert_caught(copied, &[Mutant::DropKeepsSequence]);
}

/// The history and the watermark are looked at besides: each of the three is enough for a replay.
#[test]
fn a_watermark_is_kept_from_moving_over_older_data_by_its_sequence_number_alone() {
    explored(FALLBACK_AND_DISTRUST.with(&[
        Mutant::ApplyIgnoresHistory,
        Mutant::ApplyIgnoresSeen,
        Mutant::NoHeartbeat,
    ]));
}

#[test]
fn voids_remembered_elsewhere_than_in_redis_are_caught() {
    assert_caught(RESTARTING, &[Mutant::VoidedOutsideRedis]);
}

#[test]
fn a_far_void_remembered_before_it_is_done_is_caught() {
    assert_caught(LOSSY, &[Mutant::RememberedBeforeFarVoid]);
}

#[test]
fn a_change_of_unknown_outcome_remembered_as_voided_is_caught() {
    let losing = Scenario {
        budget: Budget {
            lost_transactions: 1,
            ..NOTHING
        },
        ..ONE
    };
    assert_caught(losing, &[Mutant::UnknownCommitRemembered]);
}

#[test]
fn a_row_that_voids_the_value_and_leaves_the_lease_is_caught() {
    let reading = Scenario {
        readers: &[0],
        is_warm: false,
        ..LOSSY
    };
    assert_caught(reading, &[Mutant::LogVoidLeavesLease]);
}

#[test]
fn a_removing_void_that_leaves_the_lease_is_caught() {
    let reading = Scenario {
        readers: &[0],
        is_warm: false,
        ..LOSSY
    };
    assert_caught(reading, &[Mutant::RemovingVoidLeavesLease]);
}

#[test]
fn near_voids_told_by_the_order_of_positions_are_caught() {
    assert_caught(RIVALS, &[Mutant::NearVoidedComparesOrder]);
}

#[test]
fn far_voids_told_by_the_order_of_positions_are_caught() {
    caught(LOSSY_RIVALS, &[Mutant::FarVoidedComparesOrder]);
}

#[test]
fn a_redis_asked_before_recovery_is_caught() {
    assert_caught(LOSSY, &[Mutant::AskedBeforeRecovery]);
}

#[test]
fn a_write_through_under_a_ticket_that_was_not_confirmed_is_caught() {
    let violation = caught(LOSSY_RIVALS, &[Mutant::UnconfirmedTicketWritesThrough]);
    let is_late = |(step, _): &(String, String)| step.ends_with("CLAIM: late");
    assert!(violation.trace.iter().any(is_late), "{violation}");
}

#[test]
fn a_position_published_before_the_near_void_is_caught() {
    assert_caught(APART, &[Mutant::PublishedBeforeNearVoid]);
}

#[test]
fn a_horizon_read_after_the_drop_is_caught() {
    let evicting = Scenario {
        is_prompt: true,
        budget: Budget {
            evictions: 1,
            kills: 1,
            ..NOTHING
        },
        ..APART
    };
    // Without the mutant, that is a deep one among what the protocol keeps.
    caught(evicting, &[Mutant::HorizonAfterDrop]);
}

#[test]
fn a_tailer_that_skips_its_own_rows_is_caught() {
    assert_caught(LOSSY, &[Mutant::OwnRowsSkipped]);
}

/// An administrator clears on one instance, and another reads far.
const CLEARING: Scenario = Scenario {
    instances: 2,
    writers: &[(0, Writes::Clear)],
    readers: &[1],
    is_prompt: true,
    ..WARM
};

#[test]
fn a_clear_that_is_left_to_its_instance_is_caught() {
    let distrusting = Scenario {
        budget: Budget {
            distrusts: 1,
            ..NOTHING
        },
        ..CLEARING
    };
    assert_caught(distrusting, &[Mutant::ClearsLeftToTheirInstance]);
}

#[test]
fn a_clear_that_is_noted_before_it_is_done_is_caught() {
    let lossy = Scenario {
        budget: LOSSY.budget,
        ..CLEARING
    };
    assert_caught(lossy, &[Mutant::ClearNotedFirst]);
}

#[test]
fn a_clear_that_is_noted_in_data_that_was_exchanged_meanwhile_is_caught() {
    let exchanged = Scenario {
        // So that it happens between the two commands.
        is_prompt: false,
        readers: &[],
        budget: FALLBACK.budget,
        ..CLEARING
    };
    assert_caught(exchanged, &[Mutant::ClearNotedAnywhere]);
}

#[test]
fn a_clear_that_is_acknowledged_before_it_is_applied_is_caught() {
    let distrusting = Scenario {
        budget: Budget {
            distrusts: 1,
            ..NOTHING
        },
        ..CLEARING
    };
    assert_caught(distrusting, &[Mutant::ClearNotAwaited]);
}
