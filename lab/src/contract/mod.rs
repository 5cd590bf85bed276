//! What every cache backend must keep, as tests that any of them can be put to, from outside the
//! service's crate too.
//!
//! ```text
//! alacena_lab::backend_contract!(memory, async { MemoryBackend::new(1 << 20) });
//! ```
//!
//! makes a module `memory` with one test for each law. A backend whose entries are elsewhere, so that
//! it finds none without waiting, is put to `backend_contract!(far: …)`; one that keeps nothing, or
//! may lose it at any time, to `backend_contract!(safety: …)`, which leaves out the laws that ask for
//! hits; one that may lose tickets too, to `backend_contract!(forgetful: …)`.

pub mod backend;
pub mod cache;
pub mod peek;
pub mod schedule;
pub mod source;

use std::sync::Arc;
use std::time::Duration;

use alacena::cache::CacheBackend;

/// The backend, shared between all who use it.
pub fn shared(backend: impl CacheBackend) -> Arc<dyn CacheBackend> {
    Arc::new(backend)
}

/// Runs a law, which fails where it waits for what never comes.
///
/// # Panics
/// After half a minute.
pub async fn in_time(law: impl Future<Output = ()>) {
    let outcome = tokio::time::timeout(Duration::from_secs(30), law).await;
    assert!(outcome.is_ok(), "somebody waits for what never comes");
}

/// Makes a module of tests that put a backend to the contract. The expression makes a fresh,
/// empty backend each time; it may await.
#[macro_export]
macro_rules! backend_contract {
    ($name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "the expression may need none of them")]
            use super::*;

            $crate::backend_contract!(@laws peek, $make,
                a_peek_finds_what_is_fresh_and_wants_no_refresh
                a_peek_finds_values_of_its_own_type_only
                a_peek_counts_as_a_hit_or_not_at_all
            );
            $crate::backend_contract!(@hits $make);
            $crate::backend_contract!(@safety $make);
        }
    };
    (far: $name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "the expression may need none of them")]
            use super::*;

            $crate::backend_contract!(@hits $make);
            $crate::backend_contract!(@safety $make);
        }
    };
    (safety: $name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "the expression may need none of them")]
            use super::*;

            $crate::backend_contract!(@safety $make);
        }
    };
    (forgetful: $name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "the expression may need none of them")]
            use super::*;

            $crate::backend_contract!(@forgetful $make);
        }
    };
    (@hits $make:expr) => {
        $crate::backend_contract!(@laws backend, $make,
            a_filled_entry_is_found_and_an_absence_too
            an_entry_past_its_time_is_no_hit_but_is_kept
            a_refresh_finds_no_hit
            a_group_void_takes_every_page_and_no_other_key
            a_void_writes_through_under_a_good_ticket
            what_the_log_tells_of_is_voided_unless_its_writer_has_done_so
            clear_counts_what_it_takes_and_takes_what_matches
            odd_keys_are_keys_like_any_other
        );
        $crate::backend_contract!(@laws cache, $make,
            readers_that_miss_together_share_one_load
            an_absence_is_remembered_for_its_own_time
            a_hit_near_its_end_is_loaded_anew_in_the_background
            an_outage_is_bridged_up_to_the_limit
            a_first_caller_who_hangs_up_does_not_stop_the_load
            ttls_keep_within_their_jitter
            bytes_of_another_type_are_a_miss
            hits_and_misses_are_counted_once
        );
    };
    (@safety $make:expr) => {
        $crate::backend_contract!(@laws backend, $make,
            a_late_fill_does_not_replace_what_was_loaded_after_it
            a_refresh_spoils_no_ticket
            a_ticket_does_not_outlive_a_clear
        );
        $crate::backend_contract!(@forgetful $make);
    };
    (@forgetful $make:expr) => {
        $crate::backend_contract!(@laws backend, $make,
            a_ticket_does_not_outlive_a_void
            a_ticket_does_not_outlive_a_void_of_its_group
            a_ticket_does_not_outlive_what_the_log_tells_of
            a_ticket_does_not_outlive_a_clear_that_the_log_tells_of
            a_ticket_does_not_outlive_distrust
            overlapping_writers_never_leave_the_older_value
            a_late_write_through_does_not_bring_a_deleted_row_back
            a_void_spoils_the_tickets_of_other_writers
            distrust_leaves_nothing
            counters_count_each_by_itself_and_forget_after_their_window
            counters_survive_clear_and_distrust
            increments_from_many_tasks_all_count
        );
        $crate::backend_contract!(@laws cache, $make,
            a_fill_that_a_write_overtook_is_refused
            a_reader_after_a_write_joins_no_load_from_before_it
            a_group_voided_during_a_load_refuses_its_page
            a_no_cache_read_joins_no_load_from_before_it
            a_load_that_fails_is_not_kept_and_fails_for_all_aboard
            a_load_that_panics_leaves_nobody_waiting
            a_writer_who_hangs_up_after_the_commit_still_voids
            a_write_that_panics_after_its_commit_distrusts_everything
            a_commit_of_unknown_outcome_voids
            a_write_that_was_refused_voids_nothing
            a_creation_of_unknown_outcome_distrusts_everything
        );
        #[test]
        fn no_schedule_of_readers_and_writers_leaves_a_stale_entry() {
            $crate::contract::schedule::check(async || $crate::contract::shared($make.await));
        }
    };
    (@laws $module:ident, $make:expr, $($law:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                let backend = $crate::contract::shared($make.await);
                $crate::contract::in_time($crate::contract::$module::$law(backend)).await;
            }
        )*
    };
}
