//! Everything there is to know at one time.
//!
//! What is counted in the service is a flag here where only equality is asked for. A near ticket is
//! the epoch of when it was taken, and compared with the present one: here it is *good* until the
//! next void. Doubts are counted and compared with how many a recovery had noted: here a recovery is
//! *doubted* or not.

use std::fmt::{self, Display, Formatter};

use super::database::{Database, Position, Positions, Value};
use super::process::{
    Instance, Link, Reader, Recovery, RecoveryAt, Tailer, TailerAt, Writer, WriterAt,
};
use super::redis::{Command, LeaseId, Redis};
use super::scenario::{Budget, Mutant, Scenario, Writes};

/// How many commands may be late at a time.
const LATE: usize = 3;

/// The state of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The source of truth.
    pub database: Database,
    /// The far tier.
    pub redis: Redis,
    /// What Redis would restart with.
    pub snapshot: Redis,
    /// Commands whose senders have given them up, and which may still be executed.
    pub late: [Option<Command>; LATE],
    /// The instances.
    pub instances: [Instance; 2],
    /// Who writes.
    pub writers: [Writer; 2],
    /// Who reads.
    pub readers: [Reader; 2],
    /// What may still go wrong.
    pub budget: Budget,
    /// A reader, and the value it was answered although it must not see it any more.
    pub stale: Option<(u8, Value)>,
}

impl State {
    /// How everything begins: instances that have long been up, or hold nothing at least.
    pub fn initial(scenario: &Scenario) -> Self {
        let warm = scenario.is_warm.then_some(0);
        let redis = Redis {
            entry: warm,
            lease: None,
            watermark: Some(0),
            voided: Positions::default(),
            is_current: [true; 2],
            has_cleared: false,
        };
        let instance = Instance {
            near: warm,
            voided: Positions::default(),
            link: Link::Trusted { seen: 0 },
            is_history_other: false,
            connects: 0,
            tailer: Tailer::default(),
            recovery: Recovery::default(),
        };
        Self {
            database: Database::default(),
            redis,
            snapshot: redis,
            late: [None; LATE],
            instances: [instance; 2],
            writers: [Writer::default(); 2],
            readers: [Reader::default(); 2],
            budget: scenario.budget,
            stale: None,
        }
        .settled(scenario)
    }

    /// Gives up an instance's link until a recovery was without doubt.
    pub fn doubt(&mut self, instance: usize) {
        let instance = &mut self.instances[instance];
        instance.link = Link::Down;
        instance.recovery.is_doubted = instance.recovery.at != RecoveryAt::Idle;
    }

    /// Connects an instance, which begins a sequence of its own. Other data knows nothing of it.
    pub fn connect(&mut self, scenario: &Scenario, instance: usize) {
        let counts_connects = scenario.has_clear();
        self.redis.is_current[instance] = true;
        self.snapshot.is_current[instance] = false;
        let instance = &mut self.instances[instance];
        instance.connects += u8::from(counts_connects);
        instance.link = Link::Connected;
        instance.is_history_other = false;
    }

    /// Whether an instance that trusts Redis would find it to be another at its next heartbeat.
    pub fn finds_another(&self, number: usize) -> bool {
        let is_behind = |seen| self.redis.watermark.is_none_or(|stored| stored < seen);
        let instance = &self.instances[number];
        match instance.link {
            Link::Trusted { seen } => {
                instance.is_history_other || is_behind(seen) || !self.redis.is_current[number]
            }
            Link::Connected | Link::Down => false,
        }
    }

    /// Whether Redis has fallen back behind its connections.
    pub fn has_fallen_back(&self, scenario: &Scenario) -> bool {
        self.budget.fallbacks < scenario.budget.fallbacks
    }

    /// Raises the near epoch of an instance: tickets taken so far are not good any more.
    pub fn raise_epoch(&mut self, scenario: &Scenario, instance: usize) {
        for (writer, &(placed, _)) in self.writers.iter_mut().zip(scenario.writers) {
            writer.near &= usize::from(placed) != instance;
        }
        for (reader, &placed) in self.readers.iter_mut().zip(scenario.readers) {
            reader.near &= usize::from(placed) != instance;
        }
    }

    /// Leaves a command to arrive late, unless too many do.
    pub fn leave(&mut self, command: Command) {
        if let Some(free) = self.late.iter_mut().find(|late| late.is_none()) {
            *free = Some(command);
        }
    }

    /// The oldest value that a read may be answered which begins on this instance now: that of the
    /// last write acknowledged through it, or of one whose position the reader may bring along,
    /// because the instance has published a higher one.
    pub fn floor(&self, instance: usize) -> Value {
        let published = self.instances[instance].tailer.published;
        let is_owed = |origin: u8, position: Option<Position>| {
            usize::from(origin) == instance || position.is_some_and(|it| it < published)
        };
        self.database
            .writes()
            .filter(|(_, row)| row.is_acknowledged && is_owed(row.origin, row.position))
            .last()
            .map_or(0, |(value, _)| value)
    }

    /// Whether nothing is under way, and the tailers have passed everything.
    pub fn is_quiescent(&self, scenario: &Scenario) -> bool {
        let log = self.database.log();
        self.database.is_settled()
            && self.late.iter().all(Option::is_none)
            && self.writers.iter().all(Writer::is_at_rest)
            && (scenario.budget.fallbacks == 0 || self.has_found_out(scenario))
            && self.readers.iter().all(Reader::is_at_rest)
            && self.instances[..scenario.instances].iter().all(|instance| {
                let tailer = &instance.tailer;
                scenario.has(Mutant::TailerOff)
                    || (tailer.at == TailerAt::Idle && log.without(tailer.passed).is_empty())
            })
    }

