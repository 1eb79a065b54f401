//! `slerp`: spherical interpolation between two models, each tensor one vector.

use crate::merge::methods::params::{Share, params};
use crate::merge::methods::{
    Axis, BaseRule, Coefficients, DotProducts, ElementwiseMethod, InputContract, Map, MethodFault, MethodInfo,
    Reduction, ReductionResult, TensorParameters,
};

/// From the base (`t` = 0) to the other model (`t` = 1); nearly parallel tensors are interpolated
/// linearly.
pub(crate) struct Slerp;

params! {
    /// Parameters of `slerp`.
    struct SlerpParameters {
        /// Position between the base (0) and the other model (1).
        t: Share,
    }
}

/// Norms up to this count as 1.
const SMALL_NORM: f64 = 1e-8;
/// Cosines beyond this are interpolated linearly.
const PARALLEL: f64 = 0.9995;

impl ElementwiseMethod for Slerp {
    type Parameters = SlerpParameters;

    fn info(&self) -> MethodInfo {
        MethodInfo {
            name: "slerp",
            summary: "spherical interpolation between two models",
            reference: "https://dl.acm.org/doi/10.1145/325165.325242",
            contract: InputContract { base: BaseRule::Required, least: 1, most: 1 },
            copies_lone_tensor: true,
        }
    }

    fn reduction(&self, _parameters: &SlerpParameters, tensor: &TensorParameters) -> Result<Reduction, MethodFault> {
        Ok(Reduction::DotProducts(DotProducts { axis: Axis::Whole, vectors: order(tensor)?, base: None }))
    }

    fn map(
        &self,
        parameters: SlerpParameters,
        tensor: &TensorParameters,
        reduced: &ReductionResult,
    ) -> Result<Map, MethodFault> {
        let [aa, ab, bb] = reduced.pair(0)?;
        let [a, b] = coefficients(parameters.t.get(), aa, ab, bb);
        let mut weights = vec![0.0; tensor.inputs.len()];
        for (input, weight) in order(tensor)?.into_iter().zip([a, b]) {
            weights[input] = weight;
        }
        Ok(Map::WeightedSum { coefficients: Coefficients::Uniform(weights), divisor: None })
    }
}

/// Base first, then the other.
fn order(tensor: &TensorParameters) -> Result<Vec<usize>, MethodFault> {
    let base = tensor.required_base()?;
    Ok(std::iter::once(base.index()).chain(tensor.tuned()).collect())
}

/// Factors of start and end, from their squared norms and dot product.
fn coefficients(t: f64, aa: f64, ab: f64, bb: f64) -> [f64; 2] {
    let norm = |square: f64| if square.sqrt() <= SMALL_NORM { 1.0 } else { square.sqrt() };
    let cosine = ab / (norm(aa) * norm(bb));
    // `clamp` keeps NaN, which then reaches the output as it should.
    let cosine = cosine.clamp(-1.0, 1.0);
    if cosine.abs() > PARALLEL {
        return [1.0 - t, t];
    }
    let angle = cosine.acos();
    let sine = angle.sin();
    [((1.0 - t) * angle).sin() / sine, (t * angle).sin() / sine]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_angles_and_parallels() {
        let half = std::f64::consts::FRAC_1_SQRT_2;
        let [a, b] = coefficients(0.5, 4.0, 0.0, 9.0);
        assert!((a - half).abs() < 1e-15 && (b - half).abs() < 1e-15);
        assert_eq!(coefficients(0.25, 1.0, 1.0, 1.0), [0.75, 0.25]);
        assert_eq!(coefficients(0.25, 0.0, 0.0, 0.0)[0], ((0.75) * std::f64::consts::FRAC_PI_2).sin());
    }
}
