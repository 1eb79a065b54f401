//! Weighted, selected task vectors added to a base, with one coefficient an input.

use std::arch::x86_64::{
    __m512, _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_GT_OQ, _CMP_NLE_UQ, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_div_ps,
    _mm512_mask_add_ps, _mm512_mask_mov_ps, _mm512_maskz_mov_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_xor_ps,
};

use super::group::{GROUP, Group, Source, Target, minus};
use super::keep::{Keep, KeepAll, KeepLargest, KeepRandom};
use crate::compute::merge::{Coefficient, ComputeType, DRAW_GROUP, Output, Selection, TaskVectors};
use crate::compute::simd::Avx512;

/// Inputs whose weighted task vectors the election holds; jobs with more are left to the portable body.
const MOST_INPUTS: usize = 16;

/// An input that takes part.
struct Term<'a, K> {
    input: Source<'a>,
    weight: __m512,
    keep: K,
    rescale: __m512,
}

/// Writes all whole draw groups and returns their elements.
pub(crate) fn task_vectors(simd: Avx512, job: &TaskVectors<'_>, output: &mut Output<'_>) -> usize {
    let (Some(mut target), Some(base)) = (Target::new(simd, output), Source::new(simd, job.base)) else { return 0 };
    if let Some(terms) = terms::<KeepAll>(simd, job) {
        add(job, base, terms, &mut target)
    } else if let Some(terms) = terms::<KeepLargest>(simd, job) {
        add(job, base, terms, &mut target)
    } else if let Some(terms) = terms::<KeepRandom<'_>>(simd, job) {
        add(job, base, terms, &mut target)
    } else {
        0
    }
}

/// Inputs that take part; `None` for jobs of another kind of selection, or that only the portable body supports.
fn terms<'a, K: Keep<'a>>(simd: Avx512, job: &TaskVectors<'a>) -> Option<Vec<Term<'a, K>>> {
    if job.precision != ComputeType::F32 {
        return None;
    }
    let mut terms = Vec::with_capacity(job.inputs.len());
    for (i, input) in job.inputs.iter().enumerate() {
        // A task vector of zeros changes no sum and no election.
        if job.selections[i] == Selection::Nothing {
            continue;
        }
        let Coefficient::Uniform(weight) = job.coefficients[i] else { return None };
        let mask = job.masks.get(i).copied().flatten();
        let (keep, rescale) = K::new(simd, job.selections[i], mask, job.first_element)?;
        // SAFETY: `Avx512` is only constructed after the CPU feature check.
        let (weight, rescale) = unsafe { (_mm512_set1_ps(weight as f32), _mm512_set1_ps(rescale as f32)) };
        terms.push(Term { input: Source::new(simd, *input)?, weight, keep, rescale });
    }
    (terms.len() <= MOST_INPUTS).then_some(terms)
}

/// Dispatches to the loop compiled for the job's flags.
fn add<'a, K: Keep<'a>>(
    job: &TaskVectors<'a>,
    base: Source<'a>,
    mut terms: Vec<Term<'a, K>>,
    target: &mut Target<'_>,
) -> usize {
    // SAFETY: a `Source` is only constructed with an `Avx512`, which follows the CPU feature check.
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
    // The portable body continues at a draw group.
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

/// Sums the terms that agree with the sign of the sum of all (TIES), and, with `WEIGHTS`, their weights.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn elect<K, const WEIGHTS: bool>(terms: &[Term<'_, K>], all: &[Group; MOST_INPUTS], sum: Group) -> (Group, Group) {
    let zero = _mm512_setzero_ps();
    // Sign flip that makes the elected side positive; a NaN sum elects minus.
    let flip_of = |sum| {
        let minus = !_mm512_cmp_ps_mask::<_CMP_GE_OQ>(sum, zero);
        _mm512_maskz_mov_ps(minus, _mm512_set1_ps(-0.0))
    };
    let flip = [flip_of(sum[0]), flip_of(sum[1]), flip_of(sum[2]), flip_of(sum[3])];
    let (mut mix, mut weights) = ([zero; 4], [zero; 4]);
    for (term, weighted) in terms.iter().zip(all) {
        for i in 0..4 {
            let u = weighted[i];
            let flipped = _mm512_xor_ps(u, flip[i]);
            let agrees_or_nan = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(flipped, zero);
            mix[i] = _mm512_mask_add_ps(mix[i], agrees_or_nan, mix[i], u);
            if WEIGHTS {
                let agrees = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(flipped, zero);
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
