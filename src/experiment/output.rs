//! What finished steps found, as their records keep it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::report::data::{GateCheck, TaskVectors};

/// What a step found. Each kind has a key that no other has, so records need no tag and those of version 0.1 are read;
/// keys that a later version adds have defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum StepOutput {
    /// A trained specialist.
    Trained(Trained),
    /// A merged model on disk.
    Merged(Merged),
    /// Scores of a row, or of a candidate on the validation splits.
    Evaluated(Evaluated),
    /// The candidate that validation selects.
    Selected(Selected),
    /// The gate's verdict on a row.
    Gated(Gated),
    /// Norms and cosines of the specialists' task vectors.
    TaskVectors(TaskVectors),
    /// The report.
    Reported(Reported),
    /// Nothing besides files.
    #[default]
    Nothing,
    /// Something else that an earlier version wrote; the step counts as finished.
    Other(Value),
}

/// The result of a training step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trained {
    /// The training log, from the output folder.
    pub log: PathBuf,
    #[serde(default)]
    pub steps: u64,
    #[serde(default)]
    pub epochs: f64,
    /// Loss of the last log line.
    #[serde(default)]
    pub loss: Option<f64>,
    #[serde(default)]
    pub tokens: u64,
    #[serde(default)]
    pub parameters: u64,
    #[serde(default)]
    pub seconds: f64,
    #[serde(default)]
    pub datasets: Vec<TrainedSet>,
}

/// A data set of a training step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TrainedSet {
    pub name: String,
    pub examples: usize,
    pub per_epoch: usize,
    pub tokens: usize,
}

/// The result of a merge step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Merged {
    /// The recipe with the paths that were merged.
    pub recipe: String,
}

/// The result of an evaluation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evaluated {
    /// The results file, from the output folder.
    pub results: PathBuf,
    /// Mean over the tasks of the metric that selection goes by, greater being better.
    #[serde(default)]
    pub score: Option<f64>,
    /// That metric by task.
    #[serde(default)]
    pub tasks: BTreeMap<String, f64>,
}

/// The result of a selection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Selected {
    /// Index of the chosen candidate.
    pub candidate: usize,
    /// What the sweep sets for it.
    #[serde(default)]
    pub setting: Option<String>,
    /// All candidates.
    #[serde(default)]
    pub scores: Vec<CandidateScore>,
}

/// A candidate with its mean validation score.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CandidateScore {
    pub name: String,
    pub setting: String,
    pub score: Option<f64>,
}

/// The result of a gate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gated {
    /// `PASS`, `FAIL` or `INCONCLUSIVE`.
    pub verdict: String,
    /// The rule that holds, in one line.
    #[serde(default)]
    pub rule: String,
    #[serde(default)]
    pub checks: Vec<GateCheck>,
}

/// The result of the report's step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reported {
    /// The report's page, from the output folder.
    pub report: PathBuf,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> StepOutput {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn records_of_version_0_1_are_read_by_their_kind() {
        let trained =
            read(json!({"log": "specialists/a/log.jsonl", "steps": 3, "epochs": 1.0, "loss": null, "tokens": 9,
            "parameters": 4, "seconds": 0.5, "datasets": [{"name": "x", "examples": 1, "per_epoch": 2, "tokens": 3}]}));
        assert!(
            matches!(trained, StepOutput::Trained(Trained { steps: 3, loss: None, ref datasets, .. }) if datasets.len() == 1)
        );
        assert!(matches!(read(json!({"log": "l"})), StepOutput::Trained(_)));
        assert!(matches!(read(json!({"recipe": "merge_method: ties\n"})), StepOutput::Merged(_)));
        let evaluated = read(json!({"results": "r.json", "score": 0.5, "tasks": {"b": 0.25, "a": 0.75}}));
        assert!(
            matches!(evaluated, StepOutput::Evaluated(Evaluated { score: Some(0.5), ref tasks, .. }) if tasks["a"] == 0.75)
        );
        let selected = read(json!({"candidate": 1, "setting": "weight=1.0", "scores": [
            {"name": "t-weight=0.5", "setting": "weight=0.5", "score": null}, {"name": "t", "setting": "weight=1.0", "score": 0.5}]}));
        assert!(
            matches!(selected, StepOutput::Selected(Selected { candidate: 1, ref scores, .. }) if scores[1].score == Some(0.5))
        );
        // Scores that are no numbers are null in JSON, as is the role of a group.
        let gated = read(
            json!({"verdict": "PASS", "checks": [{"name": "g", "role": null, "rule": "max_drop 0.1", "baseline": 0.5,
            "candidate": null, "verdict": "PASS", "reason": ""}]}),
        );
        let StepOutput::Gated(Gated { checks, .. }) = gated else { panic!("{gated:?}") };
        assert!(checks[0].role.is_empty() && checks[0].candidate.is_nan());
        let vectors = read(json!({"names": ["a"], "norms": [1.0], "layers": [["0", [1.0]]], "cosines": [[1.0]]}));
        assert!(matches!(vectors, StepOutput::TaskVectors(_)));
        assert!(matches!(read(json!({"report": "report.html"})), StepOutput::Reported(_)));
        assert_eq!(read(Value::Null), StepOutput::Nothing);
        assert!(matches!(read(json!({"names": ["a"], "norms": [null]})), StepOutput::Other(_)));
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let evaluated = Evaluated { results: "r".into(), score: None, tasks: BTreeMap::from([("a".to_owned(), 0.1)]) };
        let selected = Selected { candidate: 2, setting: None, scores: vec![CandidateScore::default()] };
        for output in [
            StepOutput::Trained(Trained {
                log: "l".into(),
                datasets: vec![TrainedSet::default()],
                ..Trained::default()
            }),
            StepOutput::Merged(Merged::default()),
            StepOutput::Evaluated(evaluated),
            StepOutput::Selected(selected),
            StepOutput::Gated(Gated { checks: vec![GateCheck::default()], ..Gated::default() }),
            StepOutput::TaskVectors(TaskVectors::default()),
            StepOutput::Reported(Reported::default()),
            StepOutput::Nothing,
        ] {
            assert_eq!(read(serde_json::to_value(&output).unwrap()), output);
        }
    }
}
