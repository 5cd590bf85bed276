//! A Redis of one's own.

use std::cell::Cell;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::ServerError;
use super::process::{Process, find_programs, free_port};

/// How long the server may take to start, to load a snapshot, to stop, or to answer a command.
const LIMIT: Duration = Duration::from_secs(10);

/// The file that `SAVE` writes and that a starting server loads.
const DUMP: &str = "dump.rdb";

/// A real Redis server on 127.0.0.1, in a fresh folder that goes with it.
///
/// It ends when this is dropped, and also when the process ends without dropping it. What it holds
/// is in memory only: it comes back empty, unless it is started from a [`RedisSnapshot`].
#[derive(Debug)]
pub struct Redis {
    process: Process,
    program: PathBuf,
    options: Vec<(String, String)>,
    port: u16,
    control: Mutex<Option<Connection>>,
}

/// All that a server held at one moment, kept apart from it.
#[derive(Clone, Debug)]
pub struct RedisSnapshot(Vec<u8>);

impl Redis {
    /// Starts an empty server that writes nothing to disk; some hundredths of a second.
    ///
    /// # Errors
    ///
    /// Redis is not installed, or did not come up within 10 seconds.
    pub fn start() -> Result<Self, ServerError> {
        Self::start_with(&[])
    }

    /// The same with further lines of its configuration, such as `("maxmemory", "10mb")`. Relative
    /// paths (`("unixsocket", "socket")`) are taken from `data` in its [`folder`](Self::folder). It
    /// keeps these options whenever it is started again.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start), or Redis refuses an option.
    pub fn start_with(options: &[(&str, &str)]) -> Result<Self, ServerError> {
        let missing = ServerError::NotInstalled {
            program: "Redis",
            remedy: "`apt-get install redis-server`, or run `scripts/test.sh`, which sees to it",
        };
        // Named twice because on Debian the first one is a link to another name.
        let folder = find_programs("redis-server", &["redis-server"], Vec::new()).ok_or(missing)?;
        let mut server = Self {
            process: Process::new("alacena-redis-", Signal::SIGTERM)?,
            program: folder.join("redis-server"),
            options: options
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            port: free_port()?,
            control: Mutex::new(None),
        };
        server.start_again()?;
        Ok(server)
    }

    /// Where it listens, which stays the same when it is started again.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its URL, with the password if it was started with `requirepass`. A password that means
    /// something in a URL is not escaped.
    pub fn url(&self) -> String {
        let password = self
            .password()
            .map(|password| format!(":{password}@"))
            .unwrap_or_default();
        format!("redis://{password}{}", self.address())
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its pid, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// The folder that holds all it has: `data` and `log`.
    pub fn folder(&self) -> &Path {
        self.process.folder()
    }

    /// Sends a command and gives the answer as text: nothing for nil, a line for each element of an
    /// array.
    ///
    /// All commands go over one connection, opened when the server starts. So they are still obeyed
    /// when it has since been told to turn others away (`requirepass`, `maxclients`).
    ///
    /// # Errors
    ///
    /// The server refused the command, does not run, or did not answer within 10 seconds.
    pub fn command(&self, words: &[&str]) -> Result<String, ServerError> {
        if self.pid().is_none() {
            return Err(ServerError::NotRunning);
        }
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = match control.take() {
            Some(connection) => connection,
            None => Connection::open(self.address(), self.password())?,
        };
        let answer = connection.ask(words);
        // After anything else, what is read next might be the answer to this command.
        if matches!(answer, Ok(_) | Err(ServerError::Refused(_))) {
            *control = Some(connection);
        }
        answer
    }

    /// Stops it (SIGTERM): clients are cut off, and what it held is gone. Does nothing if it does
    /// not run.
    ///
    /// # Errors
    ///
    /// It took more than 10 seconds, and was killed.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.process.stop(Signal::SIGTERM, LIMIT)
    }

