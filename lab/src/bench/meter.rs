//! What answering takes: queries, Redis commands, time of processors, memory.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Uri};
use nix::time::ClockId;
use nix::unistd::Pid;
use procfs::net::TcpState;
use procfs::process::{FDTarget, Process, all_processes};

use crate::traffic::Client;

/// Reads what a server has taken so far.
pub(super) struct Meter {
    client: Client,
    /// Whether it answers with metrics of ours.
    has_metrics: bool,
    /// Those that listen; none where they cannot be seen.
    server: Vec<Process>,
    redis: Option<Process>,
}

/// What was taken until some moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    queries: Option<u64>,
    redis_commands: Option<u64>,
}

/// What some requests have taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) queries: Option<u64>,
    pub(super) redis_commands: Option<u64>,
}

impl Meter {
    /// Of what listens there, and of its Redis, if that is ours.
    pub(super) async fn new(address: SocketAddr, redis: Option<u32>) -> Result<Self> {
        let mut meter = Self {
            client: Client::new(address, None),
            has_metrics: true,
            server: listeners(address).context("looking for the server's process")?,
            redis: match redis {
                Some(pid) => Some(process(pid).context("looking for Redis's process")?),
                None => None,
            },
        };
        meter.has_metrics = meter.read().await.queries.is_some();
        Ok(meter)
    }

    /// The clocks of the processes that it sees.
    pub(super) fn clocks(&self) -> Clocks {
        let clock =
            |process: &Process| ClockId::pid_cpu_clock_id(Pid::from_raw(process.pid())).ok();
        Clocks {
            server: self.server.iter().filter_map(clock).collect(),
            redis: self.redis.as_ref().and_then(clock),
        }
    }

    /// Queries and Redis commands, as the server counts them.
    pub(super) async fn read(&mut self) -> Reading {
        if !self.has_metrics {
            return Reading::default();
        }
        let mut request: Request<Full<Bytes>> = Request::default();
        *request.uri_mut() = Uri::from_static("/metrics");
        let answer = self.client.ask(request).await.ok();
        let body = answer
            .filter(|answer| answer.status.is_success())
            .map(|answer| answer.body);
        let body = body.unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        Reading {
            queries: metric(&text, "alacena_database_queries_total"),
            redis_commands: metric(&text, "alacena_redis_commands_total"),
        }
    }

    /// What of the server's memory, and of its Redis's, is resident, in bytes.
    pub(super) fn memory(&self) -> Option<u64> {
        let processes = self.server.iter().chain(&self.redis);
        let is_seen = !self.server.is_empty();
        processes
            .map(resident)
            .sum::<Option<u64>>()
            .filter(|_| is_seen)
    }
}

impl Reading {
    /// What was taken since an earlier reading.
    pub(super) fn since(&self, earlier: &Self) -> Cost {
        let count =
            |later: Option<u64>, earlier: Option<u64>| Some(later?.saturating_sub(earlier?));
        Cost {
            queries: count(self.queries, earlier.queries),
            redis_commands: count(self.redis_commands, earlier.redis_commands),
        }
    }
}

/// The clocks of processes that tell how long processors have worked for them: to read them takes
/// microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Clocks {
    server: Vec<ClockId>,
    redis: Option<ClockId>,
}

/// What clocks showed, or what lies between two times that they were read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) at: Instant,
    pub(super) elapsed: Duration,
    pub(super) server: Option<Duration>,
    pub(super) redis: Option<Duration>,
    /// Of this process: clients, and whoever paces them.
    pub(super) clients: Duration,
}

