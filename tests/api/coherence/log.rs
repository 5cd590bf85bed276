//! The change log itself, as whoever follows it reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use alacena::config::Config;
use alacena::db::{Changed, Database, LogReader, Place, Since};
use alacena_lab::servers::Postgres;
use tokio::task::block_in_place;

use crate::support::{Storage, Store, Truth};

const STORAGES: [Storage; 2] = [Storage::Sqlite, Storage::Postgres];

/// A migrated database, and a look at it behind everybody's back.
struct Scene {
    database: Database,
    truth: Truth,
    url: String,
    // They go last.
    _store: Option<Store>,
    _postgres: Option<Postgres>,
}

impl Scene {
    async fn set(storage: Storage) -> Self {
        // Transactions in other databases of a server hold the horizon up: here nobody does.
        let (store, postgres) = block_in_place(|| match storage {
            Storage::Sqlite => (Some(Store::fresh(storage)), None),
            Storage::Postgres => (
                None,
                Some(Postgres::start().expect("a server of one's own")),
            ),
        });
        let url = match (&store, &postgres) {
            (Some(store), _) => store.url(),
            (None, Some(postgres)) => {
                block_in_place(|| postgres.create_database()).expect("it makes databases")
            }
            (None, None) => unreachable!("there is a database of either kind"),
        };
        let config =
            Config::for_tests(&format!("database.url = '{url}'")).expect("a configuration");
        let database = Database::new(&config.database);
        database.migrate().await.expect("it migrates");
        Self {
            database,
            truth: Truth::at(&url),
            url,
            _store: store,
            _postgres: postgres,
        }
    }

    async fn reader(&self) -> LogReader {
        self.database.log_reader().await.expect("it answers")
    }

    async fn since(&self, place: &Place) -> Since {
        let since = self.database.changes_since(Some(place.clone()), 0).await;
        since.expect("it answers")
    }
}

/// Makes the product of this name.
fn product(name: &str) -> String {
    format!(
        "INSERT INTO products (name, price_cents, stock, is_active, created_at, updated_at) \
         VALUES ('{name}', 1, 1, true, '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
    )
}

