//! The contract that every backend keeps, on a real memcached; and what only this one must keep.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use alacena::cache::{
    CacheBackend, Change, Entry, Filled, Key, Lookup, MemoryBackend, Mode, Ticket, TieredBackend,
    Voided,
};
use alacena_lab::contract::source::{POLICY, START, row};
use alacena_lab::servers::free_port;
use alacena_memcached::{MemcachedBackend, MemcachedSettings};
use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A memcached on a port of its own, which ends with this.
struct Memcached {
    process: Child,
    port: u16,
}

impl Memcached {
    fn start(options: &[&str]) -> Self {
        let port = free_port().expect("a port is free");
        let mut command = Command::new("memcached");
        command.args([
            "-l",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-U",
            "0",
            "-m",
            "64",
        ]);
        // It refuses to run as root without being told whose it is.
        command.args(["-u", "nobody"]).args(options);
        let process = command.stdin(Stdio::null()).spawn();
        let process = process.expect("memcached is installed (Debian: apt-get install memcached)");
        let patience = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < patience, "memcached does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { process, port }
    }

    /// One that ends with this process. A process does not drop its statics.
    fn lasting() -> Self {
        // To clear is to walk through all that its table has room for.
        let server = Self::start(&["-o", "hashpower=13"]);
        end_with_this_process(server.process.id());
        server
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// A backend with names of its own.
    fn backend(&self) -> MemcachedBackend {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        self.instance(&format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    fn instance(&self, namespace: &str) -> MemcachedBackend {
        MemcachedBackend::new(MemcachedSettings {
            address: format!("127.0.0.1:{}", self.port),
            namespace: namespace.to_owned(),
            // A busy machine is no outage.
            budget: Duration::from_secs(10),
            secret: [7; 32],
        })
    }

    /// Empties it, as a restart does.
    fn flush(&self) {
        use std::io::{Read, Write};
        let mut stream =
            std::net::TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.write_all(b"flush_all\r\n").expect("it listens");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(&answer, b"OK\r\n");
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One server for each contract: to clear is to list all that a server has, for one client at a time.
static SERVER: LazyLock<Memcached> = LazyLock::new(Memcached::lasting);
static BEHIND: LazyLock<Memcached> = LazyLock::new(Memcached::lasting);

/// Ends the process of this id when this one is gone, however it goes.
fn end_with_this_process(pid: u32) {
    let script = format!("cat >/dev/null; kill {pid}");
    let watching = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .spawn();
    // Its standard input is closed when this process ends.
    std::mem::forget(watching.expect("there is a shell"));
}

fn tiered() -> TieredBackend {
    let near = Arc::new(MemoryBackend::new(64 << 20));
    TieredBackend::near_first(near, Arc::new(BEHIND.backend()))
}

alacena_lab::backend_contract!(far: memcached, async { SERVER.backend() });
alacena_lab::backend_contract!(memory_before_memcached, async { tiered() });

fn entry(value: &'static str) -> Entry {
    POLICY.entry(Some(Bytes::from_static(value.as_bytes())), START)
}

async fn miss(backend: &MemcachedBackend, key: &Key) -> Ticket {
    match backend.lookup(key, Mode::Read, START).await {
        Lookup::Miss(Some(ticket)) => ticket,
        found => panic!("{key:?} was to be a miss with a ticket, and is {found:?}"),
    }
}

async fn is_hit(backend: &MemcachedBackend, key: &Key) -> bool {
    matches!(
        backend.lookup(key, Mode::Read, START).await,
        Lookup::Hit(..)
    )
}

#[tokio::test]
async fn a_memcached_that_lost_everything_lost_the_tickets_too() {
    let server = Memcached::start(&[]);
    let backend = server.backend();
    let ticket = miss(&backend, &row(1)).await;
    server.flush();
    assert_eq!(backend.fill(ticket, entry("old")).await, Filled::Refused);
    // Nor does a ticket from before fit what others have claimed since.
    let ticket = miss(&backend, &row(1)).await;
    server.flush();
    let other = miss(&backend, &row(1)).await;
    assert_eq!(backend.fill(ticket, entry("old")).await, Filled::Refused);
    assert_eq!(backend.fill(other, entry("new")).await, Filled::Stored);
}

#[tokio::test]
async fn what_one_instance_voids_no_other_fills() {
    let (one, other) = (SERVER.instance("two"), SERVER.instance("two"));
    assert!(!is_hit(&one, &row(1)).await && !is_hit(&other, &row(1)).await);
    let ticket = miss(&one, &row(1)).await;
    assert_eq!(
        other.void(&Change::of(row(1)), None).await,
        Voided::Confirmed
    );
    assert_eq!(one.fill(ticket, entry("old")).await, Filled::Refused);
    let ticket = miss(&one, &row(1)).await;
    assert_eq!(one.fill(ticket, entry("new")).await, Filled::Stored);
    assert!(is_hit(&other, &row(1)).await);
}

#[tokio::test]
async fn a_void_that_was_not_confirmed_makes_everything_invisible() {
    let server = Memcached::start(&[]);
    let near_by = server.instance("shared");
    let mut settings = MemcachedSettings {
        address: format!("127.0.0.1:{}", server.port),
        namespace: "shared".to_owned(),
        budget: Duration::from_secs(1),
        secret: [7; 32],
    };
    let backend = MemcachedBackend::new(settings.clone());
    for backend in [&near_by, &backend] {
        is_hit(backend, &row(0)).await;
    }
    let ticket = miss(&backend, &row(1)).await;
    assert_eq!(backend.fill(ticket, entry("old")).await, Filled::Stored);
    freeze(&server);
    assert_eq!(
        backend.void(&Change::of(row(1)), None).await,
        Voided::Unconfirmed
    );
    assert!(!backend.is_available());
    assert!(!is_hit(&backend, &row(1)).await, "it does not answer");
    thaw(&server);
    let patience = Instant::now() + Duration::from_secs(10);
    while !backend.is_available() {
        assert!(Instant::now() < patience, "it is asked again");
        assert!(!is_hit(&backend, &row(1)).await, "what was to be voided");
    }
    assert!(!is_hit(&near_by, &row(1)).await, "for any instance");
    // Who has another secret believes nothing.
    let ticket = miss(&backend, &row(2)).await;
    assert_eq!(backend.fill(ticket, entry("new")).await, Filled::Stored);
    settings.secret = [8; 32];
    settings.budget = Duration::from_secs(10);
    assert!(is_hit(&near_by, &row(2)).await);
    let stranger = MemcachedBackend::new(settings);
    assert!(!is_hit(&stranger, &row(2)).await);
}

/// Freezes a server, and waits until the last of its threads stands still.
fn freeze(server: &Memcached) {
    let pid = server.pid();
    kill(pid, Signal::SIGSTOP).expect("it is ours");
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED));
    assert_eq!(stopped, Ok(WaitStatus::Stopped(pid, Signal::SIGSTOP)));
}

/// Lets a frozen server go on.
fn thaw(server: &Memcached) {
    kill(server.pid(), Signal::SIGCONT).expect("it is ours");
}

#[tokio::test]
async fn a_memcached_that_is_full_loses_entries_and_nothing_else() {
    let server = Memcached::start(&["-m", "2"]);
    let backend = server.backend();
    let value: &'static str = "x".repeat(4000).leak();
    for id in 0..3000 {
        let ticket = miss(&backend, &row(id)).await;
        backend.fill(ticket, entry(value)).await;
    }
    let mut hits = 0;
    for id in 0..3000 {
        hits += u32::from(is_hit(&backend, &row(id)).await);
    }
    assert!((1..3000).contains(&hits), "{hits}");
}

#[tokio::test]
async fn whoever_hangs_up_is_no_failure_of_memcached() {
    let server = Memcached::start(&[]);
    let backend = server.backend();
    let ticket = miss(&backend, &row(1)).await;
    assert_eq!(backend.fill(ticket, entry("kept")).await, Filled::Stored);
    for _ in 0..20 {
        let key = row(1);
        let hung_up = backend.lookup(&key, Mode::Read, START);
        let _ = tokio::time::timeout(Duration::ZERO, hung_up).await;
        let voided = backend.void(&Change::of(row(2)), None).await;
        assert_eq!(voided, Voided::Confirmed);
    }
    assert!(is_hit(&backend, &row(1)).await, "nothing was doubted");
}

#[tokio::test]
async fn no_memcached_is_no_cache() {
    let server = Memcached::start(&[]);
    let backend = server.backend();
    drop(server);
    assert!(matches!(
        backend.lookup(&row(1), Mode::Read, START).await,
        Lookup::Miss(None)
    ));
    assert_eq!(
        backend.void(&Change::of(row(1)), None).await,
        Voided::Unconfirmed
    );
    assert!(backend.trouble().is_some());
}
