//! `slerp`: spherical interpolation between two models, each tensor one vector.

use crate::merge::methods::{
    Axis, BaseRule, Coefficients, InputContract, Map, Measured, MergeMethod, MethodFault, ParameterDefault,
    ParameterScope, ParameterSpec, Products, Statistics, TensorParameters,
};
use crate::recipe::setting::ParameterKind;

/// From the base (`t` = 0) to the other model (`t` = 1); nearly parallel tensors are interpolated
/// linearly.
pub(crate) struct Slerp;

const PARAMETERS: &[ParameterSpec] = &[ParameterSpec {
    name: "t",
    kind: ParameterKind::Share,
    scope: ParameterScope::Shared,
    default: ParameterDefault::Required,
}];

/// Norms up to this count as 1.
const SMALL_NORM: f64 = 1e-8;
/// Cosines beyond this are interpolated linearly.
const PARALLEL: f64 = 0.9995;

impl MergeMethod for Slerp {
    fn name(&self) -> &'static str {
        "slerp"
    }

    fn summary(&self) -> &'static str {
        "spherical interpolation between two models"
    }

    fn reference(&self) -> &'static str {
        "https://dl.acm.org/doi/10.1145/325165.325242"
    }

    fn parameters(&self) -> &'static [ParameterSpec] {
        PARAMETERS
    }

    fn contract(&self) -> InputContract {
        InputContract { base: BaseRule::Required, least: 1, most: 1 }
    }

    fn copies_lone_tensor(&self) -> bool {
        true
    }

    fn statistics(&self, tensor: &TensorParameters) -> Result<Statistics, MethodFault> {
        Ok(Statistics::Products(Products { axis: Axis::Whole, vectors: order(tensor), from_base: false }))
    }

    fn map(&self, tensor: &TensorParameters, measured: &Measured) -> Result<Map, MethodFault> {
        let [aa, ab, bb] = measured.pair(0)?;
        let [a, b] = coefficients(tensor.number("t")?, aa, ab, bb);
        let mut weights = vec![0.0; tensor.inputs.len()];
        for (input, weight) in order(tensor).into_iter().zip([a, b]) {
            weights[input] = weight;
        }
        Ok(Map::WeightedSum { coefficients: Coefficients::Uniform(weights), divisor: None })
    }
}

/// Base first, then the other.
fn order(tensor: &TensorParameters) -> Vec<usize> {
    tensor.base.into_iter().chain(tensor.tuned()).collect()
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