/// How often the reader is told of each product, from here on.
fn told(reader: &mut LogReader, into: &mut BTreeMap<i64, usize>) {
    match block_in_place(|| reader.look()).expect("it answers") {
        None => {}
        Some(Since::Tail(tail)) => {
            for logged in tail.changes {
                let Changed::Product { id } = logged.changed else {
                    panic!("{logged:?}");
                };
                *into.entry(id).or_default() += 1;
            }
        }
        Some(Since::Unknown { why, .. }) => panic!("{why}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_told_once_by_whatever_hand() {
    for storage in STORAGES {
        let mut scene = Scene::set(storage).await;
        let mut reader = scene.reader().await;
        let mut seen = BTreeMap::new();
        for number in 1..=3 {
            scene.truth.execute(&product("One"));
            told(&mut reader, &mut seen);
            assert_eq!(seen.len(), number, "{storage:?}");
        }
        assert!(
            block_in_place(|| reader.look())
                .expect("it answers")
                .is_none(),
            "{storage:?}"
        );
        scene.truth.execute(
            "UPDATE products SET stock = 2 WHERE id = 2; DELETE FROM products WHERE id = 3",
        );
        told(&mut reader, &mut seen);
        let more_than_once = seen
            .iter()
            .filter(|(_, times)| **times > 1)
            .map(|(id, _)| *id);
        assert_eq!(more_than_once.collect::<Vec<_>>(), [2, 3], "{storage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_is_not_told_and_holds_nobody_up() {
    for storage in STORAGES {
        let mut scene = Scene::set(storage).await;
        let mut reader = scene.reader().await;
        let mut seen = BTreeMap::new();
        let before = reader.place().horizon();
        scene
            .truth
            .execute(&format!("BEGIN; {}; ROLLBACK", product("Never")));
        scene.truth.execute(&product("Real"));
        told(&mut reader, &mut seen);
        assert_eq!(seen.values().sum::<usize>(), 1, "{storage:?}");
        assert!(reader.place().horizon() > before, "{storage:?}");
    }
}

/// PostgreSQL hands out positions long before it commits.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_commits_late_is_not_skipped() {
    let mut scene = Scene::set(Storage::Postgres).await;
    let mut reader = scene.reader().await;
    let start = reader.place().clone();
    let (mut late, mut seen) = (Truth::at(&scene.url), BTreeMap::new());
    late.execute(&format!("BEGIN; {}", product("Late")));
    for _ in 0..3 {
        scene.truth.execute(&product("Early"));
        told(&mut reader, &mut seen);
    }
    // Those that came later and committed first are told at once, once, and nobody relies on them
    // being all.
    assert_eq!(seen, BTreeMap::from([(2, 1), (3, 1), (4, 1)]));
    let held = reader.place().clone();
    let latest = scene
        .truth
        .texts("SELECT max(position)::text AS value FROM cache_changes");
    let latest: i64 = latest[0].parse().expect("a number");
    assert!(held.horizon() < latest, "{held:?} {latest}");
    late.execute("COMMIT");
    told(&mut reader, &mut seen);
    assert_eq!(seen, BTreeMap::from([(1, 1), (2, 1), (3, 1), (4, 1)]));
    assert!(reader.place().horizon() > latest);
    // Whoever kept the place as text is told of everything above its horizon again, late or not.
    for place in [start, held] {
        let kept: Place = place.to_string().parse().expect("it is a place");
        let Since::Tail(tail) = scene.since(&kept).await else {
            panic!("{kept:?} is in this log");
        };
        let mut ids: Vec<_> = tail
            .changes
            .into_iter()
            .map(|logged| logged.changed)
            .collect();
        ids.sort_by_key(|changed| format!("{changed:?}"));
        let expected = (1..=4).map(|id| Changed::Product { id });
        assert_eq!(ids, expected.collect::<Vec<_>>());
    }
}

/// Many writers at once, which commit in any order or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn no_order_of_commits_loses_or_repeats_a_change() {
    const WRITERS: usize = 6;
    const EACH: usize = 30;
    for storage in STORAGES {
        let scene = Scene::set(storage).await;
        let mut reader = scene.reader().await;
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let mut truth = Truth::at(&scene.url);
                std::thread::spawn(move || {
                    for _ in 0..EACH {
                        truth.execute(if storage == Storage::Sqlite {
                            "BEGIN IMMEDIATE"
                        } else {
                            "BEGIN"
                        });
                        truth.execute(&product("Some"));
                        std::thread::sleep(Duration::from_micros(fastrand::u64(..2000)));
                        truth.execute(if fastrand::u8(..4) == 0 {
                            "ROLLBACK"
                        } else {
                            "COMMIT"
                        });
                    }
                })
            })
            .collect();
        let mut seen = BTreeMap::new();
        while writers.iter().any(|writer| !writer.is_finished()) {
            told(&mut reader, &mut seen);
        }
        for writer in writers {
            writer.join().expect("no panic");
        }
        told(&mut reader, &mut seen);
        let mut truth = Truth::at(&scene.url);
        let ids = truth.texts("SELECT CAST(id AS TEXT) AS value FROM products ORDER BY id");
        let ids: Vec<i64> = ids.iter().map(|id| id.parse().expect("a number")).collect();
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), ids, "{storage:?}");
        assert!(
            seen.values().all(|times| *times == 1),
            "{storage:?}: {seen:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_trimmed_past_a_place_says_so_and_no_earlier() {
    for storage in STORAGES {
        let mut scene = Scene::set(storage).await;
        let mut places = vec![scene.reader().await.place().clone()];
        for _ in 0..5 {
            scene.truth.execute(&product("Some"));
            places.push(scene.reader().await.place().clone());
        }
        let age = Duration::from_secs(3600);
        let trimmed = scene.database.trim_changes(age, 100).await;
        assert_eq!(trimmed.ok(), Some(0), "nothing is too much");
        let trimmed = scene.database.trim_changes(age, 2).await;
        assert_eq!(trimmed.ok(), Some(3), "{storage:?}: the first row and two");
        let mut known = Vec::new();
        for place in &places {
            known.push(matches!(scene.since(place).await, Since::Tail(_)));
        }
        assert_eq!(
            known,
            [false, false, false, true, true, true],
            "{storage:?}"
        );
        // The newest stays, whatever its age.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let trimmed = scene
            .database
            .trim_changes(Duration::from_millis(1), 100)
            .await;
        assert_eq!(trimmed.ok(), Some(2), "{storage:?}");
        let last = places.last().expect("there are some");
        assert!(
            matches!(scene.since(last).await, Since::Tail(_)),
            "{storage:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_more_rows_than_are_trimmed_at_once_is_trimmed_too() {
    for storage in STORAGES {
        let mut scene = Scene::set(storage).await;
        scene.truth.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000) \
             INSERT INTO products (name, price_cents, stock, is_active, created_at, updated_at) \
             SELECT 'Many', 1, 1, true, '2026-01-01 00:00:00', '2026-01-01 00:00:00' FROM n",
        );
        scene.truth.execute(&product("Last"));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let age = Duration::from_millis(1);
        let trimmed = scene.database.trim_changes(age, 100).await;
        assert_eq!(trimmed.ok(), Some(25_001), "{storage:?}");
    }
}

