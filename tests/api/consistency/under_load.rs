//! Many clients at once on a few hot rows, while all is well.

use std::time::Duration;

use alacena_lab::staged::Fills;

use super::load::{Outcome, run};
use super::staged;
use crate::support::{Storage, TestApp};

async fn a_while() {
    tokio::time::sleep(Duration::from_millis(2500)).await;
}

async fn assert_clean(app: TestApp) {
    let what = format!("{} {}", app.database_kind(), app.backend());
    let Outcome { report, .. } = run(&app, &what, a_while()).await;
    assert!(report.is_clean(), "{report}");
    assert!(report.reads > 100 && report.writes > 20, "{report}");
}

matrix!(no_read_is_stale_under_load, "server.workers = 4");
async fn no_read_is_stale_under_load(app: TestApp) {
    assert_clean(app).await;
}

matrix!(
    no_read_is_stale_where_entries_expire_all_the_time,
    "server.workers = 4\ncache.user_ttl = '5ms'\ncache.product_ttl = '5ms'\n\
     cache.default_ttl = '5ms'\ncache.negative_ttl = '5ms'\ncache.eager_refresh = 0.5"
);
async fn no_read_is_stale_where_entries_expire_all_the_time(app: TestApp) {
    assert_clean(app).await;
}

/// A fill that comes this much after its load gives writes the time to overtake it.
const LATE: Duration = Duration::from_millis(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_stale_where_every_fill_is_late() {
    let staged = staged(Fills::ByTicket, LATE);
    let app = TestApp::start_with(Storage::Sqlite, staged, "").await;
    let Outcome { report, .. } = run(&app, "late fills by ticket", a_while()).await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_reads_are_found_where_late_fills_ignore_their_tickets() {
    let staged = staged(Fills::Regardless, LATE);
    let app = TestApp::start_with(Storage::Sqlite, staged, "").await;
    let Outcome { report, .. } = run(&app, "late fills regardless of tickets", a_while()).await;
    assert!(!report.is_clean(), "{report}");
    assert!(!report.stale.is_empty(), "{report}");
}
