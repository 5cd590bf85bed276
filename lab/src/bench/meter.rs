//! What answering takes: queries, Redis commands, time of processors, memory.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Uri};
use procfs::process::{FDTarget, Process, all_processes};
use procfs::{net::TcpState, ticks_per_second};

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
    cpu: Option<Duration>,
    redis_cpu: Option<Duration>,
    /// In bytes, at that moment.
    memory: Option<u64>,
}

/// What some requests have taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) queries: Option<u64>,
    pub(super) redis_commands: Option<u64>,
    pub(super) cpu: Option<Duration>,
    pub(super) redis_cpu: Option<Duration>,
    /// The most that was seen.
    pub(super) memory: Option<u64>,
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
        let (queries, _) = meter.counts().await;
        meter.has_metrics = queries.is_some();
        Ok(meter)
    }

    pub(super) async fn read(&mut self) -> Reading {
        let (queries, redis_commands) = self.counts().await;
        let is_seen = !self.server.is_empty();
        let (times, memories) = (self.server.iter().map(cpu), self.server.iter().map(memory));
        Reading {
            queries,
            redis_commands,
            cpu: times.sum::<Option<Duration>>().filter(|_| is_seen),
            redis_cpu: self.redis.as_ref().and_then(cpu),
            memory: memories.sum::<Option<u64>>().filter(|_| is_seen),
        }
    }

    /// Queries and Redis commands, as the server counts them.
    async fn counts(&mut self) -> (Option<u64>, Option<u64>) {
        if !self.has_metrics {
            return (None, None);
        }
        let mut request: Request<Full<Bytes>> = Request::default();
        *request.uri_mut() = Uri::from_static("/metrics");
        let answer = self.client.ask(request).await.ok();
        let body = answer
            .filter(|answer| answer.status.is_success())
            .map(|answer| answer.body);
        let body = body.unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        (
            metric(&text, "alacena_database_queries_total"),
            metric(&text, "alacena_redis_commands_total"),
        )
    }
}

impl Reading {
    /// What was taken since an earlier reading.
    pub(super) fn since(&self, earlier: &Self) -> Cost {
        let count =
            |later: Option<u64>, earlier: Option<u64>| Some(later?.saturating_sub(earlier?));
        let time = |later: Option<Duration>, earlier: Option<Duration>| {
            Some(later?.saturating_sub(earlier?))
        };
        Cost {
            queries: count(self.queries, earlier.queries),
            redis_commands: count(self.redis_commands, earlier.redis_commands),
            cpu: time(self.cpu, earlier.cpu),
            redis_cpu: time(self.redis_cpu, earlier.redis_cpu),
            memory: self.memory,
        }
    }
}

impl Cost {
    /// Of both together.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self {
            queries: self.queries.zip(other.queries).map(|(a, b)| a + b),
            redis_commands: self
                .redis_commands
                .zip(other.redis_commands)
                .map(|(a, b)| a + b),
            cpu: self.cpu.zip(other.cpu).map(|(a, b)| a + b),
            redis_cpu: self.redis_cpu.zip(other.redis_cpu).map(|(a, b)| a + b),
            memory: self.memory.max(other.memory),
        }
    }
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
            socket.state == TcpState::Listen && socket.local_address.port() == address.port()
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

/// The time of processors that it has had, to a hundredth of a second.
fn cpu(process: &Process) -> Option<Duration> {
    let stat = process.stat().ok()?;
    let seconds = (stat.utime + stat.stime) as f64 / ticks_per_second() as f64;
    Some(Duration::from_secs_f64(seconds))
}

/// What of its memory is there, in bytes.
fn memory(process: &Process) -> Option<u64> {
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
        let one = Cost {
            queries: Some(2),
            ..Cost::default()
        };
        assert_eq!(one.and(&one).queries, Some(4));
        assert_eq!(one.and(&Cost::default()).queries, None);
        assert_eq!(one.cpu, None);
    }
}
