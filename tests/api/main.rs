//! The service from outside: over HTTP on a port of its own, and as a command.
//!
//! Whatever does not depend on one database or backend is asked of each combination of SQLite and
//! PostgreSQL with each cache backend (the `matrix!` macro).

#[macro_use]
mod support;

mod administrators;
mod by_email;
mod cache_admin;
mod caching;
mod calculations;
mod cli;
mod coherence;
mod conditional;
mod consistency;
mod damage;
mod dashboard;
mod documentation;
mod forgotten;
mod hangup;
mod health;
mod history;
mod lists;
mod login;
mod outage;
mod products;
mod protocol;
mod refusals;
mod restored;
mod throttle;
mod tokens;
mod users;
mod users_rights;
