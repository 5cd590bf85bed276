//! Every backend, put to the contract that `lab/` holds.

use alacena::cache::{MemoryBackend, NullBackend};

alacena_lab::backend_contract!(memory, async { MemoryBackend::new(64 << 20) });
alacena_lab::backend_contract!(safety: off, async { NullBackend::new() });

// So small that entries are evicted while they are used: what is kept may be lost, never wrong.
alacena_lab::backend_contract!(safety: memory_that_evicts, async {
    MemoryBackend::new(700)
});
