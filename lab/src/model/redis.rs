//! The Redis that instances share, and the commands it executes.
//!
//! The namespace's token is not modelled as such. It is drawn at random, so one that was lost or
//! replaced never returns, other than with a snapshot of everything. What carries another token
//! than the present one is therefore dead for good: such an entry is left out, and such a lease is
//! marked.

use std::fmt::{self, Display, Formatter};

use super::database::{Position, Positions, Value};
use super::scenario::{Mutant, Scenario};

/// The random id of a lease. [`NOWHERE`](Self::NOWHERE) stands for all that can never match again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u8);

impl LeaseId {
    /// An id that neither Redis nor its snapshot knows.
    pub const NOWHERE: Self = Self(0);
}

/// The right to store the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// What tickets carry.
    pub id: LeaseId,
    /// Whether it carries the present token.
    pub is_live: bool,
}

/// Everything that Redis holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Redis {
    /// The entry, if it carries the present token.
    pub entry: Option<Value>,
    /// The key's lease.
    pub lease: Option<Lease>,
    /// Every change below has been voided here.
    pub watermark: Option<Position>,
    /// And these, by their writers: the log need not void them once more. They are part of the data:
    /// a Redis that comes back with older data has forgotten both, what was voided and that it was.
    pub voided: Positions,
    /// Whether the sequence number that each instance keeps here is the last one acknowledged to it.
    /// It is not in data from before that acknowledgement, nor in data from before it connected.
    pub is_current: [bool; 2],
    /// Whether the clear is noted as done here.
    pub has_cleared: bool,
}

/// What is sent to Redis. Each is executed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Command {
    /// Looks at the entry.
    Get,
    /// Takes a ticket.
    Claim {
        /// The id to use if there is no lease yet; a new one if it does not matter.
        id: Option<LeaseId>,
    },
    /// Stores what was loaded.
    Fill {
        /// The ticket.
        id: LeaseId,
        /// What was loaded.
        value: Value,
    },
    /// Voids the key, and hands a value through if the ticket is good.
    Void {
        /// The ticket and the value.
        through: Option<(LeaseId, Value)>,
        /// The change to be remembered as voided, if that is known to be committed.
        position: Option<Position>,
    },
    /// A tailer's or a recovery's: voids what of these rows was not voided yet, and raises the
    /// watermark. Does neither if this is not the Redis that its sender connected to.
    Apply {
        /// The rows that speak of the key.
        rows: Positions,
        /// Those of them that are clears.
        clears: Positions,
        /// The watermark that the sender knows to have been reached.
        seen: Position,
        /// The new watermark.
        upto: Position,
        /// Whether Redis has got another history since the sender connected.
        is_of_other_history: bool,
    },
    /// Notes that the clear is done.
    Note,
    /// A recovery's: drops the namespace.
    Drop {
        /// The new watermark.
        upto: Option<Position>,
    },
}

/// What Redis answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The live entry.
    Entry(Option<Value>),
    /// The lease's id.
    Ticket(LeaseId),
    /// Whether something was written.
    Written(bool),
    /// The sender's sequence number is missing or too low: other data than it connected to.
    OtherData,
    /// The watermark, or that this is not the Redis that it was.
    Watermark(Option<Position>),
    /// That it was done.
    Done,
}

impl Redis {
    /// Executes a command of this instance, which checks its sequence number where it trusts Redis.
    pub fn execute_for(
        &mut self,
        instance: usize,
        is_trusted: bool,
        command: Command,
        scenario: &Scenario,
    ) -> Answer {
        let is_current = self.is_current[instance] || scenario.has(Mutant::SequenceIgnored);
        match command {
            Command::Get if is_trusted && !is_current => Answer::OtherData,
            Command::Apply { .. } | Command::Drop { .. } if !is_current => Answer::Watermark(None),
            Command::Note if !is_current && !scenario.has(Mutant::ClearNotedAnywhere) => {
                Answer::OtherData
            }
            // Removing is right in any data.
            Command::Void { .. } if is_trusted && !is_current => {
                let removing = Command::Void {
                    through: None,
                    position: None,
                };
                self.execute(removing, scenario);
                Answer::OtherData
            }
            _ => self.execute(command, scenario),
        }
    }

