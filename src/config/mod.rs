//! The configuration: plain data, loaded in layers and refused where it is wrong.

mod error;
mod layers;
mod model;
mod validate;

pub use error::ConfigError;
pub use layers::{Location, load};
pub(crate) use model::mask_url;
pub use model::{
    AccessLog, AuthConfig, BackendKind, CacheConfig, CalculationConfig, Config, DatabaseConfig,
    LogConfig, MemoryConfig, MigrateMode, ObserverConfig, Profile, RedisConfig, RedisMode,
    ServerConfig, Synchronous,
};
pub use validate::DEVELOPMENT_ADMIN;
