//! The laboratory: whatever measures or breaks the service from outside.
//!
//! It runs real servers of its own, records what clients saw and judges it. The service never
//! depends on the laboratory, except as a dev-dependency of its tests.
//!
//! - [`servers`]: servers of one's own, which end with the process that started them. Linux only.
//! - [`proxy`]: stands between a client and a server, and does to their connections what networks do.
//! - [`history`]: a checker that finds stale reads in what clients wrote and read.
//! - [`staged`]: a cache backend that waits where a schedule wants it to.
//! - [`unsteady`]: a cache backend that dawdles now and then where that is dangerous.
//! - [`model`]: the cache's protocol in small, every state of which can be visited.
//! - [`contract`]: what every cache backend must keep, as tests that any of them can be put to.
//! - `fleet`: instances of the service, as processes of their own.
//! - `traffic`: clients of the service, and what they saw.
//! - [`freshness`]: several instances under load and faults, and how stale what they answer is.
//! - [`drill`]: Redis broken in every way there is, under load, and a verdict.
//! - [`bench`]: the service with each cache backend and without, and what that costs and gains.
//! - `foreign`: a service that somebody else runs.
//! - [`cli`]: the command line of `alacena-lab`.

pub mod bench;
pub mod cli;
pub mod contract;
pub mod drill;
pub mod fleet;
mod foreign;
pub mod freshness;
pub mod history;
pub mod model;
mod page;
mod paint;
pub mod proxy;
pub mod servers;
pub mod staged;
mod text;
mod traffic;
pub mod unsteady;
