//! What any server of one's own needs: its programs, a port, a folder, signals, an end.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::ServerError;
use super::watchdog::Watchdog;

/// How long a server may take to obey a signal that it cannot refuse.
const SIGNAL_LIMIT: Duration = Duration::from_secs(5);

/// A server's process with its children, its folder and its watchdog.
#[derive(Debug)]
pub(super) struct Process {
    child: Option<Child>,
    at_end: Signal,
    watchdog: Watchdog,
    folder: TempDir,
}

impl Process {
    /// A fresh folder and a watchdog for a server that ends at once, but tidily, on `at_end`.
    pub(super) fn new(folder_prefix: &str, at_end: Signal) -> Result<Self, ServerError> {
        let folder = tempfile::Builder::new()
            .prefix(folder_prefix)
            .tempdir()
            .map_err(ServerError::system("make a folder for the server"))?;
        let watchdog = Watchdog::start(folder.path(), at_end)
            .map_err(ServerError::system("start the server's watchdog"))?;
        Ok(Self {
            child: None,
            at_end,
            watchdog,
            folder,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's pid, if it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.running().ok().map(i32::cast_unsigned)
    }

    /// Runs a program that prepares the folder, to its end.
    pub(super) fn run(&mut self, command: &mut Command) -> Result<(), ServerError> {
        let mut child = self.spawn(command)?;
        let status = child
            .wait()
            .map_err(ServerError::system("wait for a program"))?;
        if status.success() {
            return Ok(());
        }
        Err(ServerError::Ended {
            program: name(command),
            status,
            said: self.said(),
        })
    }

    /// Starts the server and waits, `limit` at most, until it is `ready`. One that never is, is
    /// ended.
    pub(super) fn start(
        &mut self,
        command: &mut Command,
        limit: Duration,
        ready: impl Fn(u32) -> bool,
    ) -> Result<(), ServerError> {
        self.bury()?;
        let mut child = self.spawn(command)?;
        let mut status = None;
        let up = until(limit, || {
            status = child.try_wait().ok().flatten();
            status.is_some() || ready(child.id())
        });
        if let Some(status) = status {
            return Err(ServerError::Ended {
                program: name(command),
                status,
                said: self.said(),
            });
        }
        self.child = Some(child);
        if up {
            return Ok(());
        }
        self.kill()?;
        Err(self.too_slow("become ready", limit))
    }

    /// Stops the server and its children where they stand. They keep their sockets, and answer
    /// nothing.
    pub(super) fn freeze(&self) -> Result<(), ServerError> {
        let server = self.running()?;
        // The server first: from then on it starts no more children.
        self.send_and_see(&[server], Signal::SIGSTOP, "freeze", Stat::is_still)?;
        self.send_and_see(
            &children_of(server),
            Signal::SIGSTOP,
            "freeze",
            Stat::is_still,
        )
    }

    /// Lets a frozen server go on. Does nothing to one that is not frozen.
    pub(super) fn thaw(&self) -> Result<(), ServerError> {
        let server = self.running()?;
        for process in children_of(server) {
            send(process, Signal::SIGCONT);
        }
        send(server, Signal::SIGCONT);
        Ok(())
    }

    /// Asks the server to end and waits, `limit` at most; then it is killed, and that is an error.
    pub(super) fn stop(&mut self, signal: Signal, limit: Duration) -> Result<(), ServerError> {
        let Ok(server) = self.running() else {
            return Ok(());
        };
        send(server, signal);
        self.thaw()?;
        if until(limit, || Stat::of(server).is_none_or(|stat| stat.is_dead())) {
            return self.bury();
        }
        self.kill()?;
        Err(self.too_slow("stop", limit))
    }

    /// Kills the server and its children. When this returns, none of them runs.
    pub(super) fn kill(&mut self) -> Result<(), ServerError> {
        let Ok(server) = self.running() else {
            return Ok(());
        };
        // While their frozen parent has not collected them, the children's pids cannot become
        // somebody else's.
        self.send_and_see(&[server], Signal::SIGSTOP, "freeze", Stat::is_still)?;
        self.send_and_see(&children_of(server), Signal::SIGKILL, "die", Stat::is_dead)?;
        send(server, Signal::SIGKILL);
        self.bury()
    }

    /// The end of what the server has said so far.
    fn said(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.folder().join("log")
    }

    fn too_slow(&self, doing: &'static str, limit: Duration) -> ServerError {
        ServerError::TooSlow {
            doing,
            limit,
            said: self.said(),
        }
    }

    fn spawn(&mut self, command: &mut Command) -> Result<Child, ServerError> {
        let log = || File::options().create(true).append(true).open(self.log());
        let out = log().map_err(ServerError::system("open the server's log"))?;
        let err = log().map_err(ServerError::system("open the server's log"))?;
        let mut child = command
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(ServerError::system("start a program of the server"))?;
        // Uncollected, a child keeps its pid and its line in /proc even if it has died already.
        let pid = pid_of(&child);
        let guarded = Stat::of(pid)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
            .and_then(|stat| self.watchdog.guard(pid, stat.born));
        if let Err(cause) = guarded {
            let _ = child.kill().and_then(|()| child.wait());
            return Err(ServerError::System {
                doing: "tell the watchdog whom to guard",
                cause,
            });
        }
        Ok(child)
    }

    fn running(&self) -> Result<i32, ServerError> {
        let lives = |&pid: &i32| Stat::of(pid).is_some_and(|stat| !stat.is_dead());
        self.child
            .as_ref()
            .map(pid_of)
            .filter(lives)
            .ok_or(ServerError::NotRunning)
    }

    /// Collects a server that has died or is about to.
    fn bury(&mut self) -> Result<(), ServerError> {
        if let Some(mut child) = self.child.take() {
            child
                .wait()
                .map_err(ServerError::system("wait for the server's end"))?;
        }
        Ok(())
    }

    fn send_and_see(
        &self,
        processes: &[i32],
        signal: Signal,
        doing: &'static str,
        seen: fn(&Stat) -> bool,
    ) -> Result<(), ServerError> {
        for &process in processes {
            send(process, signal);
        }
        let obeyed = |&process: &i32| Stat::of(process).is_none_or(|stat| seen(&stat));
        if until(SIGNAL_LIMIT, || processes.iter().all(obeyed)) {
            return Ok(());
        }
        Err(self.too_slow(doing, SIGNAL_LIMIT))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What does not end now is ended by the watchdog, which is dropped next.
        let _ = self.stop(self.at_end, SIGNAL_LIMIT);
    }
}

/// The folder in which `main` and all of `others` are, symbolic links to `main` followed: the
/// folders of PATH in their order, then `more`.
pub(super) fn find_programs(main: &str, others: &[&str], more: Vec<PathBuf>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(more)
        .filter_map(|folder| Some(folder.join(main).canonicalize().ok()?.parent()?.to_owned()))
        .find(|folder| others.iter().all(|program| folder.join(program).is_file()))
}

/// Listens on a port of 127.0.0.1 from below the range that outgoing connections take theirs from: so
/// it is still free when whoever gave it up wants it back.
pub(crate) fn listen_anywhere() -> io::Result<TcpListener> {
    let listen = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    (0..100)
        .find_map(|_| listen(fastrand::u16(15_000..32_000)).ok())
        .map_or_else(|| listen(0), Ok)
}

/// A port of 127.0.0.1 on which nobody listens, and which stays free.
///
/// # Errors
/// The system has none.
pub fn free_port() -> Result<u16, ServerError> {
    listen_anywhere()
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(ServerError::system("find a free port"))
}

/// Polls until `done`; false if that took longer than `limit`.
fn until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if done() {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A process that is gone already cannot be sent anything, and need not.
fn send(process: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(process), signal);
}

fn children_of(parent: i32) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&process| Stat::of(process).is_some_and(|stat| stat.parent == parent))
        .collect()
}

fn pid_of(child: &Child) -> i32 {
    child.id().cast_signed()
}

fn name(command: &Command) -> String {
    Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The few fields of `/proc/<pid>/stat` that tell how a process is.
struct Stat {
    state: char,
    parent: i32,
    /// Start time in clock ticks since boot: tells a process from another that got its pid later.
    born: u64,
}

impl Stat {
    fn of(process: i32) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The second field is the program's name in brackets, which may itself hold blanks and
        // brackets.
        let fields: Vec<&str> = line.rsplit_once(") ")?.1.split(' ').collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            born: fields.get(19)?.parse().ok()?,
        })
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    fn is_still(&self) -> bool {
        self.state == 'T' || self.is_dead()
    }
}
