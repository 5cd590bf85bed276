/// The most rows of one page.
pub const MAX_LIMIT: i64 = 1000;

/// The most rows that can be skipped. Further on, the cursor costs the same at any depth.
pub const MAX_SKIP: i64 = 1_000_000;

/// A page of a list that is ordered by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it starts.
    pub start: Start,
    /// How many rows it has at the most.
    pub limit: i64,
}

/// Where a page starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After so many rows.
    Skip(i64),
    /// After the row of this id, whether it is still there or not.
    After(i64),
}