    /// Kills it (SIGKILL). Does nothing if it does not run.
    ///
    /// # Errors
    ///
    /// It did not die within 5 seconds.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.process.kill()
    }

    /// Freezes it (SIGSTOP): connections are still made and stay open, and nothing is answered.
    ///
    /// # Errors
    ///
    /// It does not run, or did not freeze within 5 seconds.
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

    /// Starts it empty and on the same port, after [`stop`](Self::stop) or [`kill`](Self::kill).
    /// Does nothing if it runs.
    ///
    /// # Errors
    ///
    /// It did not answer within 10 seconds.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        if self.pid().is_some() {
            return Ok(());
        }
        self.launch(None)
    }

    /// Keeps what it holds now.
    ///
    /// # Errors
    ///
    /// It did not save its data, or they cannot be read.
    pub fn snapshot(&self) -> Result<RedisSnapshot, ServerError> {
        self.command(&["SAVE"])?;
        fs::read(self.data().join(DUMP))
            .map(RedisSnapshot)
            .map_err(ServerError::system("read the server's snapshot"))
    }

    /// Starts it on the same port with the data of a snapshot, its own or another server's. If it
    /// runs, it is killed first.
    ///
    /// # Errors
    ///
    /// It did not load the data and answer within 10 seconds.
    pub fn start_from(&mut self, snapshot: &RedisSnapshot) -> Result<(), ServerError> {
        self.kill()?;
        self.launch(Some(snapshot))
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    fn password(&self) -> Option<&str> {
        let mut options = self.options.iter().rev();
        let (_, password) = options.find(|(name, _)| name == "requirepass")?;
        Some(password)
    }

    fn launch(&mut self, snapshot: Option<&RedisSnapshot>) -> Result<(), ServerError> {
        let data = self.data();
        fill(&data, snapshot).map_err(ServerError::system("prepare the server's data"))?;
        let mut redis = Command::new(&self.program);
        // Redis refuses to start under a locale that is not installed.
        redis.env("LC_ALL", "C").arg("--dir").arg(&data);
        redis.args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        redis.args(["--save", "", "--appendonly", "no", "--dbfilename", DUMP]);
        for (name, value) in &self.options {
            redis.args([&format!("--{name}"), value]);
        }
        let (address, password) = (self.address(), self.password().map(str::to_owned));
        let control = Cell::new(None);
        self.process.start(&mut redis, LIMIT, |pid| {
            let connection = ready(address, password.as_deref(), pid);
            let is_ready = connection.is_some();
            control.set(connection);
            is_ready
        })?;
        self.control = Mutex::new(control.into_inner());
        Ok(())
    }
}

/// Empties the folder of a server that does not run, but for the snapshot it shall load.
fn fill(data: &Path, snapshot: Option<&RedisSnapshot>) -> io::Result<()> {
    if data.exists() {
        fs::remove_dir_all(data)?;
    }
    fs::create_dir(data)?;
    snapshot.map_or(Ok(()), |RedisSnapshot(bytes)| {
        fs::write(data.join(DUMP), bytes)
    })
}

/// A connection to this very process, once it has loaded its data and answers. That it answers is
/// not enough: somebody else might have taken the port.
fn ready(address: SocketAddr, password: Option<&str>, pid: u32) -> Option<Connection> {
    let mut connection = Connection::open(address, password).ok()?;
    let pong = connection.ask(&["PING"]).ok()? == "PONG";
    let info = connection.ask(&["INFO", "server"]).ok()?;
    let ours = info.lines().any(|line| line == format!("process_id:{pid}"));
    (pong && ours).then_some(connection)
}

/// As much of a Redis client as it takes to steer a server.
#[derive(Debug)]
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr, password: Option<&str>) -> Result<Self, ServerError> {
        let connect = || {
            let stream = TcpStream::connect_timeout(&address, LIMIT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.set_write_timeout(Some(LIMIT))?;
            Ok(stream)
        };
        let stream = connect().map_err(ServerError::system("connect to the server"))?;
        let mut connection = Self(BufReader::new(stream));
        if let Some(password) = password {
            connection.ask(&["AUTH", password])?;
        }
        Ok(connection)
    }

    fn ask(&mut self, words: &[&str]) -> Result<String, ServerError> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command += &format!("${}\r\n{word}\r\n", word.len());
        }
        let answer = self.0.get_mut().write_all(command.as_bytes());
        answer
            .and_then(|()| self.answer())
            .map_err(ServerError::system("ask the server"))?
            .map_err(ServerError::Refused)
    }

    /// An answer, or the error that the server gives for one.
    fn answer(&mut self) -> io::Result<Result<String, String>> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let line = line
            .strip_suffix("\r\n")
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = |text: &str| text.parse::<isize>().map_err(io::Error::other);
        match line.split_at_checked(1) {
            Some(("+" | ":", text)) => Ok(Ok(text.to_owned())),
            Some(("-", text)) => Ok(Err(text.to_owned())),
            Some(("$", text)) => {
                // Nil has the length -1 and no text after it.
                let Ok(length) = usize::try_from(length(text)?) else {
                    return Ok(Ok(String::new()));
                };
                let mut text = vec![0; length + 2];
                self.0.read_exact(&mut text)?;
                text.truncate(length);
                Ok(Ok(String::from_utf8_lossy(&text).into_owned()))
            }
            Some(("*", text)) => {
                let elements: io::Result<Vec<_>> =
                    (0..length(text)?).map(|_| self.answer()).collect();
                let texts: Result<Vec<_>, _> = elements?.into_iter().collect();
                Ok(texts.map(|texts| texts.join("\n")))
            }
            _ => Err(io::Error::other(format!("not an answer: {line}"))),
        }
    }
}