impl Clocks {
    pub(super) fn read(&self) -> Times {
        let read = |clock: &ClockId| clock.now().ok().map(Duration::from);
        let server = self.server.iter().map(read).sum::<Option<Duration>>();
        Times {
            at: Instant::now(),
            elapsed: Duration::ZERO,
            server: server.filter(|_| !self.server.is_empty()),
            redis: self.redis.as_ref().and_then(read),
            clients: read(&ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap_or_default(),
        }
    }
}

impl Times {
    /// What lies between an earlier time and this.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let time = |later: Option<Duration>, earlier: Option<Duration>| {
            Some(later?.saturating_sub(earlier?))
        };
        Self {
            at: earlier.at,
            elapsed: self.at.duration_since(earlier.at),
            server: time(self.server, earlier.server),
            redis: time(self.redis, earlier.redis),
            clients: self.clients.saturating_sub(earlier.clients),
        }
    }

    /// Of both together.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self {
            at: self.at.min(other.at),
            elapsed: self.elapsed + other.elapsed,
            server: sum(self.server, other.server),
            redis: sum(self.redis, other.redis),
            clients: self.clients + other.clients,
        }
    }
}

/// Nothing is known of the whole where nothing is of a part.
fn sum<T: std::ops::Add<Output = T>>(one: Option<T>, other: Option<T>) -> Option<T> {
    Some(one? + other?)
}

/// A counter's value in a text of OpenMetrics.
fn metric(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The processes that listen at an address of this machine, as far as they may be seen.
fn listeners(address: SocketAddr) -> Result<Vec<Process>> {
    if !address.ip().is_loopback() {
        return Ok(Vec::new());
    }
    let sockets = procfs::net::tcp()?.into_iter();
    // A machine may have no IPv6.
    let sockets = sockets.chain(procfs::net::tcp6().unwrap_or_default());
    let sockets: HashSet<u64> = sockets
        .filter(|socket| {
            let at = socket.local_address;
            let is_here = at.ip() == address.ip() || at.ip().is_unspecified();
            socket.state == TcpState::Listen && is_here && at.port() == address.port()
        })
        .map(|socket| socket.inode)
        .collect();
    let listens = |process: &Process| {
        let files = process.fd().into_iter().flatten().flatten();
        files.into_iter().any(
            |file| matches!(file.target, FDTarget::Socket(socket) if sockets.contains(&socket)),
        )
    };
    Ok(all_processes()?.flatten().filter(listens).collect())
}

fn process(pid: u32) -> Result<Process> {
    Ok(Process::new(i32::try_from(pid)?)?)
}

fn resident(process: &Process) -> Option<u64> {
    Some(process.status().ok()?.vmrss? * 1024)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_counter_is_found_among_others() {
        let text = "# TYPE alacena_database_queries counter\n\
                    alacena_database_queries_total 42\n\
                    alacena_database_queries_total_more 7\n";
        assert_eq!(metric(text, "alacena_database_queries_total"), Some(42));
        assert_eq!(metric(text, "alacena_database_queries"), None);
        assert_eq!(metric("", "alacena_database_queries_total"), None);
    }

    #[test]
    fn who_listens_is_found_by_their_port() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let pids = |address| -> Vec<i32> {
            let found = listeners(address).expect("the machine tells");
            found.iter().map(Process::pid).collect()
        };
        assert_eq!(pids(address), [std::process::id() as i32]);
        drop(listener);
        assert!(pids(address).is_empty());
    }

    #[test]
    fn what_cannot_be_seen_costs_nothing_known() {
        let known = Reading {
            queries: Some(2),
            redis_commands: None,
        };
        assert_eq!(known.since(&known).queries, Some(0));
        assert_eq!(known.since(&Reading::default()).queries, None);
        let unseen = Clocks::default().read();
        assert_eq!(unseen.server, None);
        assert_eq!(unseen.and(&unseen).redis, None);
    }

    #[test]
    fn a_clock_tells_how_long_a_process_was_at_work() {
        let own = ClockId::pid_cpu_clock_id(Pid::this()).expect("a clock");
        let clocks = Clocks {
            server: vec![own, own],
            redis: None,
        };
        let before = clocks.read();
        while clocks.read().clients < before.clients + Duration::from_millis(20) {}
        let took = clocks.read().since(&before);
        let server = took.server.expect("both can be read");
        assert!(
            server >= Duration::from_millis(40),
            "{server:?}, twice its own"
        );
        assert_eq!(took.redis, None);
    }
}
