//! One check of a gate, with its evidence and verdict.

use serde::Serialize;

use super::decision::{Evidence, Verdict};

/// One check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// The task or group.
    pub name: String,
    /// Whether it is a group.
    pub group: bool,
    /// The task's role.
    pub role: Option<String>,
    /// `"<metric>,<slot>"`; empty for groups, whose tasks have their own.
    pub metric: String,
    /// `max_drop`, `max_drop_rel` or `min`.
    pub rule: &'static str,
    /// The rule's value.
    pub limit: f64,
    /// Level.
    pub alpha: f64,
    /// The baseline's score.
    pub baseline: f64,
    /// The candidate's score.
    pub candidate: f64,
    /// p-values and bounds from the paired documents.
    pub evidence: Evidence,
    /// `p_broken` after Holm's correction over all checks of the gate.
    pub p_fail: f64,
    /// Pass, fail or inconclusive, after correction over all checks.
    pub verdict: Verdict,
    /// Documents that would decide an inconclusive check.
    pub documents_needed: Option<u64>,
    /// Reason for the verdict, in words.
    pub reason: String,
}
