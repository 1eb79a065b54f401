//! `nuslerp`: slerp with weights instead of `t`, optionally between task vectors, per row or column.

use crate::compute::merge::Selection;
use crate::merge::methods::weights::LEAST_RELATIVE_SUM;
use crate::merge::methods::{
    Axis, BaseRule, Coefficients, InputContract, Map, Measured, MergeMethod, MethodFault, ParameterScope,
    ParameterSpec, Products, Statistics, TensorParameters,
};

/// Two models, `t = w2 / (w1 + w2)`. With a base their task vectors are interpolated.
/// `nuslerp_flatten: false` treats each row as a vector of its own, and `nuslerp_row_wise: true`
/// then each *column*: mergekit's name means the opposite of what it does, and recipes rely on it.
pub(crate) struct NuSlerp;

const PARAMETERS: &[ParameterSpec] = &[
    ParameterSpec::required("weight", ParameterScope::NonBaseInput),
    ParameterSpec::switch("nuslerp_flatten", true),
    ParameterSpec::switch("nuslerp_row_wise", false),
];

impl NuSlerp {
    fn weights(tensor: &TensorParameters) -> Result<[f64; 2], MethodFault> {
        let weights = tensor.tuned_numbers("weight")?;
        let count = |found| MethodFault::Count { what: "weights", expected: 2, found };
        weights.try_into().map_err(|weights: Vec<f64>| count(weights.len()))
    }

    fn axis(tensor: &TensorParameters) -> Result<Axis, MethodFault> {
        // A vector has one row and counts as one in either direction.
        Ok(if tensor.switch("nuslerp_flatten")? || tensor.shape.len() < 2 {
            Axis::Whole
        } else if tensor.switch("nuslerp_row_wise")? {
            Axis::Columns
        } else {
            Axis::Rows
        })
    }
}

impl MergeMethod for NuSlerp {
    fn name(&self) -> &'static str {
        "nuslerp"
    }

    fn summary(&self) -> &'static str {
        "weighted slerp of two models or task vectors, whole or per row"
    }

    fn reference(&self) -> &'static str {
        "https://dl.acm.org/doi/10.1145/325165.325242"
    }

    fn parameters(&self) -> &'static [ParameterSpec] {
        PARAMETERS
    }

    fn contract(&self) -> InputContract {
        InputContract { base: BaseRule::Optional, least: 2, most: 2 }
    }

    fn copies_lone_tensor(&self) -> bool {
        true
    }

    fn check(&self, tensor: &TensorParameters) -> Result<Option<String>, MethodFault> {
        let [a, b] = Self::weights(tensor)?;
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

    fn statistics(&self, tensor: &TensorParameters) -> Result<Statistics, MethodFault> {
        Ok(Statistics::Products(Products {
            axis: Self::axis(tensor)?,
            vectors: tensor.tuned().collect(),
            from_base: tensor.base.is_some(),
        }))
    }

    fn map(&self, tensor: &TensorParameters, measured: &Measured) -> Result<Map, MethodFault> {
        let [a, b] = Self::weights(tensor)?;
        let t = b / (a + b);
        let pairs: Vec<[f64; 2]> = (0..measured.pairs())
            .map(|i| measured.pair(i).map(|[aa, ab, bb]| coefficients(t, aa, ab, bb)))
            .collect::<Result<_, _>>()?;
        let coefficients = match Self::axis(tensor)? {
            Axis::Whole => Coefficients::Uniform(pairs.into_iter().flatten().collect()),
            Axis::Rows => Coefficients::PerRow(pairs.iter().map(|pair| pair.to_vec()).collect()),
            Axis::Columns => Coefficients::PerColumn((0..2).map(|i| pairs.iter().map(|p| p[i]).collect()).collect()),
        };
        Ok(if tensor.base.is_some() {
            Map::TaskVectors {
                coefficients,
                selections: vec![Selection::All; 2],
                consensus: false,
                normalize: false,
                divisor: None,
                scale: 1.0,
            }
        } else {
            Map::WeightedSum { coefficients, divisor: None }
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
