//! bf16x3 split of f32 rows, and panels of bf16 weights, packed for tile registers (as oneMKL's `float_to_bf16x3` mode
//! and Henry, Tang and Heinecke 2019).
//!
//! A bf16 has eight bits of significand, an f32 has 24: the sum of three bf16 parts, each the upper half of what the parts
//! before leave, is the value to the last bit (as long as the third is a normal number: from 2^-110 on).

use std::arch::x86_64::{
    __m512, __m512i, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_max_epu32, _mm512_or_si512, _mm512_permutex2var_epi16, _mm512_reduce_max_epu32, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_srli_epi32, _mm512_storeu_si512, _mm512_sub_ps,
};

use super::gemm_kernel::{Bf16Tile, Rows};
use crate::compute::simd::{Avx512, Element, LANES, Line, PANEL};

/// Parts of a value.
pub(crate) const PARTS: usize = 3;
/// Values of k that one tile instruction sums up.
pub(crate) const STEP: usize = 32;
/// Rows of a tile, and tiles that share a load of the other operand (2 x 2 register blocking).
pub(crate) const TILE: usize = 16;
pub(crate) const PAIR: usize = 2;

/// Mask of the upper half of each lane, a bf16 as f32.
const UPPER: i32 = 0xffff_0000_u32 as i32;

/// Splits sixteen values into three parts, largest first, each in the upper half of its lane.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn split(value: __m512) -> [__m512i; PARTS] {
    let upper = _mm512_set1_epi32(UPPER);
    let first = _mm512_and_si512(_mm512_castps_si512(value), upper);
    let rest = _mm512_sub_ps(value, _mm512_castsi512_ps(first));
    let second = _mm512_and_si512(_mm512_castps_si512(rest), upper);
    let third = _mm512_castps_si512(_mm512_sub_ps(rest, _mm512_castsi512_ps(second)));
    [first, second, third]
}

/// Index in `parts` of the tiles of a step of a pair of row tiles.
pub(crate) fn tiles_of(pair: usize, steps: usize, step: usize) -> usize {
    (pair * steps + step) * PAIR * PARTS
}

/// Splits the rows of a block: for each pair of sixteen rows and each step, the parts of the first sixteen, then those
/// of the others. k beyond the block is zero; rows beyond the block are left as they are. Rows that hold an infinity or a
/// NaN are reported in `non_finite`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(crate) fn split_rows(rows: Rows<'_>, parts: &mut Vec<Bf16Tile>, non_finite: &mut Vec<usize>) {
    let steps = rows.length.div_ceil(STEP);
    let tiles = tiles_of(rows.height.div_ceil(PAIR * TILE), steps, 0);
    parts.resize(parts.len().max(tiles), Bf16Tile([[0; PANEL]; TILE]));
    // The upper halves of 32 lanes.
    let mut upper = [0_u16; PANEL];
    for (i, index) in upper.iter_mut().enumerate() {
        *index = (2 * i + 1) as u16;
    }
    // SAFETY: the 32 indices are 64 bytes.
    let upper = unsafe { _mm512_loadu_si512(upper.as_ptr().cast()) };
    for r in 0..rows.height {
        let (pair, half) = (r / (PAIR * TILE), r / TILE % PAIR);
        let mut largest = _mm512_setzero_si512();
        for (step, values) in rows.row(r).chunks(STEP).enumerate() {
            let mut padded = [0.0; STEP];
            let values: &[f32; STEP] = match values.first_chunk() {
                Some(values) => values,
                None => {
                    padded[..values.len()].copy_from_slice(values);
                    &padded
                }
            };
            // SAFETY: 32 values are two vectors.
            let (a, b) = unsafe { (_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(LANES))) };
            largest = _mm512_max_epu32(largest, _mm512_max_epu32(unsigned(a), unsigned(b)));
            let first = tiles_of(pair, steps, step) + half * PARTS;
            for ((tile, a), b) in parts[first..first + PARTS].iter_mut().zip(split(a)).zip(split(b)) {
                let row = &mut tile.0[r % TILE];
                // SAFETY: a row is 64 bytes.
                unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), _mm512_permutex2var_epi16(a, upper, b)) };
            }
        }
        if _mm512_reduce_max_epu32(largest) >= f32::INFINITY.to_bits() && !non_finite.contains(&r) {
            non_finite.push(r);
        }
    }
}

/// Clears the signs.
#[target_feature(enable = "avx512f")]
#[inline]
fn unsigned(value: __m512) -> __m512i {
    _mm512_and_si512(_mm512_castps_si512(value), _mm512_set1_epi32(i32::MAX))
}

/// Packs the lines of a panel of bf16 values: for each step its first sixteen columns, then the others. A tile holds
/// pairs of k side by side (VNNI layout). k beyond the lines is zero.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(crate) fn pack_panel<E: Element>(simd: Avx512, lines: &[Line<E>], panel: &mut Vec<Bf16Tile>) {
    let tiles = lines.len().div_ceil(STEP) * PAIR;
    panel.resize(panel.len().max(tiles), Bf16Tile([[0; PANEL]; TILE]));
    let upper = _mm512_set1_epi32(UPPER);
    for (lines, tiles) in lines.chunks(STEP).zip(panel.chunks_exact_mut(PAIR)) {
        for pair in 0..TILE {
            let at = |depth: usize, half: usize| match lines.get(depth) {
                Some(line) => {
                    let (groups, _) = line.0.as_chunks::<LANES>();
                    _mm512_castps_si512(E::widen(simd, &groups[half]))
                }
                None => _mm512_setzero_si512(),
            };
            for (half, tile) in tiles.iter_mut().enumerate() {
                let (even, odd) = (at(2 * pair, half), at(2 * pair + 1, half));
                let both = _mm512_or_si512(_mm512_srli_epi32::<16>(even), _mm512_and_si512(odd, upper));
                // SAFETY: a row is 64 bytes.
                unsafe { _mm512_storeu_si512(tile.0[pair].as_mut_ptr().cast(), both) };
            }
        }
    }
}
