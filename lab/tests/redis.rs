//! A Redis of one's own does as it is told, and leaves nothing behind.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use alacena_lab::servers::{Redis, ServerError};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// For an answer that does not come.
const SHORT: Duration = Duration::from_millis(500);

/// For an answer that comes, on a busy machine too.
const LONG: Duration = Duration::from_secs(10);

/// Whether a new connection's PING is answered in time, with whatever.
fn answers(address: SocketAddr, limit: Duration) -> bool {
    let ask = || -> io::Result<()> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(limit))?;
        socket.write_all(b"PING\r\n")?;
        socket.read_exact(&mut [0])
    };
    ask().is_ok()
}

/// The state of a process that exists and is not a zombie.
fn state(pid: u32) -> Option<char> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = line.rsplit_once(") ")?.1.chars().next()?;
    (state != 'Z').then_some(state)
}

/// Waits for less time than the watchdog gives a server before it uses force: none must need that.
fn await_end_of(server: u32, folder: &Path) {
    let start = Instant::now();
    while state(server).is_some() || folder.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "{server} or {} is still there",
            folder.display()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn redis_starts_freezes_thaws_dies_and_comes_back_empty() -> Outcome {
    let mut server = Redis::start()?;
    let address = server.address();
    assert_eq!(address.port(), server.port());
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    assert!(answers(address, LONG));

    let pid = server.pid().ok_or("no pid")?;
    server.freeze()?;
    assert!(state(pid) == Some('T') && server.pid() == Some(pid));
    assert!(!answers(address, SHORT));
    server.thaw()?;
    assert!(answers(address, LONG));

    for round in 0..3 {
        assert_eq!(server.command(&["SET", "word", "año"])?, "OK");
        let pid = server.pid().ok_or("no pid")?;
        match round {
            0 => server.kill()?,
            1 => server.freeze().and_then(|()| server.kill())?,
            _ => server.freeze().and_then(|()| server.stop())?,
        }
        assert!(state(pid).is_none() && server.pid().is_none() && !answers(address, SHORT));
        let command = server.command(&["PING"]);
        assert!(matches!(command, Err(ServerError::NotRunning)));
        assert!(matches!(server.freeze(), Err(ServerError::NotRunning)));
        server.kill()?;
        server.stop()?;
        server.start_again()?;
        assert_eq!(server.command(&["DBSIZE"])?, "0");
        server.command(&["SET", "word", "kept"])?;
        server.start_again()?;
        assert_eq!(server.command(&["GET", "word"])?, "kept");
        assert_eq!(server.address(), address);
    }

    let (pid, folder) = (server.pid().ok_or("no pid")?, server.folder().to_owned());
    drop(server);
    assert!(!folder.exists() && state(pid).is_none());
    Ok(())
}

#[test]
fn a_snapshot_brings_old_data_back() -> Outcome {
    let mut server = Redis::start()?;
    server.command(&["SET", "word", "old"])?;
    let old = server.snapshot()?;
    server.command(&["SET", "word", "new"])?;
    let new = server.snapshot()?;

    server.start_from(&old)?;
    assert_eq!(server.command(&["GET", "word"])?, "old");
    server.kill()?;
    server.start_from(&new)?;
    assert_eq!(server.command(&["GET", "word"])?, "new");
    server.stop()?;
    server.start_again()?;
    assert_eq!(server.command(&["EXISTS", "word"])?, "0");

    let mut other = Redis::start()?;
    drop(server);
    other.start_from(&old)?;
    assert_eq!(other.command(&["GET", "word"])?, "old");
    Ok(())
}

#[test]
fn commands_give_every_kind_of_answer_as_text() -> Outcome {
    let server = Redis::start()?;
    assert_eq!(server.command(&["PING"])?, "PONG");
    assert_eq!(server.command(&["RPUSH", "list", "a b", "", "ñ\r\n"])?, "3");
    assert_eq!(
        server.command(&["LRANGE", "list", "0", "-1"])?,
        "a b\n\nñ\r\n"
    );
    assert_eq!(server.command(&["GET", "nothing"])?, "");
    assert_eq!(server.command(&["KEYS", "nothing"])?, "");
    assert_eq!(
        server.command(&["EVAL", "return {1, {'x', false}, 'y'}", "0"])?,
        "1\nx\n\ny"
    );
    match server.command(&["GET", "list"]) {
        Err(ServerError::Refused(said)) => assert!(said.starts_with("WRONGTYPE"), "{said}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.command(&["PING"])?, "PONG");
    Ok(())
}

#[test]
fn options_are_kept_and_a_server_that_turns_others_away_obeys_still() -> Outcome {
    let mut server = Redis::start_with(&[
        ("maxmemory", "10mb"),
        ("requirepass", "secret"),
        ("unixsocket", "socket"),
    ])?;
    assert_eq!(
        server.url(),
        format!("redis://:secret@127.0.0.1:{}", server.port())
    );
    for _ in 0..2 {
        assert_eq!(
            server.command(&["CONFIG", "GET", "maxmemory"])?,
            "maxmemory\n10485760"
        );
        let mut socket = UnixStream::connect(server.folder().join("data/socket"))?;
        socket.write_all(b"PING\r\n")?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line)?;
        assert!(line.starts_with("-NOAUTH"), "{line}");
        server.kill()?;
        server.start_again()?;
    }
    for (setting, value) in [("requirepass", "another"), ("maxclients", "1")] {
        server.command(&["CONFIG", "SET", setting, value])?;
        assert_eq!(server.command(&["PING"])?, "PONG");
    }
    Ok(())
}

#[test]
fn an_option_that_redis_refuses_is_reported_in_its_words() {
    match Redis::start_with(&[("maxmemory", "plenty")]) {
        Err(ServerError::Ended { program, said, .. }) => {
            assert!(
                program == "redis-server" && said.contains("maxmemory"),
                "{said}"
            );
        }
        other => panic!("{other:?}"),
    }
}

/// How the helper is told that it is one, and in which condition its server shall be.
const HELPER: &str = "ALACENA_LAB_HELPER";

/// Not a test of its own: the process that the next tests start and kill. It says where its server
/// is and then waits until its standard input ends.
#[test]
#[ignore = "run by other tests, in a process of its own"]
fn helper_holds_a_server() -> Outcome {
    let Ok(condition) = env::var(HELPER) else {
        return Ok(());
    };
    let mut server = match Redis::start() {
        Ok(server) => server,
        Err(error) => {
            println!("\nserver {error}");
            return Ok(());
        }
    };
    match condition.as_str() {
        "frozen" => server.freeze()?,
        "killed once" => server.kill().and_then(|()| server.start_again())?,
        _ => {}
    }
    let pid = server.pid().ok_or("no pid")?;
    println!("\nserver {pid} {}", server.folder().display());
    io::stdin().read_to_end(&mut Vec::new())?;
    std::process::exit(0)
}

/// A helper process whose server is in this condition, and what it says of its server.
fn helper(
    condition: &str,
    path: Option<&str>,
) -> Result<(Child, String), Box<dyn std::error::Error>> {
    let mut helper = Command::new(env::current_exe()?);
    helper
        .args([
            "--exact",
            "helper_holds_a_server",
            "--ignored",
            "--nocapture",
        ])
        .env(HELPER, condition)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if let Some(path) = path {
        helper.env("PATH", path);
    }
    let mut helper = helper.spawn()?;
    let lines = BufReader::new(helper.stdout.as_mut().ok_or("no stdout")?).lines();
    let line = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.strip_prefix("server ")?.to_owned()))
        .ok_or("the helper failed")?;
    Ok((helper, line))
}

