//! How an administrator's clear is done in Redis: step by step through all that is stored.

use std::collections::HashSet;
use std::sync::Arc;

use deadpool_redis::redis::{self, Value, cmd};

use super::RedisBackend;
use super::follow::{self, Fence};
use super::link::{Generation, NoAnswer};
use super::script::Script;
use crate::cache::change::Clear;
use crate::cache::key::Key;

/// How many names one step of a clear asks for.
const SCANNED_AT_ONCE: usize = 500;

/// A cursor, and names.
type Scanned = (Vec<u8>, Vec<Vec<u8>>);

impl RedisBackend {
    /// One step through what is stored: where the next one begins, and some names.
    pub(super) async fn scan(&self, cursor: &[u8], count: usize) -> Result<Scanned, NoAnswer> {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(self.names.every_key());
        scan.arg("COUNT").arg(count);
        let answer = self.link.ask_at_leisure(&scan).await?;
        redis::from_redis_value(answer).map_err(|_| self.link.senseless())
    }

    /// Removes what matches, step by step, and notes that. Answers how many live entries there were.
    ///
    /// All of it is done in one data set: the first step advances the sequence number, which other data
    /// lacks from then on, and each further step compares it, also where it only looks.
    pub(super) async fn remove(&self, clear: &Clear) -> Result<u64, NoAnswer> {
        let generation = self.link.trusted()?;
        let this = || vec![self.names.clear(clear.id())];
        self.remove_in(&generation, this(), "").await?;
        let mut removed = 0;
        let mut cursor = b"0".to_vec();
        loop {
            let fence = Fence::Watermark(generation.seen());
            let call = follow::fenced(Script::Scan.call(), &self.names, &generation, fence);
            let call = call.bytes(&cursor[..]).bytes(self.names.every_key());
            let call = call.number(SCANNED_AT_ONCE as u64);
            let leisure = self.link.leisure();
            let step = self.link.call_on(&generation, &call, leisure).await?;
            if matches!(&step, Value::Array(nothing) if nothing.is_empty()) {
                return Err(NoAnswer::Changed);
            }
            let (next, names): Scanned =
                redis::from_redis_value(step).map_err(|_| self.link.senseless())?;
            let keys = names
                .iter()
                .filter_map(|name| self.names.key_of_either(name))
                .filter(|key| clear.pattern().matches(key.name()));
            // An entry and its lease have the same key.
            let keys: HashSet<Key> = keys.collect();
            let keys: Vec<Key> = keys.into_iter().collect();
            if !keys.is_empty() {
                removed += self.entries(&keys).await?.iter().flatten().count() as u64;
                let names = keys.iter().flat_map(|key| self.names.of_key(key));
                self.remove_in(&generation, names.collect(), "").await?;
            }
            if next == b"0" {
                break;
            }
            cursor = next;
        }
        self.remove_in(&generation, this(), follow::CLEARED).await?;
        Ok(removed)
    }

    /// Removes these names in the data set of these connections, and notes them under a position.
    async fn remove_in(
        &self,
        generation: &Arc<Generation>,
        names: Vec<String>,
        position: &str,
    ) -> Result<(), NoAnswer> {
        let call = self.invalidation(generation, true);
        let call = call.keys(names).bytes(position).bytes("");
        let leisure = self.link.leisure();
        let answer = self.link.call_on(generation, &call, leisure).await?;
        self.link.acknowledged(generation, answer).map(drop)
    }
}
