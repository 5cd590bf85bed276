//! The database: one row, its change log, and the order in which transactions get their positions.

use std::fmt::{self, Display, Formatter};

/// A value of the key: the number of the write that made it, in the order of commits. Zero is what
/// was there before any.
pub type Value = u8;

/// A position in the change log: the id of a transaction.
pub type Position = u8;

/// A set of positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Positions(u8);

impl Positions {
    /// Every position below this one.
    pub fn below(end: Position) -> Self {
        Self((1_u8 << end) - 1)
    }

    /// Only this one.
    pub fn only(position: Position) -> Self {
        Self(1 << position)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one is among them.
    pub fn contains(self, position: Position) -> bool {
        self.0 & (1 << position) != 0
    }

    /// Whether this one or a higher one is among them.
    pub fn reach(self, position: Position) -> bool {
        self.0 >> position != 0
    }

    /// Those and these.
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Those that are not among these.
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Those that are among these too.
    pub fn among(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// One after the other, the lowest first.
    pub fn iter(self) -> impl Iterator<Item = Position> {
        (0..8).filter(move |&position| self.contains(position))
    }
}

impl Display for Positions {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A committed write of the key, or an administrator's clear: what was stored before it is as stale as after
/// a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Where it stands in the log. A clear that has begun is not in the log yet.
    pub position: Option<Position>,
    /// Whether it is a clear.
    pub is_clear: bool,
    /// The instance that made it.
    pub origin: u8,
    /// Whether its writer was told.
    pub is_acknowledged: bool,
}

/// How many writes of the key there may be.
pub const WRITES: usize = 3;

/// The database, as PostgreSQL keeps it.
///
/// A transaction gets its position when it begins to write, which may be before it waits for the
/// row's lock: so the order of positions is not that of commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Database {
    rows: [Option<Row>; WRITES],
    /// Committed rows about another key.
    others: Positions,
    next: Position,
    in_flight: Positions,
    /// Those in flight whose writers are gone, by their instance.
    orphans: [Positions; 2],
}

impl Database {
    /// Hands out a position.
    pub fn begin(&mut self) -> Position {
        let position = self.next;
        self.next += 1;
        self.in_flight = self.in_flight.and(Positions::only(position));
        position
    }

    /// Commits a write of the key.
    pub fn commit(&mut self, position: Position, origin: u8) {
        self.end(position);
        self.add(Row {
            position: Some(position),
            is_clear: false,
            origin,
            is_acknowledged: false,
        });
    }

    /// Begins a clear: from here on what was loaded before is not to be found once it is acknowledged.
    pub fn begin_clear(&mut self, origin: u8) {
        self.add(Row {
            position: None,
            is_clear: true,
            origin,
            is_acknowledged: false,
        });
    }

    /// Writes the clear into the log.
    pub fn log_clear(&mut self) -> Position {
        let position = self.begin();
        self.end(position);
        for row in self.rows.iter_mut().flatten() {
            row.position.get_or_insert(position);
        }
        position
    }

    fn add(&mut self, row: Row) {
        let free = self.rows.iter_mut().find(|row| row.is_none());
        *free.expect("scenarios have few writers") = Some(row);
    }

    /// Commits a write of another key.
    pub fn commit_other(&mut self, position: Position) {
        self.end(position);
        self.others = self.others.and(Positions::only(position));
    }

    /// Ends a transaction that leaves nothing but a gap in the log.
    pub fn abort(&mut self, position: Position) {
        self.end(position);
    }

    /// Leaves a transaction to its fate.
    pub fn abandon(&mut self, position: Position, origin: u8) {
        let orphans = &mut self.orphans[usize::from(origin)];
        *orphans = orphans.and(Positions::only(position));
    }

    fn end(&mut self, position: Position) {
        self.in_flight = self.in_flight.without(Positions::only(position));
        for orphans in &mut self.orphans {
            *orphans = orphans.without(Positions::only(position));
        }
    }

    /// The writer of this row was told that it is committed.
    pub fn acknowledge(&mut self, position: Position) {
        for row in self.rows.iter_mut().flatten() {
            row.is_acknowledged |= row.position == Some(position);
        }
    }

    /// The committed writes of the key with their values, in the order of commits.
    pub fn writes(&self) -> impl Iterator<Item = (Value, Row)> {
        (1..).zip(self.rows.iter().copied().flatten())
    }

    /// The present value.
    pub fn value(&self) -> Value {
        self.writes().last().map_or(0, |(value, _)| value)
    }

    /// The value that the write at this position made.
    pub fn value_at(&self, position: Position) -> Value {
        self.writes()
            .find(|(_, row)| row.position == Some(position))
            .map_or(0, |(value, _)| value)
    }

    /// The rows of the log that speak of the key.
    pub fn of_key(&self) -> Positions {
        self.positions(|_| true)
    }

    /// The rows of the log that are clears.
    pub fn clears(&self) -> Positions {
        self.positions(|row| row.is_clear)
    }

    /// The rows of the log that this instance made.
    pub fn made_by(&self, origin: usize) -> Positions {
        self.positions(|row| usize::from(row.origin) == origin)
    }

    fn positions(&self, are_wanted: impl Fn(&Row) -> bool) -> Positions {
        let rows = self.rows.iter().flatten().filter(|&row| are_wanted(row));
        rows.filter_map(|row| row.position)
            .fold(Positions::default(), |all, position| {
                all.and(Positions::only(position))
            })
    }

    /// Every visible row of the log.
    pub fn log(&self) -> Positions {
        self.of_key().and(self.others)
    }

    /// The lowest position still in flight, or the next one: all below are final and visible.
    pub fn horizon(&self) -> Position {
        self.in_flight.iter().next().unwrap_or(self.next)
    }

    /// What a reader of the log might take for the horizon: what follows the highest visible row.
    pub fn end_of_visible(&self) -> Position {
        self.log().iter().last().map_or(0, |highest| highest + 1)
    }

    /// Transactions whose writers are gone, with the instance they were on.
    pub fn orphans(&self) -> impl Iterator<Item = (Position, u8)> {
        let each = (0..).zip(self.orphans);
        each.flat_map(|(origin, orphans)| orphans.iter().map(move |position| (position, origin)))
    }

    /// The position that the next transaction will get.
    pub fn next(&self) -> Position {
        self.next
    }

    /// Whether every transaction has ended.
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }
}
