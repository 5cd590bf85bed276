//! What `#[cached]` costs: the same function cached by hand, with an attribute and a template for its
//! key, and with an attribute alone. In this process, in turn, round by round. Prints nanoseconds per
//! call and how they compare with the call by hand.
//!
//! `cargo bench --bench attributes [-- ROUNDS]`

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alacena::cache::{
    Cache, Interrupted, Key, MemoryBackend, Mode, Policy, SystemClock, Tasks, cached,
};
use anyhow::Result;
use bytes::Bytes;

const KEPT: Policy = Policy {
    jitter: 0.1,
    ..Policy::lasting(Duration::from_secs(1800))
};

const BODY: Bytes = Bytes::from_static(&[b'x'; 200]);

/// Calls of each round.
const HITS: i64 = 200_000;
const MISSES: i64 = 20_000;

#[derive(Clone)]
struct Rows {
    cache: Cache,
}

impl Rows {
    async fn by_hand(&self, id: i64) -> Result<Option<Bytes>, Interrupted> {
        let key = Key::of_id("row", id);
        if let Some(hit) = self.cache.peek(&key) {
            return Ok(hit.value);
        }
        let load = move || async move { row(id).await };
        let read = self.cache.read(&key, KEPT, Mode::Read, load).await?;
        Ok(read.value)
    }

    #[cached(key = "row:{id}", policy = KEPT)]
    async fn by_template(&self, id: i64) -> Result<Option<Bytes>, Interrupted> {
        row(id).await
    }

    #[cached(prefix = "row", policy = KEPT)]
    async fn by_arguments(&self, id: i64) -> Result<Option<Bytes>, Interrupted> {
        row(id).await
    }
}

async fn row(id: i64) -> Result<Option<Bytes>, Interrupted> {
    Ok(Some(BODY.slice(..100 + (id & 63) as usize)))
}

fn main() -> Result<()> {
    // Cargo hands its own `--bench` on.
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let rounds = numbers.next().unwrap_or(15_usize);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()?;
    runtime.block_on(async {
        let rows = || {
            let backend = Arc::new(MemoryBackend::new(256 << 20));
            let clock = Arc::new(SystemClock::new());
            Rows {
                cache: Cache::new(backend, clock, Tasks::on_current_runtime()),
            }
        };
        let kept = rows();
        for id in 0..64 {
            kept.by_hand(id).await?;
            kept.by_arguments(id).await?;
        }
        let mut hits = [const { Vec::new() }; 3];
        let mut misses = [const { Vec::new() }; 3];
        for _ in 0..rounds {
            hits[0].push(time(HITS, async |id| kept.by_hand(id & 63).await).await?);
            hits[1].push(time(HITS, async |id| kept.by_template(id & 63).await).await?);
            hits[2].push(time(HITS, async |id| kept.by_arguments(id & 63).await).await?);
            let fresh = [rows(), rows(), rows()];
            misses[0].push(time(MISSES, async |id| fresh[0].by_hand(id).await).await?);
            misses[1].push(time(MISSES, async |id| fresh[1].by_template(id).await).await?);
            misses[2].push(time(MISSES, async |id| fresh[2].by_arguments(id).await).await?);
        }
        for (what, times) in [("hit", hits), ("miss", misses)] {
            let by_hand = times[0].clone();
            let names = [
                "by hand",
                "attribute, key = \"row:{id}\"",
                "attribute, prefix",
            ];
            for (name, times) in names.into_iter().zip(times) {
                let ratios = times.iter().zip(&by_hand).map(|(time, first)| time / first);
                let ratio = median(ratios.collect());
                println!(
                    "{what:5} {name:32} {:8.0} ns; ratio {ratio:.3}",
                    median(times)
                );
            }
        }
        anyhow::Ok(())
    })
}

/// Nanoseconds per call.
async fn time(
    calls: i64,
    call: impl AsyncFn(i64) -> Result<Option<Bytes>, Interrupted>,
) -> Result<f64> {
    let started = Instant::now();
    for id in 0..calls {
        black_box(call(black_box(id)).await?);
    }
    Ok(started.elapsed().as_nanos() as f64 / calls as f64)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
