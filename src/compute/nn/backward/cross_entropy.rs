//! Cross-entropy of one position, and its gradient.

use crate::compute::nn::elementary::exp;
use crate::compute::nn::softmax::{greatest, ln};
use crate::compute::simd::{LANES, Level, Simd, Task};

/// Loss and entropy of one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TokenLoss {
    /// Minus the natural logarithm of the target's probability.
    pub loss: f64,
    /// Whether the target is the most probable token.
    pub correct: bool,
    /// Entropy of the distribution, in nats.
    pub entropy: f64,
}

/// Loss of `target` under the softmax of `logits`, which are overwritten by `scale` times the loss's gradient.
///
/// A NaN among the logits gives a NaN loss. The target must be one of the logits.
///
/// # Panics
/// When it is not.
pub(crate) fn cross_entropy(logits: &mut [f32], target: usize, scale: f32) -> TokenLoss {
    assert!(target < logits.len(), "a target of the vocabulary");
    let logit = logits[target];
    let Sums { max, sum, weighted } = Level::detected().run(Exponentials { logits });
    let correct = logit == max;
    let partition = ln(sum);
    let loss = partition - (f64::from(logit) - f64::from(max));
    let entropy = partition - weighted / sum;
    let factor = (f64::from(scale) / sum) as f32;
    for logit in logits.iter_mut() {
        *logit *= factor;
    }
    logits[target] -= scale;
    TokenLoss { loss, correct, entropy }
}

/// Replaces each logit by `e^(logit - max)`.
struct Exponentials<'a> {
    logits: &'a mut [f32],
}

struct Sums {
    /// The greatest logit.
    max: f32,
    /// Of `e^(logit - max)`.
    sum: f64,
    /// Of `(logit - max) e^(logit - max)`.
    weighted: f64,
}

/// Vectors that are summed in f32.
const STRETCH: usize = 16;

impl Task for Exponentials<'_> {
    type Output = Sums;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Sums {
        let (groups, tail) = self.logits.as_chunks_mut::<LANES>();
        let max = greatest(simd, groups, simd.load_partial(tail, f32::NEG_INFINITY));
        let top = simd.splat(max);
        let (mut sum, mut weighted) = (0.0, 0.0);
        for groups in groups.chunks_mut(STRETCH) {
            let (mut sums, mut weights) = (simd.splat(0.0), simd.splat(0.0));
            for group in groups {
                let below = simd.sub(simd.load(group), top);
                let power = exp(simd, below);
                simd.store(power, group);
                sums = simd.add(sums, power);
                weights = simd.fma(power, below, weights);
            }
            sum += f64::from(simd.sum(sums));
            weighted += f64::from(simd.sum(weights));
        }
        for logit in tail {
            let below = *logit - max;
            let mut group = [0.0; LANES];
            simd.store(exp(simd, simd.splat(below)), &mut group);
            *logit = group[0];
            sum += f64::from(*logit);
            weighted += f64::from(*logit * below);
        }
        Sums { max, sum, weighted }
    }
}
