//! No read answers a value that had been replaced before the read began.

mod load;
mod schedules;
mod staged;
