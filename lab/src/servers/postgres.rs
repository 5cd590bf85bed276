//! A PostgreSQL of one's own.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};

use super::ServerError;
use super::process::{Process, find_programs, free_port};

/// How long the server may take to start, to recover, or to stop.
const LIMIT: Duration = Duration::from_secs(30);

/// What a server says, and ends, that is started before the children of the last one have ended.
const CHILDREN_LIVE: &str = "pre-existing shared memory block";

/// Where Debian keeps the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Its superuser, and the account it runs under when root starts it.
const SUPERUSER: &str = "postgres";

/// A real PostgreSQL server on 127.0.0.1, in a fresh folder that goes with it.
///
/// It ends when this is dropped, and also when the process ends without dropping it. It trusts
/// everybody who can connect. What it has committed survives [`kill`](Self::kill), but not a power
/// cut (`fsync` is off).
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    programs: PathBuf,
    account: Option<User>,
    port: u16,
    databases: AtomicU64,
}

impl Postgres {
    /// Makes a database cluster and starts a server on it; about a second.
    ///
    /// # Errors
    ///
    /// PostgreSQL is not installed, root started us and there is no user `postgres`, or the server
    /// did not come up within 30 seconds.
    pub fn start() -> Result<Self, ServerError> {
        let programs = find_programs("postgres", &["initdb", "psql"], debian_versions()).ok_or(
            ServerError::NotInstalled {
                program: "PostgreSQL",
                remedy: "`apt-get install postgresql`, or run `scripts/test.sh`, which sees to it",
            },
        )?;
        let account = account()?;
        let process = Process::new("alacena-postgres-", Signal::SIGQUIT)?;
        if let Some(account) = &account {
            chown(
                process.folder(),
                Some(account.uid.as_raw()),
                Some(account.gid.as_raw()),
            )
            .map_err(ServerError::system(
                "give the folder to the server's account",
            ))?;
        }
        let mut server = Self {
            process,
            programs,
            account,
            port: free_port()?,
            databases: AtomicU64::new(0),
        };

        let mut initdb = server.as_account("initdb");
        initdb
            .args([
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--username",
                SUPERUSER,
            ])
            .arg("--pgdata")
            .arg(server.data());
        server.process.run(&mut initdb)?;
        server.start_again()?;
        Ok(server)
    }

    /// The one server that all tests of this process share, started by whoever comes first. It
    /// cannot be stopped, killed or frozen: for that, [`start`](Self::start) another.
    ///
    /// # Panics
    ///
    /// If it cannot be started; the message says why.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start().unwrap_or_else(|error| panic!("{error}")))
    }

    /// The URL of a database, as superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port it listens on, which stays the same when it is started again.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The pid of the postmaster, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// The folder that holds all it has: `data`, `log`, its socket.
    pub fn folder(&self) -> &Path {
        self.process.folder()
    }

    /// Makes an empty database that nobody else uses, and gives its URL.
    ///
    /// # Errors
    ///
    /// The server did not make it; an error says what `psql` said.
    pub fn create_database(&self) -> Result<String, ServerError> {
        let database = format!("lab_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.query("postgres", &format!("CREATE DATABASE {database}"))?;
        Ok(self.url(&database))
    }

    /// Runs SQL through `psql` and gives what it prints: a line for each row, `|` between columns.
    /// Waits for as long as the server takes.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refused the SQL.
    pub fn query(&self, database: &str, sql: &str) -> Result<String, ServerError> {
        let output = self
            .command("psql")
            .args([
                "-XAtqw",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                sql,
                &self.url(database),
            ])
            .output()
            .map_err(ServerError::system("run psql"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(ServerError::Ended {
            program: "psql".into(),
            status: output.status,
            said,
        })
    }

    /// Stops it: clients are cut off, what is committed stays. Does nothing if it does not
    /// run.
    ///
    /// # Errors
    ///
    /// It took more than 30 seconds, and was killed.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.process.stop(Signal::SIGINT, LIMIT)
    }

    /// Kills it (SIGKILL), the postmaster and all its backends. Does nothing if it does not run.
    ///
    /// # Errors
    ///
    /// A process did not die within 5 seconds.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.process.kill()
    }

    /// Freezes it (SIGSTOP), the postmaster and all its backends: connections stay open, and
    /// nothing is answered.
    ///
    /// # Errors
    ///
    /// It does not run, or a process did not freeze within 5 seconds.
    pub fn freeze(&mut self) -> Result<(), ServerError> {
        self.process.freeze()
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn thaw(&mut self) -> Result<(), ServerError> {
        self.process.thaw()
    }

    /// Starts it on the same data and the same port, after [`stop`](Self::stop) or
    /// [`kill`](Self::kill). Does nothing if it runs.
    ///
    /// # Errors
    ///
    /// It did not accept connections within 30 seconds.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        if self.process.pid().is_some() {
            return Ok(());
        }
        let mut postgres = self.as_account("postgres");
        postgres
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder())
            .arg("-p")
            .arg(self.port.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            "max_connections=200",
            // A commit is still handed to the kernel before it is acknowledged (synchronous_commit
            // stays on): it must outlive a killed server, or a drill would blame the service for
            // what the server lost.
            "fsync=off",
            "full_page_writes=off",
            // Its shared memory is then removed with the folder, even if it was killed.
            "dynamic_shared_memory_type=mmap",
        ] {
            postgres.args(["-c", setting]);
        }
        let status = self.data().join("postmaster.pid");
        let began = Instant::now();
        loop {
            let started = self
                .process
                .start(&mut postgres, LIMIT, |pid| is_ready(&status, pid));
            match started {
                // The children of one that was killed notice it by themselves, and take their time
                // on a busy machine.
                Err(ServerError::Ended { said, .. })
                    if said.contains(CHILDREN_LIVE) && began.elapsed() < LIMIT =>
                {
                    thread::sleep(Duration::from_millis(20));
                }
                started => return started,
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// One of its programs, deaf to the PG… variables of whoever started us.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        for (name, _) in
            env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG"))
        {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").env("PGCLIENTENCODING", "UTF8");
        command
    }

    fn as_account(&self, program: &str) -> Command {
        let mut command = self.command(program);
        if let Some(account) = &self.account {
            command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
        }
        command
    }
}

/// Whom to run as: PostgreSQL refuses to run as root.
fn account() -> Result<Option<User>, ServerError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let user = User::from_name(SUPERUSER).map_err(|error| ServerError::System {
        doing: "look up the server's account",
        cause: error.into(),
    })?;
    user.map(Some).ok_or(ServerError::NoAccount(SUPERUSER))
}

/// Whether the postmaster with this pid has announced in its lock file that it accepts connections.
/// `pg_ctl` reads the same lines: the first is the pid, the eighth the state.
fn is_ready(lock_file: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(lock_file).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    lines.next() == Some(&pid.to_string()) && lines.nth(6) == Some("ready")
}

/// The program folders of all versions that Debian has installed, newest first.
fn debian_versions() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    folders.sort_by_key(|folder| {
        let version = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let parts: Vec<u32> = version
            .split('.')
            .filter_map(|part| part.parse().ok())
            .collect();
        std::cmp::Reverse(parts)
    });
    folders
        .into_iter()
        .map(|folder| folder.join("bin"))
        .collect()
}
