//! What the change log tells of, as Redis is told it.

use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::Value;

use super::link::{Generation, Link, NoAnswer};
use super::names::Names;
use super::script::{Call, Script};
use crate::cache::log::{LogBatch, LogEntry, Position, Stale};

/// How many entries of the log one script voids: others wait for it.
const AT_ONCE: usize = 200;

/// What a script answers that found another watermark than it may rely on.
const BEHIND: i64 = -1;

/// Voids a batch in a Redis whose watermark must be at least `seen`, and moves it. Each script may take
/// up to `limit`.
pub(super) async fn apply(
    link: &Link,
    generation: &Arc<Generation>,
    names: &Names,
    batch: &LogBatch,
    seen: Position,
    limit: Duration,
) -> Result<(), NoAnswer> {
    let history = generation.history().unwrap_or_default();
    for call in calls(names, batch, seen, history) {
        match link.call_on(generation, &call, limit).await? {
            Value::Int(BEHIND) => return Err(NoAnswer::Changed),
            Value::Int(position) => generation.saw(Position::new(position.unsigned_abs())),
            _ => return Err(link.senseless()),
        }
    }
    Ok(())
}

/// The calls that void a batch, for a Redis whose watermark is known to be at least `seen`. The last
/// one moves it.
fn calls(names: &Names, batch: &LogBatch, seen: Position, history: &str) -> Vec<Call> {
    let chunks: Vec<&[LogEntry]> = batch.entries.chunks(AT_ONCE).collect();
    // Without entries there is still a watermark to move.
    let last = chunks.len().max(1);
    (1..=last)
        .map(|number| {
            let entries = chunks.get(number - 1).copied().unwrap_or_default();
            let watermark = if number == last {
                batch.until.text()
            } else {
                ""
            };
            call(names, entries, [&seen.to_string(), history, watermark])
        })
        .collect()
}

/// `how`: the least that the watermark must be, the history, and the new watermark.
fn call(names: &Names, entries: &[LogEntry], how: [&str; 3]) -> Call {
    let (mut keys, mut positions) = (Vec::new(), Vec::new());
    let (mut groups, mut group_positions) = (Vec::new(), Vec::new());
    for LogEntry { position, stale } in entries {
        let Stale::Change(change) = stale else {
            continue;
        };
        for key in change.keys() {
            keys.extend(names.of_key(key));
            positions.push(*position);
        }
        for group in change.groups() {
            groups.push(names.group(group.name()));
            group_positions.push(*position);
        }
    }
    let call = Script::Apply
        .call()
        .key(names.watermark().to_owned())
        .key(names.voided().to_owned())
        .keys(keys)
        .keys(groups);
    let call = how
        .into_iter()
        .fold(call, Call::bytes)
        .number(positions.len() as u64);
    let positions = positions.into_iter().chain(group_positions);
    positions.fold(call, |call, position| call.number(position.number()))
}

/// Everything that a batch's changes are stored under: removing it is right at any time.
pub(super) fn stored_under(names: &Names, batch: &LogBatch) -> Vec<String> {
    let changes = batch.entries.iter().filter_map(|entry| match &entry.stale {
        Stale::Change(change) => Some(change),
        Stale::Matching(_) => None,
    });
    changes.flat_map(|change| names.of_change(change)).collect()
}
