use std::sync::LazyLock;
use std::time::Duration;

use deadpool_redis::redis::{self, Cmd, cmd};

use super::limits::LARGE;
use super::link::Blame;

/// What Redis does in one step. Each script explains itself in its file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Script {
    Claim,
    Fill,
    Void,
    Apply,
    Renew,
    Release,
    Count,
    Drop,
    Scan,
    Register,
}

macro_rules! fenced {
    ($file:literal) => {
        concat!(include_str!("scripts/fence.lua"), include_str!($file))
    };
}

impl Script {
    pub(super) const ALL: [Self; 10] = [
        Self::Claim,
        Self::Fill,
        Self::Void,
        Self::Apply,
        Self::Renew,
        Self::Release,
        Self::Count,
        Self::Drop,
        Self::Scan,
        Self::Register,
    ];

    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Claim => include_str!("scripts/claim.lua"),
            Self::Fill => include_str!("scripts/fill.lua"),
            Self::Void => fenced!("scripts/void.lua"),
            Self::Apply => fenced!("scripts/apply.lua"),
            Self::Renew => include_str!("scripts/renew.lua"),
            Self::Release => include_str!("scripts/release.lua"),
            Self::Count => include_str!("scripts/count.lua"),
            Self::Drop => fenced!("scripts/drop.lua"),
            Self::Scan => fenced!("scripts/scan.lua"),
            Self::Register => fenced!("scripts/register.lua"),
        }
    }

    /// What Redis knows it by once it has seen it.
    fn hash(self) -> &'static str {
        static HASHES: LazyLock<[String; Script::ALL.len()]> = LazyLock::new(|| {
            Script::ALL.map(|script| redis::Script::new(script.code()).get_hash().to_owned())
        });
        &HASHES[self as usize]
    }

    /// A call of the script.
    pub(super) fn call(self) -> Call {
        Call {
            script: self,
            keys: Vec::new(),
            arguments: Vec::new(),
        }
    }
}

/// A script with its keys and arguments.
pub(super) struct Call {
    script: Script,
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn key(mut self, key: String) -> Self {
        self.keys.push(key);
        self
    }

    pub(super) fn keys(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.keys.extend(keys);
        self
    }

    pub(super) fn bytes(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(super) fn number(self, argument: impl Into<i128>) -> Self {
        self.bytes(argument.into().to_string())
    }

    pub(super) fn millis(self, argument: Duration) -> Self {
        self.bytes(argument.as_millis().to_string())
    }

    /// What it says of the store if it fails.
    pub(super) fn blame(&self) -> Blame {
        if self
            .arguments
            .iter()
            .any(|argument| argument.len() >= LARGE)
        {
            Blame::Value
        } else {
            Blame::Store
        }
    }

    /// The call of a script that Redis has seen.
    pub(super) fn by_hash(&self) -> Cmd {
        self.with(&["EVALSHA", self.script.hash()])
    }

    /// The call of one that it may never have seen.
    pub(super) fn by_code(&self) -> Cmd {
        self.with(&["EVAL", self.script.code()])
    }

    fn with(&self, words: &[&str]) -> Cmd {
        let mut command = Cmd::new();
        command.arg(words).arg(self.keys.len());
        command.arg(&self.keys);
        for argument in &self.arguments {
            command.arg(&argument[..]);
        }
        command
    }
}

/// Removes whatever has these names.
pub(super) fn delete(names: &[String]) -> Cmd {
    let mut command = cmd("DEL");
    command.arg(names);
    command
}
