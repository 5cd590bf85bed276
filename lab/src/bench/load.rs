//! Clients at work: as fast as they are answered, at a rate, or all at once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use nix::sys::prctl;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Barrier, mpsc};

use super::meter::{Clocks, Times};
use super::slice::Slice;
use super::wire::{Answer, Connection, Failure, LIMIT};
use super::workload::{Ask, Gaps, Script};
use crate::traffic::{Clients, Work};

/// So many requests may wait for a client. If more do, the target is far from keeping up.
const BACKLOG: usize = 100_000;

/// So long after the last request was due it is waited for those that are still to be sent.
const GRACE: Duration = Duration::from_secs(5);

/// Where requests go, what stands in them, and whose processor time is measured meanwhile.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) address: SocketAddr,
    pub(super) script: Arc<Script>,
    pub(super) clocks: Clocks,
}

/// Asks for what each of these lanes of requests says, a connection for each, the next request when
/// the last is answered. Until they end, or for so long. Blocks.
///
/// # Errors
/// The target hangs.
pub(super) fn closed(
    site: &Site,
    lanes: Vec<impl Iterator<Item = Ask> + Send + 'static>,
    time: Duration,
) -> Result<Slice> {
    let watch = Watch::new(site, lanes.len());
    let works = lanes.into_iter().map(|lane| -> Work {
        let (site, watch) = (site.clone(), Arc::clone(&watch));
        Box::pin(async move {
            let mut client = Client::new(site).await;
            let began = watch.begin().await;
            for ask in lane {
                let now = Instant::now();
                if client.has_given_up || now.duration_since(began) >= time {
                    break;
                }
                client.ask(ask, now).await;
            }
            watch.end(&client);
        })
    });
    Clients::start(works)?.finish()?;
    watch.whole()
}

/// Asks for each of these when it is due, whoever of the clients has time for it: a request that all
/// of them are too busy for is asked late, and its time counts from when it was due. Until they end,
/// or for so long. Blocks.
///
/// # Errors
/// The target hangs, or cannot keep up at all.
pub(super) fn open(
    site: &Site,
    mut asks: impl Iterator<Item = Ask> + Send + 'static,
    mut gaps: Gaps,
    connections: usize,
    time: Duration,
) -> Result<Slice> {
    let watch = Watch::new(site, connections);
    let (due, queue) = mpsc::channel::<(Instant, Ask)>(BACKLOG);
    let queue = Arc::new(tokio::sync::Mutex::new(queue));
    let (tell_began, told_began) = std::sync::mpsc::channel();
    let works: Vec<Work> = (0..connections)
        .map(|_| -> Work {
            let (site, watch) = (site.clone(), Arc::clone(&watch));
            let (queue, tell_began) = (Arc::clone(&queue), tell_began.clone());
            Box::pin(async move {
                let mut client = Client::new(site).await;
                let began = watch.begin().await;
                client.slice.begin_course(began);
                // The pacer needs to hear it once.
                let _ = tell_began.send(began);
                while !client.has_given_up {
                    let next = queue.lock().await.recv().await;
                    let Some((due, ask)) = next else { break };
                    if due.elapsed() > GRACE {
                        client.slice.failed(format!("not sent within {GRACE:?}"));
                    } else {
                        client.ask(ask, due).await;
                    }
                }
                watch.end(&client);
            })
        })
        .collect();
    drop((queue, tell_began));
    // A thread of its own: the timers of a runtime of clients go by the millisecond.
    let pacer = thread::Builder::new().name("pacer".into()).spawn(move || {
        // By default the kernel lets a sleeper sleep longer by 50 µs.
        let _ = prctl::set_timerslack(1);
        let mut sent = Slice::default();
        let Ok(began) = told_began.recv() else {
            return Ok(sent);
        };
        let mut next = Duration::ZERO;
        loop {
            next += gaps.next();
            if next >= time {
                return Ok(sent);
            }
            let Some(ask) = asks.next() else {
                return Ok(sent);
            };
            let moment = began + next;
            thread::sleep(moment.saturating_duration_since(Instant::now()));
            sent.sent_after(moment.elapsed());
            match due.try_send((moment, ask)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => bail!("it falls behind by {BACKLOG} requests"),
                // Every client has given up.
                Err(TrySendError::Closed(_)) => return Ok(sent),
            }
        }
    })?;
    Clients::start(works)?.finish()?;
    let sent = pacer.join().map_err(|_| anyhow!("the pacer panicked"))??;
    let mut whole = watch.whole()?;
    whole.add(&sent);
    Ok(whole)
}

