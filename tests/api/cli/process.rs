use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A folder to run the command in, deaf to the settings of whoever runs the tests.
pub(super) struct Shell {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Done {
    /// This outcome, which must have this exit code.
    #[track_caller]
    pub(super) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    /// A refusal of the configuration that names all of these.
    #[track_caller]
    pub(super) fn refuses(self, named: &[&str]) {
        let Self { out, err, .. } = self.expect(2);
        for text in named {
            assert!(err.contains(text), "`{text}` is not named: {err}");
        }
        assert_eq!(out, "");
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Shell {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
                .expect("there is room for a folder"),
            environment: vec![],
        }
    }

    /// The same with the test profile and this database.
    pub(super) fn on(url: &str) -> Self {
        Self::new()
            .with("ALACENA_PROFILE", "test")
            .with("ALACENA__DATABASE__URL", url)
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a file there, and gives its path.
    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder().join(name);
        let parent = path.parent().expect("it lies in the folder");
        std::fs::create_dir_all(parent).expect("there is room for a folder");
        std::fs::write(&path, text).expect("there is room for a file");
        path.display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alacena"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("ALACENA") || text == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .current_dir(self.folder())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Done {
        let output = self.command(arguments).output();
        output.expect("the command runs").into()
    }

    /// Runs it with this on its standard input.
    pub(super) fn run_with(&self, arguments: &[&str], input: &str) -> Done {
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let mut stdin = child.stdin.take().expect("it has an input");
        // A command that refuses to read is seen by its exit code.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("the command ends").into()
    }

    /// Starts it and lets it run.
    pub(super) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.spawn().expect("the command runs")
    }

    /// Starts the service and waits until it listens.
    pub(super) fn serve(&self, arguments: &[&str]) -> Served {
        self.serve_logging(arguments, Stdio::inherit())
    }

    /// The same with its log somewhere else.
    pub(super) fn serve_logging(&self, arguments: &[&str], log: Stdio) -> Served {
        let mut command = self.command(arguments);
        let mut child = command.stderr(log).spawn().expect("the command runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it has an output")).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        let address = first
            .strip_prefix("listening on http://")
            .and_then(|address| address.parse().ok());
        let served = Served {
            child,
            address: address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0))),
        };
        assert!(address.is_some(), "it does not listen: {first}");
        served
    }
}

/// A service that runs as a process. Killed when it is dropped.
pub(super) struct Served {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Served {
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("it can be signalled");
    }

    /// Waits until it has ended; answers its exit code and how long that took.
    pub(super) async fn ended(&mut self) -> (Option<i32>, Duration) {
        let started = Instant::now();
        let mut code = None;
        crate::support::eventually("the service ends", async || {
            let status = self.child.try_wait().expect("it can be asked");
            code = status.and_then(|status| status.code());
            status.is_some()
        })
        .await;
        (code, started.elapsed())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
