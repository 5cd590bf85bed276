//! What tests of the command line share.

use std::process::{Command, Output};

use tempfile::TempDir;

/// Runs `alacena-lab`.
pub(crate) fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_alacena-lab"))
        .args(arguments)
        .output()
        .expect("it runs")
}

/// How it ended, and all that it said.
pub(crate) fn told(output: &Output) -> (Option<i32>, String) {
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    (output.status.code(), said.concat())
}

pub(crate) fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}
