//! The facts of a report.

use serde::{Deserialize, Deserializer, Serialize};

/// Everything that a report shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReportData {
    /// The experiment's name.
    pub title: String,
    /// The base model as the user named it.
    pub base_model: String,
    /// Prompt settings of the tasks, as pairs of name and value.
    pub settings: Vec<(String, String)>,
    /// Columns of the table, seen tasks first.
    pub tasks: Vec<TaskColumn>,
    /// Rows of the table, the base model's first.
    pub rows: Vec<ReportRow>,
    /// Every other row against the base.
    pub forgetting: Vec<Forgetting>,
    /// Reasons for missing means and changes.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Verdicts of the gate.
    pub gates: Vec<GateVerdict>,
    /// Selected weights of swept merges.
    pub selections: Vec<Selection>,
    /// Training curves, one a trained specialist.
    pub curves: Vec<Curve>,
    /// Norms and cosines of the specialists' task vectors.
    pub task_vectors: Option<TaskVectors>,
    /// A paper's figures.
    pub published: Option<PublishedTable>,
    /// Software and hardware of the run.
    pub environment: Vec<(String, String)>,
    /// SHA-256 of inputs and outputs by name.
    pub hashes: Vec<(String, String)>,
    /// Seconds of every step.
    pub durations: Vec<(String, f64)>,
}

/// A task of the table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskColumn {
    pub name: String,
    /// `seen`, `unseen` or `general`.
    pub role: String,
    /// The metric that is shown, with its filter slot.
    pub metric: String,
    /// Documents that were asked.
    pub documents: u64,
}

/// A row of the table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReportRow {
    pub name: String,
    /// `base`, `specialist`, `multi-task` or `merge`.
    pub kind: String,
    /// Remarks: tasks learnt, the selected weight.
    pub note: String,
    /// One cell a task; `None` where it was not scored.
    pub cells: Vec<Option<Score>>,
    /// Mean over the seen tasks.
    pub seen: Option<Score>,
    /// Mean over the unseen tasks.
    pub unseen: Option<Score>,
    /// The gate's verdict, where one was asked.
    pub verdict: Option<String>,
    /// The recipe that made it.
    pub recipe: Option<String>,
}

/// A score and the interval that covers it in 95 % of all samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    /// The score.
    pub value: f64,
    pub interval: Option<[f64; 2]>,
}

/// A row against the base, document by document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Forgetting {
    pub row: String,
    /// One entry a task, in the order of the columns.
    pub tasks: Vec<Option<Difference>>,
    /// Means over the tasks of a role.
    pub means: Vec<(String, Difference)>,
}

/// A paired difference: the row's score less the base's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Difference {
    /// The difference.
    pub value: f64,
    /// Paired bootstrap interval.
    pub interval: [f64; 2],
    /// Exact two-sided McNemar p-value, for metrics that are right or wrong on each document.
    pub mcnemar_p: Option<f64>,
    /// Documents that only the base gets right.
    pub lost: usize,
    /// Documents that only the row gets right.
    pub won: usize,
}

/// Verdict of the gate on a row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct GateVerdict {
    pub row: String,
    /// `PASS`, `FAIL` or `INCONCLUSIVE`.
    pub verdict: String,
    /// The rule that holds, in one line.
    #[serde(default)]
    pub rule: String,
    pub checks: Vec<GateCheck>,
}

/// One check of a gate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct GateCheck {
    /// The task or group.
    pub name: String,
    /// The task's role for this row, by what the row was trained on; records of before have null for a group.
    #[serde(default, deserialize_with = "text_or_null")]
    pub role: String,
    /// The rule with its limit.
    pub rule: String,
    /// The base's score.
    #[serde(deserialize_with = "number_or_null")]
    pub baseline: f64,
    /// The row's score.
    #[serde(deserialize_with = "number_or_null")]
    pub candidate: f64,
    pub verdict: String,
    pub reason: String,
}

fn text_or_null<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_else(String::new))
}

/// JSON has null for what is no number.
fn number_or_null<'de, D: Deserializer<'de>>(value: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(f64::NAN))
}

/// Selection of a swept merge's candidate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Selection {
    pub merge: String,
    /// Settings with their mean validation scores, and whether they were chosen.
    pub candidates: Vec<(String, Option<f64>, bool)>,
}

/// A specialist's training.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// The specialist.
    pub name: String,
    /// Optimiser step and training loss.
    pub loss: Vec<(f64, f64)>,
    /// Optimiser step and learning rate.
    pub learning_rate: Vec<(f64, f64)>,
    /// Evaluations during training, by name: step and value.
    pub evaluations: Vec<(String, Vec<(f64, f64)>)>,
}

/// Statistics of task vectors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskVectors {
    /// The specialists.
    pub names: Vec<String>,
    /// Euclidean norms of the task vectors.
    pub norms: Vec<f64>,
    /// Layers with the norm of every specialist's part in them.
    pub layers: Vec<(String, Vec<f64>)>,
    /// Cosines of all pairs.
    pub cosines: Vec<Vec<f64>>,
}

/// A paper's figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PublishedTable {
    pub source: String,
    pub metric: String,
    /// Tasks.
    pub columns: Vec<String>,
    /// Rows with a figure a task, where there is one.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}
