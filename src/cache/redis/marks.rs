use std::sync::atomic::{AtomicU64, Ordering};

use super::settings::RedisServerError;
use super::stored::MARK;

/// Texts that nobody else will ever draw: a random secret of this process, and a count, hashed.
pub(super) struct Marks {
    secret: [u8; 32],
    drawn: AtomicU64,
}

impl Marks {
    pub(super) fn new() -> Result<Self, RedisServerError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self {
            secret,
            drawn: AtomicU64::new(0),
        })
    }

    pub(super) fn draw(&self) -> [u8; MARK] {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut mark = [0; MARK];
        let hash = blake3::keyed_hash(&self.secret, &drawn.to_be_bytes());
        mark.copy_from_slice(&hash.as_bytes()[..MARK]);
        mark
    }
}
