//! What is explored: who does what where, what goes wrong, and what is left out of the protocol.

use super::database::{Position, Positions};

/// Which of the two backends reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Near, and far on a miss.
    Tiered,
    /// Far; near is filled and voided all the same, but read only while far is not trusted.
    Redis,
}

/// What a writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// The key.
    Key,
    /// Another key, which only moves the log; and only once Redis fell back.
    OtherKey,
    /// Nothing: an administrator clears the key.
    Clear,
}

/// How often each thing may go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// A command is lost, or its answer, or it arrives after its sender has given it up.
    pub losses: u8,
    /// An instance distrusts Redis for a reason of its own.
    pub distrusts: u8,
    /// Redis saves a snapshot, other than the one it begins with.
    pub saves: u8,
    /// Redis restarts with its snapshot, or empty.
    pub restarts: u8,
    /// Redis exchanges its data for that of its snapshot behind connections that stay, with or without
    /// a change of its history.
    pub fallbacks: u8,
    /// Redis is emptied; connections stay.
    pub flushes: u8,
    /// Redis evicts something, or an instance does.
    pub evictions: u8,
    /// An instance is killed and starts again.
    pub kills: u8,
    /// A commit happens, and its writer does not learn so.
    pub unknown_commits: u8,
    /// A writer loses its transaction, which may commit at any time after, or never.
    pub lost_transactions: u8,
}

/// Something that is left out of the protocol, or done wrongly, to see that it is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A near fill does not compare epochs.
    NearFillIgnoresTicket,
    /// A far fill does not compare leases.
    FarFillIgnoresTicket,
    /// A writer hands its value through whatever became of its tickets.
    WritersAllWriteThrough,
    /// A writer voids near, then far.
    WriterVoidsNearFirst,
    /// The tailer voids near, then far.
    TailerVoidsNearFirst,
    /// A reader looks into far, then takes its near ticket.
    NearTicketAfterFarLook,
    /// Nobody reads the log but recoveries.
    TailerOff,
    /// A recovery trusts Redis without voiding what the log says.
    TrustWithoutReplay,
    /// Watermark and positions move past whatever is visible.
    LateCommitSkipped,
    /// A reader joins any flight for its key.
    FlightCrossesWrite,
    /// A commit of unknown outcome voids nothing.
    UnknownCommitNotVoided,
    /// A recovery trusts Redis whatever was doubted meanwhile.
    DistrustIsAFlag,
    /// A writer's void that was not confirmed raises no doubt.
    UnconfirmedVoidIsTrusted,
    /// A row that the tailer passes without a confirmed far void raises no doubt.
    UnconfirmedRowIsTrusted,
    /// An unconfirmed void raises its doubt after the near void.
    DistrustAfterNearVoid,
    /// Sequence numbers are not looked at.
    SequenceIgnored,
    /// A recovery drops the namespace, and leaves its sequence number as it is.
    DropKeepsSequence,
    /// The watermark is advanced wherever it is.
    ApplyIgnoresSeen,
    /// The watermark is advanced whatever history Redis has.
    ApplyIgnoresHistory,
    /// A row of the log voids the value, and leaves the lease.
    LogVoidLeavesLease,
    /// A removing void removes the value, and leaves the lease.
    RemovingVoidLeavesLease,
    /// What near was voided of already is told by order: a row is passed over if it or a later one
    /// was voided by its writer.
    NearVoidedComparesOrder,
    /// The same far.
    FarVoidedComparesOrder,
    /// What was voided far is remembered elsewhere than in Redis.
    VoidedOutsideRedis,
    /// A writer has its change remembered as voided far, then voids.
    RememberedBeforeFarVoid,
    /// A writer has its change remembered as voided near, then voids.
    RememberedBeforeNearVoid,
    /// A change of unknown outcome is remembered as voided.
    UnknownCommitRemembered,
    /// Nobody looks whether Redis is what it was but those who move the watermark.
    NoHeartbeat,
    /// Commands run on a new connection before recovery.
    AskedBeforeRecovery,
    /// A writer whose ticket was not confirmed writes through under the id it asked for.
    UnconfirmedTicketWritesThrough,
    /// The tailer publishes its position, then voids near.
    PublishedBeforeNearVoid,
    /// A recovery drops the namespace, then reads the horizon that becomes the watermark.
    HorizonAfterDrop,
    /// The tailer passes rows of its own instance without voiding.
    OwnRowsSkipped,
    /// Who applies the log leaves clears in Redis to the instance that cleared.
    ClearsLeftToTheirInstance,
    /// A clear is noted in Redis, then done.
    ClearNotedFirst,
    /// A clear is noted in whatever data there is.
    ClearNotedAnywhere,
    /// A clear is acknowledged before its own instance has applied the row.
    ClearNotAwaited,
}

/// One exploration.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// How many instances there are: one or two.
    pub instances: usize,
    /// The backend of each.
    pub backend: Backend,
    /// The instance of each writer, and what it writes. At most two.
    pub writers: &'static [(u8, Writes)],
    /// The instance of each reader that looks, misses and fills. At most two. Reads that find
    /// something at once need no reader: every state is checked for what they would find.
    pub readers: &'static [u8],
    /// Whether both tiers hold the first value from the beginning.
    pub is_warm: bool,
    /// Whether readers join loads of their own instance that are under way.
    pub has_flights: bool,
    /// Whether a command is executed as soon as it is sent, if it is not lost or late. Fewer states.
    pub is_prompt: bool,
    /// What goes wrong.
    pub budget: Budget,
    /// What is left out.
    pub mutants: &'static [Mutant],
}

impl Scenario {
    /// One instance where nothing happens and nothing goes wrong, to be made into others.
    pub const QUIET: Self = Self {
        instances: 1,
        backend: Backend::Tiered,
        writers: &[],
        readers: &[],
        is_warm: false,
        has_flights: false,
        is_prompt: false,
        budget: Budget {
            losses: 0,
            distrusts: 0,
            saves: 0,
            restarts: 0,
            fallbacks: 0,
            flushes: 0,
            evictions: 0,
            kills: 0,
            unknown_commits: 0,
            lost_transactions: 0,
        },
        mutants: &[],
    };

    /// The same with something left out.
    pub fn with(self, mutants: &'static [Mutant]) -> Self {
        Self { mutants, ..self }
    }

    /// Whether an administrator clears.
    pub(super) fn has_clear(&self) -> bool {
        let mut writers = self.writers.iter();
        writers.any(|(_, writes)| *writes == Writes::Clear)
    }

    pub(super) fn has(&self, mutant: Mutant) -> bool {
        self.mutants.contains(&mutant)
    }

    /// Whether the change at this position is voided where these are remembered, so that its row need
    /// not be. The mutant is the one that compares otherwise there.
    pub(super) fn is_voided(
        &self,
        voided: Positions,
        position: Position,
        compares_order: Mutant,
    ) -> bool {
        if self.has(compares_order) {
            voided.reach(position)
        } else {
            voided.contains(position)
        }
    }
}
