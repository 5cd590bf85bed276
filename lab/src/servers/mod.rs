//! Servers of one's own: a fresh folder, a free port, and an end that comes with ours, however that
//! may be.

mod postgres;
mod process;
mod redis;
mod watchdog;

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

pub use postgres::Postgres;
pub use process::free_port;
pub(crate) use process::listen_anywhere;
pub use redis::{Redis, RedisSnapshot};

/// Why a server could not be started, steered or asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The server's programs are not installed.
    #[error("{program} is not installed here: {remedy}")]
    NotInstalled {
        /// The server's main program.
        program: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// We are root, the server refuses to be, and the account it would run under does not exist.
    #[error("a server that root starts runs as user `{0}`, who does not exist here")]
    NoAccount(&'static str),
    /// The operating system refused something.
    #[error("cannot {doing}: {cause}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// A program ended when it should not have, or with a failure.
    #[error("{program} ended ({status}), and this is the end of what it said:\n{said}")]
    Ended {
        /// Which program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its output.
        said: String,
    },
    /// The server did not do what it was told within the time it is given.
    #[error(
        "the server did not {doing} within {limit:?}, and this is the end of what it said:\n{said}"
    )]
    TooSlow {
        /// What it should have done.
        doing: &'static str,
        /// How long it was waited for.
        limit: Duration,
        /// The last lines of its output.
        said: String,
    },
    /// The server answered a command with an error.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The server is not running, so it can be neither asked, frozen nor thawed.
    #[error("the server is not running")]
    NotRunning,
}

impl ServerError {
    fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::System { doing, cause }
    }
}