    /// Redis falling back is found out by the next heartbeat, and settled by the recovery after that.
    /// Without heartbeats it is left to the next change, whichever key it is of.
    fn has_found_out(&self, scenario: &Scenario) -> bool {
        let is_trusted =
            |instance: usize| matches!(self.instances[instance].link, Link::Trusted { .. });
        let mut writers = self.writers.iter().zip(scenario.writers);
        (0..scenario.instances).all(is_trusted)
            && if scenario.has(Mutant::NoHeartbeat) {
                writers.all(|(writer, &(_, writes))| {
                    writes == Writes::Key || writer.at == WriterAt::Done
                })
            } else {
                !(0..scenario.instances).any(|instance| self.finds_another(instance))
            }
    }

    /// The same state, where what makes no difference any more is told in one way only.
    pub fn settled(mut self, scenario: &Scenario) -> Self {
        if self.budget.restarts == 0 && self.budget.fallbacks == 0 {
            self.snapshot = Redis::default();
        }
        self.forget_voided(scenario);
        for (number, instance) in self.instances.iter().enumerate() {
            // The sequence that it began with its last connection is not continued.
            if instance.link == Link::Down && instance.recovery.at == RecoveryAt::Idle {
                self.redis.is_current[number] = false;
                self.snapshot.is_current[number] = false;
            }
        }
        self.number_leases();
        for late in &mut self.late {
            match late {
                Some(Command::Fill { id, .. }) if *id == LeaseId::NOWHERE => {
                    *late = None;
                }
                Some(Command::Apply {
                    is_of_other_history: true,
                    ..
                }) if !scenario.has(Mutant::ApplyIgnoresHistory) => *late = None,
                Some(Command::Void { through, .. }) => {
                    *through = through.filter(|(id, _)| *id != LeaseId::NOWHERE);
                }
                _ => {}
            }
        }
        self.late.sort_unstable();
        let fills_need_tickets = !scenario.has_flights
            && !scenario.has(Mutant::NearFillIgnoresTicket)
            && !scenario.has(Mutant::FarFillIgnoresTicket);
        for reader in &mut self.readers {
            reader.forget(fills_need_tickets, scenario.has_flights);
        }
        self
    }

    /// Forgets which changes were voided where their rows will not come any more.
    fn forget_voided(&mut self, scenario: &Scenario) {
        for redis in [&mut self.redis, &mut self.snapshot] {
            let passed = Positions::below(redis.watermark.unwrap_or_default());
            redis.voided = redis.voided.without(passed);
        }
        for instance in &mut self.instances {
            let is_idle = instance.tailer.at == TailerAt::Idle;
            if is_idle && !scenario.has(Mutant::NearVoidedComparesOrder) {
                instance.voided = instance.voided.without(instance.tailer.passed);
            }
        }
    }

    /// Numbers the leases' ids by where they are found. What is found neither in Redis nor in its
    /// snapshot will never match again.
    fn number_leases(&mut self) {
        let id_in = |redis: &Redis| redis.lease.map(|lease| lease.id);
        let (present, saved) = (id_in(&self.redis), id_in(&self.snapshot));
        let renumber = |id: &mut LeaseId| {
            if id.is_of_writer() {
                // It may yet arrive.
            } else if Some(*id) == present {
                *id = LeaseId(1);
            } else if Some(*id) == saved {
                *id = LeaseId(2);
            } else {
                *id = LeaseId::NOWHERE;
            }
        };
        let (writers, readers) = (self.writers.iter_mut(), self.readers.iter_mut());
        let tickets = writers
            .map(|writer| (&mut writer.far, &mut writer.call))
            .chain(readers.map(|reader| (&mut reader.far, &mut reader.call)));
        for (far, call) in tickets {
            far.iter_mut().for_each(renumber);
            call.iter_mut().filter_map(id_of).for_each(renumber);
        }
        let late = self.late.iter_mut().flatten();
        late.filter_map(id_of).for_each(renumber);
        for redis in [&mut self.redis, &mut self.snapshot] {
            if let Some(lease) = &mut redis.lease {
                renumber(&mut lease.id);
            }
        }
    }
}

/// The ticket in a command.
fn id_of(command: &mut Command) -> Option<&mut LeaseId> {
    match command {
        Command::Fill { id, .. } => Some(id),
        Command::Void { through, .. } => through.as_mut().map(|(id, _)| id),
        _ => None,
    }
}

impl LeaseId {
    /// The id that a writer asks for, where it may come to rely on it without an answer.
    pub fn of_writer(number: usize) -> Self {
        Self(10 + u8::from(number != 0))
    }

    fn is_of_writer(self) -> bool {
        [Self::of_writer(0), Self::of_writer(1)].contains(&self)
    }
}

impl Display for State {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let or_nothing = |value: Option<Value>| value.map_or("-".into(), |it| format!("v{it}"));
        write!(f, "db v{}", self.database.value())?;
        write!(f, " | far {}", or_nothing(self.redis.entry))?;
        if self.redis.lease.is_some() {
            write!(f, " leased")?;
        }
        match self.redis.watermark {
            Some(watermark) => write!(f, " wm {watermark}")?,
            None => write!(f, " wm -")?,
        }
        write!(f, " voided {}", self.redis.voided)?;
        for (number, instance) in self.instances.iter().enumerate() {
            let link = match instance.link {
                Link::Down => "down",
                Link::Connected => "connected",
                Link::Trusted { .. } => "trusted",
            };
            let published = instance.tailer.published;
            write!(f, " | {number}: near {}", or_nothing(instance.near))?;
            write!(f, " voided {} {link} pub {published}", instance.voided)?;
        }
        Ok(())
    }
}
