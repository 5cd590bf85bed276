//! What the protocol keeps.

use alacena_lab::model::scenario::{Backend, Budget, Mutant, Scenario, Writes};

use super::{
    APART, FALLBACK, FALLBACK_AND_DISTRUST, NOTHING, ONE, RIVALS, TOGETHER, WARM, explored,
};

#[test]
fn rivals_and_a_reader_find_nothing_stale() {
    explored(Scenario {
        readers: &[1],
        is_warm: false,
        is_prompt: true,
        ..RIVALS
    });
}

#[test]
fn readers_who_share_loads_find_nothing_stale_while_redis_is_distrusted_and_recovered() {
    explored(Scenario {
        readers: &[0, 0],
        has_flights: true,
        is_prompt: true,
        budget: Budget {
            distrusts: 1,
            ..NOTHING
        },
        ..ONE
    });
}

#[test]
fn a_lost_or_late_command_leaves_nothing_stale_on_another_instance() {
    explored(Scenario {
        is_prompt: true,
        budget: Budget {
            losses: 1,
            ..NOTHING
        },
        ..APART
    });
}

#[test]
fn two_lost_or_late_commands_leave_nothing_stale() {
    explored(Scenario {
        is_prompt: true,
        budget: Budget {
            losses: 2,
            ..NOTHING
        },
        ..ONE
    });
}

#[test]
fn a_redis_that_comes_back_with_old_data_leaves_nothing_stale() {
    explored(Scenario {
        instances: 2,
        is_prompt: true,
        budget: Budget {
            saves: 1,
            restarts: 1,
            ..NOTHING
        },
        ..WARM
    });
    explored(Scenario {
        is_prompt: true,
        budget: Budget {
            saves: 1,
            restarts: 1,
            ..NOTHING
        },
        ..ONE
    });
}

#[test]
fn a_redis_that_is_emptied_and_an_instance_that_is_killed_leave_nothing_stale() {
    explored(Scenario {
        instances: 2,
        is_prompt: true,
        budget: Budget {
            flushes: 1,
            kills: 1,
            ..NOTHING
        },
        ..WARM
    });
}

#[test]
fn an_eviction_and_a_lost_command_leave_nothing_stale_where_far_is_read_first() {
    explored(Scenario {
        backend: Backend::Redis,
        is_warm: true,
        is_prompt: true,
        budget: Budget {
            evictions: 1,
            losses: 1,
            ..NOTHING
        },
        ..ONE
    });
}

#[test]
fn an_instance_that_is_killed_leaves_nothing_stale() {
    explored(Scenario {
        is_prompt: true,
        budget: Budget {
            kills: 1,
            ..NOTHING
        },
        ..TOGETHER
    });
    explored(Scenario {
        is_prompt: true,
        budget: Budget {
            kills: 1,
            ..NOTHING
        },
        ..APART
    });
}

#[test]
fn commits_that_nobody_learns_of_leave_nothing_stale() {
    explored(Scenario {
        budget: Budget {
            unknown_commits: 1,
            lost_transactions: 1,
            ..NOTHING
        },
        ..RIVALS
    });
    explored(Scenario {
        budget: Budget {
            lost_transactions: 1,
            ..NOTHING
        },
        ..APART
    });
}

#[test]
fn a_redis_that_falls_back_behind_its_connections_leaves_nothing_stale() {
    explored(FALLBACK_AND_DISTRUST);
    explored(Scenario {
        budget: Budget {
            fallbacks: 1,
            evictions: 1,
            ..NOTHING
        },
        ..FALLBACK
    });
    explored(Scenario {
        budget: Budget {
            fallbacks: 1,
            losses: 1,
            ..NOTHING
        },
        ..FALLBACK
    });
}

#[test]
fn a_redis_that_falls_back_is_found_out_by_reads_and_changes_without_a_heartbeat() {
    explored(Scenario {
        readers: &[0],
        mutants: &[Mutant::NoHeartbeat],
        ..FALLBACK
    });
}