/// Asks for one thing, so many at the same time. Blocks.
///
/// # Errors
/// The target hangs.
pub(super) fn crowd(site: &Site, ask: Ask, connections: usize) -> Result<Slice> {
    let watch = Watch::new(site, connections);
    let works = (0..connections).map(|_| -> Work {
        let (site, watch) = (site.clone(), Arc::clone(&watch));
        Box::pin(async move {
            let mut client = Client::new(site).await;
            // All of them want it now, whoever is sent first.
            let due = watch.begin().await;
            client.ask(ask, due).await;
            watch.end(&client);
        })
    });
    Clients::start(works)?.finish()?;
    watch.whole()
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

/// Sees to it that all clients begin together, and that what is measured is from then until the last
/// of them has ended.
struct Watch {
    clocks: Clocks,
    start: Barrier,
    before: OnceLock<Times>,
    at_work: AtomicUsize,
    whole: Mutex<(Slice, bool)>,
}

impl Watch {
    fn new(site: &Site, clients: usize) -> Arc<Self> {
        Arc::new(Self {
            clocks: site.clocks.clone(),
            start: Barrier::new(clients),
            before: OnceLock::new(),
            at_work: AtomicUsize::new(clients),
            whole: Mutex::default(),
        })
    }

    /// Waits until every client is connected. Answers the moment at which all of them begin.
    async fn begin(&self) -> Instant {
        self.start.wait().await;
        self.before.get_or_init(|| self.clocks.read()).at
    }

    /// A client has ended.
    fn end(&self, client: &Client) {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let (slice, has_given_up) = &mut *whole;
        slice.add(&client.slice);
        *has_given_up |= client.has_given_up;
        if self.at_work.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(before) = self.before.get()
        {
            slice.took = Some(self.clocks.read().since(before));
        }
    }

    /// What all of them have seen.
    fn whole(&self) -> Result<Slice> {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let (slice, has_given_up) = std::mem::take(&mut *whole);
        if has_given_up {
            bail!("no answer within {LIMIT:?}");
        }
        Ok(slice)
    }
}

/// A client, and what became of its requests.
struct Client {
    site: Site,
    connection: Option<Connection>,
    request: Vec<u8>,
    slice: Slice,
    /// Who hangs once is not waited for again.
    has_given_up: bool,
}

impl Client {
    async fn new(site: Site) -> Self {
        Self {
            connection: Connection::open(site.address).await.ok(),
            site,
            request: Vec::new(),
            slice: Slice::default(),
            has_given_up: false,
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
            Ok(answer) => self.slice.failed(format!("answered {}", answer.status)),
            Err(failure) => {
                self.has_given_up = matches!(failure, Failure::TimedOut);
                self.slice.failed(failure.to_string());
            }
        }
    }

    /// Over a new connection if there is none, or if the server had closed it.
    async fn exchange(&mut self) -> Result<Answer, Failure> {
        if let Some(connection) = self.connection.take() {
            let (connection, answered) = self.exchange_over(connection).await;
            let was_closed = |failure: &Failure| {
                connection.is_some_and(|connection| connection.was_closed(failure))
            };
            match answered {
                Err(failure) if was_closed(&failure) => {}
                answered => return answered,
            }
        }
        let connection = Connection::open(self.site.address).await?;
        self.exchange_over(connection).await.1
    }

    /// Keeps the connection for the next request, or hands it back if it failed.
    async fn exchange_over(
        &mut self,
        mut connection: Connection,
    ) -> (Option<Connection>, Result<Answer, Failure>) {
        let answered = connection.ask(&self.request).await;
        if answered.is_err() {
            return (Some(connection), answered);
        }
        self.connection = Some(connection).filter(|connection| !connection.is_closing());
        (None, answered)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Mutex as AsyncMutex;

    use super::*;
    use crate::bench::workload::Row;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

    /// A server, as what becomes of each of its connections.
    fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Site
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (tell, told) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                tell.send(listener.local_addr().expect("an address"))
                    .expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream));
                }
            });
        });
        let row = Row {
            id: 1,
            email: String::new(),
        };
        Site {
            address: told.recv().expect("it listens"),
            script: Arc::new(Script::new(Arc::new([row]), "here", "nobody")),
            clocks: Clocks::default(),
        }
    }

    /// Answers a connection's requests, each after `before`.
    async fn answer<F: Future<Output = ()>>(mut stream: TcpStream, before: impl Fn() -> F) {
        let mut request = [0; 1024];
        while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
            before().await;
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }

    fn millis(slice: &Slice, part: f64) -> u64 {
        slice.latencies.value_at_quantile(part) / 1_000_000
    }

    /// A server that stands still once, for so long, whoever asks.
    fn stalling(stall: Duration) -> Site {
        let begins = Instant::now() + Duration::from_millis(300);
        let lock = Arc::new(AsyncMutex::new(()));
        server(move |stream| {
            let lock = Arc::clone(&lock);
            answer(stream, move || {
                let lock = Arc::clone(&lock);
                async move {
                    let _turn = lock.lock().await;
                    if (begins..begins + stall).contains(&Instant::now()) {
                        tokio::time::sleep_until((begins + stall).into()).await;
                    }
                }
            })
        })
    }

    #[test]
    fn a_stall_is_seen_by_all_requests_that_were_due_meanwhile() {
        let stall = Duration::from_millis(500);
        let asks = std::iter::repeat(Ask::User(0));
        let site = stalling(stall);
        let open =
            open(&site, asks, Gaps::new(400.0, 1), 2, Duration::from_secs(2)).expect("answers");
        // Two hundred of eight hundred were due while it stood still: the median of those waited for
        // half of it.
        assert!(open.requests() > 600, "{}", open.requests());
        assert!(millis(&open, 0.89) > 150, "{} ms", millis(&open, 0.89));
        assert_eq!(open.failed, 0);

        let lanes = vec![std::iter::repeat(Ask::User(0)); 2];
        let site = stalling(stall);
        let closed = closed(&site, lanes, Duration::from_secs(2)).expect("answers");
        // Whoever waits for answers meets it once, and a busy machine a few times more.
        let met = closed.latencies.count_between(100_000_000, u64::MAX);
        assert!((2..20).contains(&met), "{met}");
    }

    #[test]
    fn what_is_not_answered_for_long_ends_the_measurement() {
        let site = server(|stream| answer(stream, std::future::pending::<()>));
        let lanes = vec![std::iter::repeat(Ask::User(0)); 3];
        let hung = closed(&site, lanes, Duration::from_secs(60));
        let why = hung.expect_err("it hangs").to_string();
        assert!(why.contains("no answer within"), "{why}");
    }

    #[test]
    fn connections_that_a_server_closes_are_made_anew() {
        // Without a word, after every answer.
        let site = server(async |mut stream: TcpStream| {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(ANSWER).await;
        });
        let lanes = vec![std::iter::repeat_n(Ask::User(0), 20); 2];
        let slice = closed(&site, lanes, Duration::from_secs(60)).expect("answers");
        assert_eq!((slice.answered_requests(), slice.failed), (40, 0));
    }

    #[test]
    fn whoever_is_refused_is_not_answered() {
        let site = server(async |mut stream: TcpStream| {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let refusal = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(refusal).await;
        });
        let slice = crowd(&site, Ask::User(0), 5).expect("they are told");
        assert_eq!((slice.answered_requests(), slice.failed), (0, 5));
        assert_eq!(slice.why.as_deref(), Some("answered 503"));
    }

    #[test]
    fn what_ends_is_asked_for_once_each() {
        let site = server(|stream| answer(stream, async || ()));
        let asks = (0..100).map(Ask::User);
        let once = closed(&site, dealt(asks.clone(), 7), Duration::from_secs(60)).expect("answers");
        assert_eq!(once.requests(), 100);
        let gaps = Gaps::new(5000.0, 1);
        let once = open(&site, asks, gaps, 7, Duration::from_secs(60)).expect("answers");
        assert_eq!(once.requests(), 100);
        assert!(once.took.is_some_and(|took| took.clients > Duration::ZERO));
    }
}
