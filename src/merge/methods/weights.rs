//! Sums of weights that methods divide by.

use super::TensorParameters;
use crate::compute::merge::ComputeType;

/// Smallest sum of weights that may be divided by, relative to the sum of their magnitudes. Below it the differences
/// between the models come out a thousandfold, and what 16-bit weights lost in rounding is larger than the result.
pub(crate) const LEAST_RELATIVE_SUM: f64 = 1e-3;

/// Most weights of both signs of which every combination is looked at.
const MOST_COMBINED: usize = 16;

fn cancels(weights: &[f64]) -> bool {
    let magnitude: f64 = weights.iter().map(|w| w.abs()).sum();
    magnitude > 0.0 && weights.iter().sum::<f64>().abs() < LEAST_RELATIVE_SUM * magnitude
}

fn refusal(weights: &[f64], which: &str) -> String {
    let list: Vec<String> = weights.iter().map(f64::to_string).collect();
    format!(
        "the weights {}{which} sum to {}, which `normalize: true` would divide by; the sum must be at least \
         {LEAST_RELATIVE_SUM} of the sum of their magnitudes",
        list.join(", "),
        weights.iter().sum::<f64>(),
    )
}

/// Says why a mean with these weights has no meaning: their sum cancels. `zeros` allows all of them to be zero.
pub(super) fn refuse_cancelling(weights: &[f64], zeros: bool) -> Option<String> {
    let nothing = !zeros && weights.iter().all(|w| *w == 0.0);
    (nothing || cancels(weights)).then(|| refusal(weights, ""))
}

/// The same where elements are divided by the sum of those weights whose models agree on a sign: no combination may
/// nearly cancel. One that is exactly zero counts as one, as in mergekit.
pub(super) fn refuse_cancelling_combinations(weights: &[f64]) -> Option<String> {
    let both_signs = weights.iter().any(|w| *w < 0.0) && weights.iter().any(|w| *w > 0.0);
    if let Some(refused) = refuse_cancelling(weights, true) {
        return Some(refused);
    }
    if !both_signs || weights.len() > MOST_COMBINED {
        return None;
    }
    (1_u32..1 << weights.len()).find_map(|chosen| {
        let some: Vec<f64> =
            weights.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1).map(|(_, weight)| *weight).collect();
        let nearly = cancels(&some) && some.iter().sum::<f64>() != 0.0;
        nearly.then(|| refusal(&some, ", where their models agree,"))
    })
}

/// The sum of weights a plain mean divides by, formed in the working type as mergekit does; sums
/// below 1e-8 count as 1.
pub(super) fn guarded_sum(tensor: &TensorParameters, weights: &[f64]) -> f64 {
    let sum = match tensor.precision {
        ComputeType::F32 => f64::from(weights.iter().fold(0.0, |sum: f32, w| sum + *w as f32)),
        ComputeType::F64 => weights.iter().sum(),
    };
    if sum.abs() < 1e-8 { 1.0 } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_that_nearly_cancel_are_refused_relative_to_the_weights() {
        for weights in [&[0.1, 0.2, -0.3][..], &[1.0, -1.0], &[1e-9, -1e-9], &[0.7, 0.1, -0.8], &[1.0, -0.9999]] {
            assert!(refuse_cancelling(weights, true).is_some(), "{weights:?}");
        }
        for weights in [&[1e-9, 2e-9][..], &[1.0, -0.6], &[0.5], &[1.0, -0.99]] {
            assert!(refuse_cancelling(weights, false).is_none(), "{weights:?}");
        }
        assert!(refuse_cancelling(&[0.0, 0.0], true).is_none() && refuse_cancelling(&[0.0, 0.0], false).is_some());
        let message = refuse_cancelling(&[0.5, -0.5], true).expect("cancels");
        assert!(message.contains("0.5, -0.5") && message.contains("0.001"), "{message}");
    }

    #[test]
    fn models_that_agree_may_not_nearly_cancel_either() {
        // All four sum to 1; the first three, where only they agree, to 5.6e-17.
        assert!(refuse_cancelling_combinations(&[0.1, 0.2, -0.3, 1.0]).is_some());
        assert!(refuse_cancelling_combinations(&[1.0, -0.6, 0.8]).is_none());
        assert!(refuse_cancelling_combinations(&[1.0, -1.0, 0.8]).is_none(), "exactly zero counts as one");
        assert!(refuse_cancelling_combinations(&[1.0, -1.0]).is_some());
    }
}
