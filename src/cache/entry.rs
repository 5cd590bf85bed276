use bytes::Bytes;

use super::clock::{CLOCK_TOLERANCE, Timestamp};

/// What is kept under a key: bytes, or the knowledge that there is nothing, and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(super) value: Option<Bytes>,
    pub(super) stored: Timestamp,
    pub(super) refresh_from: Timestamp,
    pub(super) fresh_until: Timestamp,
    pub(super) keep_until: Timestamp,
}

/// The times of an [`Entry`], for a backend that keeps entries elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryTimes {
    /// When it was stored.
    pub stored: Timestamp,
    /// From when on a hit loads it anew in the background.
    pub refresh_from: Timestamp,
    /// Until when it answers reads.
    pub fresh_until: Timestamp,
    /// Until when it may still answer, marked, while the source is away.
    pub keep_until: Timestamp,
}

impl Entry {
    /// For backends: the entry of these bytes and times, as it was before it was stored.
    pub fn restored(value: Option<Bytes>, times: EntryTimes) -> Self {
        let EntryTimes {
            stored,
            refresh_from,
            fresh_until,
            keep_until,
        } = times;
        Self {
            value,
            stored,
            refresh_from,
            fresh_until,
            keep_until,
        }
    }

    /// For backends: all of its times.
    pub fn times(&self) -> EntryTimes {
        EntryTimes {
            stored: self.stored,
            refresh_from: self.refresh_from,
            fresh_until: self.fresh_until,
            keep_until: self.keep_until,
        }
    }

    /// The same entry by a clock that is so many milliseconds ahead.
    pub(super) fn on_clock_ahead(self, millis: i64) -> Self {
        let moved =
            |time: Timestamp| Timestamp::from_millis(time.millis().saturating_add_signed(millis));
        Self {
            stored: moved(self.stored),
            refresh_from: moved(self.refresh_from),
            fresh_until: moved(self.fresh_until),
            keep_until: moved(self.keep_until),
            ..self
        }
    }

    /// The same entry, which no clock puts into the future: at `now` it lives no longer than it was to
    /// live when it was stored. `None` if it is so far ahead that a clock was set back since: then its age is
    /// not known.
    pub(super) fn clamped(self, now: Timestamp) -> Option<Self> {
        let ahead = self.stored.since(now);
        let millis = i64::try_from(ahead.as_millis()).ok()?;
        (ahead <= CLOCK_TOLERANCE).then(|| self.on_clock_ahead(-millis))
    }

    /// The bytes; `None` says that the source was asked and had nothing.
    pub fn value(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }

    /// When it was stored.
    pub fn stored(&self) -> Timestamp {
        self.stored
    }

    /// Until when it answers reads.
    pub fn fresh_until(&self) -> Timestamp {
        self.fresh_until
    }

    /// Until when it may still answer, marked, while the source is away.
    pub fn keep_until(&self) -> Timestamp {
        self.keep_until
    }

    /// Whether it answers reads at `now`.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until
    }

    /// Whether it may answer at `now` while the source is away.
    pub fn is_kept(&self, now: Timestamp) -> bool {
        now < self.keep_until
    }

    /// Whether a hit at `now` should load it anew in the background.
    pub fn wants_refresh(&self, now: Timestamp) -> bool {
        now >= self.refresh_from
    }
}
