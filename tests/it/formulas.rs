//! The merge methods written down naively in f64, as the specification states them.

/// A fine-tuned model's part in a merge.
#[derive(Debug, Clone)]
pub(crate) struct Tuned {
    pub values: Vec<f64>,
    pub weight: f64,
    pub density: f64,
}

/// What a method with discrete decisions gives.
#[derive(Debug)]
pub(crate) struct Elected {
    pub values: Vec<f64>,
    /// The element sits on a trim threshold that not all of its equals pass.
    pub tied: Vec<bool>,
    /// The sign election is so close that rounding decides it.
    pub close: Vec<bool>,
    /// Largest magnitude that took part in computing the element, for tolerances.
    pub magnitude: Vec<f64>,
}

/// Switches of the task-vector methods.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub normalize: bool,
    pub rescale: bool,
    pub lambda: f64,
    /// Differences are taken in f64 instead of f32.
    pub wide: bool,
}

pub(crate) fn linear(inputs: &[(Vec<f64>, f64)], normalize: bool) -> Vec<f64> {
    let sum: f64 = inputs.iter().map(|(_, w)| w).sum();
    let divisor = if normalize { sum } else { 1.0 };
    let element = |e: usize| inputs.iter().map(|(x, w)| w * x[e]).sum::<f64>() / divisor;
    (0..inputs[0].0.len()).map(element).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn arc(a: &[f64], b: &[f64], t: f64, cosine: f64, parallel: bool) -> Vec<f64> {
    let angle = cosine.acos();
    let (first, second) = if parallel {
        (1.0 - t, t)
    } else {
        (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin())
    };
    a.iter().zip(b).map(|(a, b)| first * a + second * b).collect()
}

pub(crate) fn slerp(a: &[f64], b: &[f64], t: f64) -> Vec<f64> {
    let norm = |x: &[f64]| Some(dot(x, x).sqrt()).filter(|n| *n > 1e-8 || n.is_nan()).unwrap_or(1.0);
    let cosine = (dot(a, b) / (norm(a) * norm(b))).clamp(-1.0, 1.0);
    arc(a, b, t, cosine, cosine.abs() > 0.9995)
}

/// One vector of [`nuslerp`].
fn unit_slerp(a: &[f64], b: &[f64], t: f64) -> Vec<f64> {
    let cosine = (dot(a, b) / (dot(a, a).sqrt().max(1e-7) * dot(b, b).sqrt().max(1e-7))).clamp(-1.0, 1.0);
    arc(a, b, t, cosine, 1.0 - cosine * cosine <= 1e-16)
}

/// `axis` is 0 for columns as vectors, 1 for rows, none for the whole tensor.
pub(crate) fn nuslerp(base: Option<&[f64]>, inputs: &[Tuned; 2], axis: Option<usize>, shape: &[usize]) -> Vec<f64> {
    let sum = inputs[0].weight + inputs[1].weight;
    let t = if sum.abs() < 1e-6 { 0.5 } else { inputs[1].weight / sum };
    let vector =
        |x: &[f64], at: &[usize]| -> Vec<f64> { at.iter().map(|&e| x[e] - base.map_or(0.0, |b| b[e])).collect() };
    let n = inputs[0].values.len();
    let groups: Vec<Vec<usize>> = match axis.filter(|_| shape.len() > 1) {
        None => vec![(0..n).collect()],
        Some(0) => (0..n / shape[0]).map(|c| (c..n).step_by(n / shape[0]).collect()).collect(),
        Some(_) => (0..n / shape[1]).map(|r| (r * shape[1]..(r + 1) * shape[1]).collect()).collect(),
    };
    let mut out = vec![0.0; n];
    for group in groups {
        let mixed = unit_slerp(&vector(&inputs[0].values, &group), &vector(&inputs[1].values, &group), t);
        for (e, value) in group.into_iter().zip(mixed) {
            out[e] = value + base.map_or(0.0, |b| b[e]);
        }
    }
    out
}

pub(crate) fn task_arithmetic(base: &[f64], inputs: &[Tuned], options: Options) -> Elected {
    let keep = vec![vec![true; base.len()]; inputs.len()];
    consensus(base, inputs, &keep, options, false)
}

/// TIES with the documented rule for equals: lowest flat index first.
pub(crate) fn ties(base: &[f64], inputs: &[Tuned], options: Options) -> Elected {
    let mut keep = Vec::new();
    let mut tied = vec![false; base.len()];
    for input in inputs {
        let keys = magnitudes(base, &input.values, options.wide);
        keep.push(largest(&keys, input.density, &mut tied));
    }
    Elected { tied, ..consensus(base, inputs, &keep, options, true) }
}

/// The magnitudes that trimming compares: of differences rounded to the working type.
pub(crate) fn magnitudes(base: &[f64], tuned: &[f64], wide: bool) -> Vec<f64> {
    let difference = |(x, b): (&f64, &f64)| if wide { x - b } else { f64::from(*x as f32 - *b as f32) };
    tuned.iter().zip(base).map(difference).map(f64::abs).collect()
}

fn largest(keys: &[f64], density: f64, tied: &mut [bool]) -> Vec<bool> {
    if density >= 1.0 || density <= 0.0 {
        return vec![density >= 1.0; keys.len()];
    }
    let k = ((density * keys.len() as f64) as usize).max(1);
    let mut order: Vec<usize> = (0..keys.len()).collect();
    // Stable, and `total_cmp` takes NaN for larger than everything.
    order.sort_by(|&a, &b| keys[b].total_cmp(&keys[a]));
    let mut keep = vec![false; keys.len()];
    order[..k].iter().for_each(|&e| keep[e] = true);
    let threshold = keys[order[k - 1]];
    if order.get(k).is_some_and(|&e| keys[e] == threshold) && threshold > 0.0 {
        (0..keys.len()).filter(|&e| keys[e] == threshold).for_each(|e| tied[e] = true);
    }
    keep
}

/// `sum |d| / sum |kept|`, or 1 where that means nothing.
pub(crate) fn rescale_factor(base: &[f64], tuned: &[f64], keep: &[bool]) -> f64 {
    let magnitude = |e: usize| (tuned[e] - base[e]).abs();
    let all: f64 = (0..base.len()).map(magnitude).sum();
    let kept: f64 = (0..base.len()).filter(|e| keep[*e]).map(magnitude).sum();
    if all < 1e-7 || kept < 1e-7 { 1.0 } else { all / kept }
}

/// `b + lambda * mix` of kept task vectors, with or without sign election.
pub(crate) fn consensus(base: &[f64], inputs: &[Tuned], keep: &[Vec<bool>], options: Options, elect: bool) -> Elected {
    let n = base.len();
    let factors: Vec<f64> = inputs
        .iter()
        .zip(keep)
        .map(|(x, keep)| if options.rescale { rescale_factor(base, &x.values, keep) } else { 1.0 })
        .collect();
    let mut out = Elected { values: vec![], tied: vec![false; n], close: vec![false; n], magnitude: vec![] };
    for e in 0..n {
        let parts: Vec<f64> = inputs
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let delta = x.values[e] - base[e];
                // A broken element shows, trimmed or not, unless its model has no part at all.
                let shows = delta.is_nan() && x.density > 0.0;
                if keep[i][e] || shows { delta * factors[i] * x.weight } else { 0.0 }
            })
            .collect();
        let sum: f64 = parts.iter().sum();
        let size: f64 = parts.iter().map(|p| p.abs()).sum();
        out.close[e] = elect && sum.abs() < 1e-5 * size;
        let agrees = |part: f64| !elect || if sum >= 0.0 { part > 0.0 } else { part < 0.0 };
        let broken = parts.iter().any(|p| p.is_nan());
        let mix: f64 = if broken { f64::NAN } else { parts.iter().filter(|p| agrees(**p)).sum() };
        let weights = parts.iter().zip(inputs).filter(|(part, _)| agrees(**part)).map(|(_, x)| x.weight);
        let divisor: f64 = if options.normalize { weights.sum() } else { 1.0 };
        let whole = divisor == 0.0 || (!elect && divisor.abs() < 1e-8);
        let divisor = if whole { 1.0 } else { divisor };
        out.values.push(base[e] + options.lambda * mix / divisor);
        let size = |(x, f): (&Tuned, &f64)| (x.weight * f).abs() * (x.values[e].abs() + base[e].abs());
        let models: f64 = inputs.iter().zip(&factors).filter(|(x, _)| x.density > 0.0).map(size).sum();
        out.magnitude.push(base[e].abs() + models * options.lambda.abs() / divisor.abs().min(1.0));
    }
    out
}
