//! A small process that outlives ours just long enough to end the server and to remove its folder.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

/// Ends what it guards when our end of its pipe closes: when this is dropped, and when our process
/// ends without dropping anything (statics, `exit`, abort, SIGKILL).
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// A watchdog that will end its server with `signal`, then remove `folder`.
    pub(super) fn start(folder: &Path, signal: Signal) -> io::Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", include_str!("watchdog.sh"), "watchdog"])
            .arg(folder)
            .arg(signal.as_str().trim_start_matches("SIG"))
            .current_dir("/")
            // A process group of its own: what a terminal or a test runner does to ours must not
            // reach it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { shell })
    }

    /// Guard this process from now on, in place of the one before. `born` is its start time in
    /// clock ticks.
    pub(super) fn guard(&mut self, pid: i32, born: u64) -> io::Result<()> {
        let pipe = self.shell.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(pipe, "{pid} {born}")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // `wait` closes the pipe first.
        let _ = self.shell.wait();
    }
}
