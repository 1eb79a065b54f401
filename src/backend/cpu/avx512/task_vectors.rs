//! Weighted, selected task vectors added to a base, with one coefficient an input.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_GT_OQ, _CMP_NLE_UQ, _CMP_UNORD_Q, _mm512_add_ps, _mm512_and_si512,
    _mm512_castps_si512, _mm512_cmp_ps_mask, _mm512_cmpeq_epi32_mask, _mm512_cmpge_epi32_mask, _mm512_cmpgt_epi32_mask,
    _mm512_div_ps, _mm512_mask_add_ps, _mm512_mask_mov_ps, _mm512_maskz_mov_ps, _mm512_maskz_mul_ps, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_xor_ps,
};

use super::Avx512;
use super::draws::{Bits, Draws};
use super::group::{GROUP, Group, Source, Target, minus};
use crate::backend::{Coefficient, DRAW_GROUP, Output, Precision, Selection, TaskVectors};

/// Inputs whose weighted task vectors the election may keep; more are left to the plain kernel.
const MOST_INPUTS: usize = 16;

/// The key of infinity: those of NaN are above it.
const INFINITY_KEY: u64 = 0x7f80_0000;

/// One input that takes part.
struct Term<'a> {
    input: Source<'a>,
    weight: __m512,
    keep: Keep<'a>,
    rescale: __m512,
    /// Draws around the group at hand.
    drawn: Bits,
}

/// Which elements stay.
enum Keep<'a> {
    All,
    Magnitude { threshold: __m512i, ties_before: u64 },
    Draw(Draws),
    Drawn(&'a [u64]),
}

/// Writes all whole groups; how many elements those have.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
pub fn task_vectors(proof: Avx512, job: &TaskVectors<'_>, output: &mut Output<'_>) -> usize {
    let (Some(mut target), Some(base), Some(mut terms)) =
        (Target::new(proof, output), Source::new(proof, job.base), terms(proof, job))
    else {
        return 0;
    };
    let divisor = job.divisor.map(|divisor| _mm512_set1_ps(divisor as f32));
    let scale = _mm512_set1_ps(job.scale as f32);
    let mut all = [[_mm512_setzero_ps(); 4]; MOST_INPUTS];
    // The plain kernel goes on where draws begin.
    let whole = base.len() / DRAW_GROUP as usize * DRAW_GROUP as usize;
    for at in (0..whole).step_by(GROUP) {
        let base = base.group(at);
        let mut mix = [_mm512_setzero_ps(); 4];
        // Kept for the election, with or without one: at a single place of call the compiler puts the body in.
        for (term, weighted) in terms.iter_mut().zip(&mut all) {
            *weighted = term.weighted(base, job.first_element, at);
            for i in 0..4 {
                mix[i] = _mm512_add_ps(mix[i], weighted[i]);
            }
        }
        if job.consensus && job.normalize {
            let (sum, weights) = elect::<true>(&terms, &all, mix);
            for i in 0..4 {
                mix[i] = _mm512_div_ps(sum[i], one_for_zero(weights[i]));
            }
        } else if job.consensus {
            (mix, _) = elect::<false>(&terms, &all, mix);
        } else if let Some(divisor) = divisor {
            for mix in &mut mix {
                *mix = _mm512_div_ps(*mix, divisor);
            }
        }
        for i in 0..4 {
            mix[i] = _mm512_add_ps(base[i], _mm512_mul_ps(mix[i], scale));
        }
        target.store(mix, at);
    }
    whole
}

/// The inputs that take part; `None` for what only the plain kernel knows.
#[target_feature(enable = "avx512f")]
fn terms<'a>(proof: Avx512, job: &TaskVectors<'a>) -> Option<Vec<Term<'a>>> {
    if job.precision != Precision::F32 {
        return None;
    }
    let mut terms = Vec::with_capacity(job.inputs.len());
    for (i, input) in job.inputs.iter().enumerate() {
        let Coefficient::Uniform(weight) = job.coefficients[i] else { return None };
        let mask = job.masks.get(i).copied().flatten();
        let (keep, rescale) = match (job.selections[i], mask) {
            // Its weighted task vector is zero everywhere, which no sum and no election notices.
            (Selection::Nothing, _) => continue,
            (Selection::All, _) => (Keep::All, 1.0),
            (Selection::Magnitude { threshold, .. }, _) if threshold > INFINITY_KEY => return None,
            (Selection::Magnitude { threshold, ties_before, rescale }, _) => {
                let threshold = _mm512_set1_epi32((threshold as u32).cast_signed());
                (Keep::Magnitude { threshold, ties_before }, rescale)
            }
            (Selection::Random { rescale, .. }, Some(mask)) => (Keep::Drawn(mask), rescale),
            (Selection::Random { stream, keep_below, rescale }, None) => {
                (Keep::Draw(Draws::new(stream, keep_below)), rescale)
            }
        };
        let (weight, rescale) = (_mm512_set1_ps(weight as f32), _mm512_set1_ps(rescale as f32));
        terms.push(Term { input: Source::new(proof, *input)?, weight, keep, rescale, drawn: [0; 8] });
    }
    (terms.len() <= MOST_INPUTS).then_some(terms)
}

impl Term<'_> {
    /// The weighted task vector of a group.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
    #[inline]
    fn weighted(&mut self, base: Group, first: u64, at: usize) -> Group {
        let mut values = minus(self.input.group(at), base);
        match self.keep {
            Keep::All => {}
            Keep::Magnitude { threshold, ties_before } => {
                let ties = ties_before.saturating_sub(first + at as u64);
                let magnitude = _mm512_set1_epi32(i32::MAX);
                for (i, value) in values.iter_mut().enumerate() {
                    let key = _mm512_and_si512(_mm512_castps_si512(*value), magnitude);
                    // NaN is above every threshold that comes here.
                    let keep = if ties >= GROUP as u64 {
                        _mm512_cmpge_epi32_mask(key, threshold)
                    } else if ties == 0 {
                        _mm512_cmpgt_epi32_mask(key, threshold)
                    } else {
                        let before = (u64::MAX >> (GROUP as u64 - ties) >> (16 * i)) as u16;
                        _mm512_cmpgt_epi32_mask(key, threshold) | _mm512_cmpeq_epi32_mask(key, threshold) & before
                    };
                    *value = _mm512_maskz_mul_ps(keep, *value, self.rescale);
                }
            }
            Keep::Draw(draws) => {
                let part = at / GROUP % self.drawn.len();
                if part == 0 {
                    self.drawn = draws.bits(first + at as u64);
                }
                keep(self.drawn[part], self.rescale, &mut values);
            }
            Keep::Drawn(mask) => keep(mask[at / GROUP], self.rescale, &mut values),
        }
        for value in &mut values {
            *value = _mm512_mul_ps(*value, self.weight);
        }
        values
    }
}

/// Rescales drawn elements and zeroes the others, but for NaN.
#[target_feature(enable = "avx512f")]
#[inline]
fn keep(drawn: u64, rescale: __m512, values: &mut Group) {
    for (i, value) in values.iter_mut().enumerate() {
        let keep = (drawn >> (16 * i)) as u16 | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(*value, *value);
        *value = _mm512_maskz_mul_ps(keep, *value, rescale);
    }
}

/// The sum of what agrees with the sign of the sum of all, and, where they are wanted, of its weights.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn elect<const WEIGHTS: bool>(terms: &[Term<'_>], all: &[Group; MOST_INPUTS], sum: Group) -> (Group, Group) {
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
