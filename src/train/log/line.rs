//! One line of the log.

use serde_json::{Map, Value};

/// Metrics after some optimiser steps, in the words of transformers and TRL. A field that is `None`
/// is left out of the line.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct LogLine {
    /// Optimiser steps done.
    pub step: u64,
    /// Passes over the mix done.
    pub epoch: f64,
    /// Mean loss of a trained token since the last line, in nats.
    pub loss: Option<f64>,
    /// Norm of the gradient before clipping, of the last step.
    pub grad_norm: Option<f64>,
    /// Learning rate of the last step.
    pub learning_rate: Option<f64>,
    /// Tokens seen since the start.
    pub num_tokens: Option<u64>,
    /// Share of trained tokens that the model thought likeliest.
    pub mean_token_accuracy: Option<f64>,
    /// Mean entropy of the predictions at trained tokens, in nats.
    pub entropy: Option<f64>,
    /// Tokens a second since the last line.
    pub tokens_per_second: Option<f64>,
    /// Anything else by name, in this order: `eval_loss`, `eval_<set>_loss`, `eval_<task>/<metric>`.
    pub extra: Vec<(String, f64)>,
}

impl LogLine {
    /// A line of the step with nothing else in it.
    #[must_use]
    pub(crate) fn new(step: u64, epoch: f64) -> Self {
        Self { step, epoch, ..Self::default() }
    }

    /// Adds a named value.
    pub(crate) fn insert(&mut self, name: impl Into<String>, value: f64) {
        self.extra.push((name.into(), value));
    }

    /// The line as an object; JSON has no NaN or infinity, which become null.
    #[must_use]
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let mut map: Map<String, Value> = self.named().into_iter().map(|(name, value)| (name, value.into())).collect();
        if let Some(tokens) = self.num_tokens {
            map.insert("num_tokens".to_owned(), tokens.into());
        }
        map.insert("step".to_owned(), self.step.into());
        map
    }

    /// Names and values but for the step.
    #[must_use]
    pub(crate) fn named(&self) -> Vec<(String, f64)> {
        let known = [
            ("loss", self.loss),
            ("grad_norm", self.grad_norm),
            ("learning_rate", self.learning_rate),
            ("num_tokens", self.num_tokens.map(|tokens| tokens as f64)),
            ("mean_token_accuracy", self.mean_token_accuracy),
            ("entropy", self.entropy),
            ("tokens_per_second", self.tokens_per_second),
        ];
        let known = known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        known.chain(self.extra.iter().cloned()).chain([("epoch".to_owned(), self.epoch)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_equal_those_of_transformers() {
        let mut line = LogLine {
            loss: Some(1.25),
            learning_rate: Some(2e-4),
            num_tokens: Some(4096),
            grad_norm: Some(f64::NAN),
            ..LogLine::new(10, 0.5)
        };
        line.insert("eval_fpb/acc", 0.75);
        let text = Value::Object(line.to_json()).to_string();
        assert_eq!(
            text,
            r#"{"loss":1.25,"grad_norm":null,"learning_rate":0.0002,"num_tokens":4096,"eval_fpb/acc":0.75,"epoch":0.5,"step":10}"#
        );
    }
}
