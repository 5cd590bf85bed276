//! The cache: the files of the service's own.

#[path = "../../../src/cache/arguments.rs"]
mod arguments;
#[path = "../../../src/cache/backend.rs"]
mod backend;
#[path = "../../../src/cache/budget.rs"]
mod budget;
#[path = "../../../src/cache/cached.rs"]
mod cached;
#[path = "../../../src/cache/change.rs"]
mod change;
#[path = "../../../src/cache/clock.rs"]
mod clock;
#[path = "../../../src/cache/counters.rs"]
mod counters;
#[path = "../../../src/cache/entry.rs"]
mod entry;
#[path = "../../../src/cache/flight.rs"]
mod flight;
#[path = "../../../src/cache/front/mod.rs"]
mod front;
#[path = "../../../src/cache/history.rs"]
mod history;
#[path = "../../../src/cache/json.rs"]
mod json;
#[path = "../../../src/cache/key.rs"]
mod key;
#[path = "../../../src/cache/log.rs"]
mod log;
#[path = "../../../src/cache/memory.rs"]
mod memory;
#[path = "../../../src/cache/null.rs"]
mod null;
#[path = "../../../src/cache/pattern.rs"]
mod pattern;
#[path = "../../../src/cache/policy.rs"]
mod policy;
#[path = "../../../src/cache/progress.rs"]
mod progress;
#[path = "../../../src/cache/reads.rs"]
mod reads;
#[path = "../../../src/cache/source.rs"]
mod source;
#[path = "../../../src/cache/stats.rs"]
mod stats;
#[path = "../../../src/cache/sync.rs"]
mod sync;
#[path = "../../../src/cache/tasks.rs"]
mod tasks;
#[path = "../../../src/cache/tiered.rs"]
mod tiered;

pub use alacena_macros::{cached, invalidates};
pub use arguments::{KeyBuilder, KeyList, KeyPart, KeySlot};
pub use backend::{
    BackendStats, CacheBackend, Copied, FarStats, Filled, Lease, Lookup, Mode, Ticket, Tier, Voided,
};
pub use budget::{Spent, one_budget};
pub use cached::Cacheable;
pub use change::{Change, Clear, Written};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use counters::Count;
pub use entry::{Entry, EntryTimes};
pub use front::Cache;
pub use history::{Extremes, Minute, ReadHistory, Window};
pub use json::Json;
pub use key::{Group, Key};
pub use log::{ChangeLog, LogBatch, LogEntry, LogUnavailable, Position, Replay, Stale, Watermark};
pub use memory::MemoryBackend;
pub use null::NullBackend;
pub use pattern::{Pattern, PatternError};
pub use policy::Policy;
pub use progress::Progress;
pub use reads::Reads;
pub use source::{Forward, Hit, Interrupted, Read, Source, SourceError};
pub use stats::{CacheStats, ShardedCounter};
pub use tasks::Tasks;
pub use tiered::TieredBackend;
