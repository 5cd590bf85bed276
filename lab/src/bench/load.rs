//! Clients at work: as fast as they are answered, at a rate, or all at once.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use tokio::sync::{Barrier, mpsc};

use super::slice::Slice;
use super::wire::{Answer, Connection, Failure};
use super::workload::{Ask, Script, Stream};
use crate::traffic::{Clients, Work};

/// Where requests go, and what stands in them.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) address: SocketAddr,
    pub(super) script: Arc<Script>,
}

/// Asks for what each of these lanes of requests says, a connection for each, the next request when
/// the last is answered. Until they end, or for so long. Blocks.
pub(super) fn closed(
    site: &Site,
    lanes: Vec<impl Iterator<Item = Ask> + Send + 'static>,
    time: Duration,
) -> Result<Slice> {
    let gathered = Gathered::default();
    let start = Arc::new(Barrier::new(lanes.len()));
    let works = lanes.into_iter().map(|lane| -> Work {
        let (site, gathered) = (site.clone(), gathered.clone());
        let start = Arc::clone(&start);
        Box::pin(async move {
            let mut client = Client::new(site).await;
            start.wait().await;
            let began = Instant::now();
            for ask in lane {
                let now = Instant::now();
                if now.duration_since(began) >= time {
                    break;
                }
                client.ask(ask, now).await;
            }
            gathered.add(client.slice);
        })
    });
    at_work(works)?;
    gathered.whole()
}

/// Asks for what the stream says, so often in a second, whoever of the clients has time for it: a
/// request that all of them are too busy for is asked late, and its time counts from when it was due.
/// Blocks.
pub(super) fn open(
    site: &Site,
    mut stream: Stream,
    rate: f64,
    connections: usize,
    time: Duration,
) -> Result<Slice> {
    let (due, queue) = mpsc::unbounded_channel::<(Instant, Ask)>();
    let queue = Arc::new(tokio::sync::Mutex::new(queue));
    let gathered = Gathered::default();
    let (ready, all_ready) = std::sync::mpsc::channel();
    let works: Vec<Work> = (0..connections)
        .map(|_| -> Work {
            let (site, gathered) = (site.clone(), gathered.clone());
            let (queue, ready) = (Arc::clone(&queue), ready.clone());
            Box::pin(async move {
                let mut client = Client::new(site).await;
                drop(ready);
                loop {
                    let next = queue.lock().await.recv().await;
                    let Some((due, ask)) = next else { break };
                    client.ask(ask, due).await;
                }
                gathered.add(client.slice);
            })
        })
        .collect();
    drop(ready);
    // A thread of its own: the timers of a runtime of clients go by the millisecond.
    let pacer = thread::Builder::new().name("pacer".into()).spawn(move || {
        // Until every client is connected, and has dropped its end.
        let _: Result<(), _> = all_ready.recv();
        let began = Instant::now();
        let mut next = Duration::ZERO;
        loop {
            next += Duration::from_secs_f64(stream.gap(rate));
            if next >= time {
                return began.elapsed();
            }
            thread::sleep((began + next).saturating_duration_since(Instant::now()));
            // That a sleeper wakes up late is no fault of the server's.
            if due.send((Instant::now(), stream.ask())).is_err() {
                return began.elapsed();
            }
        }
    })?;
    at_work(works)?;
    pacer.join().map_err(|_| anyhow!("the pacer panicked"))?;
    gathered.whole()
}

/// Asks for one thing, so many at the same time. Blocks.
pub(super) fn crowd(site: &Site, ask: Ask, connections: usize) -> Result<Slice> {
    let gathered = Gathered::default();
    let start = Arc::new(Barrier::new(connections));
    let works = (0..connections).map(|_| -> Work {
        let (site, gathered) = (site.clone(), gathered.clone());
        let start = Arc::clone(&start);
        Box::pin(async move {
            let mut client = Client::new(site).await;
            start.wait().await;
            client.ask(ask, Instant::now()).await;
            gathered.add(client.slice);
        })
    });
    at_work(works)?;
    gathered.whole()
}

fn at_work(works: impl IntoIterator<Item = Work>) -> Result<()> {
    Clients::start(works)?.finish()
}

/// Deals out what is to be asked for, once each, to so many lanes.
pub(super) fn dealt(
    asks: impl IntoIterator<Item = Ask>,
    lanes: usize,
) -> Vec<std::vec::IntoIter<Ask>> {
    let mut dealt = vec![Vec::new(); lanes];
    for (number, ask) in asks.into_iter().enumerate() {
        dealt[number % lanes].push(ask);
    }
    dealt.into_iter().map(Vec::into_iter).collect()
}

/// A client, and what became of its requests.
struct Client {
    site: Site,
    connection: Option<Connection>,
    request: Vec<u8>,
    slice: Slice,
}

impl Client {
    async fn new(site: Site) -> Self {
        Self {
            connection: Connection::open(site.address).await.ok(),
            site,
            request: Vec::new(),
            slice: Slice::default(),
        }
    }

    /// Asks, and notes how long it took since it was due.
    async fn ask(&mut self, ask: Ask, due: Instant) {
        self.site.script.write(ask, &mut self.request);
        let answered = self.exchange().await;
        let ended = Instant::now();
        match answered {
            Ok(answer) if (200..300).contains(&answer.status) => {
                self.slice.answered(ask, answer.source, due, ended);
            }
            Ok(answer) => self
                .slice
                .failed(format!("answered {}", answer.status), due, ended),
            Err(failure) => self.slice.failed(failure.to_string(), due, ended),
        }
    }

    /// Over a new connection if the last one failed.
    async fn exchange(&mut self) -> Result<Answer, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.site.address).await?,
        };
        let answer = connection.ask(&self.request).await?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

/// What all clients have seen.
#[derive(Clone, Default)]
struct Gathered(Arc<Mutex<Vec<Slice>>>);

impl Gathered {
    fn add(&self, slice: Slice) {
        let mut slices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slices.push(slice);
    }

    fn whole(&self) -> Result<Slice> {
        let mut slices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut whole = Slice::default();
        for slice in slices.drain(..) {
            whole.add(&slice);
        }
        ensure!(
            whole.requests() > 0,
            "there was no time for a single request"
        );
        Ok(whole)
    }
}
