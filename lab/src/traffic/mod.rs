//! Clients of a service: what they ask for, and what they saw.
//!
//! A [`Stage`] is what all clients of a service know of: its instances, its rows. A [`Visitor`] is one
//! client, who reads and writes at these instances and notes in a [`Record`] what came of it.

mod client;
mod clients;
mod record;
mod stage;
mod thing;
mod visitor;
mod writes;
mod zipf;

pub(crate) use client::{Client, Source};
pub(crate) use clients::{Clients, Work};
pub(crate) use record::{Clock, Failed, Notes, Record, assembled};
pub(crate) use stage::{Credentials, HOT, Leaver, Stage, log_in};
pub(crate) use thing::{Thing, ThingRead};
pub(crate) use visitor::{Asked, Visitor, Whom};
pub(crate) use zipf::Zipf;
