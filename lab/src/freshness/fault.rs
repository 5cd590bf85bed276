//! What can go wrong, by name.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// Something that goes wrong, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Redis is killed, and comes back empty.
    RedisKilled,
    /// Redis stands still: connections stay open, nothing is answered.
    RedisFrozen,
    /// Redis is killed, and comes back with what it held a good while ago.
    RedisOldData,
    /// One instance cannot reach Redis: its connections hang, then they are cut.
    RedisPartitioned,
    /// Redis has room for a quarter of what it holds, and evicts the rest.
    RedisEvicting,
    /// Redis loses everything, again and again.
    RedisFlushed,
    /// One instance after the other is killed in the middle of its writes, and started again.
    InstanceKilled,
}

/// What a fault is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// The Redis server itself. Not one that belongs to somebody else.
    OwnRedis,
    /// The way to Redis, which is always ours.
    Proxy,
    /// The service.
    Instances,
}

impl Fault {
    /// Each of them, in the order in which they are played.
    pub const ALL: [Self; 7] = [
        Self::RedisKilled,
        Self::RedisFrozen,
        Self::RedisOldData,
        Self::RedisPartitioned,
        Self::RedisEvicting,
        Self::RedisFlushed,
        Self::InstanceKilled,
    ];

    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::RedisKilled => "redis-killed",
            Self::RedisFrozen => "redis-frozen",
            Self::RedisOldData => "redis-old-data",
            Self::RedisPartitioned => "redis-partitioned",
            Self::RedisEvicting => "redis-evicting",
            Self::RedisFlushed => "redis-flushed",
            Self::InstanceKilled => "instance-killed",
        }
    }

    pub(super) fn means(self) -> Means {
        match self {
            Self::RedisPartitioned => Means::Proxy,
            Self::InstanceKilled => Means::Instances,
            _ => Means::OwnRedis,
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which faults are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Faults {
    /// As many as can be played on what there is.
    All,
    /// These.
    Named(Vec<Fault>),
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "none" => Ok(Self::Named(Vec::new())),
            names => {
                let named = |name: &str| {
                    let mut all = Fault::ALL.into_iter();
                    all.find(|fault| fault.name() == name).ok_or_else(|| {
                        let names = Fault::ALL.map(Fault::name).join(", ");
                        format!("`{name}` is no fault; there are: {names}; and: all, none")
                    })
                };
                names
                    .split(',')
                    .map(str::trim)
                    .map(named)
                    .collect::<Result<_, _>>()
                    .map(Self::Named)
            }
        }
    }
}
