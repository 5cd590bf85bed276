use std::time::Duration;

use chrono::Utc;

use super::document::Document;
use super::error::Error;
use super::policies::Policies;
use crate::cache::{Cache, Policy, cached};
use crate::domain::Calculation;

/// Calculations that take a while.
#[derive(Clone)]
pub struct Calculations {
    cache: Cache,
    policy: Policy,
    duration: Duration,
}

impl Calculations {
    pub(super) fn new(cache: Cache, policies: Policies, duration: Duration) -> Self {
        let policy = Policy {
            // Whoever waits for another instance's is done sooner than by their own.
            patience: duration * 2 + Policy::BRIEFLY,
            ..policies.list
        };
        Self {
            cache,
            policy,
            duration,
        }
    }

    /// What comes of a text and a number, after a while.
    ///
    /// # Errors
    /// Why there is no answer.
    #[cached(prefix = "calculation", ttl = "30m", policy = self.policy)]
    pub async fn expensive(&self, param1: &str, param2: i64) -> Result<Document, Error> {
        tokio::time::sleep(self.duration).await;
        Document::of_content(
            'c',
            &Calculation {
                result: format!("calculation_result_{param1}_{param2}"),
                timestamp: Utc::now().timestamp_micros() as f64 / 1e6,
            },
        )
    }
}
