//! `trainer_state.json`: the run so far, in the layout that transformers and tools around it read.

use serde_json::{Map, Value, json};

/// Contents of `trainer_state.json`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct TrainerState {
    /// Passes over the mix done.
    pub epoch: f64,
    /// Optimiser steps done.
    pub global_step: u64,
    /// Optimiser steps of the whole run.
    pub max_steps: u64,
    /// Passes of the whole run, a part counting as one.
    pub num_train_epochs: u64,
    /// Steps between log lines.
    pub logging_steps: u64,
    /// Steps between evaluations, where there are any.
    pub eval_steps: Option<u64>,
    /// Steps between checkpoints, where there are any before the end.
    pub save_steps: Option<u64>,
    /// Rows of a micro-batch.
    pub train_batch_size: usize,
    pub num_input_tokens_seen: u64,
    /// Floating-point operations done, estimated.
    pub total_flos: f64,
    /// The best evaluation so far.
    pub best_metric: Option<f64>,
    pub best_global_step: Option<u64>,
    /// Directory of the best checkpoint.
    pub best_model_checkpoint: Option<String>,
    /// The log's lines ([`TrainLog::history`](super::TrainLog::history)).
    pub log_history: Vec<Map<String, Value>>,
}

impl TrainerState {
    /// File name in a checkpoint's directory.
    pub(crate) const FILE: &'static str = "trainer_state.json";

    /// The file's text, keys sorted as transformers sorts them.
    #[must_use]
    pub(crate) fn to_json(&self) -> String {
        let value = json!({
            "best_global_step": self.best_global_step,
            "best_metric": self.best_metric,
            "best_model_checkpoint": self.best_model_checkpoint,
            "epoch": self.epoch,
            // Never having evaluated is 0 steps there, too: the field is a number to its readers.
            "eval_steps": self.eval_steps.unwrap_or(0),
            "global_step": self.global_step,
            "is_hyper_param_search": false,
            "is_local_process_zero": true,
            "is_world_process_zero": true,
            "log_history": self.log_history,
            "logging_steps": self.logging_steps,
            "max_steps": self.max_steps,
            "num_input_tokens_seen": self.num_input_tokens_seen,
            "num_train_epochs": self.num_train_epochs,
            "save_steps": self.save_steps.unwrap_or(self.max_steps),
            "stateful_callbacks": {},
            "total_flos": self.total_flos,
            "train_batch_size": self.train_batch_size,
            "trial_name": null,
            "trial_params": null,
        });
        let mut text = serde_json::to_string_pretty(&value).expect("a JSON value has nothing that JSON lacks");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of `TrainerState` in transformers 5.23.0, sorted.
    const FIELDS: &str = "best_global_step best_metric best_model_checkpoint epoch eval_steps global_step \
        is_hyper_param_search is_local_process_zero is_world_process_zero log_history logging_steps max_steps \
        num_input_tokens_seen num_train_epochs save_steps stateful_callbacks total_flos train_batch_size trial_name \
        trial_params";

    #[test]
    fn it_has_the_fields_of_transformers() {
        let line = super::super::LogLine::new(3, 0.5).to_json();
        let state = TrainerState {
            global_step: 3,
            best_metric: Some(0.5),
            log_history: vec![line.clone()],
            ..TrainerState::default()
        };
        let text = state.to_json();
        let found: Map<String, Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), FIELDS.split_whitespace().collect::<Vec<_>>());
        assert_eq!((&found["global_step"], &found["log_history"][0]), (&json!(3), &Value::Object(line)));
    }
}
