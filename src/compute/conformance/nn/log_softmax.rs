//! Log-softmax at a token, and soft capping.

use super::inputs::random;
use crate::compute::nn::softmax::log_softmax_at_level;
use crate::compute::nn::{log_softmax_at, soft_cap};
use crate::compute::simd::Level;

#[test]
fn log_softmax_is_its_formula_and_knows_the_greedy_choice() {
    for n in [1, 15, 64, 1000, 50_001] {
        let mut logits: Vec<f32> = random(n, 17).iter().map(|v| v * 20.0).collect();
        let top = n / 2;
        logits[top] = 20.5;
        logits[n - 1] = 20.5;
        let max = 20.5_f64;
        let ln = logits.iter().map(|v| (f64::from(*v) - max).exp()).sum::<f64>().ln();
        for token in [0, top, n - 1] {
            let results: Vec<_> = Level::available()
                .iter()
                .map(|level| log_softmax_at_level(*level, &logits, token as u32))
                .map(|(value, greedy)| (value.to_bits(), greedy))
                .collect();
            assert!(results.iter().all(|result| *result == results[0]), "{n}");
            let (value, greedy) = log_softmax_at(&logits, token as u32);
            assert!((value - (f64::from(logits[token]) - max - ln)).abs() < 1e-6, "{n}: {value}");
            assert_eq!(greedy, token == top, "{n}, {token}");
        }
    }
    let probability = |logits: &[f32], token| log_softmax_at(logits, token);
    assert!(probability(&[1.0, f32::NAN], 0).0.is_nan());
    assert!(probability(&[1.0, f32::INFINITY], 0).0.is_nan());
    assert!(probability(&[1.0], 1).0.is_nan() && probability(&[], 0).0.is_nan());
    assert_eq!(probability(&[0.0, f32::NEG_INFINITY], 1), (f64::NEG_INFINITY, false));
    assert_eq!(probability(&[0.0, f32::NEG_INFINITY], 0), (0.0, true));
    let mut x = [0.5, -100.0, f32::NAN];
    soft_cap(30.0, &mut x);
    assert!((f64::from(x[0]) - 30.0 * (0.5_f64 / 30.0).tanh()).abs() < 1e-7 && x[2].is_nan());
    assert!((f64::from(x[1]) + 30.0 * (100.0_f64 / 30.0).tanh()).abs() < 1e-5);
}
