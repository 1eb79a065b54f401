//! Suite of [`Simd`], instantiated for every token: each operation is its scalar formula in each lane, bit for bit.

use crate::compute::conformance::levels::level;
use crate::compute::simd::{Bf16, Element, F16, Group, LANES, Line, PANEL, Simd, Task};
use crate::dtype::{bf16_to_f32, f16_to_f32};
use crate::rng::Philox;

/// Lanes of ordinary and of special values.
fn group(seed: u64) -> Group {
    const SPECIAL: [f32; 8] = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, f32::MAX, -3.5];
    let stream = Philox::new(seed);
    std::array::from_fn(|lane| {
        let [a, b, ..] = stream.block(lane as u64);
        if b.is_multiple_of(5) { SPECIAL[(b / 5) as usize % 8] } else { a as f32 / (1_u64 << 31) as f32 - 1.0 }
    })
}

/// Bits of a lane, one for all NaN: which operand's payload an operation keeps is not specified.
fn canonical(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }
}

fn assert_lanes<S: Simd>(simd: S, what: &str, v: S::V, expected: impl Fn(usize) -> f32) {
    let mut lanes = [0.0; LANES];
    simd.store(v, &mut lanes);
    for (lane, value) in lanes.iter().enumerate() {
        assert_eq!(canonical(*value), canonical(expected(lane)), "{what}, lane {lane}");
    }
}

/// Runs every operation on random and special lanes.
struct Operations;

impl Task for Operations {
    type Output = ();

    fn run<S: Simd>(self, simd: S) {
        for seed in 0..200 {
            let [a, b, c] = [group(3 * seed), group(3 * seed + 1), group(3 * seed + 2)];
            let [va, vb, vc] = [simd.load(&a), simd.load(&b), simd.load(&c)];
            assert_lanes(simd, "splat", simd.splat(a[3]), |_| a[3]);
            assert_lanes(simd, "load", va, |i| a[i]);
            assert_lanes(simd, "add", simd.add(va, vb), |i| a[i] + b[i]);
            assert_lanes(simd, "sub", simd.sub(va, vb), |i| a[i] - b[i]);
            assert_lanes(simd, "mul", simd.mul(va, vb), |i| a[i] * b[i]);
            assert_lanes(simd, "div", simd.div(va, vb), |i| a[i] / b[i]);
            assert_lanes(simd, "fma", simd.fma(va, vb, vc), |i| a[i].mul_add(b[i], c[i]));
            assert_lanes(simd, "max", simd.max(va, vb), |i| if a[i] > b[i] { a[i] } else { b[i] });
            assert_lanes(simd, "min", simd.min(va, vb), |i| if a[i] < b[i] { a[i] } else { b[i] });
            let selected = simd.select_less(va, vb, vc, va);
            assert_lanes(simd, "select_less", selected, |i| if a[i] < b[i] { c[i] } else { a[i] });
            let partial = simd.load_partial(&a[..5], 7.0);
            assert_lanes(simd, "load_partial", partial, |i| if i < 5 { a[i] } else { 7.0 });
            let halves: [u16; LANES] = std::array::from_fn(|i| (a[i].to_bits() >> 16) as u16);
            assert_lanes(simd, "widen_bf16", Bf16::widen(simd, &halves.map(Bf16)), |i| bf16_to_f32(halves[i]));
            assert_lanes(simd, "widen_f16", F16::widen(simd, &halves.map(F16)), |i| f16_to_f32(halves[i]));
            let fold = |f: fn(f32, f32) -> f32| {
                let mut lanes = a;
                for half in [8, 4, 2, 1] {
                    (0..half).for_each(|i| lanes[i] = f(lanes[i], lanes[i + half]));
                }
                lanes[0]
            };
            assert_eq!(canonical(simd.sum(va)), canonical(fold(|a, b| a + b)), "sum");
            assert_eq!(canonical(simd.greatest(va)), canonical(fold(|a, b| if a > b { a } else { b })), "greatest");
            let mut written = [std::mem::MaybeUninit::uninit(); LANES];
            simd.write(va, &mut written);
            // SAFETY: `write` wrote all lanes.
            let written = written.map(|lane| unsafe { lane.assume_init() });
            assert_eq!(written.map(f32::to_bits), a.map(f32::to_bits), "write");
        }
        for power in -160..=160 {
            let (value, exponent) = (1.25_f32 + power as f32 / 512.0, f64::from(power));
            let scaled = simd.scale_by_power(simd.splat(value), simd.splat(power as f32));
            // 2^power times an f32 is exact in f64: the conversion is the one rounding.
            assert_lanes(simd, "scale_by_power", scaled, |_| (f64::from(value) * exponent.exp2()) as f32);
        }
        let lines: [Line<f32>; LANES] =
            std::array::from_fn(|row| Line(std::array::from_fn(|column| (row * PANEL + column) as f32)));
        for half in 0..2 {
            for (i, column) in simd.transpose(&lines, half).into_iter().enumerate() {
                assert_lanes(simd, "transpose", column, |row| lines[row].0[half * LANES + i]);
            }
        }
        simd.prefetch(std::ptr::null::<u8>());
    }
}

/// Instantiates the suite for each token.
macro_rules! conformance {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            if let Some(level) = level(stringify!($name)) {
                level.run(Operations);
            }
        }
    )*};
}

conformance! { avx512 avx2 scalar }
