//! How far a run has got, while it runs.

use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar on a terminal; elsewhere, a line now and then.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For a run that takes about so long.
    pub(super) fn start(planned: Duration) -> Result<Self> {
        let bar = ProgressBar::new(millis(planned));
        let style = "{wide_bar} {percent:>3}%, {eta} left  {msg:<32}";
        bar.set_style(ProgressStyle::with_template(style)?);
        bar.enable_steady_tick(Duration::from_millis(500));
        Ok(Self { bar })
    }

    /// What is being done, for whoever has no terminal.
    pub(super) fn stage(&self, what: &str) {
        if self.bar.is_hidden() {
            eprintln!("{what}");
        }
    }

    /// What is being done, on a terminal.
    pub(super) fn tell(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// So much of what was planned is done.
    pub(super) fn advance(&self, planned: Duration) {
        self.bar.inc(millis(planned));
    }

    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
