//! Gradient of the gated activation.

use crate::model::kernels::activation::Activation;
use crate::model::kernels::exp::{erf, exp};
use crate::model::kernels::simd::{LANES, Level, Simd, Task};

/// Gradients of [`gated`](crate::model::kernels::gated): of the gate into `dgate`, of the other input into `dup`.
///
/// # Panics
/// When the lengths differ.
pub fn gated_backward(
    activation: Activation,
    gate: &[f32],
    up: &[f32],
    dout: &[f32],
    dgate: &mut [f32],
    dup: &mut [f32],
) {
    let n = gate.len();
    assert!([up.len(), dout.len(), dgate.len(), dup.len()].iter().all(|len| *len == n), "inputs of one length");
    let level = Level::detected();
    match activation {
        Activation::Silu => level.run(Backward { function: Silu, gate, up, dout, dgate, dup }),
        Activation::GeluTanh => level.run(Backward { function: GeluTanh, gate, up, dout, dgate, dup }),
        Activation::Gelu => level.run(Backward { function: Gelu, gate, up, dout, dgate, dup }),
    }
}

/// A function and its slope.
trait Function: Copy {
    fn value_and_slope<S: Simd>(self, simd: S, x: S::V) -> (S::V, S::V);
}

#[derive(Clone, Copy)]
struct Silu;
#[derive(Clone, Copy)]
struct GeluTanh;
#[derive(Clone, Copy)]
struct Gelu;

impl Function for Silu {
    #[inline(always)]
    fn value_and_slope<S: Simd>(self, simd: S, x: S::V) -> (S::V, S::V) {
        let one = simd.splat(1.0);
        let sigmoid = simd.div(one, simd.add(one, exp(simd, simd.sub(simd.splat(0.0), x))));
        let value = simd.mul(x, sigmoid);
        // s (1 + x (1 - s)) = s + value (1 - s)
        (value, simd.fma(value, simd.sub(one, sigmoid), sigmoid))
    }
}

impl Function for GeluTanh {
    #[inline(always)]
    fn value_and_slope<S: Simd>(self, simd: S, x: S::V) -> (S::V, S::V) {
        const TWICE: f32 = 2.0 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
        const CUBIC: f32 = 0.044_715;
        let one = simd.splat(1.0);
        let square = simd.mul(x, x);
        let inner = simd.fma(simd.mul(square, x), simd.splat(CUBIC), x);
        let power = exp(simd, simd.mul(simd.splat(-TWICE), inner));
        // (1 + tanh u) / 2 is the logistic function of 2u.
        let sigmoid = simd.div(one, simd.add(one, power));
        let value = simd.mul(x, sigmoid);
        let rate = simd.mul(simd.splat(TWICE), simd.fma(square, simd.splat(3.0 * CUBIC), one));
        (value, simd.fma(simd.mul(value, simd.sub(one, sigmoid)), rate, sigmoid))
    }
}

impl Function for Gelu {
    #[inline(always)]
    fn value_and_slope<S: Simd>(self, simd: S, x: S::V) -> (S::V, S::V) {
        const DENSITY: f32 = 0.5 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
        let error = erf(simd, simd.mul(x, simd.splat(std::f32::consts::FRAC_1_SQRT_2)));
        let cumulative = simd.mul(simd.splat(0.5), simd.add(simd.splat(1.0), error));
        let density = exp(simd, simd.mul(simd.splat(-0.5), simd.mul(x, x)));
        (simd.mul(x, cumulative), simd.fma(simd.mul(x, density), simd.splat(DENSITY), cumulative))
    }
}

struct Backward<'a, F> {
    function: F,
    gate: &'a [f32],
    up: &'a [f32],
    dout: &'a [f32],
    dgate: &'a mut [f32],
    dup: &'a mut [f32],
}

impl<F: Function> Task for Backward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { function, gate, up, dout, dgate, dup } = self;
        let (gates, gate_tail) = gate.as_chunks::<LANES>();
        let (ups, up_tail) = up.as_chunks::<LANES>();
        let (douts, dout_tail) = dout.as_chunks::<LANES>();
        let (dgates, dgate_tail) = dgate.as_chunks_mut::<LANES>();
        let (dups, dup_tail) = dup.as_chunks_mut::<LANES>();
        for ((((gate, up), dout), dgate), dup) in gates.iter().zip(ups).zip(douts).zip(dgates).zip(dups) {
            let (value, slope) = function.value_and_slope(simd, simd.load(gate));
            let dout = simd.load(dout);
            simd.store(simd.mul(simd.mul(dout, simd.load(up)), slope), dgate);
            simd.store(simd.mul(dout, value), dup);
        }
        let (value, slope) = function.value_and_slope(simd, simd.load_partial(gate_tail, 0.0));
        let dout = simd.load_partial(dout_tail, 0.0);
        let mut group = [0.0; LANES];
        simd.store(simd.mul(simd.mul(dout, simd.load_partial(up_tail, 0.0)), slope), &mut group);
        dgate_tail.copy_from_slice(&group[..gate_tail.len()]);
        simd.store(simd.mul(dout, value), &mut group);
        dup_tail.copy_from_slice(&group[..gate_tail.len()]);
    }
}
