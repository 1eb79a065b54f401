//! Gradient of the gated activation.

use crate::compute::nn::activation::{Activation, Function, Gelu, GeluTanh, Silu};
use crate::compute::simd::{LANES, Level, Simd, Task};

/// Gradients of [`gated`](crate::compute::nn::gated): of the gate into `dgate`, of the other input into `dup`.
///
/// # Panics
/// When the lengths differ.
pub(crate) fn gated_backward(
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
