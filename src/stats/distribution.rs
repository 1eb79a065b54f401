//! The probabilities that intervals and tests need: normal, Student's t, binomial.
//!
//! Everything is a plain function of `f64`s, accurate to about 1e-12 where it matters; the tests
//! compare with SciPy's numbers.

use std::f64::consts::{PI, SQRT_2};

/// `P(X <= x)` of the standard normal distribution.
#[must_use]
pub(crate) fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc(-x / SQRT_2)
}

/// Acklam's coefficients: centre (numerator, denominator), then tails.
const A: [f64; 6] = [
    -39.696_830_286_653_76,
    220.946_098_424_520_8,
    -275.928_510_446_968_7,
    138.357_751_867_269,
    -30.664_798_066_147_16,
    2.506_628_277_459_239,
];
const B: [f64; 5] = [
    -54.476_098_798_224_06,
    161.585_836_858_040_9,
    -155.698_979_859_886_6,
    66.801_311_887_719_72,
    -13.280_681_552_885_72,
];
const C: [f64; 6] = [
    -0.007_784_894_002_430_293,
    -0.322_396_458_041_136_5,
    -2.400_758_277_161_838,
    -2.549_732_539_343_734,
    4.374_664_141_464_968,
    2.938_163_982_698_783,
];
const D: [f64; 4] = [0.007_784_695_709_041_462, 0.322_467_129_070_039_8, 2.445_134_137_142_996, 3.754_408_661_907_416];

/// The `x` with `normal_cdf(x) == p`; infinite at 0 and 1.
///
/// Acklam's rational start, polished by two Halley steps.
#[must_use]
pub(crate) fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    let tail = |q: f64| {
        let above = horner(&C, q);
        let below = horner(&D, q) * q + 1.0;
        above / below
    };
    let mut x = if p < 0.024_25 {
        tail((-2.0 * p.ln()).sqrt())
    } else if p > 1.0 - 0.024_25 {
        -tail((-2.0 * (-p).ln_1p()).sqrt())
    } else {
        let q = p - 0.5;
        let r = q * q;
        horner(&A, r) * q / (horner(&B, r) * r + 1.0)
    };
    for _ in 0..2 {
        // The upper half is polished through its mirror image, where the tail keeps its digits.
        let error = if x < 0.0 { normal_cdf(x) - p } else { (1.0 - p) - normal_cdf(-x) };
        let step = error * (2.0 * PI).sqrt() * (x * x / 2.0).exp();
        x -= step / (1.0 + x * step / 2.0);
    }
    x
}

fn horner(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

/// The complementary error function: a series near 0, a continued fraction in the tail.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.0 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 * sum.abs() && n < 200.0 {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return 1.0 - 2.0 / PI.sqrt() * sum;
    }
    let mut fraction = 0.0;
    for n in (1..=120).rev() {
        fraction = f64::from(n) / 2.0 / (x + fraction);
    }
    (-x * x).exp() / (PI.sqrt() * (x + fraction))
}

/// The natural logarithm of the gamma function, for `x > 0` (Lanczos, g = 7).
#[must_use]
pub(crate) fn ln_gamma(x: f64) -> f64 {
    const G: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let t = x + 7.5;
    let sum = G.iter().enumerate().skip(1).fold(G[0], |sum, (i, g)| sum + g / (x + i as f64));
    0.5 * (2.0 * PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// `ln P(X == k)` of the binomial distribution; `-inf` where impossible.
#[must_use]
pub(crate) fn ln_binomial(k: u64, n: u64, p: f64) -> f64 {
    if k > n {
        return f64::NEG_INFINITY;
    }
    let (x, rest) = (k as f64, (n - k) as f64);
    let term = |count: f64, probability: f64| if count == 0.0 { 0.0 } else { count * probability.ln() };
    ln_gamma(n as f64 + 1.0) - ln_gamma(x + 1.0) - ln_gamma(rest + 1.0) + term(x, p) + term(rest, 1.0 - p)
}

/// `P(X >= k)` of the binomial distribution.
#[must_use]
pub(crate) fn binomial_at_least(k: u64, n: u64, p: f64) -> f64 {
    if k == 0 {
        1.0
    } else if k > n {
        0.0
    } else {
        beta(k as f64, (n - k) as f64 + 1.0, p)
    }
}

/// `P(X <= k)` of the binomial distribution.
#[must_use]
pub(crate) fn binomial_at_most(k: u64, n: u64, p: f64) -> f64 {
    if k >= n { 1.0 } else { beta((n - k) as f64, k as f64 + 1.0, 1.0 - p) }
}

/// `P(T >= t)` of Student's distribution with `freedom` degrees of freedom.
#[must_use]
pub(crate) fn student_at_least(t: f64, freedom: f64) -> f64 {
    if t.is_infinite() {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    let tail = 0.5 * beta(freedom / 2.0, 0.5, freedom / (freedom + t * t));
    if t > 0.0 { tail } else { 1.0 - tail }
}

/// The regularised incomplete beta function (Lentz's continued fraction).
#[must_use]
pub(crate) fn beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast on the near side of the mean only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_fraction(b, a, 1.0 - x);
    }
    beta_fraction(a, b, x)
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..20_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let step = d * c;
        fraction *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * fraction).clamp(0.0, 1.0)
}

/// The `x` at which the increasing function `f` over `[0, 1]` passes `target`.
#[must_use]
pub(crate) fn solve(f: impl Fn(f64) -> f64, target: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if f(middle) < target { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-11 + 1e-10 * expected.abs(), "{found} is not {expected}");
    }

    /// SciPy 1.x: `norm.cdf`, `norm.ppf`, `binom.sf/cdf`, `t.sf`.
    #[test]
    fn probabilities_are_scipys() {
        near(normal_cdf(-1.96), 0.024_997_895_148_220_435);
        near(normal_cdf(-6.0), 9.865_876_450_376_946e-10);
        near(normal_cdf(0.3), 0.617_911_422_188_952_7);
        near(normal_quantile(0.975), 1.959_963_984_540_054);
        near(normal_quantile(0.001), -3.090_232_306_167_813_5);
        near(normal_quantile(0.4), -0.253_347_103_135_799_7);
        near(binomial_at_least(14, 20, 0.5), 0.057_659_149_169_921_875);
        near(binomial_at_most(3, 20, 0.25), 0.225_156_047_664_313_52);
        near(binomial_at_least(550, 1000, 0.5), 0.000_865_268_042_488_151_3);
        near(student_at_least(2.0, 10.0), 0.036_694_017_385_370_18);
        near(student_at_least(-1.0, 200.0), 0.840_740_576_045_126_5);
    }

    #[test]
    fn binomial_tails_add_up_to_the_sum_of_their_terms() {
        for (n, p) in [(7, 0.3), (300, 0.01), (2_000, 0.77)] {
            for k in [0, 1, n / 3, n / 2, n - 1, n] {
                let sum: f64 = (k..=n).map(|i| ln_binomial(i, n, p).exp()).sum();
                assert!((binomial_at_least(k, n, p) - sum).abs() < 1e-9, "{k} of {n} at {p}");
                let below = if k == 0 { 0.0 } else { binomial_at_most(k - 1, n, p) };
                assert!((binomial_at_least(k, n, p) + below - 1.0).abs() < 1e-9, "{k} of {n} at {p}");
            }
        }
    }
}
