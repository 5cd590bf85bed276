//! What is played: a few lines of TOML for each scenario.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::proxy::Fault;

/// Scenarios by name, with the text of their files.
macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../config/drills/", $name, ".toml")))),*]
    };
}

/// The scenarios that come with the program, in the order in which they are played.
const BUILT_IN: &[(&str, &str)] = built_in![
    "kill",
    "old-data",
    "freeze",
    "refuse",
    "blackhole",
    "slow",
    "reset",
    "garbage",
    "read-only",
    "out-of-memory",
    "flapping",
    "partition-one",
    "never-there",
    "database-away",
];

/// The longest that a scenario may be given for each of its parts.
const LONGEST: Duration = Duration::from_secs(600);

/// Something that is broken for a while, under load, and what must hold meanwhile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// As it is called on the command line: the file's name without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// The file, as it was read.
    #[serde(skip)]
    pub text: String,
    /// What happens, in a sentence.
    pub about: String,
    /// How many instances of the service there are.
    #[serde(default = "one")]
    pub instances: u8,
    /// Which instance's way to Redis `network` is about, from 0; all unless it is given.
    pub only: Option<u8>,
    /// Whether it is broken before the service starts.
    #[serde(default)]
    pub from_the_start: bool,
    /// What is done to break it.
    #[serde(rename = "break")]
    pub breaks: Vec<Action>,
    /// What is done to mend it.
    pub mend: Vec<Action>,
    /// How long all is well before.
    #[serde(default = "before", with = "humantime_serde")]
    pub before: Duration,
    /// How long it stays broken.
    #[serde(default = "lasts", with = "humantime_serde")]
    pub lasts: Duration,
    /// How often it is broken and mended.
    #[serde(default = "one")]
    pub times: u8,
    /// How long it is well between two times.
    #[serde(default = "between", with = "humantime_serde")]
    pub between: Duration,
    /// How long the load goes on after the last time.
    #[serde(default = "after", with = "humantime_serde")]
    pub after: Duration,
    /// What must hold.
    #[serde(default)]
    pub limits: Limits,
}

/// What must hold for a scenario to be passed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How many requests may fail.
    pub failed: u64,
    /// What part of the reads may be refused (503 with `Retry-After`) until all is well again.
    pub refused_reads: f64,
    /// The same for writes.
    pub refused_writes: f64,
    /// How many reads may be older than what the instance that answered had acknowledged.
    pub stale: u64,
    /// How many acknowledged writes may be missing at the end.
    pub lost: u64,
    /// The largest p99 while it is broken, after the first 250 ms, as a multiple of the reference's at
    /// the same time.
    pub p99_during: f64,
    /// The largest p99 from `recovery` after the mend on, as a multiple of what it was before, each as a
    /// multiple of the reference's at the same time.
    pub p99_after: f64,
    /// How long after it was mended all instances must be well again.
    #[serde(with = "humantime_serde")]
    pub recovery: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            failed: 0,
            refused_reads: 0.0,
            refused_writes: 0.0,
            stale: 0,
            lost: 0,
            p99_during: 1.5,
            p99_after: 3.0,
            recovery: Duration::from_secs(1),
        }
    }
}

/// Something that is done to a server or to the way to it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// To Redis itself.
    Redis(ToRedis),
    /// To the way to Redis.
    Network(Network),
    /// To the way to the database, which is PostgreSQL then.
    Database(Network),
    /// A command that Redis is sent by somebody else.
    Command(Vec<String>),
    /// Nothing, for a while.
    #[serde(with = "humantime_serde")]
    Wait(Duration),
}

/// What is done to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToRedis {
    /// It is killed (SIGKILL).
    Kill,
    /// It is started again, empty.
    Start,
    /// It is started again with what it held when the scenario began.
    StartOld,
    /// It is stopped where it stands (SIGSTOP).
    Freeze,
    /// It goes on (SIGCONT).
    Thaw,
}

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Its work.
    Pass,
    /// Nobody listens.
    Refuse,
    /// Connections are closed, new ones as soon as they are made.
    Cut,
    /// The same with a TCP reset.
    Reset,
    /// Each connection is reset after a random part of this time.
    #[serde(with = "humantime_serde")]
    ResetWithin(Duration),
    /// Connections stay open, and nothing arrives.
    Hang,
    /// What is answered arrives as random bytes.
    Garbage,
    /// Everything arrives later, each way.
    Delay {
        /// The least it takes.
        #[serde(with = "humantime_serde")]
        by: Duration,
        /// The most that comes on top.
        #[serde(default, with = "humantime_serde")]
        jitter: Duration,
    },
    /// Each connection carries so many bytes per second, each way.
    Throttle(u32),
}

impl Network {
    /// The proxy's part in it.
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::Pass => Fault::Pass,
            Self::Refuse => Fault::Refuse,
            Self::Cut => Fault::Cut,
            Self::Reset => Fault::Reset,
            Self::ResetWithin(life) => Fault::ResetWithin(life),
            Self::Hang => Fault::Hang,
            Self::Garbage => Fault::Garbage,
            Self::Delay { by, jitter } => Fault::Delay { by, jitter },
            Self::Throttle(bytes_per_second) => Fault::Throttle { bytes_per_second },
        }
    }
}

