//! What the change log costs: how late other instances learn of a change for each interval of polling,
//! what that takes of a core while nothing happens, and what writes lose to it, beside the same writes
//! without a log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alacena::cache::{Cache, Clock, MemoryBackend, Position, Progress, SystemClock, Tasks};
use alacena::coherence::{Follow, Tailer, TailerStats};
use alacena::config::Config;
use alacena::db::Database;
use alacena::domain::{NewProduct, ProductName};
use alacena::service::made_stale;
use alacena_lab::servers::Postgres;
use anyhow::{Context, Result};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, SqliteConnection};

const POLLS: [u64; 5] = [1, 2, 5, 10, 20];
const CHANGES: usize = 400;
const IDLE: Duration = Duration::from_secs(3);
const ROUNDS: usize = 7;
const WRITERS: usize = 8;
const ROUND: Duration = Duration::from_millis(1500);

fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let folder = tempfile::tempdir()?;
    let sqlite = format!("sqlite://{}", folder.path().join("alacena.db").display());
    let postgres = Postgres::start()?;
    let postgres = postgres.create_database().map(|url| (postgres, url))?;
    runtime.block_on(async {
        for url in [&sqlite, &postgres.1] {
            lag(url).await?;
        }
        for url in [&sqlite, &postgres.1] {
            writes(url).await?;
        }
        Ok(())
    })
}

async fn database(url: &str) -> Result<Database> {
    // Every acknowledged write survives a power cut: as in production.
    let config = Config::for_tests(&format!(
        "[database]\nurl = '{url}'\nsqlite_synchronous = 'full'"
    ))?;
    let database = Database::new(&config.database);
    database.migrate().await?;
    Ok(database)
}

fn kind(url: &str) -> &str {
    url.split(':').next().unwrap_or_default()
}

async fn lag(url: &str) -> Result<()> {
    let database = database(url).await?;
    for poll in POLLS {
        let reader = database.log_reader().await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let horizon = u64::try_from(reader.place().horizon())?;
        let progress = Arc::new(Progress::new(
            Position::new(horizon),
            clock.now(),
            Duration::from_secs(60),
            Duration::ZERO,
        ));
        let backend = Arc::new(MemoryBackend::new(1 << 20));
        let cache = Cache::new(backend, Arc::clone(&clock), Tasks::on_current_runtime());
        let follow = Follow {
            cache: cache.following(Arc::clone(&progress)),
            progress: Arc::clone(&progress),
            clock,
            made_stale,
            poll: Duration::from_millis(poll),
            stats: TailerStats::default(),
        };
        let tailer = Tailer::start(reader, follow)?;
        let mut lags = Vec::new();
        for _ in 0..CHANGES {
            tokio::time::sleep(Duration::from_micros(fastrand::u64(..10_000))).await;
            let position = database.log_clear("nothing".into(), 1).await?.position;
            let position = Position::new(position.unsigned_abs());
            let committed = Instant::now();
            while progress.position() <= position {
                tokio::time::sleep(Duration::from_micros(100)).await;
                std::hint::spin_loop();
            }
            lags.push(committed.elapsed());
        }
        lags.sort();
        let before = tailer_nanos().context("the tailer has a thread")?;
        tokio::time::sleep(IDLE).await;
        let spent = tailer_nanos().context("the tailer has a thread")? - before;
        let share = spent as f64 / IDLE.as_nanos() as f64 * 100.0;
        println!(
            "{:<9} poll {poll:>2} ms   lag p50 {:>7.1?}  p99 {:>7.1?}  max {:>7.1?}   idle {share:.2} % of a core",
            kind(url),
            lags[CHANGES / 2],
            lags[CHANGES * 99 / 100],
            lags[CHANGES - 1],
        );
        tailer.stop().await;
    }
    Ok(())
}

/// The time that the tailer's thread has run, in nanoseconds.
fn tailer_nanos() -> Option<u64> {
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).ok();
        if read("comm")?.trim() == "tailer" {
            return read("schedstat")?.split(' ').next()?.parse().ok();
        }
    }
    None
}

/// Writers at once, in turns with the log and without.
async fn writes(url: &str) -> Result<()> {
    let database = database(url).await?;
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..2 * ROUNDS {
        let is_logged = round % 2 == 0;
        switch_log(url, is_logged)?;
        rates[round % 2].push(rate(&database).await?);
    }
    let [with, without] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates
    });
    let (logged, bare) = (with[ROUNDS / 2], without[ROUNDS / 2]);
    println!(
        "{:<9} writes/s   with the log {logged:.0} ({:.0} to {:.0})   without {bare:.0} ({:.0} to {:.0})   ratio {:.2}",
        kind(url),
        with[0],
        with[ROUNDS - 1],
        without[0],
        without[ROUNDS - 1],
        logged / bare,
    );
    Ok(())
}

async fn rate(database: &Database) -> Result<f64> {
    let started = Instant::now();
    let writers = (0..WRITERS).map(|_| {
        let database = database.clone();
        tokio::spawn(async move {
            let mut done = 0_u64;
            while started.elapsed() < ROUND {
                let product = NewProduct {
                    name: ProductName::parse("Blue kettle").map_err(|e| anyhow::anyhow!("{e}"))?,
                    description: None,
                    price_cents: 1,
                    stock: 1,
                    is_active: true,
                };
                database.insert_product(product).await?;
                done += 1;
            }
            anyhow::Ok(done)
        })
    });
    let mut done = 0;
    for writer in futures_util::future::join_all(writers).await {
        done += writer??;
    }
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

const SQLITE_TRIGGER: &str = "CREATE TRIGGER products_cache_log_insert AFTER INSERT ON products BEGIN \
     INSERT INTO cache_changes (kind, id) VALUES ('product', NEW.id); END";

fn switch_log(url: &str, is_logged: bool) -> Result<()> {
    match url.strip_prefix("sqlite://") {
        Some(path) => {
            let mut sqlite = SqliteConnection::establish(path)?;
            sqlite.batch_execute("DROP TRIGGER IF EXISTS products_cache_log_insert")?;
            if is_logged {
                sqlite.batch_execute(SQLITE_TRIGGER)?;
            }
        }
        None => {
            let word = if is_logged { "ENABLE" } else { "DISABLE" };
            let mut postgres = PgConnection::establish(url)?;
            postgres.batch_execute(&format!("ALTER TABLE products {word} TRIGGER USER"))?;
        }
    }
    Ok(())
}
