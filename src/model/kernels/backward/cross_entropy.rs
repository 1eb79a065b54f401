//! Cross-entropy of one position, and its gradient.

use crate::model::kernels::exp::exp;
use crate::model::kernels::simd::{LANES, Level, Simd, Task};

/// What a position's logits say of its target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLoss {
    /// Minus the natural logarithm of the target's probability.
    pub loss: f64,
    /// Whether the target is the most probable token.
    pub correct: bool,
    /// Entropy of the distribution, in nats.
    pub entropy: f64,
}

/// Loss of `target` under the softmax of `logits`, which become `scale` times the loss's gradient.
///
/// A NaN among the logits gives a NaN loss. The target must be one of the logits.
///
/// # Panics
/// When it is not.
pub fn cross_entropy(logits: &mut [f32], target: usize, scale: f32) -> TokenLoss {
    assert!(target < logits.len(), "a target of the vocabulary");
    let logit = logits[target];
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let correct = logit == max;
    let (sum, weighted) = Level::detected().run(Exponentials { logits, max });
    let loss = sum.ln() - (f64::from(logit) - f64::from(max));
    let entropy = sum.ln() - weighted / sum;
    let factor = (f64::from(scale) / sum) as f32;
    for logit in logits.iter_mut() {
        *logit *= factor;
    }
    logits[target] -= scale;
    TokenLoss { loss, correct, entropy }
}

/// `e^(logit - max)` in place; returns their sum and that of `(logit - max) e^(logit - max)`.
struct Exponentials<'a> {
    logits: &'a mut [f32],
    max: f32,
}

/// Vectors that are summed in f32.
const STRETCH: usize = 16;

impl Task for Exponentials<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f64, f64) {
        let top = simd.splat(self.max);
        let (mut sum, mut weighted) = (0.0, 0.0);
        let (groups, tail) = self.logits.as_chunks_mut::<LANES>();
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
            let below = *logit - self.max;
            let mut group = [0.0; LANES];
            simd.store(exp(simd, simd.splat(below)), &mut group);
            *logit = group[0];
            sum += f64::from(*logit);
            weighted += f64::from(*logit * below);
        }
        (sum, weighted)
    }
}
