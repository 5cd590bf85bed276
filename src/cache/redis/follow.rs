//! What the change log tells of, as Redis is told it.

use std::sync::Arc;
use std::time::Duration;

use super::link::{Generation, Link, NoAnswer};
use super::marks::Marks;
use super::names::Names;
use super::script::{Call, Script};
use crate::cache::change::Clear;
use crate::cache::log::{LogBatch, LogEntry, Position, Stale};

/// How many entries of the log one script voids: others wait for it.
const AT_ONCE: usize = 200;

/// Invalidates a batch in a Redis whose watermark must be at least `seen`, and moves it. Each script may
/// take up to `limit`.
pub(super) async fn apply(
    link: &Link,
    generation: &Arc<Generation>,
    target: Target<'_>,
    batch: &LogBatch,
    seen: Position,
    limit: Duration,
) -> Result<(), NoAnswer> {
    let chunks: Vec<&[LogEntry]> = batch.entries.chunks(AT_ONCE).collect();
    // Without entries there is still a watermark to move, which the last script does.
    let last = chunks.len().max(1);
    for number in 1..=last {
        let entries = chunks.get(number - 1).copied().unwrap_or_default();
        let watermark = if number == last {
            batch.until.text()
        } else {
            ""
        };
        let fence = Fence::Watermark(seen);
        let call = fenced(Script::Apply.call(), target.names, generation, fence);
        let call = target.apply(call, entries, watermark);
        let answer = link.call_on(generation, &call, limit).await?;
        let position = link.acknowledged(generation, answer)?;
        generation.saw(Position::new(position.unsigned_abs()));
    }
    Ok(())
}

/// What a script's fence checks.
#[derive(Clone, Copy)]
pub(super) enum Fence {
    /// That the data set has a watermark of at least this position.
    Watermark(Position),
    /// The same without a watermark, which there may not be yet.
    Sequence,
    /// Nothing, as before a recovery.
    Open,
}

/// Begins the call of a script that has a fence.
pub(super) fn fenced(call: Call, names: &Names, generation: &Generation, fence: Fence) -> Call {
    let call = call
        .key(generation.sequence().to_owned())
        .key(names.watermark().to_owned());
    let history = generation.history().unwrap_or_default();
    match fence {
        Fence::Watermark(least) => call
            .bytes(history)
            .number(least.number())
            .number(generation.acknowledged()),
        Fence::Sequence => call
            .bytes(history)
            .bytes("")
            .number(generation.acknowledged()),
        Fence::Open => call.bytes("").bytes("").bytes(""),
    }
}

/// The position under which a clear is noted as done, before the log has one for it: after all others.
pub(super) const CLEARED: &str = "+inf";

/// What the change log is applied to.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) names: &'a Names,
    pub(super) marks: &'a Marks,
}

impl Target<'_> {
    /// What the script that invalidates notes of a clear that is done.
    fn note_of(self, clear: &Clear) -> String {
        format!("{CLEARED} {}", self.names.clear(clear.id()))
    }

    fn apply(self, call: Call, entries: &[LogEntry], watermark: &str) -> Call {
        let (mut keys, mut positions) = (Vec::new(), Vec::new());
        let (mut groups, mut group_positions) = (Vec::new(), Vec::new());
        let mut clears = Vec::new();
        for LogEntry { position, stale } in entries {
            match stale {
                Stale::Change(change) => {
                    for key in change.keys() {
                        keys.extend(self.names.of_key(key));
                        positions.push(*position);
                    }
                    for group in change.groups() {
                        groups.push(self.names.group(group.name()));
                        group_positions.push(*position);
                    }
                }
                Stale::Cleared(clear) => clears.push((*position, self.note_of(clear))),
            }
        }
        let call = call
            .key(self.names.voided().to_owned())
            .key(self.names.token().to_owned())
            .keys(keys)
            .keys(groups)
            .bytes(watermark)
            .bytes(self.marks.draw())
            .number(positions.len() as u64)
            .number(clears.len() as u64);
        let positions = positions.into_iter().chain(group_positions);
        let call = positions.fold(call, |call, position| call.number(position.number()));
        clears.into_iter().fold(call, |call, (position, note)| {
            call.number(position.number()).bytes(note)
        })
    }
}

/// Everything that a batch's changes are stored under: removing it is right at any time.
pub(super) fn stored_under(names: &Names, batch: &LogBatch) -> Vec<String> {
    let changes = batch.entries.iter().filter_map(|entry| match &entry.stale {
        Stale::Change(change) => Some(change),
        Stale::Cleared(_) => None,
    });
    changes.flat_map(|change| names.of_change(change)).collect()
}