/// A helper's server: its pid and its folder.
fn server_of(line: &str) -> Result<(u32, PathBuf), Box<dyn std::error::Error>> {
    let (pid, folder) = line.split_once(' ').ok_or("no pid")?;
    Ok((pid.parse()?, folder.into()))
}

#[test]
fn redis_ends_with_a_process_that_is_killed() -> Outcome {
    for condition in ["running", "frozen", "killed once"] {
        let (mut helper, line) = helper(condition, None)?;
        let (server, folder) = server_of(&line)?;
        assert!(state(server).is_some() && folder.exists(), "{condition}");
        helper.kill()?;
        helper.wait()?;
        await_end_of(server, &folder);
    }
    Ok(())
}

#[test]
fn redis_ends_with_a_process_that_exits() -> Outcome {
    let (mut helper, line) = helper("running", None)?;
    let (server, folder) = server_of(&line)?;
    drop(helper.stdin.take());
    assert!(helper.wait()?.success());
    await_end_of(server, &folder);
    Ok(())
}

#[test]
fn without_a_server_the_error_names_the_remedy() -> Outcome {
    let (mut helper, line) = helper("missing", Some("/nowhere"))?;
    assert!(line.contains("apt-get install redis-server"), "{line}");
    helper.wait()?;
    Ok(())
}