    /// Executes a command.
    pub fn execute(&mut self, command: Command, scenario: &Scenario) -> Answer {
        match command {
            Command::Get => Answer::Entry(self.entry),
            Command::Claim { id } => Answer::Ticket(self.claim(id)),
            Command::Fill { id, value } => {
                let is_good = self.lease == Some(Lease { id, is_live: true })
                    || scenario.has(Mutant::FarFillIgnoresTicket);
                if is_good {
                    self.entry = Some(value);
                }
                Answer::Written(is_good)
            }
            Command::Void { through, position } => {
                if let Some(position) = position {
                    self.voided = self.voided.and(Positions::only(position));
                }
                Answer::Written(self.void(through, scenario))
            }
            Command::Note => {
                self.has_cleared = true;
                Answer::Done
            }
            Command::Apply {
                rows,
                clears,
                seen,
                upto,
                is_of_other_history,
            } => {
                let is_another = is_of_other_history && !scenario.has(Mutant::ApplyIgnoresHistory);
                let stored = self.watermark;
                let stored = stored.filter(|&stored| stored >= seen && !is_another);
                Answer::Watermark(stored.map(|stored| {
                    let left = rows.without(Positions::below(stored));
                    self.void_rows(left.without(clears), scenario);
                    if !left.among(clears).is_empty() {
                        self.apply_clear(scenario);
                    }
                    let new = stored.max(upto);
                    self.watermark = Some(new);
                    self.voided = self.voided.without(Positions::below(new));
                    new
                }))
            }
            Command::Drop { upto } => {
                // The mutant drops first, and then moves the watermark.
                if !scenario.has(Mutant::HorizonAfterDrop) || upto.is_none() {
                    self.drop_namespace();
                }
                self.watermark = upto;
                self.has_cleared = false;
                Answer::Done
            }
        }
    }

    fn claim(&mut self, id: Option<LeaseId>) -> LeaseId {
        if let Some(lease) = self.lease.filter(|lease| lease.is_live) {
            return lease.id;
        }
        let id = id.unwrap_or(LeaseId::NEW);
        self.lease = Some(Lease { id, is_live: true });
        id
    }

    fn void(&mut self, through: Option<(LeaseId, Value)>, scenario: &Scenario) -> bool {
        let lease = self.lease.take();
        self.entry = None;
        if scenario.has(Mutant::RemovingVoidLeavesLease) && through.is_none() {
            self.lease = lease;
        }
        let Some((id, value)) = through else {
            return false;
        };
        if scenario.has(Mutant::WritersAllWriteThrough) {
            self.entry = Some(value);
            return true;
        }
        let Some(lease) = lease.filter(|lease| lease.id == id) else {
            return false;
        };
        if lease.is_live {
            self.entry = Some(value);
        }
        true
    }

    fn void_rows(&mut self, rows: Positions, scenario: &Scenario) {
        for position in rows.iter() {
            if scenario.is_voided(self.voided, position, Mutant::FarVoidedComparesOrder) {
                continue;
            }
            if !scenario.has(Mutant::LogVoidLeavesLease) {
                self.lease = None;
            }
            self.entry = None;
        }
    }

    fn apply_clear(&mut self, scenario: &Scenario) {
        if !self.has_cleared && !scenario.has(Mutant::ClearsLeftToTheirInstance) {
            self.drop_namespace();
        }
        self.has_cleared = true;
    }

    /// What changing or losing the token does.
    pub fn drop_namespace(&mut self) {
        self.entry = None;
        if let Some(lease) = &mut self.lease {
            lease.is_live = false;
        }
    }
}

impl Command {
    /// Redis gets another history.
    pub fn outlive_history(&mut self) {
        if let Self::Apply {
            is_of_other_history,
            ..
        } = self
        {
            *is_of_other_history = true;
        }
    }
}

impl LeaseId {
    /// One that was just drawn. It is given a number of its own before the step is over.
    pub const NEW: Self = Self(u8::MAX);
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let known = |id: &LeaseId| {
            if *id == LeaseId::NOWHERE {
                "lost"
            } else {
                "own"
            }
        };
        match self {
            Self::Get => write!(f, "GET"),
            Self::Claim { .. } => write!(f, "CLAIM"),
            Self::Fill { id, value } => write!(f, "FILL v{value} ({} lease)", known(id)),
            Self::Void { through, position } => {
                write!(f, "VOID")?;
                if let Some(position) = position {
                    write!(f, " of {position}")?;
                }
                match through {
                    Some((id, value)) => write!(f, " through v{value} ({} lease)", known(id)),
                    None => Ok(()),
                }
            }
            Self::Note => write!(f, "NOTE of the clear"),
            Self::Apply {
                rows,
                clears: _,
                seen,
                upto,
                is_of_other_history,
            } => {
                write!(f, "APPLY {rows} seen {seen} up to {upto}")?;
                if *is_of_other_history {
                    write!(f, " of another history")?;
                }
                Ok(())
            }
            Self::Drop { upto: Some(upto) } => write!(f, "DROP up to {upto}"),
            Self::Drop { upto: None } => write!(f, "DROP"),
        }
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(Some(value)) => write!(f, "v{value}"),
            Self::Entry(None) => write!(f, "nothing"),
            Self::Ticket(_) => write!(f, "a ticket"),
            Self::Written(true) => write!(f, "written"),
            Self::Written(false) => write!(f, "not written"),
            Self::OtherData => write!(f, "other data"),
            Self::Watermark(Some(position)) => write!(f, "watermark {position}"),
            Self::Watermark(None) => write!(f, "another Redis"),
            Self::Done => write!(f, "done"),
        }
    }
}
