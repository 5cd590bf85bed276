//! Every backend, put to the contract that `lab/` holds; and what only those with a Redis must keep.

mod clearing;
mod clocks;
mod following;
mod forgery;
mod leases;
mod limits;
mod other_data;
mod probation;
mod support;
mod trust;

use alacena::cache::{MemoryBackend, NullBackend};

use support::{FORGETFUL, REDIS, Settings, trusted};

alacena_lab::backend_contract!(memory, async { MemoryBackend::new(64 << 20) });
alacena_lab::backend_contract!(safety: off, async { NullBackend::new() });

// So small that entries are evicted while they are used: what is kept may be lost, never wrong.
alacena_lab::backend_contract!(safety: memory_that_evicts, async {
    MemoryBackend::new(700)
});

alacena_lab::backend_contract!(far: redis_alone, async { Settings::at(&REDIS).far().await });
alacena_lab::backend_contract!(far: redis, async { Settings::at(&REDIS).redis().await });
alacena_lab::backend_contract!(tiered, async { Settings::at(&REDIS).tiered().await });

// The same for Redis, which may lose leases and marks as well.
alacena_lab::backend_contract!(forgetful: redis_that_forgets, async {
    trusted(Settings::at(&FORGETFUL).redis().await).await
});
alacena_lab::backend_contract!(forgetful: redis_alone_that_forgets, async {
    trusted(Settings::at(&FORGETFUL).far().await).await
});