/// Its transaction is older than the log's first row, and may end any time later.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_from_before_the_log_began_is_not_trimmed_away_under_it() {
    let postgres = block_in_place(Postgres::start).expect("a server of one's own");
    let url = block_in_place(|| postgres.create_database()).expect("it makes databases");
    let mut old = Truth::at(&url);
    old.execute("BEGIN; SELECT pg_current_xact_id()");
    let config = Config::for_tests(&format!("database.url = '{url}'"));
    let database = Database::new(&config.expect("a configuration").database);
    database.migrate().await.expect("it migrates");
    let reader = database.log_reader().await.expect("it answers");
    // As a Redis keeps it that is away meanwhile.
    let place = reader.place().to_string().parse().expect("a place");

    old.execute(&product("Old"));
    old.execute("COMMIT");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let trimmed = database.trim_changes(Duration::from_millis(1), 100).await;
    assert_eq!(trimmed.ok(), Some(0));
    match database.changes_since(Some(place), 0).await {
        Ok(Since::Tail(tail)) => assert_eq!(tail.changes.len(), 1, "{tail:?}"),
        other => panic!("{other:?}"),
    }
    // Both go together.
    old.execute(&product("New"));
    tokio::time::sleep(Duration::from_millis(5)).await;
    let trimmed = database.trim_changes(Duration::from_millis(1), 100).await;
    assert_eq!(trimmed.ok(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_restored_has_another_log() {
    for storage in STORAGES {
        let mut scene = Scene::set(storage).await;
        // The first reader of a database begins its history.
        drop(scene.reader().await);
        scene.truth.execute(&product("Before"));
        let backup = scene.reader().await.place().clone();
        scene.truth.execute(&product("Lost"));
        let lost = scene.reader().await.place().clone();
        let mut reader = scene.reader().await;
        // The row is gone as if it had never been; another has taken its place.
        scene.truth.execute(
            "DELETE FROM products WHERE id = 2; \
             DELETE FROM cache_changes WHERE position > (SELECT min(position) FROM cache_changes WHERE id = 1)",
        );
        if storage == Storage::Sqlite {
            scene
                .truth
                .execute("UPDATE sqlite_sequence SET seq = (SELECT max(position) FROM cache_changes) WHERE name = 'cache_changes'");
        }
        for _ in 0..3 {
            scene.truth.execute(&product("Other"));
        }
        assert!(
            matches!(scene.since(&backup).await, Since::Tail(_)),
            "{storage:?}"
        );
        assert!(
            matches!(scene.since(&lost).await, Since::Unknown { .. }),
            "{storage:?}"
        );
        // Whoever followed it learns that, and goes on from the new end.
        let news = block_in_place(|| reader.look()).expect("it answers");
        assert!(
            matches!(news, Some(Since::Unknown { .. })),
            "{storage:?}: {news:?}"
        );
        let mut seen = BTreeMap::new();
        scene.truth.execute(&product("More"));
        told(&mut reader, &mut seen);
        assert_eq!(seen.len(), 1, "{storage:?}");
    }
}

/// A dump that is restored in another cluster brings rows along whose positions mean nothing there.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_from_another_cluster_begins_anew() {
    let mut scene = Scene::set(Storage::Postgres).await;
    let place = scene.reader().await.place().clone();
    scene.truth.execute(&product("Some"));
    scene.truth.execute(
        "UPDATE cache_log SET lineage = '1.00000001'; \
         UPDATE cache_changes SET position = position + 1000000000",
    );
    let mut reader = scene.reader().await;
    assert!(matches!(scene.since(&place).await, Since::Unknown { .. }));
    let rows = scene.truth.texts("SELECT kind AS value FROM cache_changes");
    assert_eq!(rows, ["begin"]);
    let mut seen = BTreeMap::new();
    scene.truth.execute(&product("Some"));
    told(&mut reader, &mut seen);
    assert_eq!(seen.len(), 1);
}
