//! A TCP proxy that does to connections what networks and dying servers do.
//!
//! It stands between a client and one server, and passes bytes on unchanged until it is told
//! otherwise. A fault takes effect at once: on new connections, on those there are, and on bytes
//! that the proxy holds back already.

mod relay;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::servers::listen_anywhere;
use relay::Relay;

/// Which way the bytes go that a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
    /// Both ways.
    Both,
}

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: they are passed on.
    #[default]
    Pass,
    /// Connections are closed, new ones as soon as they are made. This ends both directions,
    /// whichever it is set for.
    Cut,
    /// Connections are made and stay open, and nothing is delivered, not even their end.
    Hang,
    /// Everything arrives later by this time and a random part of the jitter, in its order.
    Delay {
        /// The least it takes.
        by: Duration,
        /// The most that comes on top.
        jitter: Duration,
    },
    /// Each connection carries so many bytes per second, but one at least.
    Throttle {
        /// The rate.
        bytes_per_second: u32,
    },
    /// As [`Cut`](Self::Cut), but whoever would have received the bytes gets a TCP reset.
    Reset,
    /// Nobody listens: new connections are refused, those there are are closed, in both directions.
    Refuse,
    /// Each connection passes everything on, and is reset after a random part of this time.
    ResetWithin(Duration),
    /// Random bytes are delivered, as many as there were.
    Garbage,
}

impl Fault {
    fn ends_connections(self) -> bool {
        matches!(self, Self::Cut | Self::Reset | Self::Refuse)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    to_server: Fault,
    to_client: Fault,
    /// How often all connections have been ended, and by which faults the last time (to the server,
    /// to the client): also one that is healed before anybody has looked ends them.
    ends: u64,
    ended_by: (Fault, Fault),
}

impl Faults {
    fn refuse(&self) -> bool {
        [self.to_server, self.to_client].contains(&Fault::Refuse)
    }

    /// The longest that a connection may live.
    fn life(&self) -> Option<Duration> {
        let life = |fault| match fault {
            Fault::ResetWithin(life) => Some(life),
            _ => None,
        };
        let lives = [self.to_server, self.to_client]
            .into_iter()
            .filter_map(life);
        lives.min()
    }
}

/// What has gone through a [`Proxy`] since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that clients have made, those included that were ended at once.
    pub connections: u64,
    /// Bytes delivered to the server.
    pub to_server: u64,
    /// Bytes delivered to clients.
    pub to_client: u64,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

/// A proxy in front of one server. When it is dropped, it stops listening and ends its connections.
///
/// It runs on the runtime that started it, and stands still when that is blocked.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1, for whoever wants to talk to `upstream`, which need not
    /// be there yet.
    ///
    /// # Errors
    ///
    /// The system has no port for us.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        Self::run(listen_anywhere()?, upstream)
    }

    /// The same at an address of one's choice.
    ///
    /// # Errors
    ///
    /// It is not ours to have.
    pub async fn start_at(address: SocketAddr, upstream: SocketAddr) -> io::Result<Self> {
        Self::run(std::net::TcpListener::bind(address)?, upstream)
    }

    fn run(listener: std::net::TcpListener, upstream: SocketAddr) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let faults = watch::Sender::default();
        let counters = Arc::default();
        let relay = Relay {
            address,
            upstream,
            faults: faults.subscribe(),
            counters: Arc::clone(&counters),
        };
        let task = tokio::spawn(relay.run(listener));
        Ok(Self {
            address,
            faults,
            counters,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the fault of a direction.
    pub fn set(&self, direction: Direction, fault: Fault) {
        self.faults.send_modify(|faults| {
            if direction != Direction::ToClient {
                faults.to_server = fault;
            }
            if direction != Direction::ToServer {
                faults.to_client = fault;
            }
            if fault.ends_connections() {
                faults.ends += 1;
                faults.ended_by = (faults.to_server, faults.to_client);
            }
        });
    }

    /// Passes everything on again, beginning with what was held back.
    pub fn heal(&self) {
        self.set(Direction::Both, Fault::Pass);
    }

    /// What has gone through so far.
    pub fn traffic(&self) -> Traffic {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            connections: count(&self.counters.connections),
            to_server: count(&self.counters.to_server),
            to_client: count(&self.counters.to_client),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
