//! What steps are called in a trace.

use std::fmt::{self, Display, Formatter};

use super::redis::{Answer, Command};

/// Who takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A writer by its number, and its instance.
    Writer(usize, u8),
    /// A reader by its number, and its instance.
    Reader(usize, u8),
    /// An instance's tailer.
    Tailer(usize),
    /// An instance's recovery.
    Recovery(usize),
    /// An instance as a whole.
    Instance(usize),
    /// The database.
    Database,
    /// Redis.
    Redis,
}

/// What happens in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// As it says.
    Does(&'static str),
    /// As it says, of this position or value.
    DoesAt(&'static str, u8),
    /// A command is executed and answered.
    Asks(Command, Answer),
    /// A command comes to this, and its sender knows nothing.
    Loses(Command, &'static str),
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Who takes it.
    pub who: Who,
    /// What happens.
    pub what: What,
}

impl Who {
    /// The instance it is part of.
    pub fn instance(self) -> Option<usize> {
        match self {
            Self::Writer(_, instance) | Self::Reader(_, instance) => Some(instance.into()),
            Self::Tailer(instance) | Self::Recovery(instance) | Self::Instance(instance) => {
                Some(instance)
            }
            Self::Database | Self::Redis => None,
        }
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writer(number, instance) => write!(f, "writer {number} on {instance}"),
            Self::Reader(number, instance) => write!(f, "reader {number} on {instance}"),
            Self::Tailer(instance) => write!(f, "tailer of {instance}"),
            Self::Recovery(instance) => write!(f, "recovery of {instance}"),
            Self::Instance(instance) => write!(f, "instance {instance}"),
            Self::Database => write!(f, "database"),
            Self::Redis => write!(f, "redis"),
        }
    }
}

impl Display for Label {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.who)?;
        match self.what {
            What::Does(what) => write!(f, "{what}"),
            What::DoesAt(what, number) => write!(f, "{what} {number}"),
            What::Asks(command, answer) => write!(f, "{command} -> {answer}"),
            What::Loses(command, how) => write!(f, "{command}: {how}"),
        }
    }
}
