//! `src/cache/` as a crate of its own, without Redis: what the attributes need. The tests of their
//! messages are built anew each time, and a database, OpenSSL and a web server would take minutes.

#![expect(dead_code, reason = "what Redis alone uses is not used here")]

pub mod cache;
