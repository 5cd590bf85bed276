//! Who takes steps: instances with their tailers and recoveries, writers, readers.

use super::database::{Position, Positions, Value};
use super::redis::{Command, LeaseId};

/// One process of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instance {
    /// The near tier's slot of the key.
    pub near: Option<Value>,
    /// The changes that their writers voided near: the log need not void them once more.
    pub voided: Positions,
    /// The way to Redis.
    pub link: Link,
    /// How often it has connected, where that makes a difference.
    pub connects: u8,
    /// Whether Redis names its history otherwise than when this instance connected.
    pub is_history_other: bool,
    /// Who reads the log.
    pub tailer: Tailer,
    /// Who brings Redis back to be trusted.
    pub recovery: Recovery,
}

/// What an instance's link to Redis is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// Given up, or never made.
    Down,
    /// Voids are sent; nothing is asked.
    Connected,
    /// Everything is sent.
    Trusted {
        /// The watermark it is known to have reached.
        seen: Position,
    },
}

/// Where a writer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WriterAt {
    /// Before everything, or past it.
    #[default]
    Idle,
    /// It has a near ticket.
    NearTicket,
    /// It has asked for a far one.
    Claiming,
    /// It has what tickets it gets.
    Ready,
    /// Its transaction has a position.
    Writing,
    /// It has committed, or may have.
    Committed,
    /// It has sent its far void.
    Voiding,
    /// It is about to void near.
    NearVoid,
    /// It has voided everything, and its doubt is overdue. No writer but a mutant gets here.
    OverdueDoubt,
    /// It has done something that should come after its far void, which is next. No writer but a
    /// mutant gets here.
    FarVoidLeft,
    /// It has begun to clear.
    ClearBegun,
    /// It removes in Redis.
    ClearRemoving,
    /// It notes the clear in Redis.
    ClearNoting,
    /// It is about to clear near.
    ClearNear,
    /// It is about to write the clear into the log.
    ClearLog,
    /// It waits until its own instance has applied the row.
    ClearLogged,
    /// It has ended, with or without its acknowledgement.
    Done,
}

/// A writer, and what it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Writer {
    /// Where it is.
    pub at: WriterAt,
    /// Whether its near ticket is good.
    pub near: bool,
    /// Its far ticket.
    pub far: Option<LeaseId>,
    /// Where its change stands in the log, unless it does not know whether it does.
    pub position: Option<Position>,
    /// What is remembered of its voids: the same position, once it knows that it is committed.
    pub remembered: Option<Position>,
    /// Whether it goes without far, as it does if that is not trusted and gave no ticket.
    pub is_alone: bool,
    /// Whether it may hand its value through to near.
    pub is_through: bool,
    /// The connection on which it clears.
    pub connect: u8,
    /// Whether its doubt is overdue. No writer but a mutant's owes one.
    pub owes_doubt: bool,
    /// What it waits for.
    pub call: Option<Command>,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReaderAt {
    /// Before everything.
    #[default]
    Idle,
    /// Near had nothing for it.
    NearMiss,
    /// It has asked far.
    Getting,
    /// Far had something for it, and it has no near ticket yet. No reader but a mutant gets here.
    FarHit,
    /// Far had nothing for it.
    FarMiss,
    /// It has asked for a far ticket.
    Claiming,
    /// It is about to load.
    Loading,
    /// It waits for another reader's load.
    Aboard,
    /// It has loaded.
    Loaded,
    /// It has sent what it loaded to far.
    Filling,
    /// It is about to fill near.
    NearFill,
    /// It has its answer.
    Done,
}

/// A reader, and what it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reader {
    /// Where it is.
    pub at: ReaderAt,
    /// Whether its near ticket is good.
    pub near: bool,
    /// Its far ticket.
    pub far: Option<LeaseId>,
    /// The oldest value that it may be answered.
    pub floor: Value,
    /// What it found or loaded.
    pub found: Option<Value>,
    /// Whether others may join its load.
    pub is_leading: bool,
    /// What it waits for.
    pub call: Option<Command>,
}

/// Where a tailer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TailerAt {
    /// Between two looks.
    #[default]
    Idle,
    /// It has read the log.
    Read,
    /// It has asked Redis to void.
    Applying,
    /// It has voided far, or doubts.
    FarVoided,
    /// It has voided near, and not far. No tailer but a mutant gets here.
    FarVoidLeft,
    /// It has published its position, and not voided near. No tailer but a mutant gets here.
    NearVoidLeft,
}

/// A tailer, and what it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tailer {
    /// Where it is.
    pub at: TailerAt,
    /// The rows that it has passed.
    pub passed: Positions,
    /// The position that it has published: every row below has been passed.
    pub published: Position,
    /// The rows that it has just read.
    pub rows: Positions,
    /// The horizon that it has just read.
    pub upto: Position,
    /// What it waits for.
    pub call: Option<Command>,
}

/// Where a recovery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RecoveryAt {
    /// Not under way.
    #[default]
    Idle,
    /// It has connected, and noted the doubts.
    Connected,
    /// It has read the watermark.
    Marked,
    /// It has read the log from there.
    Logged,
    /// It has asked Redis to void.
    Replaying,
    /// It has asked Redis to drop the namespace. No recovery but a mutant gets here.
    Dropping,
    /// It has dropped the namespace, and knows no horizon. No recovery but a mutant gets here.
    Dropped,
    /// Redis is as it should be.
    Replayed,
}

/// A recovery, and what it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Recovery {
    /// Where it is.
    pub at: RecoveryAt,
    /// Whether there were doubts since it noted how many there are.
    pub is_doubted: bool,
    /// The watermark that it has read.
    pub watermark: Option<Position>,
    /// The rows that it has read.
    pub rows: Positions,
    /// The horizon that it has read.
    pub upto: Position,
    /// What it waits for.
    pub call: Option<Command>,
}

impl Writer {
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.at, WriterAt::Idle | WriterAt::Done)
    }

    /// Ends it.
    pub fn end(&mut self) {
        *self = Self {
            at: WriterAt::Done,
            ..Self::default()
        };
    }
}

impl Reader {
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.at, ReaderAt::Idle | ReaderAt::Done)
    }

    /// Ends it.
    pub fn end(&mut self) {
        *self = Self {
            at: ReaderAt::Done,
            ..Self::default()
        };
    }

    /// Forgets what it does not need: the floor once it loads for itself, and everything once it
    /// can fill nothing.
    pub(super) fn forget(&mut self, fills_need_tickets: bool, keeps_floor: bool) {
        let has_looked = matches!(
            self.at,
            ReaderAt::Loading | ReaderAt::Loaded | ReaderAt::Filling | ReaderAt::NearFill
        );
        if has_looked && !keeps_floor {
            self.floor = 0;
        }
        let has_far = self.far.is_some_and(|id| id != LeaseId::NOWHERE);
        if has_looked && fills_need_tickets && !self.near && !has_far {
            self.end();
        }
    }
}
