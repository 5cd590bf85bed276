//! Clients at work, on threads of their own.

use std::pin::Pin;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use tokio::task::JoinSet;

/// What a client does, to its end.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Clients at work.
pub(crate) struct Clients {
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Clients {
    /// On how many threads they work: half of the machine, as the instances need the other half.
    pub(crate) fn threads() -> usize {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        (cores / 2).max(1)
    }

    /// Lets them work.
    pub(crate) fn start(works: impl IntoIterator<Item = Work>) -> Result<Self> {
        let mut shares: Vec<Vec<Work>> = (0..Self::threads()).map(|_| Vec::new()).collect();
        let count = shares.len();
        for (number, work) in works.into_iter().enumerate() {
            shares[number % count].push(work);
        }
        let threads = shares.into_iter().enumerate().map(|(number, share)| {
            let thread = thread::Builder::new().name(format!("clients-{number}"));
            let work = move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .context("a runtime for clients")?;
                runtime.block_on(async {
                    // Whoever spawns must be inside of the runtime.
                    share.into_iter().collect::<JoinSet<()>>().join_all().await;
                });
                Ok(())
            };
            thread.spawn(work).context("a thread for clients")
        });
        Ok(Self {
            threads: threads.collect::<Result<_>>()?,
        })
    }

    /// Waits until they have ended. Blocks.
    pub(crate) fn finish(self) -> Result<()> {
        for thread in self.threads {
            let ended = thread.join();
            ended.map_err(|_| anyhow!("a client panicked"))??;
        }
        Ok(())
    }
}
