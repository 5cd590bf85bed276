use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use tokio::runtime::Handle;

use super::MadeStale;
use super::log::{EVERYTHING, batch};
use crate::cache::{Cache, Clock, Position, Progress};
use crate::db::{LogReader, Since, Tail};

/// How long after the database did not answer it is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// After so long without a change it rests longer, ...
const QUIET: Duration = Duration::from_secs(1);

/// ... by this factor, which keeps an idle instance well below 1% of a core.
const QUIET_FACTOR: u32 = 3;

/// Upper bounds of the lag's histogram, in seconds.
const BOUNDS: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// What a [`Tailer`] follows with.
pub struct Follow {
    /// What the changes are applied to. Its reads know of `progress`.
    pub cache: Cache,
    /// Where it tells how far it has got.
    pub progress: Arc<Progress>,
    /// The cache's clock.
    pub clock: Arc<dyn Clock>,
    /// Which copies a change makes stale.
    pub made_stale: MadeStale,
    /// How long it rests between two looks.
    pub poll: Duration,
    /// What came of it.
    pub stats: TailerStats,
}

/// How long changes took to be applied. Clones share it.
#[derive(Clone, Debug)]
pub struct TailerStats {
    /// Seconds from the change itself to its having been applied here.
    pub lag: Histogram,
    latest_micros: Arc<AtomicU64>,
}

impl TailerStats {
    /// How long the latest change took.
    pub fn latest(&self) -> Duration {
        Duration::from_micros(self.latest_micros.load(Ordering::Relaxed))
    }

    fn applied_after(&self, time: Duration) {
        self.lag.observe(time.as_secs_f64());
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.latest_micros.store(micros, Ordering::Relaxed);
    }
}

impl Default for TailerStats {
    fn default() -> Self {
        Self {
            lag: Histogram::new(BOUNDS),
            latest_micros: Arc::default(),
        }
    }
}

/// Follows the change log on a thread of its own, and applies to the cache what it tells of: what
/// other instances changed, what was changed behind the service's back, and what a process that is no
/// more could not void (rule 5 of the idea).
///
/// Rows of one's own origin are applied like others' (recovery rule 7): they tell that the void which
/// followed them has reached every tier, whatever became of its writer.
pub struct Tailer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tailer {
    /// Follows the log from the reader's place. Whatever was cached before that place must be gone.
    ///
    /// # Errors
    /// Where there is no room for a thread.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn start(reader: LogReader, follow: Follow) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let tail = Tailing {
            reader,
            follow,
            runtime: Handle::current(),
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new().name("tailer".into());
        Ok(Self {
            stop,
            thread: Some(thread.spawn(move || tail.run())?),
        })
    }

    /// Ends it, and waits for that as long as the database may take to answer.
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Tailer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

struct Tailing {
    reader: LogReader,
    follow: Follow,
    runtime: Handle,
    stop: Arc<AtomicBool>,
}

impl Tailing {
    fn run(mut self) {
        let mut is_lost = false;
        let mut changed = Instant::now();
        while !self.stop.load(Ordering::SeqCst) {
            // What had been committed when the look began is known of when it has ended.
            let looked = self.follow.clock.now();
            let pause = match self.reader.look() {
                Ok(news) => {
                    if std::mem::take(&mut is_lost) {
                        log::info!("the change log is followed again");
                    }
                    if let Some(since) = news {
                        let is_quiet =
                            matches!(&since, Since::Tail(tail) if tail.changes.is_empty());
                        if !is_quiet {
                            changed = Instant::now();
                        }
                        self.take(since);
                    }
                    // After it was applied in both tiers (recovery rule 4).
                    let position = Position::from(self.reader.place().horizon());
                    self.follow.progress.reached(position, looked);
                    if changed.elapsed() > QUIET {
                        self.follow.poll * QUIET_FACTOR
                    } else {
                        self.follow.poll
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_lost, true) {
                        log::warn!("the change log cannot be followed: {error}");
                    }
                    // Whoever waits for a position does not shorten this.
                    std::thread::sleep(RETRY_AFTER);
                    continue;
                }
            };
            self.follow.progress.pause(pause);
        }
        // What was written last. So Redis has a watermark for it, and what it holds is compared with the
        // log that the next process finds.
        if let Ok(Some(since)) = self.reader.look() {
            self.take(since);
        }
    }

    fn take(&self, since: Since) {
        let Follow {
            cache, made_stale, ..
        } = &self.follow;
        match since {
            Since::Tail(tail) => match batch(&tail, *made_stale) {
                Some(batch) => {
                    let began = Instant::now();
                    self.runtime.block_on(cache.apply(&batch));
                    self.measure(&tail, began.elapsed());
                }
                None => cache.distrust(EVERYTHING),
            },
            // The reader has moved to the log's end before this: what comes later is told of.
            Since::Unknown { why, .. } => cache.distrust(why),
        }
    }

    fn measure(&self, tail: &Tail, took: Duration) {
        for logged in &tail.changes {
            self.follow.stats.applied_after(logged.age + took);
        }
    }
}
