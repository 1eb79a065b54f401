//! Scores of multiple-choice documents: the harness's rules for `multiple_choice`.

use super::tally::{DocumentValue, NO_GOLD};
use crate::eval::language_model::Score;

/// The choices of one document as they were scored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choices<'a> {
    /// Texts without delimiter.
    pub texts: &'a [String],
    /// Indices of the right ones.
    pub gold: &'a [usize],
    /// One score a choice.
    pub scores: &'a [Score],
    /// Log-probabilities after an empty context.
    pub unconditional: Option<&'a [f64]>,
}

/// Index of the greatest value; the first of equals.
#[must_use]
pub(crate) fn argmax(values: impl IntoIterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, value) in values.into_iter().enumerate() {
        if best.is_none_or(|(_, greatest)| value > greatest) {
            best = Some((index, value));
        }
    }
    best.map(|(index, _)| index)
}

impl Choices<'_> {
    /// The most probable choice.
    #[must_use]
    pub(crate) fn predicted(&self) -> Option<usize> {
        argmax(self.scores.iter().map(|score| score.logprob))
    }

    fn correct(&self, predicted: Option<usize>) -> DocumentValue {
        DocumentValue::Number(f64::from(u8::from(predicted.is_some_and(|index| self.gold.contains(&index)))))
    }

    /// Accuracy: 1 when the choice with the greatest log-probability is right.
    #[must_use]
    pub(crate) fn acc(&self) -> DocumentValue {
        self.correct(self.predicted())
    }

    /// `acc_norm`: by characters. A choice without text divides by zero, as in the harness.
    #[must_use]
    pub(crate) fn acc_norm(&self) -> DocumentValue {
        self.correct(self.normalised(|text| text.chars().count()))
    }

    /// `acc_bytes`: by UTF-8 bytes.
    #[must_use]
    pub(crate) fn acc_bytes(&self) -> DocumentValue {
        self.correct(self.normalised(str::len))
    }

    fn normalised(&self, length: impl Fn(&str) -> usize) -> Option<usize> {
        argmax(self.scores.iter().zip(self.texts).map(|(score, text)| score.logprob / length(text) as f64))
    }

    /// `acc_mutual_info`; `None` without the choices' own log-probabilities.
    #[must_use]
    pub(crate) fn acc_mutual_info(&self) -> Option<DocumentValue> {
        let unconditional = self.unconditional.filter(|list| list.len() == self.scores.len())?;
        Some(self.correct(argmax(self.scores.iter().zip(unconditional).map(|(score, own)| score.logprob - own))))
    }

    /// `exact_match`: greedy decoding would give a right choice.
    #[must_use]
    pub(crate) fn exact_match(&self) -> DocumentValue {
        let greedy = self.gold.iter().any(|&index| self.scores.get(index).is_some_and(|score| score.is_greedy));
        DocumentValue::Number(f64::from(u8::from(greedy)))
    }

    /// Softmax over the choices' log-probabilities.
    #[must_use]
    pub(crate) fn probabilities(&self) -> Vec<f64> {
        let greatest = self.scores.iter().map(|score| score.logprob).fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = self.scores.iter().map(|score| (score.logprob - greatest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    }

    /// `brier_score`; of several right choices the most probable one counts.
    #[must_use]
    pub(crate) fn brier_score(&self) -> DocumentValue {
        let probabilities = self.probabilities();
        let best = argmax(self.gold.iter().map(|&index| probabilities.get(index).copied().unwrap_or(0.0)));
        let gold = best.and_then(|best| self.gold.get(best)).map_or(NO_GOLD, |&index| index as i32);
        DocumentValue::Probabilities { gold, probabilities }
    }

    /// `likelihood`: the probability of the right choices among all choices.
    #[must_use]
    pub(crate) fn likelihood(&self) -> DocumentValue {
        let probabilities = self.probabilities();
        DocumentValue::Number(self.gold.iter().filter_map(|&index| probabilities.get(index)).sum())
    }
}
