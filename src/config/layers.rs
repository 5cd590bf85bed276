//! Layers of settings: compiled-in defaults, profile, file, environment; the later wins.
//!
//! After each layer the whole is read anew, so that whatever is wrong is the fault of the layer
//! just added, and the message can name it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::error::ConfigError;
use super::model::{Config, Profile};
use super::validate::{Refusal, validate};

const DEFAULT: &str = include_str!("../../config/default.toml");
const PROFILES: [(&str, &str); 3] = [
    ("development", include_str!("../../config/development.toml")),
    ("production", include_str!("../../config/production.toml")),
    ("test", include_str!("../../config/test.toml")),
];
const PREFIX: &str = "ALACENA__";

/// Where settings are looked for.
#[derive(Clone, Debug, Default)]
pub struct Location {
    /// The profile.
    pub profile: Profile,
    /// The file that was asked for by name.
    pub file: Option<PathBuf>,
}

/// Loads the configuration for `location`, with settings from `environment` on top.
///
/// # Errors
/// Names the file or variable, the key and what is accepted.
pub fn load(
    location: &Location,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    let mut layers = Layers::new()?;
    layers.add_named("default", DEFAULT, location)?;
    let profile = location.profile.name();
    match PROFILES.iter().find(|(name, _)| *name == profile) {
        Some((_, text)) => layers.add_named(profile, text, location)?,
        None if !layers.add_from_disk(profile, location)? => {
            return Err(ConfigError::UnknownProfile(profile.to_owned()));
        }
        None => {}
    }
    if let Some(path) = &location.file {
        layers.add_file(path)?;
    }
    let mut variables = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let value = value.into_string().map_err(|_| ConfigError::Rejected {
            source_name: format!("{PREFIX}{name}"),
            key: name.to_ascii_lowercase().replace("__", "."),
            message: "is not UTF-8".to_owned(),
        })?;
        variables.push((name.to_owned(), value));
    }
    // In order, so that a `…_FILE` comes after the variable it stands for, and wins.
    variables.sort();
    for (name, value) in &variables {
        layers.add_variable(name, value)?;
    }
    match validate(&layers.config, &location.profile) {
        Ok(()) => Ok(layers.config),
        Err(Refusal { key, message }) => Err(ConfigError::Unacceptable {
            source_name: layers.origin_of(key),
            key,
            profile: profile.to_owned(),
            message,
        }),
    }
}

struct Layers {
    defaults: Table,
    merged: Table,
    config: Config,
    /// Every layer so far, with its name, the latest last.
    sources: Vec<(String, Table)>,
}

impl Layers {
    fn new() -> Result<Self, ConfigError> {
        let merged = parse("the compiled-in defaults", DEFAULT)?;
        let config = read("the compiled-in defaults", &merged)?;
        Ok(Self {
            defaults: merged.clone(),
            merged,
            config,
            sources: Vec::new(),
        })
    }

    /// The compiled-in settings of this name, then the file of this name where there is one.
    fn add_named(
        &mut self,
        name: &str,
        compiled_in: &str,
        location: &Location,
    ) -> Result<(), ConfigError> {
        let source = format!("compiled-in config/{name}.toml");
        self.add(&source, parse(&source, compiled_in)?)?;
        self.add_from_disk(name, location)?;
        Ok(())
    }

