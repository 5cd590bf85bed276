//! What carries the bytes: a task for each connection, and a pump for each of its directions.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Counters, Fault, Faults};

/// The most that is read, and so delayed, as one.
const CHUNK: usize = 16 * 1024;

/// How long after the port could not be had again it is asked for anew.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);

/// How many chunks a direction of a connection holds back before the sender feels it.
const HELD: usize = 256;

/// All that a connection needs to know.
#[derive(Clone)]
pub(super) struct Relay {
    /// Where clients come.
    pub(super) address: SocketAddr,
    pub(super) upstream: SocketAddr,
    pub(super) faults: watch::Receiver<Faults>,
    pub(super) counters: Arc<Counters>,
}

impl Relay {
    pub(super) async fn run(self, listener: TcpListener) {
        let mut listener = Some(listener);
        let mut faults = self.faults.clone();
        // Its tasks end with it.
        let mut connections = JoinSet::new();
        loop {
            if faults.borrow_and_update().refuse() {
                listener = None;
            } else if listener.is_none() {
                listener = TcpListener::bind(self.address).await.ok();
                if listener.is_none() {
                    // Somebody else has taken the port, and is waited for.
                    sleep(BETWEEN_ATTEMPTS).await;
                    continue;
                }
            }
            let accept = async {
                match &listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                accepted = accept => if let Ok((client, _)) = accepted {
                    self.counters.connections.fetch_add(1, Ordering::Relaxed);
                    let ends = self.faults.borrow().ends;
                    connections.spawn(self.clone().connection(client, ends));
                },
                changed = faults.changed() => if changed.is_err() {
                    break;
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Carries bytes both ways until both sides have ended, or a fault ends them. `ends` is how
    /// many such faults there were before.
    async fn connection(self, mut client: TcpStream, ends: u64) {
        let mut server = None;
        let carry = async {
            let server = server.insert(TcpStream::connect(self.upstream).await?);
            server.set_nodelay(true)?;
            client.set_nodelay(true)?;
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let (faults, counters) = (&self.faults, &self.counters);
            let there = Pump {
                faults: faults.clone(),
                fault: |faults| faults.to_server,
                delivered: &counters.to_server,
            };
            let back = Pump {
                faults: faults.clone(),
                fault: |faults| faults.to_client,
                delivered: &counters.to_client,
            };
            // Each runs to its own end: what a client sent before it gave up still arrives.
            tokio::join!(
                there.run(from_client, to_server),
                back.run(from_server, to_client)
            );
            io::Result::Ok(())
        };
        let mut faults = self.faults.clone();
        let ended = faults.wait_for(|faults| {
            faults.ends != ends
                || faults.to_server.ends_connections()
                || faults.to_client.ends_connections()
        });
        let (to_server, to_client) = tokio::select! {
            biased;
            ended = ended => ended.map(|faults| faults.ended_by).unwrap_or_default(),
            () = self.life_ended() => (Fault::Reset, Fault::Reset),
            _ = carry => return,
        };
        // Closing a socket without lingering is what sends a reset.
        if to_client == Fault::Reset {
            let _ = client.set_zero_linger();
        }
        if let Some(server) = server
            && to_server == Fault::Reset
        {
            let _ = server.set_zero_linger();
        }
    }

    /// Waits until a connection that begins now has lived for as long as it is given.
    async fn life_ended(&self) {
        let mut faults = self.faults.clone();
        loop {
            let life = faults.borrow_and_update().life();
            let end = async {
                match life {
                    Some(life) => sleep(life.mul_f64(fastrand::f64())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = end => return,
                changed = faults.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }
}

/// One direction of one connection.
struct Pump<'a> {
    faults: watch::Receiver<Faults>,
    fault: fn(&Faults) -> Fault,
    delivered: &'a AtomicU64,
}

/// Bytes and when they came. No bytes are the end.
type Chunk = (Instant, Bytes);

impl Pump<'_> {
    async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) {
        let (queue, held) = mpsc::channel(HELD);
        tokio::select! {
            _ = self.deliver(held, to) => {}
            () = read(from, queue) => {}
        }
    }

    /// Hands on what is held, when and how the fault says, until the end or until nobody takes it.
    async fn deliver(
        mut self,
        mut held: mpsc::Receiver<Chunk>,
        mut to: WriteHalf<'_>,
    ) -> Option<()> {
        // When the next piece may go under `Throttle`.
        let mut free = Instant::now();
        loop {
            let (came, mut chunk) = held.recv().await?;
            let is_end = chunk.is_empty();
            let luck = fastrand::f64();
            while is_end || chunk.has_remaining() {
                let fault = (self.fault)(&self.faults.borrow_and_update());
                let mut piece = chunk.clone();
                let due = match fault {
                    Fault::Pass | Fault::Garbage | Fault::ResetWithin(_) => None,
                    // The connection itself sees to those that end it.
                    Fault::Hang | Fault::Cut | Fault::Reset | Fault::Refuse => {
                        self.faults.changed().await.ok()?;
                        continue;
                    }
                    Fault::Delay { by, jitter } => Some(came + by + jitter.mul_f64(luck)),
                    Fault::Throttle { bytes_per_second } => {
                        // A hundredth of a second's worth at a time.
                        piece.truncate((bytes_per_second as usize / 100).max(1));
                        Some(free)
                    }
                };
                if fault == Fault::Garbage {
                    piece = (0..piece.len()).map(|_| fastrand::u8(..)).collect();
                }
                let hand_on = async {
                    // A timer is a millisecond late, also one that has nothing to wait for.
                    if let Some(due) = due.filter(|&due| due > Instant::now()) {
                        sleep_until(due).await;
                    }
                    if is_end {
                        to.shutdown().await.map(|()| 0)
                    } else {
                        to.write(&piece).await
                    }
                };
                // Nothing is half done when it is interrupted: a write that was not completed has
                // written nothing.
                let written = tokio::select! {
                    biased;
                    changed = self.faults.changed() => {
                        changed.ok()?;
                        continue;
                    }
                    written = hand_on => written.ok()?,
                };
                if is_end {
                    return Some(());
                }
                chunk.advance(written);
                self.delivered.fetch_add(written as u64, Ordering::Relaxed);
                if let Fault::Throttle { bytes_per_second } = fault {
                    let takes = written as f64 / f64::from(bytes_per_second.max(1));
                    free = free.max(Instant::now()) + Duration::from_secs_f64(takes);
                }
            }
        }
    }
}

/// Takes in what is sent and, last, its end, be that a reset or an orderly one.
async fn read(mut from: ReadHalf<'_>, queue: mpsc::Sender<Chunk>) {
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        // What cannot be read is the end too, and leaves the chunk empty.
        let _ = from.read_buf(&mut chunk).await;
        let is_end = chunk.is_empty();
        if queue.send((Instant::now(), chunk.freeze())).await.is_err() || is_end {
            break;
        }
    }
    // Whoever delivers is not done yet.
    std::future::pending::<()>().await;
}
