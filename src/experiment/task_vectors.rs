//! Norms and cosines of LoRA task vectors, without making them.
//!
//! A module's task vector is `s · B A`, and the inner product of two of them is
//! `s₁ s₂ · Σ (B₁ᵀ B₂) ∘ (A₁ A₂ᵀ)`: products of rank size, whatever the size of the weight. Sums are
//! in f64 and in order of module, so that they don't depend on anything else.

use std::collections::BTreeMap;

use ndarray::{ArrayView1, ArrayView2};

use super::error::ExperimentError;
use super::report::data::TaskVectors;

/// The factors of one module's task vector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part<'a> {
    /// The module as the base model names it.
    pub module: &'a str,
    /// Factor of `B A`.
    pub scale: f64,
    /// `[rank, inputs]`.
    pub a: ArrayView2<'a, f32>,
    /// `[outputs, rank]`.
    pub b: ArrayView2<'a, f32>,
}

/// Statistics of the named task vectors. `layer` gives the layer of a module, as reports name it.
///
/// # Errors
/// [`ExperimentError::Shapes`] when two adapters disagree about a module's shape.
pub(crate) fn statistics(
    vectors: &[(String, Vec<Part<'_>>)],
    layer: impl Fn(&str) -> Option<usize>,
) -> Result<TaskVectors, ExperimentError> {
    let n = vectors.len();
    let by_module: Vec<BTreeMap<&str, &Part<'_>>> =
        vectors.iter().map(|(_, parts)| parts.iter().map(|part| (part.module, part)).collect()).collect();
    let mut products = vec![vec![0.0; n]; n];
    // Layers by number, then everything outside them.
    let mut layers: BTreeMap<(bool, usize), Vec<f64>> = BTreeMap::new();
    for i in 0..n {
        for j in 0..=i {
            for (module, first) in &by_module[i] {
                let Some(second) = by_module[j].get(module) else { continue };
                let product = inner(first, second).ok_or_else(|| ExperimentError::Shapes {
                    first: vectors[i].0.clone(),
                    second: vectors[j].0.clone(),
                    module: (*module).to_owned(),
                })?;
                products[i][j] += product;
                if i == j {
                    let place = layer(module);
                    let key = (place.is_none(), place.unwrap_or(0));
                    layers.entry(key).or_insert_with(|| vec![0.0; n])[i] += product;
                }
            }
        }
    }
    let norms: Vec<f64> = (0..n).map(|i| products[i][i].max(0.0).sqrt()).collect();
    let cosine = |i: usize, j: usize| {
        let length = norms[i] * norms[j];
        // A vector of no length has no direction.
        if length > 0.0 { (products[i.max(j)][i.min(j)] / length).clamp(-1.0, 1.0) } else { 0.0 }
    };
    let title =
        |(outside, number): (bool, usize)| if outside { "outside layers".to_owned() } else { number.to_string() };
    Ok(TaskVectors {
        names: vectors.iter().map(|(name, _)| name.clone()).collect(),
        cosines: (0..n).map(|i| (0..n).map(|j| cosine(i, j)).collect()).collect(),
        norms,
        layers: layers
            .into_iter()
            .map(|(key, squares)| (title(key), squares.into_iter().map(|x| x.max(0.0).sqrt()).collect()))
            .collect(),
    })
}

/// The inner product of two task vectors of one module; `None` when their shapes differ.
fn inner(first: &Part<'_>, second: &Part<'_>) -> Option<f64> {
    if first.a.ncols() != second.a.ncols() || first.b.nrows() != second.b.nrows() {
        return None;
    }
    let dot = |x: ArrayView1<'_, f32>, y: ArrayView1<'_, f32>| -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let mut sum = 0.0;
    for (a, b) in first.a.rows().into_iter().zip(first.b.columns()) {
        for (other_a, other_b) in second.a.rows().into_iter().zip(second.b.columns()) {
            sum += dot(a, other_a) * dot(b, other_b);
        }
    }
    Some(first.scale * second.scale * sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn part<'a>(module: &'a str, scale: f64, a: &'a Array2<f32>, b: &'a Array2<f32>) -> Part<'a> {
        Part { module, scale, a: a.view(), b: b.view() }
    }

    /// The products written out, `[outputs, inputs]`.
    fn dense(part: &Part<'_>) -> Vec<f64> {
        let mut out = Vec::new();
        for b in part.b.rows() {
            for a in part.a.columns() {
                out.push(part.scale * b.iter().zip(a).map(|(b, a)| f64::from(*b) * f64::from(*a)).sum::<f64>());
            }
        }
        out
    }

    #[test]
    fn the_short_way_gives_the_norms_of_the_products() {
        let numbers = |rows: usize, columns: usize, seed: usize| {
            let number = |i: usize| (((i * 7 + seed * 13) % 23) as f32 - 11.0) / 7.0;
            Array2::from_shape_fn((rows, columns), |(row, column)| number(row * columns + column))
        };
        let (a1, b1, a2, b2, a3, b3) = (
            numbers(2, 5, 1),
            numbers(4, 2, 2),
            numbers(3, 5, 3),
            numbers(4, 3, 4),
            numbers(2, 3, 5),
            numbers(2, 2, 6),
        );
        let x = vec![part("layers.0.q", 2.0, &a1, &b1), part("head", 1.0, &a3, &b3)];
        let y = vec![part("layers.0.q", 0.5, &a2, &b2)];
        let (dx, dy, dh) = (dense(&x[0]), dense(&y[0]), dense(&x[1]));
        let square = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
        let norm_x = (square(&dx) + square(&dh)).sqrt();
        let cosine = dx.iter().zip(&dy).map(|(a, b)| a * b).sum::<f64>() / norm_x / square(&dy).sqrt();
        let layer = |module: &str| module.split('.').nth(1).and_then(|n| n.parse().ok());
        let found = statistics(&[("x".into(), x), ("y".into(), y.clone())], layer).unwrap();
        assert!((found.norms[0] - norm_x).abs() < 1e-9 && (found.cosines[0][1] - cosine).abs() < 1e-12);
        assert!((found.cosines[1][1] - 1.0).abs() < 1e-12);
        assert_eq!(found.layers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["0", "outside layers"]);
        assert!((found.layers[1].1[0] - square(&dh).sqrt()).abs() < 1e-9);
        let wrong = vec![part("layers.0.q", 1.0, &a3, &b1)];
        assert!(statistics(&[("y".into(), y), ("w".into(), wrong)], layer).is_err());
    }
}
