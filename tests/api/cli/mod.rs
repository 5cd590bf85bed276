//! The command, as it is run.

mod commands;
mod configuration;
mod process;
mod serving;
