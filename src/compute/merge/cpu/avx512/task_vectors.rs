//! Weighted, selected task vectors added to a base, with one coefficient an input.

use std::arch::x86_64::{
    __m512, _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_GT_OQ, _CMP_NLE_UQ, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_div_ps,
    _mm512_mask_add_ps, _mm512_mask_mov_ps, _mm512_maskz_mov_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_xor_ps,
};

use super::Avx512;
use super::group::{GROUP, Group, Source, Target, minus};
use super::keep::{Drawn, Everything, Keep, Largest};
use crate::compute::merge::{Coefficient, DRAW_GROUP, Output, Precision, Selection, TaskVectors};

/// Inputs whose weighted task vectors the election may keep; more are left to the plain kernel.
const MOST_INPUTS: usize = 16;

/// One input that takes part.
struct Term<'a, K> {
    input: Source<'a>,
    weight: __m512,
    keep: K,
    rescale: __m512,
}

/// Writes all whole groups; how many elements those have.
pub(crate) fn task_vectors(proof: Avx512, job: &TaskVectors<'_>, output: &mut Output<'_>) -> usize {
    let (Some(mut target), Some(base)) = (Target::new(proof, output), Source::new(proof, job.base)) else { return 0 };
    if let Some(terms) = terms::<Everything>(proof, job) {
        add(job, base, terms, &mut target)
    } else if let Some(terms) = terms::<Largest>(proof, job) {
        add(job, base, terms, &mut target)
    } else if let Some(terms) = terms::<Drawn<'_>>(proof, job) {
        add(job, base, terms, &mut target)
    } else {
        0
    }
}

/// The inputs that take part; `None` for what only the plain kernel, or another kind of selection, knows.
fn terms<'a, K: Keep<'a>>(proof: Avx512, job: &TaskVectors<'a>) -> Option<Vec<Term<'a, K>>> {
    if job.precision != Precision::F32 {
        return None;
    }
    let mut terms = Vec::with_capacity(job.inputs.len());
    for (i, input) in job.inputs.iter().enumerate() {
        // Its weighted task vector is zero everywhere, which no sum and no election notices.
        if job.selections[i] == Selection::Nothing {
            continue;
        }
        let Coefficient::Uniform(weight) = job.coefficients[i] else { return None };
        let mask = job.masks.get(i).copied().flatten();
        let (keep, rescale) = K::new(proof, job.selections[i], mask, job.first_element)?;
        // SAFETY: the proof is there.
        let (weight, rescale) = unsafe { (_mm512_set1_ps(weight as f32), _mm512_set1_ps(rescale as f32)) };
        terms.push(Term { input: Source::new(proof, *input)?, weight, keep, rescale });
    }
    (terms.len() <= MOST_INPUTS).then_some(terms)
}

/// Chooses the loop for what the job wants.
fn add<'a, K: Keep<'a>>(
    job: &TaskVectors<'a>,
    base: Source<'a>,
    mut terms: Vec<Term<'a, K>>,
    target: &mut Target<'_>,
) -> usize {
    // SAFETY: sources are made with the proof of the features.
    unsafe {
        match (job.consensus, job.normalize) {
            (false, _) => added::<K, false, false>(job, base, &mut terms, target),
            (true, false) => added::<K, true, false>(job, base, &mut terms, target),
            (true, true) => added::<K, true, true>(job, base, &mut terms, target),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi2")]
fn added<'a, K: Keep<'a>, const CONSENSUS: bool, const NORMALIZE: bool>(
    job: &TaskVectors<'a>,
    base: Source<'a>,
    terms: &mut [Term<'a, K>],
    target: &mut Target<'_>,
) -> usize {
    let divisor = job.divisor.map(|divisor| _mm512_set1_ps(divisor as f32));
    // Multiplying by one changes nothing.
    let scale = (job.scale as f32 != 1.0).then(|| _mm512_set1_ps(job.scale as f32));
    let mut all = [[_mm512_setzero_ps(); 4]; MOST_INPUTS];
    // The plain kernel goes on where draws begin.
    let whole = base.len() / DRAW_GROUP as usize * DRAW_GROUP as usize;
    for at in (0..whole).step_by(GROUP) {
        let base = base.group(at);
        let mut mix = [_mm512_setzero_ps(); 4];
        for (term, weighted) in terms.iter_mut().zip(&mut all) {
            let delta = term.keep.keep(at, term.rescale, minus(term.input.group(at), base));
            for i in 0..4 {
                let u = _mm512_mul_ps(delta[i], term.weight);
                mix[i] = _mm512_add_ps(mix[i], u);
                if CONSENSUS {
                    weighted[i] = u;
                }
            }
        }
        if CONSENSUS {
            let (sum, weights) = elect::<K, NORMALIZE>(terms, &all, mix);
            mix = sum;
            if NORMALIZE {
                for i in 0..4 {
                    mix[i] = _mm512_div_ps(sum[i], one_for_zero(weights[i]));
                }
            }
        } else if let Some(divisor) = divisor {
            for mix in &mut mix {
                *mix = _mm512_div_ps(*mix, divisor);
            }
        }
        if let Some(scale) = scale {
            for mix in &mut mix {
                *mix = _mm512_mul_ps(*mix, scale);
            }
        }
        for i in 0..4 {
            mix[i] = _mm512_add_ps(base[i], mix[i]);
        }
        target.store(mix, at);
    }
    whole
}

/// The sum of what agrees with the sign of the sum of all, and, where they are wanted, of its weights.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn elect<K, const WEIGHTS: bool>(terms: &[Term<'_, K>], all: &[Group; MOST_INPUTS], sum: Group) -> (Group, Group) {
    let zero = _mm512_setzero_ps();
    // What turns the elected side to plus; a sum that is NaN elects minus.
    let turn = |sum| {
        let minus = !_mm512_cmp_ps_mask::<_CMP_GE_OQ>(sum, zero);
        _mm512_maskz_mov_ps(minus, _mm512_set1_ps(-0.0))
    };
    let turn = [turn(sum[0]), turn(sum[1]), turn(sum[2]), turn(sum[3])];
    let (mut mix, mut weights) = ([zero; 4], [zero; 4]);
    for (term, weighted) in terms.iter().zip(all) {
        for i in 0..4 {
            let u = weighted[i];
            let turned = _mm512_xor_ps(u, turn[i]);
            let agrees_or_nan = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(turned, zero);
            mix[i] = _mm512_mask_add_ps(mix[i], agrees_or_nan, mix[i], u);
            if WEIGHTS {
                let agrees = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(turned, zero);
                weights[i] = _mm512_mask_add_ps(weights[i], agrees, weights[i], term.weight);
            }
        }
    }
    (mix, weights)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn one_for_zero(divisor: __m512) -> __m512 {
    let none = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(divisor, _mm512_setzero_ps());
    _mm512_mask_mov_ps(divisor, none, _mm512_set1_ps(1.0))
}
