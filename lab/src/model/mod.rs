//! A model of the cache's protocol, and a checker that visits every state the model can reach.
//!
//! The protocol is the one by which near and far tiers, writers, readers, tailers and recoveries
//! keep copies true. It is modelled for one key, of which the value is the number of the last
//! committed write, on one or two instances that share a Redis and a database. Each message is a
//! step of its own, and so is whatever a process does between two messages. Around them, as often
//! as a [`Budget`](scenario::Budget) allows, things go wrong.
//!
//! # What must be true
//!
//! 1. A read through an instance never returns a value older than a write that was acknowledged
//!    through the same instance before the read began.
//! 2. Nor one older than an acknowledged write through another instance, once the reader's instance
//!    has published a position above that write's: so a reader that brings the position along reads
//!    its writes anywhere.
//! 3. Once nothing is under way any more and the tailers have passed the whole log, no copy that can
//!    be read differs from the database.
//!
//! Every state is checked for what a read would find that began just then, without a reader being
//! there. The readers of a [`Scenario`](scenario::Scenario) are there for what they do to others:
//! they miss, load, and come too late.
//!
//! # What goes wrong
//!
//! Commands and answers are lost, or arrive after their senders have given them up. Redis restarts
//! with a snapshot or empty, is emptied, evicts, and exchanges its data for older data behind connections
//! that stay, with or without a change of its history, and back. A sequence number that each instance keeps
//! in Redis tells its own data from others.
//! Instances are killed, evict, and distrust Redis. Transactions get their positions in another order
//! than they commit in, and are lost by writers who never learn whether they commit.
//!
//! # What is left out
//!
//! - Where only equality is asked for, there are no numbers: a near ticket is good until the next
//!   void of its instance, a recovery is doubted or not, the namespace's token is no more than what
//!   it leaves alive, and a history is the same as when an instance connected, or another.
//! - Groups: there is one key, and what is voided is its copies. A clear is of that key.
//! - A restored database: what was copied before it is dropped with the log, which begins anew.
//! - Times to live, of entries and of leases: an eviction may come whenever a life might end.
//! - Order on a connection: commands of one instance are executed in any order. Only one that is late
//!   is executed after its sender goes on.
//! - Clusters: there is one Redis, and each command is executed at once.
//! - The time between an instance's connecting to Redis and its asking for the history's name: both
//!   are one step.
//! - Progress: nothing is said of whether a recovery ever succeeds.
//!
//! # Mutants
//!
//! A model that allows everything finds nothing. So each rule of the protocol can be left out
//! ([`Mutant`](scenario::Mutant)), and for nearly each there is a scenario which then goes wrong.
//!
//! Three of them harmed nothing, in whatever was explored: what is remembered as voided near just
//! before it is; what emptying near leaves remembered there; and the least that a watermark must be,
//! which is missed only if the history is not looked at either.

pub mod checker;
pub mod database;
mod faults;
pub mod label;
pub mod process;
mod protocol;
mod reader;
mod recovery;
pub mod redis;
pub mod scenario;
pub mod state;
mod steps;
mod tailer;
mod writer;
