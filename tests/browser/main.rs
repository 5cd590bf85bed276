//! The pages as a browser sees them: Chromium without a window, a service of its own for each test.
//!
//! Whatever a test does, it ends by asking the browser for all it noted: nothing may have failed on a
//! page, and nobody but the service may have been asked for anything.

#[path = "../api/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "what other tests ask the service is not asked here"
)]
mod support;

mod browser;
mod dashboard;
mod docs;
mod looks;
mod trouble;
