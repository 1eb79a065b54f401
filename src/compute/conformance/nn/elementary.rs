//! exp, tanh and erf: bounds of the error, and the same bits at every level.

use super::inputs::at_all_levels;
use crate::compute::nn::elementary::{erf, exp, tanh};
use crate::compute::simd::{LANES, Level, Simd, Task};

#[derive(Clone, Copy)]
enum Elementary {
    Exp,
    Tanh,
    Erf,
}

struct Apply<'a>(Elementary, &'a [f32]);

impl Task for Apply<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        let mut out = Vec::new();
        for chunk in self.1.chunks(LANES) {
            let x = simd.load_partial(chunk, 0.0);
            let y = match self.0 {
                Elementary::Exp => exp(simd, x),
                Elementary::Tanh => tanh(simd, x),
                Elementary::Erf => erf(simd, x),
            };
            let mut group = [0.0; LANES];
            simd.store(y, &mut group);
            out.extend_from_slice(&group[..chunk.len()]);
        }
        out
    }
}

/// Units in the last place of the f32 nearest to `expected`.
fn ulps(value: f32, expected: f64) -> f64 {
    let nearest = expected.abs().max(f64::from(f32::MIN_POSITIVE)) as f32;
    (f64::from(value) - expected).abs() / f64::from(f32::from_bits(nearest.to_bits() + 1) - nearest)
}

#[test]
fn elementary_functions_are_within_bounds_and_the_same_at_every_level() {
    let mut x: Vec<f32> = (-110_000..=95_000).map(|i| i as f32 * 0.001 + 0.000_37).collect();
    x.extend((1..400_u32).map(|i| f32::from_bits(i << 22)));
    x.extend((1..400_u32).map(|i| -f32::from_bits(i << 22)));
    let run = |f, name: &str| at_all_levels(name, |level| level.run(Apply(f, &x)));
    let mut worst = [0.0_f64; 3];
    for (x, y) in x.iter().zip(run(Elementary::Exp, "exp")) {
        let expected = f64::from(*x).exp();
        if expected > f64::from(f32::MAX) {
            assert_eq!(y, f32::INFINITY, "{x}");
        } else if *x < -87.336 {
            assert_eq!(y, 0.0, "{x}");
        } else {
            worst[0] = worst[0].max(ulps(y, expected));
        }
    }
    for (x, y) in x.iter().zip(run(Elementary::Tanh, "tanh")) {
        worst[1] = worst[1].max(ulps(y, f64::from(*x).tanh()));
    }
    for (x, y) in x.iter().zip(run(Elementary::Erf, "erf")) {
        worst[2] = worst[2].max((f64::from(y) - erf_series(f64::from(*x))).abs());
    }
    println!("worst: exp {:.2} ulp, tanh {:.2} ulp, erf {:.1e}", worst[0], worst[1], worst[2]);
    assert!(worst[0] < 2.0 && worst[1] < 3.0 && worst[2] < 1.5e-7, "{worst:?}");
    for level in Level::available() {
        let y =
            level.run(Apply(Elementary::Exp, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e30, -1e30]));
        assert!(y[0].is_nan());
        assert_eq!(y[1..], [f32::INFINITY, 0.0, 1.0, 1.0, f32::INFINITY, 0.0]);
        for f in [Elementary::Tanh, Elementary::Erf] {
            let y = level.run(Apply(f, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]));
            assert!(y[0].is_nan() && y[1..] == [1.0, -1.0]);
        }
    }
}

/// erf by its Taylor series (Abramowitz and Stegun 7.1.6), 1 beyond 5.
pub(crate) fn erf_series(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}
