//! What the attributes `#[cached]` and `#[invalidates]` make of a function, on a cache in memory.

mod cached;
mod invalidates;
mod names;
mod shelf;
