//! The command `alacena-lab`.

use std::process::ExitCode;

/// As in the service, whose instances run in this program too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    alacena_lab::cli::run()
}
