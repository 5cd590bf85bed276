//! The command `alacena-lab freshness`: it ends well with a service that keeps its promises, and
//! notices one that does not.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output};

use flate2::read::GzDecoder;
use tempfile::TempDir;

/// What a busy machine may take: how long, is not what is tested here.
const PATIENT: [&str; 3] = ["--limit-p99=5s", "--limit-max=10s", "--limit-fault=10s"];

fn freshness(arguments: &[&str], output: &Path) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_alacena-lab"))
        .arg("freshness")
        .args(arguments)
        .args(PATIENT)
        .arg("--output")
        .arg(output)
        .output();
    command.expect("it can be run")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("there is room for a folder")
}

/// What a run said, and how it ended.
fn told(output: &Output) -> (Option<i32>, String) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code(), said)
}

fn lines(history: &Path) -> Vec<String> {
    let mut text = String::new();
    let file = File::open(history).expect("there is a history");
    let read = GzDecoder::new(file).read_to_string(&mut text);
    read.expect("it is compressed text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_run_ends_well_and_leaves_a_report_a_history_and_a_picture() {
    let folder = folder();
    let output = freshness(
        &[
            "--instances=2",
            "--seconds=5",
            "--faults=redis-killed,instance-killed",
        ],
        folder.path(),
    );
    let (code, said) = told(&output);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Every guarantee is kept"), "{said}");

    let report = fs::read_to_string(folder.path().join("report.md")).expect("a report");
    for row in ["all well", "redis-killed", "instance-killed", "total"] {
        assert!(report.contains(&format!("| {row} ")), "{report}");
    }
    let picture = fs::read_to_string(folder.path().join("freshness.svg")).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.contains("redis-killed"));

    let lines = lines(&folder.path().join("history.csv.gz"));
    assert_eq!(
        lines[0],
        "what,register,value,instance,position,began_us,ended_us"
    );
    let count = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!(count("fault,"), 2);
    assert!(count("absent,") >= 1, "an instance was killed");
    assert!(count("read,user:") > 100 && count("read,leaver:") > 0);
    assert!(count("write,user:") > 10 && count("initial,") > 10);
}

#[test]
fn a_service_that_ignores_the_log_of_changes_is_found_out() {
    let folder = folder();
    let output = freshness(
        &[
            "--instances=2",
            "--seconds=3",
            "--faults=none",
            "--mutant=ignores-the-log",
        ],
        folder.path(),
    );
    let (code, said) = told(&output);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("older than the position that was sent"),
        "{said}"
    );
    // Each instance still knows what it wrote itself.
    assert!(
        !said.contains("what the same instance had acknowledged"),
        "{said}"
    );
}

#[test]
fn a_service_that_stores_what_was_overtaken_is_found_out() {
    let folder = folder();
    let output = freshness(
        &[
            "--instances=2",
            "--seconds=5",
            "--faults=none",
            "--mutant=fills-regardless",
        ],
        folder.path(),
    );
    let (code, said) = told(&output);
    assert_eq!(code, Some(1), "{said}");
    // Whichever kind of reader came across it first.
    let broken = [
        "what the same instance had acknowledged",
        "older than the position that was sent",
    ];
    assert!(
        broken.iter().any(|promise| said.contains(promise)),
        "{said}"
    );
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    for arguments in [
        &["--faults=redis-tired"][..],
        &["--faults=redis-killed", "--backend=memory"],
        &["--faults=redis-flushed", "--redis-url=redis://127.0.0.1:1"],
        &["--redis-url=127.0.0.1"],
        &["--seconds=1", "--reads=1"],
        &["--seconds=0"],
        &["--backend=disk"],
    ] {
        let folder = folder();
        let (code, said) = told(&freshness(arguments, folder.path()));
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(
            said.contains("error:") || said.contains("--faults"),
            "{said}"
        );
    }
}