/// Why there is no such scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Nothing has this name.
    #[error("there is no scenario `{0}`; there are: {names}; or give the path of a .toml file", names = names())]
    Unknown(String),
    /// There is no such file, or it cannot be read.
    #[error("{0}: {1}")]
    Unreadable(String, std::io::Error),
    /// What is in a file makes no sense, and why.
    #[error("{0}: {1}")]
    Invalid(String, String),
}

impl Scenario {
    /// All that come with the program.
    ///
    /// # Errors
    /// None, as a test sees to.
    pub fn built_in() -> Result<Vec<Self>, ScenarioError> {
        let all = BUILT_IN.iter();
        all.map(|(name, text)| Self::parse(name, name, text))
            .collect()
    }

    /// The one of this name, or in the file of this path.
    ///
    /// # Errors
    /// There is none, or it makes no sense.
    pub fn find(name: &str) -> Result<Self, ScenarioError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, name, text);
        }
        let path = Path::new(name);
        let Some(stem) = path.file_stem().filter(|_| name.ends_with(".toml")) else {
            return Err(ScenarioError::Unknown(name.to_owned()));
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if !stem.to_string_lossy().chars().all(is_plain) {
            let why = "a scenario's file is called by letters, digits, - and _".to_owned();
            return Err(ScenarioError::Invalid(name.to_owned(), why));
        }
        let text = fs::read_to_string(path);
        let text = text.map_err(|why| ScenarioError::Unreadable(name.to_owned(), why))?;
        Self::parse(name, &stem.to_string_lossy(), &text)
    }

    fn parse(origin: &str, name: &str, text: &str) -> Result<Self, ScenarioError> {
        let invalid = |why: String| ScenarioError::Invalid(origin.to_owned(), why);
        let scenario: Self = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
        scenario.check().map_err(invalid)?;
        Ok(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            ..scenario
        })
    }

    fn check(&self) -> Result<(), String> {
        let within = |key: &str, time: Duration, least: Duration| {
            if (least..=LONGEST).contains(&time) {
                return Ok(());
            }
            let [least, most] = [least, LONGEST].map(humantime::format_duration);
            Err(format!("{key}: from {least} to {most}"))
        };
        let brief = Duration::from_millis(100);
        within("before", self.before, Duration::ZERO)?;
        within("lasts", self.lasts, brief)?;
        within("between", self.between, brief)?;
        within("after", self.after, brief)?;
        within("limits.recovery", self.limits.recovery, Duration::ZERO)?;
        if !(1..=8).contains(&self.instances) {
            return Err("instances: from 1 to 8".to_owned());
        }
        if self.times == 0 || self.from_the_start && self.times > 1 {
            return Err("times: at least 1, and no more from_the_start".to_owned());
        }
        if let Some(only) = self.only.filter(|&only| only >= self.instances) {
            let instances = self.instances;
            return Err(format!(
                "only: instance {only} of {instances}, which are counted from 0"
            ));
        }
        let Limits {
            refused_reads,
            refused_writes,
            p99_during,
            p99_after,
            ..
        } = self.limits;
        for (key, part) in [
            ("refused_reads", refused_reads),
            ("refused_writes", refused_writes),
        ] {
            if !(0.0..=1.0).contains(&part) {
                return Err(format!("limits.{key}: a part of 1, from 0.0 to 1.0"));
            }
        }
        for (key, ratio) in [("p99_during", p99_during), ("p99_after", p99_after)] {
            if ratio.is_nan() || ratio <= 0.0 {
                return Err(format!("limits.{key}: a multiple, above 0.0"));
            }
        }
        for (key, actions) in [("break", &self.breaks), ("mend", &self.mend)] {
            if actions.is_empty() {
                return Err(format!("{key}: at least one action"));
            }
            for action in actions {
                self.check_action(action)
                    .map_err(|why| format!("{key}: {why}"))?;
            }
        }
        Ok(())
    }

    fn check_action(&self, action: &Action) -> Result<(), String> {
        let brief = |key: &str, time: Duration| {
            if time <= LONGEST {
                return Ok(());
            }
            let most = humantime::format_duration(LONGEST);
            Err(format!("{key}: {most} at most"))
        };
        match action {
            Action::Command(words) if words.is_empty() => {
                Err("command: the words of a Redis command, such as [\"FLUSHALL\"]".to_owned())
            }
            Action::Database(_) if self.from_the_start => {
                Err("database: nothing starts without one, so not from_the_start".to_owned())
            }
            Action::Redis(ToRedis::StartOld) if self.from_the_start => {
                Err("redis: start-old: from_the_start there is nothing old".to_owned())
            }
            Action::Redis(_) | Action::Database(_) | Action::Command(_) if self.only.is_some() => {
                Err("only: is for scenarios that break the network alone".to_owned())
            }
            Action::Wait(time) => brief("wait", *time),
            Action::Network(network) | Action::Database(network) => match *network {
                Network::ResetWithin(life) => brief("reset-within", life),
                Network::Delay { by, jitter } => brief("by", by).and(brief("jitter", jitter)),
                _ => Ok(()),
            },
            Action::Redis(_) | Action::Command(_) => Ok(()),
        }
    }

    /// Whether it breaks the database, or the way to it.
    pub fn needs_postgres(&self) -> bool {
        self.actions()
            .any(|action| matches!(action, Action::Database(_)))
    }

    /// Whether Redis comes back with what it held.
    pub(super) fn needs_old_data(&self) -> bool {
        self.actions()
            .any(|action| *action == Action::Redis(ToRedis::StartOld))
    }

    fn actions(&self) -> impl Iterator<Item = &Action> {
        self.breaks.iter().chain(&self.mend)
    }

    /// The same in another time. What must hold stays as it is.
    #[must_use]
    pub fn at_pace(mut self, factor: f64) -> Self {
        for time in [
            &mut self.before,
            &mut self.lasts,
            &mut self.between,
            &mut self.after,
        ] {
            *time = time.mul_f64(factor);
        }
        self
    }

    /// How long it is played.
    pub fn duration(&self) -> Duration {
        let times = u32::from(self.times);
        self.before + self.lasts * times + self.between * (times - 1) + self.after
    }
}

