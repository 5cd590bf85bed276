//! Servers of one's own do as they are told, and leave nothing behind.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use alacena_lab::servers::{Postgres, ServerError};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// For an answer that does not come.
const SHORT: Duration = Duration::from_millis(500);

/// For an answer that comes, on a busy machine too.
const LONG: Duration = Duration::from_secs(10);

/// Whether a new connection is answered in time: it asks for TLS, and any answer will
/// do.
fn answers(port: u16, limit: Duration) -> bool {
    let ask = || -> io::Result<()> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(limit))?;
        socket.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])?;
        socket.read_exact(&mut [0])
    };
    ask().is_ok()
}

/// State and parent of a process that exists and is not a zombie.
fn stat(pid: u32) -> Option<(char, u32)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    (state != 'Z').then_some((state, fields.next()?.parse().ok()?))
}

/// A server and its children.
fn family(server: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid == server || stat(pid).is_some_and(|(_, parent)| parent == server))
        .collect()
}

/// Waits for less time than the watchdog gives a server before it uses force: none must need that.
fn await_end_of(family: &[u32], folder: &Path) {
    let start = Instant::now();
    while family.iter().any(|&pid| stat(pid).is_some()) || folder.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "{family:?} or {} is still there",
            folder.display()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn postgres_starts_freezes_thaws_dies_comes_back_and_stops() -> Outcome {
    let mut server = Postgres::start()?;
    let (first, second) = (server.create_database()?, server.create_database()?);
    assert_ne!(first, second);
    assert_eq!(server.url("lab_0"), first);
    server.query(
        "lab_0",
        "CREATE TABLE t (word text); INSERT INTO t VALUES ('año')",
    )?;
    assert!(matches!(
        server.query("lab_1", "SELECT * FROM t"),
        Err(ServerError::Ended { .. })
    ));
    assert!(answers(server.port(), LONG));

    let all = family(server.pid().ok_or("no pid")?);
    assert!(all.len() > 3, "{all:?}");
    server.freeze()?;
    let frozen = |&pid: &u32| stat(pid).is_none_or(|(state, _)| state == 'T');
    assert!(all.iter().all(frozen) && server.pid().is_some());
    assert!(!answers(server.port(), SHORT));
    server.thaw()?;
    assert!(answers(server.port(), LONG));

    for round in 0..3 {
        server.query("lab_0", &format!("INSERT INTO t VALUES ('{round}')"))?;
        let all = family(server.pid().ok_or("no pid")?);
        if round == 1 {
            server.freeze()?;
        }
        server.kill()?;
        assert!(all.iter().all(|&pid| stat(pid).is_none()), "{all:?}");
        assert!(!answers(server.port(), SHORT) && server.pid().is_none());
        assert!(matches!(server.freeze(), Err(ServerError::NotRunning)));
        server.kill()?;
        server.start_again()?;
        server.start_again()?;
    }
    assert_eq!(
        server.query("lab_0", "SELECT string_agg(word, ' ') FROM t")?,
        "año 0 1 2"
    );

    server.freeze()?;
    server.stop()?;
    assert!(!answers(server.port(), SHORT));
    server.stop()?;
    server.start_again()?;
    assert_eq!(server.query("lab_0", "SELECT count(*) FROM t")?, "4");

    let (all, folder) = (
        family(server.pid().ok_or("no pid")?),
        server.folder().to_owned(),
    );
    drop(server);
    assert!(!folder.exists() && all.iter().all(|&pid| stat(pid).is_none()));
    Ok(())
}

#[test]
fn postgres_starts_again_after_it_died_by_itself() -> Outcome {
    let mut server = Postgres::start()?;
    let pid = server.pid().ok_or("no pid")?;
    assert!(
        Command::new("/bin/sh")
            .args(["-c", &format!("kill -KILL {pid}")])
            .status()?
            .success()
    );
    let start = Instant::now();
    while server.pid().is_some() {
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    server.start_again()?;
    assert_eq!(server.query("postgres", "SELECT 1")?, "1");
    Ok(())
}

#[test]
fn tests_share_one_postgres_and_none_of_its_databases() -> Outcome {
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| Postgres::shared().create_database());
        let other = scope.spawn(|| Postgres::shared().create_database());
        (one.join(), other.join())
    });
    assert_ne!(
        one.map_err(|_| "panicked")??,
        other.map_err(|_| "panicked")??
    );
    Ok(())
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
    let mut server = Postgres::start()?;
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

/// A helper process whose server is in this condition, its server's processes, and its server's
/// folder.
fn helper(condition: &str) -> Result<(Child, Vec<u32>, PathBuf), Box<dyn std::error::Error>> {
    let mut helper = Command::new(env::current_exe()?)
        .args([
            "--exact",
            "helper_holds_a_server",
            "--ignored",
            "--nocapture",
        ])
        .env(HELPER, condition)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(helper.stdout.as_mut().ok_or("no stdout")?).lines();
    let line = lines
        .map_while(Result::ok)
        .find(|line| line.starts_with("server "))
        .ok_or("the helper failed")?;
    let (pid, folder) = line["server ".len()..].split_once(' ').ok_or("no pid")?;
    Ok((helper, family(pid.parse()?), folder.into()))
}

#[test]
fn postgres_ends_with_a_process_that_is_killed() -> Outcome {
    for condition in ["running", "frozen", "killed once"] {
        let (mut helper, server, folder) = helper(condition)?;
        assert!(
            server.len() > 3 && folder.exists(),
            "{condition}: {server:?}"
        );
        helper.kill()?;
        helper.wait()?;
        await_end_of(&server, &folder);
    }
    Ok(())
}

#[test]
fn postgres_ends_with_a_process_that_exits() -> Outcome {
    let (mut helper, server, folder) = helper("running")?;
    drop(helper.stdin.take());
    assert!(helper.wait()?.success());
    await_end_of(&server, &folder);
    Ok(())
}
