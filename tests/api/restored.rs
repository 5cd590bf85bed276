//! Tokens and entity tags of a database that is restored, copied, or emptied: each belongs to one
//! account, one password and one history of the database.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use alacena_lab::servers::Postgres;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::support::{ADMIN_EMAIL, Storage, Store, TestApp, TestUser, eventually};

async fn status(app: &TestApp, token: &str) -> u16 {
    app.get("/auth/me").by(token).await.status.as_u16()
}

async fn is_refused(app: &TestApp, token: &str) {
    let answer = app.get("/auth/me").by(token).await;
    answer.problem(401, "unauthenticated");
}

/// Sets another password, which revokes the user's tokens.
async fn change_password(app: &TestApp, user: &TestUser, admin: &str) {
    let change = json!({ "password": "another password" });
    let changed = app.patch(&user.path()).by(admin).json(&change).await;
    changed.expect(200);
    is_refused(app, &user.token).await;
}

/// Makes sure that neither tier answers what was written after the backup.
async fn has_kept_its_name(app: &TestApp, user: &TestUser, token: &str) {
    let read = app.get(&user.path()).by(token).await.expect(200);
    assert_ne!(read.json()["full_name"], "Lost", "{read:?}");
    let page = app.get("/users").by(token).await.expect(200);
    assert!(!page.body.contains("Lost"), "{page:?}");
}

/// Writes what the backup does not have, and caches it.
async fn rename(app: &TestApp, user: &TestUser, admin: &str) {
    let change = json!({ "full_name": "Lost" });
    let renamed = app.patch(&user.path()).by(admin).json(&change).await;
    renamed.expect(200);
    for path in [user.path().as_str(), "/users"] {
        let read = app.get(path).by(admin).await.expect(200);
        assert!(read.body.contains("Lost"), "{read:?}");
    }
}

/// A namespace in the shared Redis that outlives a service.
fn namespace() -> String {
    format!("cache.namespace = 'restored-{:x}'", fastrand::u64(..))
}

/// An SQLite database in a folder of its own.
struct File(TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("there is room for a folder"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("alacena.db")
    }

    async fn serve(&self, backend: &str) -> TestApp {
        self.serve_with(backend, "").await
    }

    async fn serve_with(&self, backend: &str, config: &str) -> TestApp {
        let url = format!("sqlite://{}", self.path().display());
        TestApp::start_at(&url, backend, config).await
    }

    /// Stops a service on this file, and waits until nothing has the file open.
    async fn stop(&self, app: TestApp) {
        app.stop().await;
        let log = self.0.path().join("alacena.db-wal");
        eventually("SQLite has closed the file", async || !log.exists()).await;
    }

    /// Copies the file of a database that nothing has open.
    fn copy_to(&self, path: &Path) {
        std::fs::copy(self.path(), path).expect("the file is copied");
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }
}

