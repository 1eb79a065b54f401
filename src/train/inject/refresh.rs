//! Projections that keep something derived from their parameters.

use crate::train::error::TrainError;

/// A projection that keeps something derived from its parameters.
pub(super) trait Refresh: Send + Sync + std::fmt::Debug {
    /// Recomputes it after the parameters have changed.
    fn refresh(&self) -> Result<(), TrainError>;
}