impl Display for Scenario {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

fn names() -> String {
    let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

fn one() -> u8 {
    1
}

fn before() -> Duration {
    Duration::from_secs(3)
}

fn lasts() -> Duration {
    Duration::from_secs(4)
}

fn between() -> Duration {
    Duration::from_secs(1)
}

fn after() -> Duration {
    Duration::from_secs(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &str = "about = 'x'\nbreak = [{ redis = 'kill' }]\nmend = [{ redis = 'start' }]\n";

    fn refused(more: &str) -> String {
        let text = format!("{PLAIN}{more}");
        let error = Scenario::parse("mine.toml", "mine", &text).expect_err(more);
        error.to_string()
    }

    #[test]
    fn every_scenario_that_comes_along_makes_sense() {
        let all = Scenario::built_in().expect("they are tested");
        assert_eq!(all.len(), BUILT_IN.len());
        for scenario in all {
            assert!(!scenario.about.is_empty(), "{scenario}");
            assert!(scenario.duration() < Duration::from_secs(30), "{scenario}");
        }
    }

    #[test]
    fn what_is_left_out_has_the_values_of_the_bars() {
        let scenario = Scenario::parse("mine", "mine", PLAIN).expect("it makes sense");
        assert_eq!(scenario.breaks, [Action::Redis(ToRedis::Kill)]);
        assert_eq!((scenario.instances, scenario.times), (1, 1));
        let Limits {
            failed,
            stale,
            lost,
            ..
        } = scenario.limits;
        assert_eq!((failed, stale, lost), (0, 0, 0));
        assert_eq!(scenario.duration(), Duration::from_secs(11));
        assert_eq!(
            scenario.at_pace(0.5).duration(),
            Duration::from_millis(5500)
        );
    }

    #[test]
    fn a_mistake_is_named_with_its_key_and_what_is_accepted() {
        for (more, names) in [
            ("lasts = '1ms'", &["lasts", "100ms"][..]),
            ("after = '1day'", &["after", "10m"]),
            ("instances = 9", &["instances", "8"]),
            ("only = 1", &["only", "0"]),
            ("times = 0", &["times"]),
            ("colour = 'red'", &["colour", "about"]),
            ("limits = { p99_during = 0.0 }", &["limits.p99_during"]),
            (
                "limits = { refused_reads = 2.0 }",
                &["limits.refused_reads", "1.0"],
            ),
            ("limits = { speed = 1 }", &["speed", "p99_during"]),
            ("limits = { p99_after = nan }", &["limits.p99_after"]),
            ("instances = 2\nonly = 1", &["only", "network"]),
        ] {
            let said = refused(more);
            for name in ["mine.toml"].iter().chain(names) {
                assert!(said.contains(name), "{more}: {said}");
            }
        }
    }

    #[test]
    fn actions_that_do_not_exist_are_refused_with_those_that_do() {
        for (action, known) in [
            ("{ redis = 'stop' }", "start-old"),
            ("{ network = 'hung' }", "hang"),
            ("{ disk = 'full' }", "database"),
            ("{ network = { delay = { jitter = '1s' } } }", "by"),
            ("{ command = [] }", "FLUSHALL"),
            ("{ network = { delay = { by = '1day' } } }", "10m"),
            ("{ network = { reset-within = '1day' } }", "10m"),
            ("{ wait = '1day' }", "10m"),
        ] {
            let text = format!("about = 'x'\nbreak = [{action}]\nmend = [{{ redis = 'start' }}]");
            let error = Scenario::parse("mine.toml", "mine", &text).expect_err(action);
            assert!(error.to_string().contains(known), "{action}: {error}");
        }
    }

    #[test]
    fn a_name_that_is_none_lists_those_there_are() {
        let error = Scenario::find("freez")
            .expect_err("there is none")
            .to_string();
        assert!(
            error.contains("`freez`") && error.contains("freeze"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = Scenario::parse("any", "any", &text);
        }
    }
}
