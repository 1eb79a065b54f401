//! A comparison as data.

use serde::Serialize;

use super::pairing::Flip;

/// Two results compared.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    /// The baseline's results file.
    pub baseline: String,
    /// The candidate's.
    pub candidate: String,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Resamples of every interval.
    pub draws: usize,
    /// Level of the intervals.
    pub level: f64,
    /// Tasks in the candidate's order.
    pub tasks: Vec<TaskComparison>,
    /// Groups of the files, then roles: plain means over their tasks.
    pub groups: Vec<GroupComparison>,
    /// Reasons why a group has no mean.
    pub notes: Vec<String>,
}

/// One task compared.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TaskComparison {
    pub task: String,
    /// `"<metric>,<slot>"`.
    pub metric: String,
    /// `seen`, `unseen` or `general`.
    pub role: Option<String>,
    /// Documents compared; those of the baseline where only scores are, if its file counts them.
    pub documents: Option<u64>,
    /// The baseline's score on them.
    pub baseline: f64,
    /// The candidate's score on them.
    pub candidate: f64,
    /// Candidate less baseline.
    pub difference: f64,
    /// Paired bootstrap interval (BCa); of plain scores the unpaired normal one, where the files have errors.
    pub interval: Option<[f64; 2]>,
    /// Whether document was compared with document; else the scores alone.
    pub paired: bool,
    /// Reason why the scores alone were compared.
    pub note: Option<String>,
    /// Exact two-sided McNemar p-value, for metrics that are right or wrong on each document.
    pub mcnemar_p: Option<f64>,
    /// Documents right in the baseline only.
    pub lost: usize,
    /// Documents right in the candidate only.
    pub won: usize,
    /// Differences in how the results were made, where they were allowed.
    pub mismatches: Vec<String>,
    /// The flipped documents, the worst losses first.
    pub flips: Vec<Flip>,
}

/// A mean over tasks compared.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct GroupComparison {
    /// The group's name, or `role:NAME`.
    pub name: String,
    pub tasks: Vec<String>,
    /// Mean of the baseline's scores.
    pub baseline: f64,
    /// Mean of the candidate's scores.
    pub candidate: f64,
    /// Candidate less baseline.
    pub difference: f64,
    /// Paired bootstrap interval (BCa); tasks are resampled each by itself.
    pub interval: [f64; 2],
}
