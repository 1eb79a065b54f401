//! Every operation's gradient against central differences of its formula, written plainly in f64.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor, Var};

use super::*;
use crate::compute::nn;
use crate::compute::nn::{Activation, AttentionShape, PackedMatrix, WeightDtype};
use crate::model::rope::Rotation;
use crate::rng::Philox;

/// Values in -1..1.
fn random(seed: u64, count: usize) -> Vec<f32> {
    let philox = Philox::new(seed);
    (0..count.div_ceil(4))
        .flat_map(|block| philox.block(block as u64))
        .take(count)
        .map(|u| (f64::from(u) / 2_147_483_648.0 - 1.0) as f32)
        .collect()
}

struct Weigh(Tensor);

impl CustomOp1 for Weigh {
    fn name(&self) -> &'static str {
        "weigh"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

type Formula<'a> = &'a dyn Fn(&[Vec<f64>]) -> Vec<f64>;

/// Compares values and gradients of an operation with those of its formula.
fn check(name: &str, shapes: &[&[usize]], op: &dyn Fn(&[Tensor]) -> Result<Tensor>, formula: Formula<'_>) {
    let inputs: Vec<Vec<f32>> =
        shapes.iter().enumerate().map(|(index, shape)| random(index as u64 + 1, shape.iter().product())).collect();
    let variables: Vec<Var> = inputs
        .iter()
        .zip(shapes)
        .map(|(values, shape)| Var::from_vec(values.clone(), *shape, &Device::Cpu).unwrap())
        .collect();
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let out = op(&tensors).unwrap();
    let mut exact: Vec<Vec<f64>> = inputs.iter().map(|x| x.iter().map(|x| f64::from(*x)).collect()).collect();
    let expected = formula(&exact);
    let values: Vec<f32> = out.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(values.len(), expected.len(), "{name}");
    for (value, expected) in values.iter().zip(&expected) {
        assert!((f64::from(*value) - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{name}: {value} {expected}");
    }
    let weights = random(99, values.len());
    let dout = Tensor::from_vec(weights.clone(), out.shape(), &Device::Cpu).unwrap();
    let store = out.apply_op1(Weigh(dout)).unwrap().backward().unwrap();
    let objective = |inputs: &[Vec<f64>]| -> f64 {
        formula(inputs).iter().zip(&weights).map(|(value, weight)| value * f64::from(*weight)).sum()
    };
    for (input, variable) in variables.iter().enumerate() {
        let gradient =
            store.get(variable.as_tensor()).unwrap_or_else(|| panic!("{name}: input {input} has no gradient"));
        let gradient: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        assert!(gradient.iter().any(|g| *g != 0.0), "{name}: the gradient of input {input} is zero");
        for element in 0..gradient.len() {
            let step = 1e-5;
            let value = exact[input][element];
            exact[input][element] = value + step;
            let above = objective(&exact);
            exact[input][element] = value - step;
            let below = objective(&exact);
            exact[input][element] = value;
            let expected = (above - below) / (2.0 * step);
            let found = f64::from(gradient[element]);
            assert!(
                (found - expected).abs() < 2e-5 * (1.0 + expected.abs()),
                "{name}: gradient {element} of input {input} is {found}, the formula's {expected}"
            );
        }
    }
}

fn packed(n: usize, k: usize) -> (Arc<PackedMatrix>, Vec<f64>) {
    let values = random(77, n * k);
    let mut fill = |row: usize, out: &mut [f32]| out.copy_from_slice(&values[row * k..(row + 1) * k]);
    let weight = PackedMatrix::pack(n, k, WeightDtype::F32, &mut fill);
    (Arc::new(weight), values.iter().map(|w| f64::from(*w)).collect())
}

/// `x w^T` of `[m, k]` and `[n, k]`.
fn product(x: &[f64], w: &[f64], k: usize) -> Vec<f64> {
    let dot = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
    x.chunks(k).flat_map(|x| w.chunks(k).map(move |w| dot(x, w))).collect()
}

fn rms_norm(x: &[f64], weight: &[f64], offset: f64, eps: f64) -> Vec<f64> {
    let norm = |row: &[f64]| -> Vec<f64> {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        row.iter().zip(weight).map(|(x, w)| x / (mean + eps).sqrt() * (offset + w)).collect()
    };
    x.chunks(weight.len()).flat_map(norm).collect()
}

#[test]
fn norms() {
    let weight = random(5, 37);
    let exact: Vec<f64> = weight.iter().map(|w| f64::from(*w)).collect();
    let op = RmsNorm { weight: weight.into(), offset: 1.0, eps: 1e-5 };
    check("rms-norm", &[&[3, 37]], &|x| x[0].apply_op1(op.clone()), &|x| rms_norm(&x[0], &exact, 1.0, 1e-5));
    let op = TrainedRmsNorm { offset: 0.0, eps: 1e-5 };
    check("trained-rms-norm", &[&[4, 33], &[33]], &|x| x[0].apply_op2(&x[1], op), &|x| {
        rms_norm(&x[0], &x[1], 0.0, 1e-5)
    });
}

#[test]
fn rotary() {
    let rotation = Rotation { cos: random(8, 3 * 4), sin: random(9, 3 * 4), rotary_dim: 8 };
    let (cos, sin): (Vec<f64>, Vec<f64>) =
        rotation.cos.iter().zip(&rotation.sin).map(|(c, s)| (f64::from(*c), f64::from(*s))).unzip();
    let op = Rotary { heads: 2, head_dim: 10, rotation: Arc::new(rotation) };
    check("rotary", &[&[3, 20]], &|x| x[0].apply_op1(op.clone()), &|x| {
        let mut out = x[0].clone();
        for (row, head) in (0..3).flat_map(|row| (0..2).map(move |head| (row, head))) {
            for pair in 0..4 {
                let (low, high) = (row * 20 + head * 10 + pair, row * 20 + head * 10 + pair + 4);
                let (c, s) = (cos[row * 4 + pair], sin[row * 4 + pair]);
                out[low] = x[0][low] * c - x[0][high] * s;
                out[high] = x[0][high] * c + x[0][low] * s;
            }
        }
        out
    });
}

/// erf by its series, exact for the small arguments here.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn gates() {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let gelu = |x: f64| x * 0.5 * (1.0 + erf(x / 2.0_f64.sqrt()));
    let tanh = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh());
    let functions: [(Activation, &dyn Fn(f64) -> f64); 3] =
        [(Activation::Silu, &silu), (Activation::Gelu, &gelu), (Activation::GeluTanh, &tanh)];
    for (activation, function) in functions {
        check(
            &format!("{activation:?}"),
            &[&[2, 19], &[2, 19]],
            &|x| x[0].apply_op2(&x[1], Gated { activation }),
            &|x| x[0].iter().zip(&x[1]).map(|(gate, up)| function(*gate) * up).collect(),
        );
    }
}

#[test]
fn linear_layers() {
    let (weight, exact) = packed(35, 21);
    let bias = random(4, 35);
    let bias64: Vec<f64> = bias.iter().map(|b| f64::from(*b)).collect();
    let base = PackedLinear { weight: Arc::clone(&weight), bias: Some(bias.into()) };
    let biased = |y: Vec<f64>| -> Vec<f64> { y.iter().zip(bias64.iter().cycle()).map(|(y, b)| y + b).collect() };
    check("linear", &[&[3, 21]], &|x| x[0].apply_op1(base.clone()), &|x| biased(product(&x[0], &exact, 21)));
    let lora = LoraLinear { base: base.clone(), scale: 0.7, dropout: None };
    let with_factors = |x: &[Vec<f64>]| -> Vec<f64> {
        let low = product(&x[0], &x[1], 21);
        let change = product(&low, &x[2], 4);
        product(&x[0], &exact, 21).iter().zip(change).map(|(y, change)| y + f64::from(0.7_f32) * change).collect()
    };
    check("lora", &[&[3, 21], &[4, 21], &[35, 4]], &|x| x[0].apply_op3(&x[1], &x[2], lora.clone()), &|x| {
        biased(with_factors(x))
    });
    // Dropout: the same elements in value and gradient, so that the formula may read the mask off the operation.
    let dropout = Dropout { rate: 0.5, key: 3 };
    let dropped = LoraLinear { base: base.clone(), scale: 0.7, dropout: Some(dropout) };
    let mask: Vec<f64> = dropout.apply(&[1.0; 63]).iter().map(|kept| f64::from(*kept)).collect();
    assert!(mask.contains(&0.0) && mask.contains(&2.0), "half are dropped, the others doubled");
    check("lora dropout", &[&[3, 21], &[4, 21], &[35, 4]], &|x| x[0].apply_op3(&x[1], &x[2], dropped.clone()), &|x| {
        let inputs: Vec<f64> = x[0].iter().zip(&mask).map(|(x, kept)| x * kept).collect();
        let change = product(&product(&inputs, &x[1], 21), &x[2], 4);
        let y = product(&x[0], &exact, 21);
        biased(y.iter().zip(change).map(|(y, change)| y + f64::from(0.7_f32) * change).collect())
    });
    let norm: Vec<f32> = random(6, 35).iter().map(|n| n.abs() + 0.5).collect();
    let lengths: Vec<f64> = norm.iter().map(|n| f64::from(*n)).collect();
    let magnitude = Magnitude { norm: norm.into(), bias: base.bias.clone() };
    check("magnitude", &[&[3, 35], &[35]], &|x| x[0].apply_op2(&x[1], magnitude.clone()), &|x| {
        let factors = x[1].iter().zip(&lengths).cycle();
        biased(x[0].iter().zip(factors).map(|(y, (m, norm))| y * m / norm).collect())
    });
}

#[test]
fn trained_weights() {
    let values = random(2, 9 * 13);
    let mut fill = |row: usize, out: &mut [f32]| out.copy_from_slice(&values[row * 13..(row + 1) * 13]);
    let weight = Arc::new(PackedMatrix::pack(9, 13, WeightDtype::F32, &mut fill));
    // The second input is drawn with seed 2, as the packed form was.
    check(
        "trained-linear",
        &[&[4, 13], &[9, 13]],
        &|x| x[0].apply_op2(&x[1], TrainedLinear { weight: weight.clone() }),
        &|x| product(&x[0], &x[1], 13),
    );
    let rows = EmbeddingRows { tokens: Arc::new(vec![2, 0, 2, 4]), scale: 1.5 };
    check("embedding", &[&[5, 6]], &|x| x[0].apply_op1(rows.clone()), &|x| {
        [2, 0, 2, 4].iter().flat_map(|token| x[0][token * 6..(token + 1) * 6].iter().map(|v| v * 1.5)).collect()
    });
}

/// Causal attention of one sequence whose last `queries` tokens ask.
fn attend(shape: &AttentionShape, q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
    let (d, group) = (shape.head_dim, shape.heads / shape.kv_heads);
    let (width, kv_width) = (shape.heads * d, shape.kv_heads * d);
    let (queries, total) = (q.len() / width, k.len() / kv_width);
    let mut out = vec![0.0; q.len()];
    for query in 0..queries {
        let end = total - queries + query + 1;
        let start = shape.window.map_or(0, |window| end.saturating_sub(window));
        for head in 0..shape.heads {
            let q = &q[query * width + head * d..][..d];
            let at = |key: usize| key * kv_width + head / group * d;
            let score = |key: usize| {
                let score = q.iter().zip(&k[at(key)..]).map(|(q, k)| q * k).sum::<f64>() * f64::from(shape.scale);
                shape.soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
            };
            let powers: Vec<f64> = (start..end).map(|key| score(key).exp()).collect();
            let sum: f64 = powers.iter().sum();
            for (key, power) in (start..end).zip(powers) {
                for element in 0..d {
                    out[query * width + head * d + element] += power / sum * v[at(key) + element];
                }
            }
        }
    }
    out
}

#[test]
fn attention() {
    let plain = AttentionShape { heads: 4, kv_heads: 2, head_dim: 6, scale: 0.8, window: None, soft_cap: None };
    let shapes = [
        plain,
        AttentionShape { window: Some(3), ..plain },
        AttentionShape { soft_cap: Some(1.5), kv_heads: 1, ..plain },
    ];
    for shape in shapes {
        // Two sequences: five tokens of which the last three ask, and four that all ask.
        let span = |queries, own| Span { queries, own, past: Vec::new() };
        let spans = Arc::new(vec![span(0..3, 0..5), span(3..7, 5..9)]);
        let (width, kv_width) = (24, shape.kv_heads * 6);
        let op = Attention { shape, layer: 0, spans };
        check(
            &format!("{shape:?}"),
            &[&[7, width], &[9, kv_width], &[9, kv_width]],
            &|x| x[0].apply_op3(&x[1], &x[2], op.clone()),
            &|x| {
                let (q, rest) = x[0].split_at(3 * width);
                let ((k, more_k), (v, more_v)) = (x[1].split_at(5 * kv_width), x[2].split_at(5 * kv_width));
                let mut out = attend(&shape, q, k, v);
                out.extend(attend(&shape, rest, more_k, more_v));
                out
            },
        );
    }
}

#[test]
fn cross_entropy_and_its_gradient() {
    let logits = random(11, 301);
    let loss = |logits: &[f64]| {
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        sum.ln() - logits[17]
    };
    let mut exact: Vec<f64> = logits.iter().map(|logit| f64::from(*logit) * 4.0).collect();
    let mut gradient: Vec<f32> = exact.iter().map(|logit| *logit as f32).collect();
    let token = nn::cross_entropy(&mut gradient, 17, 0.25);
    assert!((token.loss - loss(&exact)).abs() < 1e-6, "{token:?}");
    let sum: f64 = exact.iter().map(|logit| logit.exp()).sum();
    let entropy: f64 = exact.iter().map(|logit| -(logit.exp() / sum) * (logit - sum.ln())).sum();
    assert!((token.entropy - entropy).abs() < 1e-5, "{token:?} {entropy}");
    for index in [0, 17, 300] {
        let value = exact[index];
        exact[index] = value + 1e-5;
        let above = loss(&exact);
        exact[index] = value - 1e-5;
        let below = loss(&exact);
        exact[index] = value;
        let expected = 0.25 * (above - below) / 2e-5;
        assert!((f64::from(gradient[index]) - expected).abs() < 1e-6, "{index}: {} {expected}", gradient[index]);
    }
    let greatest = (0..301).max_by(|a, b| exact[*a].total_cmp(&exact[*b]));
    assert_eq!(token.correct, greatest == Some(17));
}
