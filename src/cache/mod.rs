//! Copies of what the database holds, and the rules that keep them true.
//!
//! Every cache offers `set(key, value)`, and with it the oldest bug in caching: a reader loads
//! v1, a writer commits v2 and invalidates, the reader then stores v1. Nobody can write that bug
//! here, because a loaded value is stored only against a [`Ticket`] that was taken before the load
//! and that every void of the key destroys.
//!
//! * [`Cache`] is what services use: typed reads that coalesce, writes that cannot lose their void.
//! * [`CacheBackend`] is what it stands on: [`MemoryBackend`], [`RedisBackend`], [`TieredBackend`]
//!   (memory in front of Redis) and [`NullBackend`].
//!
//! * [`cached`] and [`invalidates`] are attributes that write the calls of [`Cache`] for a function.
//!
//! This module moves bytes and knows no user: it depends on nothing else in the crate.

mod arguments;
mod backend;
mod breaker;
mod budget;
mod cached;
mod change;
mod clock;
mod counters;
mod entry;
mod flight;
mod front;
mod history;
mod json;
mod key;
mod log;
mod memory;
mod null;
mod pattern;
mod policy;
mod progress;
mod reads;
mod redis;
mod source;
mod stats;
mod sync;
mod tasks;
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
pub use redis::{RedisAddress, RedisBackend, RedisServer, RedisServerError, RedisSettings};
pub use source::{Forward, Hit, Interrupted, Read, Source, SourceError};
pub use stats::{CacheStats, ShardedCounter};
pub use tasks::Tasks;
pub use tiered::TieredBackend;