    fn add_from_disk(&mut self, name: &str, location: &Location) -> Result<bool, ConfigError> {
        let beside = location.file.as_deref().and_then(Path::parent);
        let file_name = format!("{name}.toml");
        let folders = [
            Some(PathBuf::from("config")),
            beside.map(|folder| folder.join("config")),
            beside
                .filter(|folder| folder.ends_with("config"))
                .map(Path::to_owned),
        ];
        let found = folders
            .into_iter()
            .flatten()
            .map(|folder| folder.join(&file_name))
            .find(|path| path.is_file() && Some(path) != location.file.as_ref());
        match &found {
            Some(path) => self.add_file(path).map(|()| true),
            None => Ok(false),
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            named_by: "a configuration file".to_owned(),
            path: path.to_owned(),
            error,
        })?;
        let source = path.display().to_string();
        self.add(&source, parse(&source, &text)?)
    }

    /// A variable: its name after the prefix, and its value.
    fn add_variable(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let source = format!("{PREFIX}{name}");
        let key = name.to_ascii_lowercase().replace("__", ".");
        let file = key
            .strip_suffix("_file")
            .filter(|_| self.default_of(&key).is_none());
        let (key, text) = match file {
            Some(key) => {
                let path = PathBuf::from(value);
                let text =
                    std::fs::read_to_string(&path).map_err(|error| ConfigError::Unreadable {
                        named_by: source.clone(),
                        path,
                        error,
                    })?;
                (
                    key.to_owned(),
                    text.trim_end_matches(['\r', '\n']).to_owned(),
                )
            }
            None => (key.clone(), value.to_owned()),
        };
        let typed = match self.default_of(&key) {
            Some(known) => typed_like(known, &text).map_err(|message| ConfigError::Rejected {
                source_name: source.clone(),
                key: key.clone(),
                message,
            })?,
            // Unknown: let the model refuse it and say what it knows.
            None => Value::String(text),
        };
        let layer = key.rsplit('.').fold(typed, |value, part| {
            Value::Table(Table::from_iter([(part.to_owned(), value)]))
        });
        match layer {
            Value::Table(table) => self.add(&source, table),
            _ => Ok(()),
        }
    }

    fn default_of(&self, key: &str) -> Option<&Value> {
        lookup(&self.defaults, key)
    }

    /// The layer that a setting's value comes from.
    fn origin_of(&self, key: &str) -> String {
        let sets = |layer: &Table| lookup(layer, key).is_some();
        let origin = self.sources.iter().rev().find(|(_, layer)| sets(layer));
        origin.map_or_else(|| "the defaults".to_owned(), |(source, _)| source.clone())
    }

    fn add(&mut self, source: &str, layer: Table) -> Result<(), ConfigError> {
        self.sources.push((source.to_owned(), layer.clone()));
        merge(&mut self.merged, layer);
        self.config = read(source, &self.merged)?;
        Ok(())
    }
}

fn parse(source: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| {
        // Where, but not what: the line may hold a secret.
        let before = error
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        ConfigError::Malformed {
            source_name: source.to_owned(),
            message: format!("line {line}: {}", error.message()),
        }
    })
}

/// The value under a key such as `cache.memory.capacity`.
fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let (first, rest) = key.split_once('.')?;
    rest.split('.')
        .try_fold(table.get(first)?, |value, part| value.get(part))
}

/// Whether a setting's value must not be shown.
fn is_secret(key: &str) -> bool {
    ["jwt_secret", "password", "url"]
        .iter()
        .any(|secret| key.ends_with(secret))
}

fn read(source: &str, merged: &Table) -> Result<Config, ConfigError> {
    serde_path_to_error::deserialize(Value::Table(merged.clone())).map_err(|error| {
        let key = error.path().to_string();
        let message = if is_secret(&key) {
            "is not accepted; expected a text in quotes".to_owned()
        } else {
            error.into_inner().message().to_owned()
        };
        ConfigError::Rejected {
            source_name: source.to_owned(),
            key,
            message,
        }
    })
}

fn merge(into: &mut Table, layer: Table) {
    for (key, value) in layer {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// A variable's text as a value of the same type as the setting's default.
fn typed_like(known: &Value, text: &str) -> Result<Value, String> {
    let wrong = |accepted: &str| format!("`{text}` is not accepted; expected {accepted}");
    match known {
        Value::Integer(_) => text
            .parse()
            .map(Value::Integer)
            .map_err(|_| wrong("a whole number")),
        Value::Float(_) => text
            .parse()
            .map(Value::Float)
            .map_err(|_| wrong("a number")),
        Value::Boolean(_) => text
            .parse()
            .map(Value::Boolean)
            .map_err(|_| wrong("true or false")),
        Value::Array(_) => Ok(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Value::String(part.to_owned()))
                .collect(),
        )),
        Value::Table(_) => Err("is a section; name one of its keys".to_owned()),
        _ => Ok(Value::String(text.to_owned())),
    }
}

impl Config {
    /// The configuration as TOML, secrets masked.
    pub fn to_masked_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }
}

/// For tests and tools: a configuration out of the `test` profile with `overrides` on top.
impl Config {
    /// Reads `overrides`, TOML, over the `test` profile.
    ///
    /// # Errors
    /// As [`load`].
    pub fn for_tests(overrides: &str) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Overrides(Table);
        let Overrides(layer) =
            toml::from_str(overrides).map_err(|error| ConfigError::Malformed {
                source_name: "overrides".into(),
                message: error.to_string(),
            })?;
        let mut layers = Layers::new()?;
        for (name, text) in PROFILES.iter().filter(|(name, _)| *name == "test") {
            layers.add(name, parse(name, text)?)?;
        }
        layers.add("overrides", layer)?;
        Ok(layers.config)
    }
}
