//! Faults of patterns and of searches.

/// Most backtracking steps of one search; linear-time searches take none.
pub(crate) const STEP_LIMIT: usize = 5_000_000;

/// Reason why a text is no pattern: Python's own words where there are any.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at position {position}")]
pub struct PatternError {
    pub reason: String,
    /// Characters before the fault.
    pub position: usize,
}

/// A search that was given up: the pattern backtracks too much on this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "pattern `{pattern}` takes more than {STEP_LIMIT} steps on a text of {bytes} bytes: it can match the same \
     characters in too many ways"
)]
pub struct SearchError {
    /// The pattern as written.
    pub pattern: String,
    /// Length of the text.
    pub bytes: usize,
}
