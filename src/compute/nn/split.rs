//! Rows cut into bf16 parts, and panels of bf16 weights, laid out for tile registers.
//!
//! A bf16 has eight bits of significand, an f32 has 24: three parts, each what the bits above it leave, hold a value
//! to the last bit (as long as the third is a normal number: from 2^-110 on).

use std::arch::x86_64::{
    __m512, __m512i, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_max_epu32, _mm512_or_si512, _mm512_permutex2var_epi16, _mm512_reduce_max_epu32, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_srli_epi32, _mm512_storeu_si512, _mm512_sub_ps,
};

use super::avx512::Avx512;
use super::matmul::{Parts, Rows};
use super::packed::Line;
use super::simd::LANES;
use super::tile::{Element, PANEL};

/// Parts of a value.
pub(crate) const PARTS: usize = 3;
/// Depth of a tile: the inputs that one instruction adds up.
pub(crate) const STEP: usize = 32;
/// Rows of a tile, and how many tiles side by side share what they read of the other side.
pub(crate) const TILE: usize = 16;
pub(crate) const PAIR: usize = 2;

/// The upper half of each lane: a bf16 as f32.
const UPPER: i32 = 0xffff_0000_u32 as i32;

/// Parts of sixteen values, largest first, each in the upper half of its lane.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn cut(value: __m512) -> [__m512i; PARTS] {
    let upper = _mm512_set1_epi32(UPPER);
    let first = _mm512_and_si512(_mm512_castps_si512(value), upper);
    let rest = _mm512_sub_ps(value, _mm512_castsi512_ps(first));
    let second = _mm512_and_si512(_mm512_castps_si512(rest), upper);
    let third = _mm512_castps_si512(_mm512_sub_ps(rest, _mm512_castsi512_ps(second)));
    [first, second, third]
}

/// Where the tiles of a step of a pair of rows begin in `parts`.
pub(crate) fn tiles_of(pair: usize, steps: usize, step: usize) -> usize {
    (pair * steps + step) * PAIR * PARTS
}

/// Cuts the rows of a block: for each pair of sixteen rows and each step, the parts of the first sixteen, then those
/// of the others. Depths beyond the stretch are zero; rows beyond the block stay what they are. Rows that hold an
/// infinity or a NaN go to `whole`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(crate) fn cut_rows(rows: Rows<'_>, parts: &mut Vec<Parts>, whole: &mut Vec<usize>) {
    let steps = rows.length.div_ceil(STEP);
    let tiles = tiles_of(rows.height.div_ceil(PAIR * TILE), steps, 0);
    parts.resize(parts.len().max(tiles), Parts([[0; PANEL]; TILE]));
    // The upper halves of 32 lanes.
    let mut upper = [0_u16; PANEL];
    for (i, index) in upper.iter_mut().enumerate() {
        *index = (2 * i + 1) as u16;
    }
    // SAFETY: 32 indices are 64 bytes.
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
            for ((tile, a), b) in parts[first..first + PARTS].iter_mut().zip(cut(a)).zip(cut(b)) {
                let row = &mut tile.0[r % TILE];
                // SAFETY: a row is 64 bytes.
                unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), _mm512_permutex2var_epi16(a, upper, b)) };
            }
        }
        if _mm512_reduce_max_epu32(largest) >= f32::INFINITY.to_bits() && !whole.contains(&r) {
            whole.push(r);
        }
    }
}

/// Bits without the sign.
#[target_feature(enable = "avx512f")]
#[inline]
fn unsigned(value: __m512) -> __m512i {
    _mm512_and_si512(_mm512_castps_si512(value), _mm512_set1_epi32(i32::MAX))
}

/// Lays out the lines of a panel of bf16 values: for each step its first sixteen columns, then the others. A tile holds
/// pairs of depths side by side. Depths beyond the lines are zero.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(crate) fn lay_out_panel<E: Element>(simd: Avx512, lines: &[Line<E>], panel: &mut Vec<Parts>) {
    let tiles = lines.len().div_ceil(STEP) * PAIR;
    panel.resize(panel.len().max(tiles), Parts([[0; PANEL]; TILE]));
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
