//! `nuslerp`: slerp with weights instead of `t`, optionally between task vectors, per row or column.

use crate::compute::merge::Selection;
use crate::merge::methods::params::{PerModel, params};
use crate::merge::methods::weights::LEAST_RELATIVE_SUM;
use crate::merge::methods::{
    Axis, BaseRule, Coefficients, DotProducts, ElementwiseMethod, InputContract, Map, MethodFault, MethodInfo,
    Reduction, ReductionResult, TensorParameters,
};

/// Two models, `t = w2 / (w1 + w2)`. With a base their task vectors are interpolated.
/// `nuslerp_flatten: false` treats each row as a vector of its own, and `nuslerp_row_wise: true`
/// then each *column*: mergekit's name means the opposite of what it does, and recipes rely on it.
pub(crate) struct NuSlerp;

params! {
    /// Parameters of `nuslerp`.
    struct NuSlerpParameters {
        /// Weight of the model; the second one's share of both is the position between them.
        weight: PerModel<f64>,
        /// Interpolates whole tensors.
        nuslerp_flatten: bool = true,
        /// Interpolates columns, otherwise rows, where tensors are not flattened.
        nuslerp_row_wise: bool = false,
    }
}

impl NuSlerpParameters {
    fn weights(&self) -> Result<[f64; 2], MethodFault> {
        let count = |_| MethodFault::Count { what: "weights", expected: 2, found: self.weight.len() };
        <[f64; 2]>::try_from(&*self.weight).map_err(count)
    }

    fn axis(&self, tensor: &TensorParameters) -> Axis {
        // A vector has one row and counts as one in either direction.
        if self.nuslerp_flatten || tensor.shape.len() < 2 {
            Axis::Whole
        } else if self.nuslerp_row_wise {
            Axis::Columns
        } else {
            Axis::Rows
        }
    }
}

impl ElementwiseMethod for NuSlerp {
    type Parameters = NuSlerpParameters;

    fn info(&self) -> MethodInfo {
        MethodInfo {
            name: "nuslerp",
            summary: "weighted slerp of two models or task vectors, whole or per row",
            reference: "https://dl.acm.org/doi/10.1145/325165.325242",
            contract: InputContract { base: BaseRule::Optional, least: 2, most: 2 },
            copies_lone_tensor: true,
        }
    }

    fn check(&self, parameters: &NuSlerpParameters) -> Result<Option<String>, MethodFault> {
        let [a, b] = parameters.weights()?;
        Ok(if (a + b).abs() < LEAST_RELATIVE_SUM * (a.abs() + b.abs()) || a + b == 0.0 {
            Some(format!(
                "the weights {a} and {b} sum to {}, which their share is formed by; the sum must be at least \
                 {LEAST_RELATIVE_SUM} of the sum of their magnitudes",
                a + b
            ))
        } else if !(0.0..=1.0).contains(&(b / (a + b))) {
            let t = b / (a + b);
            Some(format!("the weights {a} and {b} give the second model a share of {t}, which is outside 0 to 1"))
        } else {
            None
        })
    }

    fn reduction(&self, parameters: &NuSlerpParameters, tensor: &TensorParameters) -> Result<Reduction, MethodFault> {
        Ok(Reduction::DotProducts(DotProducts {
            axis: parameters.axis(tensor),
            vectors: tensor.tuned().collect(),
            base: tensor.base(),
        }))
    }

    fn map(
        &self,
        parameters: NuSlerpParameters,
        tensor: &TensorParameters,
        reduced: &ReductionResult,
    ) -> Result<Map, MethodFault> {
        let [a, b] = parameters.weights()?;
        let t = b / (a + b);
        let pairs = reduced.all_pairs()?.into_iter().map(|[aa, ab, bb]| coefficients(t, aa, ab, bb));
        let coefficients = match parameters.axis(tensor) {
            Axis::Whole => Coefficients::Uniform(pairs.flatten().collect()),
            Axis::Rows => Coefficients::PerRow(pairs.map(|pair| pair.to_vec()).collect()),
            Axis::Columns => {
                let (first, second) = pairs.map(|[first, second]| (first, second)).unzip();
                Coefficients::PerColumn(vec![first, second])
            }
        };
        Ok(match tensor.base() {
            Some(base) => Map::TaskVectors {
                base,
                coefficients,
                selections: vec![Selection::All; 2],
                consensus: false,
                normalize: false,
                divisor: None,
                scale: 1.0,
            },
            None => Map::WeightedSum { coefficients, divisor: None },
        })
    }
}

/// Factors of both vectors; unit vectors divide by at least 1e-7, and only vectors that are
/// parallel to the last bit are interpolated linearly. Opposite vectors have no arc between them; in
/// double precision they need a wider margin than mergekit's single precision gives them, or the
/// factors explode.
fn coefficients(t: f64, aa: f64, ab: f64, bb: f64) -> [f64; 2] {
    let cosine = (ab / (aa.sqrt().max(1e-7) * bb.sqrt().max(1e-7))).clamp(-1.0, 1.0);
    let sine_square = 1.0 - cosine * cosine;
    if sine_square <= if cosine < 0.0 { 1e-7 } else { 1e-16 } {
        return [1.0 - t, t];
    }
    let angle = cosine.acos();
    let sine = angle.sin();
    [((1.0 - t) * angle).sin() / sine, (t * angle).sin() / sine]
}
