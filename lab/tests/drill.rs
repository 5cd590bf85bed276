//! `alacena-lab drill` in a short time, on the service and on one that breaks its promises.

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use support::{folder, lab, told};

fn drill(arguments: &[&str], output: &Path) -> Output {
    let output = format!("--output={}", output.display());
    lab(&[&["drill"], arguments, &[&output]].concat())
}

fn report(folder: &Path) -> Value {
    let json = fs::read(folder.join("drill.json")).expect("a report");
    serde_json::from_slice(&json).expect("JSON")
}

/// Plays a scenario that comes along on both backends, judged by what holds on any machine.
fn passes(scenario: &str) {
    let folder = folder();
    let arguments = [scenario, "--pace=0.3", "--rate=200", "--ignore-speed"];
    let (code, said) = told(&drill(&arguments, folder.path()));
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("1 scenarios passed, 0 not passed, 0 not played"),
        "{said}"
    );

    let report = report(folder.path());
    let sides = report["scenarios"][0]["sides"].as_array().expect("sides");
    let names: Vec<&str> = sides
        .iter()
        .filter_map(|side| side["name"].as_str())
        .collect();
    assert_eq!(names, ["redis", "tiered", "memory"]);
    for side in sides {
        let figure = |name: &str| side[name].as_f64().expect(name);
        assert_eq!(
            (figure("stale"), figure("wrong"), figure("lost")),
            (0.0, 0.0, 0.0)
        );
        assert_eq!(side["counts"]["failed"], 0);
        assert!(side["during"]["requests"].as_u64() > Some(5), "{side}");
        assert!(side["counts"]["written"].as_u64() > Some(5), "{side}");
        if side["name"] != "memory" {
            assert_eq!(side["is_noticed"], true, "{side}");
            assert!(side["recovery"].is_number(), "and its end: {side}");
        }
    }
}

macro_rules! scenarios {
    ($($test:ident: $name:literal;)*) => {
        $(
            #[test]
            fn $test() {
                passes($name);
            }
        )*

        #[test]
        fn every_scenario_that_comes_along_is_tested() {
            let output = drill(&["--list"], folder().path());
            let (code, said) = told(&output);
            assert_eq!(code, Some(0), "{said}");
            let listed: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
            assert_eq!(listed, [$($name),*]);
        }
    };
}

scenarios! {
    redis_is_killed: "kill";
    redis_comes_back_with_old_data: "old-data";
    redis_stands_still: "freeze";
    redis_refuses_connections: "refuse";
    the_network_swallows_everything: "blackhole";
    redis_is_slow: "slow";
    connections_are_reset_at_random: "reset";
    redis_answers_garbage: "garbage";
    redis_takes_no_writes: "read-only";
    redis_is_full: "out-of-memory";
    redis_is_up_and_down: "flapping";
    one_of_two_instances_is_cut_off: "partition-one";
    redis_is_absent_at_the_start: "never-there";
    the_database_is_away: "database-away";
}

#[test]
fn a_drill_leaves_a_page_that_needs_nothing_else() {
    let folder = folder();
    let arguments = [
        "kill",
        "--pace=0.2",
        "--rate=200",
        "--ignore-speed",
        "--backend=tiered",
    ];
    let (code, said) = told(&drill(&arguments, folder.path()));
    assert_eq!(code, Some(0), "{said}");
    let page = fs::read_to_string(folder.path().join("drill.html")).expect("a page");
    for part in [
        "<svg",
        "Redis is killed",
        "passed",
        "redis = \"kill\"",
        "tiered: requests a second",
    ] {
        let escaped = part.replace('"', "&quot;");
        assert!(page.contains(part) || page.contains(&escaped), "{part}");
    }
    for outside in ["http://", "https://", "<script", "url("] {
        let foreign = page.matches(outside).count();
        // The namespace of SVG is a name, not an address.
        let names = if outside == "http://" {
            page.matches("http://www.w3.org/").count()
        } else {
            0
        };
        assert_eq!(foreign, names, "{outside}");
    }
    assert!(
        folder
            .path()
            .join("logs/kill/tiered/instance-0.log")
            .exists()
    );
}

#[test]
fn a_service_that_does_not_tell_its_cache_of_writes_is_found_out() {
    let folder = folder();
    let arguments = [
        "kill",
        "--pace=0.3",
        "--rate=200",
        "--ignore-speed",
        "--mutant=is-never-told",
    ];
    let (code, said) = told(&drill(&arguments, folder.path()));
    assert_eq!(code, Some(1), "{said}");
    for side in ["redis", "tiered"] {
        let report = report(folder.path());
        let sides = report["scenarios"][0]["sides"].as_array().expect("sides");
        let side = sides
            .iter()
            .find(|other| other["name"] == side)
            .expect("it was played");
        assert!(side["stale"].as_u64() > Some(0), "{side}");
    }
    assert!(said.contains("reads were stale"), "{said}");
    // The reference is the service as it is.
    assert!(!said.contains("kill: memory:"), "{said}");
}

#[test]
fn a_limit_that_is_not_kept_fails_a_scenario_of_ones_own() {
    let folder = folder();
    let file = folder.path().join("mine.toml");
    let text = "about = 'Too much is asked'\nlasts = '1s'\nbefore = '300ms'\nafter = '4s'\n\
                break = [{ redis = 'freeze' }]\nmend = [{ redis = 'thaw' }]\n\
                limits = { recovery = '1ms' }";
    fs::write(&file, text).expect("a file");
    let arguments = [
        file.to_str().expect("a path"),
        "--rate=100",
        "--backend=redis",
    ];
    let (code, said) = told(&drill(&arguments, folder.path()));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("mine: redis: well again after"), "{said}");
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    let folder = folder();
    let broken = folder.path().join("broken.toml");
    fs::write(&broken, "about = 'x'\nbrake = []").expect("a file");
    let broken = broken.to_str().expect("a path");
    for (arguments, names) in [
        (&["freez"][..], "freeze"),
        (&["absent.toml"], "absent.toml"),
        (&[broken], "brake"),
        (&["--pace=0"], "0.05"),
        (&["--rate=0"], "--rate"),
        (&["--backend=memory"], "tiered"),
        (
            &["--target=localhost:8000", "--proxy=127.0.0.1:1"],
            "http://HOST:PORT",
        ),
        (&["--target=http://127.0.0.1:8000"], "--proxy"),
        (&["--proxy=127.0.0.1:6399"], "--target"),
    ] {
        let (code, said) = told(&drill(arguments, folder.path()));
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(names), "{arguments:?}: {said}");
    }
}
