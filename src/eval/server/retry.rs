//! Waiting before a request is tried again.

use std::time::Duration;

use crate::rng::{Philox, stream_key};

/// When to give up, and how long to wait until then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The wait after the first attempt; it doubles with each one.
    pub first: Duration,
    /// The longest wait, also where a server asks for more.
    pub longest: Duration,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 6, first: Duration::from_millis(500), longest: Duration::from_secs(60), seed: 0 }
    }
}

impl RetryPolicy {
    /// The wait after attempt `attempt` (from 0) of the request `request`: half to all of the doubled
    /// wait, so that requests that failed together don't come back together; never less than what
    /// the server asked for. The same for the same seed, request and attempt.
    #[must_use]
    pub fn delay(&self, request: &str, attempt: u32, retry_after: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(self.longest);
        let [draw, ..] = Philox::new(stream_key(self.seed, &["retry", request])).block(u64::from(attempt));
        let share = 0.5 + 0.5 * f64::from(draw) / (f64::from(u32::MAX) + 1.0);
        doubled.mul_f64(share).max(retry_after.unwrap_or(Duration::ZERO).min(self.longest))
    }
}

/// Reads `Retry-After`: seconds, or the date until which to wait.
#[must_use]
pub(crate) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<f64>() {
        return (0.0..1e9).contains(&seconds).then(|| Duration::from_secs_f64(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    Duration::try_from(date.timestamp().duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_and_honour_the_server() {
        let policy =
            RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(20), ..Default::default() };
        for attempt in 0..8 {
            let most = Duration::from_secs(1 << attempt).min(policy.longest);
            let delay = policy.delay("a", attempt, None);
            assert!(delay >= most / 2 && delay <= most, "{attempt}: {delay:?}");
            assert_eq!(delay, policy.delay("a", attempt, None));
        }
        assert_ne!(policy.delay("a", 3, None), policy.delay("b", 3, None));
        assert_eq!(policy.delay("a", 0, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(policy.delay("a", 99, Some(Duration::from_secs(7000))), policy.longest);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: jiff::Timestamp = "2015-10-21T07:27:00Z".parse().unwrap();
        assert_eq!(retry_after("3", now), Some(Duration::from_secs(3)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:26:00 GMT", now), None);
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }
}
