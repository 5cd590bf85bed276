//! Alacena: users and products over REST, read out of a cache that never serves what a write has
//! replaced.
//!
//! Arrows point down only:
//!
//! ```text
//! http       routes, extractors, problems; knows no Diesel
//!   |
//! service    users, products, sessions: which key, which group, which time to live
//!   |
//! cache  db  the one moves bytes and knows no user, the other holds every query
//!   |    |   (auth beside them: hashes and tokens)
//! config, domain
//! ```
//!
//! `app` alone sees everybody: it builds the parts and runs them.

// What the cache's attributes write names this crate as others do.
extern crate self as alacena;

pub mod app;
pub mod auth;
pub mod cache;
pub mod cli;
pub mod coherence;
pub mod config;
pub mod db;
pub mod domain;
pub mod http;
pub mod service;