async fn a_restored_file_refuses_the_tokens_of_its_former_history(backend: &str) {
    let (file, config) = (File::new(), namespace());
    let app = file.serve_with(backend, &config).await;
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    file.stop(app).await;
    let backup = file.0.path().join("backup.db");
    file.copy_to(&backup);

    let app = file.serve_with(backend, &config).await;
    assert_eq!(
        status(&app, &user.token).await,
        200,
        "a restart keeps tokens"
    );
    rename(&app, &user, &admin).await;
    change_password(&app, &user, &admin).await;
    let later = app.login(&user.email, "another password").await;
    file.stop(app).await;

    // Over the same file, so that only the log tells.
    let restored = File(tempfile::tempdir_in(file.0.path()).expect("there is room"));
    std::fs::rename(&backup, restored.path()).expect("it is renamed");
    restored.copy_to(&file.path());
    let app = file.serve_with(backend, &config).await;
    for token in [&user.token, &admin, &later] {
        is_refused(&app, token).await;
    }
    let new = app.login(&user.email, &user.password).await;
    has_kept_its_name(&app, &user, &new).await;
    file.stop(app).await;
    let app = file.serve_with(backend, &config).await;
    assert_eq!(status(&app, &new).await, 200, "a restart keeps tokens");
    file.stop(app).await;

    // A copy at another place.
    let app = restored.serve(backend).await;
    for token in [&user.token, &admin, &new] {
        is_refused(&app, token).await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_file_refuses_the_tokens_of_its_former_history_with_memory() {
    a_restored_file_refuses_the_tokens_of_its_former_history("memory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_file_refuses_the_tokens_of_its_former_history_with_tiered() {
    a_restored_file_refuses_the_tokens_of_its_former_history("tiered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_file_refuses_the_tokens_of_its_former_history_with_the_cache_off() {
    a_restored_file_refuses_the_tokens_of_its_former_history("off").await;
}

/// As `tar` puts a folder back: the file beside the database too, and often under the same inodes.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_folder_refuses_the_tokens_of_its_former_history() {
    let file = File::new();
    let app = file.serve("memory").await;
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    file.stop(app).await;
    let names = ["alacena.db", "alacena.db-history"].map(|name| file.0.path().join(name));
    let saved = names
        .clone()
        .map(|name| std::fs::read(name).expect("it is there"));

    let app = file.serve("memory").await;
    change_password(&app, &user, &admin).await;
    file.stop(app).await;

    // Some file systems give a new file the lowest number that is free: that of the removed one.
    let inode = |path: &Path| std::fs::metadata(path).expect("it is there").ino();
    let is_above = |n: u32| {
        let filler = file.0.path().join(format!("filler-{n}"));
        std::fs::write(&filler, "").expect("there is room");
        inode(&filler) > inode(&names[0])
    };
    assert!((0..10_000).any(is_above));
    for (name, content) in names.iter().zip(saved) {
        std::fs::remove_file(name).expect("it is there");
        std::fs::write(name, content).expect("there is room");
    }
    let app = file.serve("memory").await;
    for token in [&user.token, &admin] {
        is_refused(&app, token).await;
    }
    app.stop().await;
}

/// Another database file under the path, while the service runs, as `.restore` in the sqlite3 shell
/// makes it: one transaction that puts every page back.
async fn a_restore_under_the_running_service_begins_a_new_history(backend: &str) {
    let file = File::new();
    let app = file.serve(backend).await;
    let second = file.serve(backend).await;
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    app.get(&user.path()).by(&admin).await.expect(200);
    let mut truth = app.truth();
    truth.execute(
        "CREATE TABLE saved_users AS SELECT * FROM users; \
         CREATE TABLE saved_changes AS SELECT * FROM cache_changes; \
         CREATE TABLE saved_sequence AS SELECT * FROM sqlite_sequence",
    );
    let triggers = truth.texts("SELECT sql AS value FROM sqlite_master WHERE type = 'trigger'");
    let names = truth.texts("SELECT name AS value FROM sqlite_master WHERE type = 'trigger'");
    let drop: String = names
        .iter()
        .map(|name| format!("DROP TRIGGER {name};"))
        .collect();
    let restore = format!(
        "BEGIN IMMEDIATE; {drop} DELETE FROM users; DELETE FROM cache_changes; \
         INSERT INTO users (id, email, full_name, role, is_active, password_hash, version, created_at, \
         updated_at, token_nonce, revision, rehashes) SELECT id, email, full_name, role, is_active, \
         password_hash, version, created_at, updated_at, token_nonce, revision, rehashes \
         FROM saved_users; INSERT INTO cache_changes SELECT * FROM saved_changes; \
         DELETE FROM sqlite_sequence; INSERT INTO sqlite_sequence SELECT * FROM saved_sequence; \
         {}; COMMIT",
        triggers.join(";")
    );
    // Within a poll of the write: no look has seen what it committed.
    change_password(&app, &user, &admin).await;
    let renamed = app.patch(&user.path()).by(&admin);
    renamed
        .json(&json!({ "full_name": "Lost" }))
        .await
        .expect(200);
    truth.execute(&restore);
    eventually("both instances begin a new history", async || {
        let tokens = [&user.token, &admin];
        let mut refused = true;
        for app in [&app, &second] {
            for token in tokens {
                refused &= status(app, token).await == 401;
            }
        }
        refused
    })
    .await;
    eventually("both instances have the same history", async || {
        let token = app.login(&user.email, &user.password).await;
        status(&app, &token).await == 200 && status(&second, &token).await == 200
    })
    .await;
    let token = app.login(&user.email, &user.password).await;
    for app in [&app, &second] {
        let read = app.get(&user.path()).by(&token).await.expect(200);
        assert_ne!(read.json()["full_name"], "Lost", "{read:?}");
    }
    app.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_under_the_running_service_begins_a_new_history_with_memory() {
    a_restore_under_the_running_service_begins_a_new_history("memory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_under_the_running_service_begins_a_new_history_with_tiered() {
    a_restore_under_the_running_service_begins_a_new_history("tiered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_under_the_running_service_begins_a_new_history_with_the_cache_off() {
    a_restore_under_the_running_service_begins_a_new_history("off").await;
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_and_a_copy_refuse_the_tokens_of_the_database_they_came_from() {
    let postgres = block_in_place(Postgres::start).expect("a server of one's own");
    let create = || block_in_place(|| postgres.create_database()).expect("it makes databases");
    let [url, restored] = [create(), create()];
    let config = namespace();
    let app = TestApp::start_at(&url, "tiered", &config).await;
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    app.stop().await;
    let dump = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR"));
    let dump = dump.expect("there is room for a file");
    let file = dump.path().display().to_string();
    block_in_place(|| run("pg_dump", &["--file", &file, &url]));

    let app = TestApp::start_at(&url, "tiered", &config).await;
    assert_eq!(
        status(&app, &user.token).await,
        200,
        "a restart keeps tokens"
    );
    rename(&app, &user, &admin).await;
    change_password(&app, &user, &admin).await;
    app.stop().await;

    block_in_place(|| {
        run(
            "psql",
            &["--quiet", "--output=/dev/null", "--file", &file, &restored],
        );
    });
    let app = TestApp::start_at(&restored, "tiered", &config).await;
    for token in [&user.token, &admin] {
        is_refused(&app, token).await;
    }
    let new = app.login(&user.email, &user.password).await;
    has_kept_its_name(&app, &user, &new).await;
    app.stop().await;
    let app = TestApp::start_at(&restored, "tiered", &config).await;
    assert_eq!(status(&app, &new).await, 200, "a restart keeps tokens");
    app.stop().await;

    // A copy of the files.
    let name = restored.rsplit('/').next().expect("a name");
    let copy = format!("CREATE DATABASE copied TEMPLATE {name}");
    block_in_place(|| postgres.query("postgres", &copy)).expect("it is copied");
    let app = TestApp::start_at(&postgres.url("copied"), "tiered", &config).await;
    for token in [&user.token, &new] {
        is_refused(&app, token).await;
    }
    app.stop().await;
}

/// A dump of the data alone, which is read into a database that has its own row.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_row_of_the_history_is_a_restore() {
    let store = block_in_place(|| Store::fresh(Storage::Postgres));
    let app = TestApp::start_at(&store.url(), "memory", "").await;
    let token = app.admin().await;
    let mut truth = app.truth();
    app.stop().await;
    truth.execute("INSERT INTO database_history SELECT * FROM database_history");
    let app = TestApp::start_at(&store.url(), "memory", "").await;
    is_refused(&app, &token).await;
    let token = app.admin().await;
    app.stop().await;
    let rows = truth.texts("SELECT count(*)::text AS value FROM database_history");
    assert_eq!(rows, ["1"]);
    let app = TestApp::start_at(&store.url(), "memory", "").await;
    assert_eq!(status(&app, &token).await, 200, "a restart keeps tokens");
    app.stop().await;
    block_in_place(|| drop((truth, store)));
}

/// Only Redis has seen what came later: cluster, timeline and rows are those of the original.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_the_disk_refuses_the_tokens_of_its_former_history() {
    let mut postgres = block_in_place(Postgres::start).expect("a server of one's own");
    let url = block_in_place(|| postgres.create_database()).expect("it makes databases");
    let config = namespace();
    let app = TestApp::start_at(&url, "tiered", &config).await;
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    app.stop().await;
    let folder = postgres.folder().display().to_string();
    let snapshot = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("there is room");
    let saved = snapshot.path().join("saved").display().to_string();
    block_in_place(|| {
        postgres.stop().expect("it stops");
        run("cp", &["-a", &folder, &saved]);
        postgres.start_again().expect("it starts");
    });

    let app = TestApp::start_at(&url, "tiered", &config).await;
    rename(&app, &user, &admin).await;
    change_password(&app, &user, &admin).await;
    app.stop().await;
    block_in_place(|| {
        postgres.stop().expect("it stops");
        std::fs::remove_dir_all(&folder).expect("it can be removed");
        run("cp", &["-a", &saved, &folder]);
        postgres.start_again().expect("it starts");
    });

    let app = TestApp::start_at(&url, "tiered", &config).await;
    eventually("tokens are refused", async || {
        status(&app, &user.token).await == 401 && status(&app, &admin).await == 401
    })
    .await;
    let new = app.login(&user.email, &user.password).await;
    has_kept_its_name(&app, &user, &new).await;
    app.stop().await;
    let app = TestApp::start_at(&url, "tiered", &config).await;
    assert_eq!(status(&app, &new).await, 200, "a restart keeps tokens");
    app.stop().await;
}

/// Waits until the service has read the log to its end: it asks for the snapshot at each look.
async fn has_looked(postgres: &Postgres, database: &str) {
    let looked = "SELECT query_start FROM pg_stat_activity \
                  WHERE query LIKE '%cache_snapshot%' AND pid <> pg_backend_pid()";
    let mut looks = std::collections::BTreeSet::new();
    eventually("the log was read", async || {
        looks.insert(block_in_place(|| postgres.query(database, looked)).expect("it answers"));
        looks.len() > 5
    })
    .await;
}

/// A crash loses the ids of transactions that left nothing behind. All that was committed is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_postgresql_keeps_tokens() {
    let mut postgres = block_in_place(Postgres::start).expect("a server of one's own");
    let url = block_in_place(|| postgres.create_database()).expect("it makes databases");
    let app = TestApp::start_at(&url, "memory", "").await;
    let token = app.admin().await;
    let database = url.rsplit('/').next().expect("a name");
    let query = |postgres: &Postgres, sql: &str| {
        block_in_place(|| postgres.query(database, sql)).expect("it answers")
    };
    // What is not waited for is written by this process.
    let writer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    let writer = query(&postgres, writer);
    block_in_place(|| run("kill", &["-STOP", writer.trim()]));
    for _ in 0..20 {
        query(&postgres, "SELECT pg_current_xact_id()");
    }
    has_looked(&postgres, database).await;
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
    let number = |text: String| text.trim().parse::<u64>().expect("a number");
    let before = number(query(&postgres, next));
    block_in_place(|| {
        postgres.kill().expect("it is killed");
        postgres.start_again().expect("it starts");
    });
    assert!(number(query(&postgres, next)) < before, "ids were lost");
    eventually("it is ready", async || {
        app.get("/health/ready").await.status.as_u16() == 200
    })
    .await;
    has_looked(&postgres, database).await;
    assert_eq!(status(&app, &token).await, 200);
    app.stop().await;
}

/// A promotion changes the timeline and nothing else; a recovery that ends early drops what came later.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_keeps_tokens_and_a_recovery_to_a_point_in_time_does_not() {
    let mut postgres = block_in_place(Postgres::start).expect("a server of one's own");
    let url = block_in_place(|| postgres.create_database()).expect("it makes databases");
    let other_timeline =
        "UPDATE cache_log SET lineage = split_part(lineage, '.', 1) || '.000000FF'";
    let app = TestApp::start_at(&url, "memory", "").await;
    let token = app.admin().await;
    app.truth().execute(other_timeline);
    app.stop().await;
    let app = TestApp::start_at(&url, "memory", "").await;
    assert_eq!(status(&app, &token).await, 200);
    app.truth().execute(other_timeline);
    app.stop().await;
    block_in_place(|| {
        let target = "ALTER SYSTEM SET recovery_target_name = 'before_the_accident'";
        postgres.query("postgres", target).expect("it is set");
        postgres.stop().expect("it stops");
        postgres.start_again().expect("it starts");
    });
    let app = TestApp::start_at(&url, "memory", "").await;
    is_refused(&app, &token).await;
    let token = app.admin().await;
    app.stop().await;
    let app = TestApp::start_at(&url, "memory", "").await;
    assert_eq!(status(&app, &token).await, 200, "a restart keeps tokens");
    app.stop().await;
}

matrix!(an_id_that_is_used_again_opens_nothing_and_its_tag_matches_nothing);
async fn an_id_that_is_used_again_opens_nothing_and_its_tag_matches_nothing(app: TestApp) {
    let admin = app.admin().await;
    let user = app.new_user(&admin).await;
    let (product, _) = app.new_product(&admin).await;
    let tags = [
        app.get(&user.path()).by(&admin).await.etag().to_owned(),
        app.get(&product).by(&admin).await.etag().to_owned(),
    ];
    let empty = match app.database_kind() {
        "sqlite" => {
            "DELETE FROM users; DELETE FROM products; DELETE FROM sqlite_sequence \
                     WHERE name IN ('users', 'products')"
        }
        _ => "TRUNCATE users, products RESTART IDENTITY",
    };
    let now = "'2026-01-01 00:00:00'";
    let users: String = [ADMIN_EMAIL, "other@example.com"]
        .iter()
        .map(|email| {
            format!(
                "INSERT INTO users (email, full_name, role, is_active, password_hash, created_at, \
                 updated_at) SELECT '{email}', 'New', 'admin', true, password_hash, {now}, {now} \
                 FROM saved;"
            )
        })
        .collect();
    app.truth().execute(&format!(
        "CREATE TABLE saved AS SELECT password_hash FROM users WHERE email = '{ADMIN_EMAIL}'; \
         {empty}; {users} \
         INSERT INTO products (name, price_cents, stock, is_active, created_at, updated_at) \
         VALUES ('New', 1, 1, true, {now}, {now})"
    ));
    eventually("the changes are known", async || {
        status(&app, &admin).await == 401 && status(&app, &user.token).await == 401
    })
    .await;
    let admin = app.admin().await;
    for (path, tag) in [user.path(), product].iter().zip(&tags) {
        let read = app.get(path).by(&admin).header("if-none-match", tag).await;
        assert_eq!(read.expect(200).json()["version"], 1);
        let deleted = app.delete(path).by(&admin).header("if-match", tag).await;
        deleted.problem(412, "precondition-failed");
    }
}

matrix!(tokens_are_revoked_by_a_change_by_hand);
async fn tokens_are_revoked_by_a_change_by_hand(app: TestApp) {
    let admin = app.admin().await;
    let changes = [
        "password_hash = password_hash || ' '",
        "is_active = false",
        "token_nonce = 7",
    ];
    for change in changes {
        let user = app.new_user(&admin).await;
        let by_hand = format!("UPDATE users SET {change} WHERE id = {}", user.id);
        app.truth().execute(&by_hand);
        eventually("the token is refused", async || {
            status(&app, &user.token).await == 401
        })
        .await;
        let active = format!("UPDATE users SET is_active = true WHERE id = {}", user.id);
        app.truth().execute(&active);
        let read = app.get(&user.path()).by(&admin).no_cache().await;
        assert_eq!(read.expect(200).json()["is_active"], true);
        is_refused(&app, &user.token).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_with_the_same_secret_accepts_no_token() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let stores = block_in_place(|| [Store::fresh(storage), Store::fresh(storage)]);
        let first = TestApp::start_at(&stores[0].url(), "memory", "").await;
        let second = TestApp::start_at(&stores[1].url(), "memory", "").await;
        let token = first.admin().await;
        is_refused(&second, &token).await;
        first.stop().await;
        second.stop().await;
        block_in_place(|| drop(stores));
    }
}
