use alacena_lab::servers::Postgres;
use serde_json::Value;

use super::process::Shell;
use crate::support::{Storage, Store, Truth};

#[test]
fn help_names_every_command() {
    let shell = Shell::new();
    let help = shell.run(&["--help"]).expect(0).out;
    let commands = [
        "serve",
        "migrate",
        "seed",
        "check-config",
        "healthcheck",
        "admin",
        "openapi",
    ];
    for command in commands {
        assert!(help.contains(command), "{command}: {help}");
        shell.run(&[command, "--help"]).expect(0);
    }
    for option in ["--config", "--profile", "ALACENA_PROFILE"] {
        assert!(help.contains(option), "{option}: {help}");
    }
    shell.run(&["--version"]).expect(0);
    shell.run(&["admin", "reset-password", "--help"]).expect(0);
    for wrong in [
        &["dance"][..],
        &["--dance"],
        &["seed"],
        &["seed", "--users", "many"],
        &["admin"],
        &["admin", "reset-password"],
    ] {
        shell.run(wrong).expect(2);
    }
}

#[test]
fn the_document_is_printed_whatever_the_configuration() {
    let shell = Shell::new().with("ALACENA__SERVER__PORT", "nonsense");
    let printed = shell.run(&["openapi"]).expect(0).out;
    let document: Value = serde_json::from_str(&printed).expect("it is JSON");
    assert_eq!(document, alacena::http::document());
}

const STORAGES: [Storage; 2] = [Storage::Sqlite, Storage::Postgres];

#[test]
fn ten_processes_may_migrate_at_once() {
    for storage in STORAGES {
        let store = Store::fresh(storage);
        let shell = Shell::on(&store.url());
        let started: Vec<_> = (0..10).map(|_| shell.start(&["migrate"])).collect();
        let mut ran = 0;
        for child in started {
            let output = child.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{storage:?}: {complaint}");
            ran += usize::from(said.contains("ran "));
        }
        assert_eq!(ran, 1, "{storage:?}: one of them does it");
        let again = shell.run(&["migrate"]).expect(0);
        assert!(again.out.contains("nothing to do"), "{}", again.out);
        assert!(
            Truth::at(&store.url())
                .texts("SELECT email AS value FROM users")
                .is_empty()
        );
    }
}

#[test]
fn a_service_that_only_checks_refuses_to_start_on_a_fresh_database() {
    for storage in STORAGES {
        let store = Store::fresh(storage);
        let shell = Shell::on(&store.url()).with("ALACENA__DATABASE__MIGRATE", "check");
        for _ in 0..2 {
            let refused = shell.run(&["serve"]).expect(1);
            assert!(refused.err.contains("alacena migrate"), "{}", refused.err);
            assert!(!refused.out.contains("listening"), "{}", refused.out);
        }
        shell.run(&["migrate"]).expect(0);
        shell.serve(&["serve"]);
    }
}

#[test]
fn seeding_again_changes_nothing() {
    for storage in STORAGES {
        let store = Store::fresh(storage);
        let shell = Shell::on(&store.url());
        let rows = || {
            let mut truth = Truth::at(&store.url());
            let users =
                "SELECT email || full_name || id || version AS value FROM users ORDER BY id";
            let products = "SELECT name || coalesce(description, '') || price_cents || id AS value \
                            FROM products ORDER BY id";
            (truth.texts(users), truth.texts(products))
        };
        let seed = ["seed", "--users", "50", "--products", "20"];
        shell.run(&seed).expect(0);
        let first = rows();
        assert_eq!((first.0.len(), first.1.len()), (50, 20), "{storage:?}");
        shell.run(&seed).expect(0);
        assert_eq!(rows(), first, "{storage:?}");
        // More of the same seed adds at the end; another seed makes other rows.
        shell.run(&["seed", "--users", "60"]).expect(0);
        let more = rows();
        assert_eq!(more.0.len(), 60, "{storage:?}");
        assert_eq!(more.0[..50], first.0, "{storage:?}");
        shell
            .run(&["seed", "--users", "5", "--seed", "2"])
            .expect(0);
        assert_eq!(rows().0.len(), 65, "{storage:?}");
    }
    // The same rows on either database, and in either run.
    let emails = STORAGES.map(|storage| {
        let store = Store::fresh(storage);
        Shell::on(&store.url())
            .run(&["seed", "--users", "30"])
            .expect(0);
        Truth::at(&store.url()).texts("SELECT email AS value FROM users ORDER BY id")
    });
    assert_eq!(emails[0], emails[1]);
}

#[test]
fn a_database_that_is_not_there_is_a_failure_and_no_panic() {
    let url = format!(
        "{}?connect_timeout=2",
        Postgres::shared().url("no_such_database")
    );
    let shell = Shell::on(&url);
    for command in [&["migrate"][..], &["serve"], &["seed", "--users", "1"]] {
        let done = shell.run(command).expect(1);
        assert!(done.err.contains("no_such_database"), "{}", done.err);
        assert!(!done.err.contains("panicked"), "{}", done.err);
    }
}

#[test]
fn a_password_that_cannot_be_set_is_a_failure() {
    let store = Store::fresh(Storage::Sqlite);
    let shell = Shell::on(&store.url());
    let reset = ["admin", "reset-password", "admin@example.com"];
    // Nothing is migrated yet.
    shell.run_with(&reset, "a new password\n").expect(1);
    shell.run(&["migrate"]).expect(0);
    let nobody = shell.run_with(&reset, "a new password\n").expect(1);
    assert!(nobody.err.contains("no such user"), "{}", nobody.err);
    shell.run_with(&reset, "short\n").expect(1);
    shell.run_with(&reset, "").expect(1);
    let no_address = ["admin", "reset-password", "nobody"];
    shell.run_with(&no_address, "a new password\n").expect(1);
}
