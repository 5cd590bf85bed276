use std::path::PathBuf;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("{named_by}: {}: {error}", path.display())]
    Unreadable {
        /// What asked for it.
        named_by: String,
        /// The file.
        path: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
    /// A file is no TOML.
    #[error("{source_name}: {message}")]
    Malformed {
        /// The file.
        source_name: String,
        /// What is wrong, and where.
        message: String,
    },
    /// A setting is unknown or has a value that is not accepted.
    #[error("{source_name}: {key}: {message}")]
    Rejected {
        /// The file or environment variable.
        source_name: String,
        /// The setting.
        key: String,
        /// What is wrong and what is accepted.
        message: String,
    },
    /// There is no such profile.
    #[error(
        "no profile `{0}`: it is not one of development, production, test, and there is no config/{0}.toml"
    )]
    UnknownProfile(String),
    /// A setting is well-formed, but must not be used, or not in this profile.
    #[error("{source_name}: {key} (profile {profile}): {message}")]
    Unacceptable {
        /// The file or environment variable that has it.
        source_name: String,
        /// The setting.
        key: &'static str,
        /// The profile.
        profile: String,
        /// What is wrong and what is accepted.
        message: String,
    },
}
