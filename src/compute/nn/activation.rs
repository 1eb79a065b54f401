//! Activations of gated feed-forward layers, and soft capping.

use std::mem::MaybeUninit;

use super::elementary::{erf, exp, tanh};
use super::uninit::{as_uninit, vec_written_by};
use crate::compute::simd::{LANES, Level, Simd, Task};

/// Activation of the gate, transformers' `hidden_act`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`: `silu`, `swish`.
    Silu,
    /// The approximation by tanh: `gelu_pytorch_tanh`, `gelu_new`.
    GeluTanh,
    /// `x * (1 + erf(x / sqrt 2)) / 2`: `gelu`.
    Gelu,
}

/// `out = activation(gate) * up`, element by element.
///
/// # Panics
/// When the lengths differ.
pub fn gated(activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
    gated_at(Level::detected(), activation, gate, up, out);
}

/// [`gated`] into a new vector.
///
/// # Panics
/// When the lengths differ.
#[must_use]
pub(crate) fn gated_to_vec(activation: Activation, gate: &[f32], up: &[f32]) -> Vec<f32> {
    // SAFETY: `write_gated` checks the lengths and writes every element.
    unsafe { vec_written_by(gate.len(), |out| write_gated(Level::detected(), activation, gate, up, out)) }
}

pub(crate) fn gated_at(level: Level, activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
    write_gated(level, activation, gate, up, as_uninit(out));
}

/// Writes all of `out`.
fn write_gated(level: Level, activation: Activation, gate: &[f32], up: &[f32], out: &mut [MaybeUninit<f32>]) {
    assert!(gate.len() == up.len() && gate.len() == out.len(), "gate, up and result of one length");
    match activation {
        Activation::Silu => level.run(Gated { function: Silu, gate, up, out }),
        Activation::GeluTanh => level.run(Gated { function: GeluTanh, gate, up, out }),
        Activation::Gelu => level.run(Gated { function: Gelu, gate, up, out }),
    }
}

/// `x = cap * tanh(x / cap)` in place: Gemma 2's capping of logits.
pub(crate) fn soft_cap(cap: f32, x: &mut [f32]) {
    Level::detected().run(SoftCap { cap, x });
}

pub(super) trait Function: Copy {
    fn apply<S: Simd>(self, simd: S, x: S::V) -> S::V;
    /// Returns the value and the derivative; the value's last bits may differ from [`Self::apply`].
    fn value_and_slope<S: Simd>(self, simd: S, x: S::V) -> (S::V, S::V);
}

#[derive(Clone, Copy)]
pub(super) struct Silu;
#[derive(Clone, Copy)]
pub(super) struct GeluTanh;
#[derive(Clone, Copy)]
pub(super) struct Gelu;

impl Function for Silu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::V) -> S::V {
        let power = exp(simd, simd.sub(simd.splat(0.0), x));
        simd.div(x, simd.add(simd.splat(1.0), power))
    }

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
    fn apply<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // (1 + tanh u) / 2 is 1 / (1 + e^-2u).
        const MINUS_TWICE: f32 = -2.0 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
        const CUBIC: f32 = 0.044_715;
        let square = simd.mul(x, x);
        let inner = simd.fma(simd.mul(square, x), simd.splat(CUBIC), x);
        let power = exp(simd, simd.mul(simd.splat(MINUS_TWICE), inner));
        simd.div(x, simd.add(simd.splat(1.0), power))
    }

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
    fn apply<S: Simd>(self, simd: S, x: S::V) -> S::V {
        let error = erf(simd, simd.mul(x, simd.splat(std::f32::consts::FRAC_1_SQRT_2)));
        let half = simd.mul(x, simd.splat(0.5));
        simd.mul(half, simd.add(simd.splat(1.0), error))
    }

    #[inline(always)]
    fn value_and_slope<S: Simd>(self, simd: S, x: S::V) -> (S::V, S::V) {
        const DENSITY: f32 = 0.5 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
        let error = erf(simd, simd.mul(x, simd.splat(std::f32::consts::FRAC_1_SQRT_2)));
        let cumulative = simd.mul(simd.splat(0.5), simd.add(simd.splat(1.0), error));
        let density = exp(simd, simd.mul(simd.splat(-0.5), simd.mul(x, x)));
        (simd.mul(x, cumulative), simd.fma(simd.mul(x, density), simd.splat(DENSITY), cumulative))
    }
}

struct Gated<'a, F> {
    function: F,
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl<F: Function> Task for Gated<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (gates, gate_tail) = self.gate.as_chunks::<LANES>();
        let (ups, up_tail) = self.up.as_chunks::<LANES>();
        let (outs, out_tail) = self.out.as_chunks_mut::<LANES>();
        for ((gate, up), out) in gates.iter().zip(ups).zip(outs) {
            let active = self.function.apply(simd, simd.load(gate));
            simd.write(simd.mul(active, simd.load(up)), out);
        }
        let active = self.function.apply(simd, simd.load_partial(gate_tail, 0.0));
        let mut group = [0.0; LANES];
        simd.store(simd.mul(active, simd.load_partial(up_tail, 0.0)), &mut group);
        for (out, value) in out_tail.iter_mut().zip(group) {
            out.write(value);
        }
    }
}

struct SoftCap<'a> {
    cap: f32,
    x: &'a mut [f32],
}

impl Task for SoftCap<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (groups, tail) = self.x.as_chunks_mut::<LANES>();
        for group in groups {
            simd.store(capped(simd, self.cap, simd.load(group)), group);
        }
        let mut group = [0.0; LANES];
        simd.store(capped(simd, self.cap, simd.load_partial(tail, 0.0)), &mut group);
        tail.copy_from_slice(&group[..tail.len()]);
    }
}

/// `cap * tanh(x / cap)`.
#[inline(always)]
pub(super) fn capped<S: Simd>(simd: S, cap: f32, x: S::V) -> S::V {
    let cap = simd.splat(cap);
    simd.mul(cap, tanh(simd, simd.div(x, cap)))
}
