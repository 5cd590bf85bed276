//! The observer finds what does not agree with the database, and nothing else.

use std::time::Duration;

use crate::consistency::load::{Outcome, run};
use crate::support::{TestApp, eventually};

matrix!(
    what_nobody_was_told_of_is_found_and_mended,
    "cache.observer.rate = 500.0"
);
async fn what_nobody_was_told_of_is_found_and_mended(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let (product, _) = app.new_product(&admin).await;
    let paths = [
        &user.path(),
        "/users",
        &product,
        "/products?after=0&limit=7",
    ];
    for path in paths {
        app.get(path).by(&admin).await.expect(200);
    }
    app.get("/products/999")
        .by(&admin)
        .await
        .problem(404, "absent");
    app.get("/users/by-email/nobody@example.com")
        .by(&admin)
        .await
        .problem(404, "absent");
    let mut truth = app.truth();
    truth.stop_log();
    truth.execute("UPDATE users SET full_name = 'Unheard of', version = version + 1");
    truth.execute("UPDATE products SET name = 'Unheard of', version = version + 1");
    for path in paths {
        eventually(&format!("{path} is mended"), async || {
            let answer = app.get(path).by(&admin).await.expect(200);
            answer.body.contains("Unheard of")
        })
        .await;
    }
    let stats = app.stats(&admin).await;
    let found = stats["observer_inconsistent"].as_u64().expect("a figure");
    assert_eq!(found > 0, app.caches(), "{stats}");
    let metrics = app.get("/metrics").await.expect(200);
    let mut lines = metrics.body.lines();
    let counted = lines.find_map(|line| line.strip_prefix("alacena_observer_inconsistent_total "));
    let counted: u64 = counted
        .and_then(|counted| counted.parse().ok())
        .expect("a figure");
    // It goes on observing.
    assert!(counted >= found, "{}", metrics.body);
}

matrix!(
    what_is_on_its_way_is_not_taken_for_inconsistent,
    "cache.observer.rate = 1000.0\nserver.workers = 2"
);
async fn what_is_on_its_way_is_not_taken_for_inconsistent(app: TestApp) {
    let admin = app.admin().await;
    let a_while = tokio::time::sleep(Duration::from_millis(1500));
    let Outcome { report, .. } = run(&app, "observed", a_while).await;
    assert!(report.is_clean(), "{report}");
    let stats = app.stats(&admin).await;
    assert_eq!(stats["observer_inconsistent"], 0, "{stats}");
    let checked = stats["observer_checked"].as_u64().expect("a figure");
    assert_eq!(checked > 20, app.caches(), "{stats}");
}
