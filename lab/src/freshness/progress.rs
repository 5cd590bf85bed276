//! How far a run has got, while it runs.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::options::Options;
use crate::text::grouped;
use crate::traffic::Stage;

/// Tells how far a run has got, on standard error: in one line that changes on a terminal, in a line
/// now and then elsewhere.
pub(super) struct Progress {
    task: AbortHandle,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn start(stage: &Arc<Stage>, options: &Options) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let period = Duration::from_secs(if is_terminal { 1 } else { 5 });
        let goal = match (options.duration(), options.reads) {
            (Some(time), _) => format!("of {} s", time.as_secs()),
            (None, Some(reads)) => format!("until {} reads", grouped(reads)),
            (None, None) => String::new(),
        };
        let stage = Arc::clone(stage);
        let tell = async move {
            let began = Instant::now();
            let mut next = began;
            loop {
                next += period;
                sleep_until(next).await;
                let count = |counter: &std::sync::atomic::AtomicU64| {
                    grouped(counter.load(Ordering::Relaxed))
                };
                let line = format!(
                    "{} s {goal}: {} reads, {} writes, {} failed requests",
                    began.elapsed().as_secs(),
                    count(&stage.reads),
                    count(&stage.writes),
                    count(&stage.failed),
                );
                let mut out = std::io::stderr();
                // Whoever does not listen need not.
                let _ = if is_terminal {
                    write!(out, "\r\x1b[2K{line}")
                } else {
                    writeln!(out, "{line}")
                };
            }
        };
        Self {
            task: tokio::spawn(tell).abort_handle(),
            is_terminal,
        }
    }

    pub(super) fn end(self) {
        self.task.abort();
        if self.is_terminal {
            eprintln!();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
    }
}
