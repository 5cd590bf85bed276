//! The command, as it is run.

mod accounts;
mod commands;
mod configuration;
mod process;
mod redis;
mod serving;
