//! What counting costs: the same near hits, not counted, counted, counted while a history is kept of
//! them, and counted as the kind that is looked for last. In this process, in turn, round by round.
//! Prints nanoseconds per hit and how they compare with hits that nobody counts.
//!
//! `cargo bench --bench counting [-- ROUNDS]`

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alacena::cache::{
    Cache, Clock, Forward, Interrupted, Key, MemoryBackend, Mode, Policy, ReadHistory, Source,
    SystemClock, Tasks,
};
use anyhow::Result;
use bytes::Bytes;

const KEPT: Policy = Policy::lasting(Duration::from_secs(1800));

const BODY: Bytes = Bytes::from_static(&[b'x'; 200]);

/// Calls of each round.
const HITS: i64 = 200_000;

/// More kinds than are counted apart.
const KINDS: usize = 20;

const LOADED: Source = Source::Loaded {
    reason: Forward::Miss,
    stored: true,
    collapsed: false,
};

fn main() -> Result<()> {
    // Cargo hands its own `--bench` on.
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let rounds = numbers.next().unwrap_or(31_usize);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let cache = || {
            let backend = Arc::new(MemoryBackend::new(256 << 20));
            Cache::new(backend, Arc::clone(&clock), Tasks::on_current_runtime())
        };
        let (counted, kept, many) = (cache(), cache(), cache());
        let uncounted = counted.not_counting_reads();
        // Before `row` is known: it finds no place among them.
        for kind in 0..KINDS {
            many.count(&format!("kind-{kind}"), LOADED);
        }
        for cache in [&counted, &kept, &many] {
            fill(cache).await?;
        }
        let history = ReadHistory::of(kept.clone(), Arc::clone(&clock));
        tokio::spawn(history.keep());
        let sides = [
            ("not counted", uncounted),
            ("counted", counted),
            ("counted, with a history", kept),
            ("counted as one of many kinds", many),
        ];
        let mut times = [const { Vec::new() }; 4];
        for round in 0..rounds {
            for turn in 0..sides.len() {
                // Nobody always goes first.
                let side = (round + turn) % sides.len();
                times[side].push(time(&sides[side].1));
            }
        }
        let uncounted = times[0].clone();
        for ((name, _), times) in sides.into_iter().zip(times) {
            let ratios = times
                .iter()
                .zip(&uncounted)
                .map(|(time, first)| time / first);
            let (ratio, time) = (median(ratios.collect()), median(times));
            println!("{name:30} {time:7.1} ns; ratio {ratio:.3}");
        }
        anyhow::Ok(())
    })
}

async fn fill(cache: &Cache) -> Result<()> {
    for id in 0..64 {
        let load = || async { Ok::<_, Interrupted>(Some(BODY)) };
        cache
            .read(&Key::of_id("row", id), KEPT, Mode::Read, load)
            .await?;
    }
    Ok(())
}

/// Nanoseconds per hit.
fn time(cache: &Cache) -> f64 {
    let started = Instant::now();
    for id in 0..HITS {
        let key = Key::of_id("row", black_box(id & 63));
        black_box(cache.peek::<Bytes>(&key));
    }
    started.elapsed().as_nanos() as f64 / HITS as f64
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