/// A clear beside a write, and whatever may become of Redis meanwhile.
#[test]
fn a_clear_leaves_nothing_from_before_it() {
    for budget in [
        Budget {
            losses: 1,
            ..NOTHING
        },
        Budget {
            saves: 1,
            restarts: 1,
            ..NOTHING
        },
        Budget {
            fallbacks: 1,
            ..NOTHING
        },
    ] {
        explored(Scenario {
            instances: 2,
            writers: &[(0, Writes::Clear)],
            readers: &[1],
            is_prompt: true,
            budget,
            ..WARM
        });
    }
    explored(Scenario {
        writers: &[(0, Writes::Clear), (0, Writes::Key)],
        readers: &[0],
        is_prompt: true,
        budget: Budget {
            distrusts: 1,
            ..NOTHING
        },
        ..WARM
    });
}

// The same with more of everything, for machines that have the time.

#[test]
#[ignore = "explores 0.7 million states"]
fn rivals_and_a_reader_find_nothing_stale_at_any_pace() {
    explored(Scenario {
        readers: &[1],
        is_warm: false,
        ..RIVALS
    });
}

#[test]
#[ignore = "explores 0.7 million states"]
fn readers_who_share_loads_find_nothing_stale_at_any_pace() {
    explored(Scenario {
        readers: &[0, 0],
        has_flights: true,
        budget: Budget {
            distrusts: 1,
            ..NOTHING
        },
        ..ONE
    });
}

#[test]
#[ignore = "explores 1.7 million states"]
fn a_lost_or_late_command_of_rivals_leaves_nothing_stale() {
    explored(Scenario {
        is_prompt: true,
        budget: Budget {
            losses: 1,
            ..NOTHING
        },
        ..RIVALS
    });
}

#[test]
#[ignore = "explores 0.7 million states"]
fn two_lost_or_late_commands_leave_nothing_stale_on_another_instance() {
    explored(Scenario {
        is_prompt: true,
        budget: Budget {
            losses: 2,
            ..NOTHING
        },
        ..APART
    });
}

#[test]
#[ignore = "explores 1.8 million states"]
fn a_redis_that_comes_back_with_old_data_leaves_nothing_stale_for_a_reader_with_two_instances() {
    explored(Scenario {
        readers: &[0],
        is_prompt: true,
        budget: Budget {
            saves: 1,
            restarts: 1,
            ..NOTHING
        },
        ..APART
    });
}

#[test]
#[ignore = "explores 3.6 million states"]
fn a_redis_that_is_emptied_and_an_instance_that_is_killed_leave_nothing_stale_for_a_reader() {
    explored(Scenario {
        is_prompt: true,
        budget: Budget {
            flushes: 1,
            kills: 1,
            ..NOTHING
        },
        ..APART
    });
}

#[test]
#[ignore = "explores 3.6 million states"]
fn evictions_and_a_killed_instance_leave_nothing_stale_for_a_reader() {
    explored(Scenario {
        is_prompt: true,
        budget: Budget {
            evictions: 1,
            kills: 1,
            ..NOTHING
        },
        ..APART
    });
}

#[test]
#[ignore = "explores 14.7 million states"]
fn an_eviction_and_a_lost_command_leave_nothing_stale_on_another_instance() {
    explored(Scenario {
        backend: Backend::Redis,
        is_prompt: true,
        budget: Budget {
            evictions: 1,
            losses: 1,
            ..NOTHING
        },
        ..APART
    });
}

#[test]
#[ignore = "explores 1.1 million states"]
fn a_killed_writer_and_its_rival_leave_nothing_stale() {
    explored(Scenario {
        is_prompt: true,
        budget: Budget {
            kills: 1,
            ..NOTHING
        },
        ..RIVALS
    });
}

#[test]
#[ignore = "explores 1.4 million states"]
fn a_redis_that_falls_back_leaves_nothing_stale_for_two_writers() {
    explored(Scenario {
        writers: TOGETHER.writers,
        budget: Budget {
            fallbacks: 1,
            distrusts: 1,
            ..NOTHING
        },
        ..FALLBACK
    });
    explored(Scenario {
        writers: TOGETHER.writers,
        budget: Budget {
            fallbacks: 1,
            lost_transactions: 1,
            ..NOTHING
        },
        ..FALLBACK
    });
}

#[test]
#[ignore = "explores 13.4 million states"]
fn a_redis_that_falls_back_leaves_nothing_stale_for_a_reader_of_another_instance() {
    explored(Scenario {
        instances: 2,
        readers: &[1],
        ..FALLBACK
    });
}
