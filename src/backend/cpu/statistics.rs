//! The statistics passes, as loop bodies generic over the working type.

use super::float::{BLOCK, Float, load};
use super::kernels::select;
use crate::backend::{Bracket, Delta, DeltaStatistics, Digit, LANES, Operand, Selection, fold_lanes};
use crate::dtype::DType;

/// Calls `visit` with every block of a task vector.
#[inline(always)]
fn blocks<W: Float>(delta: &Delta<'_>, mut visit: impl FnMut(usize, &mut [W])) {
    let length = delta.tuned.len();
    let mut base = [W::default(); BLOCK];
    let mut tuned = [W::default(); BLOCK];
    let mut start = 0;
    while start < length {
        let n = BLOCK.min(length - start);
        let tuned = &mut tuned[..n];
        load(&delta.tuned, start, tuned);
        if let Some(operand) = &delta.base {
            let base = &mut base[..n];
            load(operand, start, base);
            for (t, b) in tuned.iter_mut().zip(&*base) {
                *t = t.minus(*b);
            }
        }
        visit(start, tuned);
        start += n;
    }
}

/// Adds `a * b` to lanes; a block starts at a multiple of [`LANES`], so lane and index agree.
#[inline(always)]
fn accumulate<W: Float>(lanes: &mut [f64; LANES], a: &[W], b: &[W]) {
    let (a16, a_rest) = a.as_chunks::<LANES>();
    let (b16, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a16.iter().zip(b16) {
        for lane in 0..LANES {
            lanes[lane] += a[lane].to_f64() * b[lane].to_f64();
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += a.to_f64() * b.to_f64();
    }
}

/// Adds magnitudes to lanes.
#[inline(always)]
fn accumulate_magnitude<W: Float>(lanes: &mut [f64; LANES], values: &[W]) {
    let (full, rest) = values.as_chunks::<LANES>();
    for values in full {
        for lane in 0..LANES {
            lanes[lane] += values[lane].to_f64().abs();
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value.to_f64().abs();
    }
}

/// Calls `visit` with the same block of several task vectors.
#[inline(always)]
fn joint_blocks<W: Float>(vectors: &[Delta<'_>], mut visit: impl FnMut(usize, &[W], usize)) {
    let length = vectors.first().map_or(0, |v| v.tuned.len());
    let mut all = vec![W::default(); vectors.len() * BLOCK];
    let mut base = [W::default(); BLOCK];
    let mut start = 0;
    while start < length {
        let n = BLOCK.min(length - start);
        for (vector, out) in vectors.iter().zip(all.chunks_exact_mut(BLOCK)) {
            let out = &mut out[..n];
            load(&vector.tuned, start, out);
            if let Some(operand) = &vector.base {
                let base = &mut base[..n];
                load(operand, start, base);
                for (t, b) in out.iter_mut().zip(&*base) {
                    *t = t.minus(*b);
                }
            }
        }
        visit(start, &all, n);
        start += n;
    }
}

#[inline(always)]
pub fn products<W: Float>(vectors: &[Delta<'_>], sums: &mut [f64]) {
    let pairs = vectors.len() * (vectors.len() + 1) / 2;
    let mut lanes = vec![[0.0; LANES]; pairs];
    joint_blocks::<W>(vectors, |_, all, n| {
        let mut pair = 0;
        for i in 0..vectors.len() {
            for j in i..vectors.len() {
                accumulate(&mut lanes[pair], &all[i * BLOCK..i * BLOCK + n], &all[j * BLOCK..j * BLOCK + n]);
                pair += 1;
            }
        }
    });
    for (sum, lanes) in sums.iter_mut().zip(lanes) {
        *sum += fold_lanes(lanes);
    }
}

#[inline(always)]
pub fn column_products<W: Float>(vectors: &[Delta<'_>], sums: &mut [f64]) {
    let pairs = vectors.len() * (vectors.len() + 1) / 2;
    joint_blocks::<W>(vectors, |start, all, n| {
        let mut pair = 0;
        for i in 0..vectors.len() {
            for j in i..vectors.len() {
                for e in 0..n {
                    let product = all[i * BLOCK + e].to_f64() * all[j * BLOCK + e].to_f64();
                    sums[(start + e) * pairs + pair] += product;
                }
                pair += 1;
            }
        }
    });
}

#[inline(always)]
pub fn magnitude_bracket<W: Float>(delta: &Delta<'_>, bracket: Bracket, inside: &mut Vec<u32>) -> u64 {
    let (low, high) = (W::key_from(bracket.low), W::key_from(bracket.high));
    let offset = |key: W::Key| -> u32 {
        let key: u64 = key.into();
        (key - bracket.low) as u32
    };
    let mut above = 0_u64;
    blocks::<W>(delta, |_, values| {
        let (full, rest) = values.as_chunks::<LANES>();
        for group in full {
            let mut over = 0_u32;
            let mut reached = 0_u32;
            for value in group {
                over += u32::from(value.key() > high);
                reached += u32::from(value.key() >= low);
            }
            above += u64::from(over);
            // Few groups have a member inside the bracket: only those are walked one by one.
            if reached > over {
                inside.extend(group.iter().map(|v| v.key()).filter(|k| *k >= low && *k <= high).map(offset));
            }
        }
        for value in rest {
            above += u64::from(value.key() > high);
            if value.key() >= low && value.key() <= high {
                inside.push(offset(value.key()));
            }
        }
    });
    above
}

#[inline(always)]
pub fn magnitude_histogram<W: Float>(delta: &Delta<'_>, digit: Digit, counts: &mut [u64]) {
    let mask = (1_u64 << digit.bits) - 1;
    let above = digit.shift + digit.bits;
    blocks::<W>(delta, |_, values| {
        for value in values {
            let key: u64 = value.key().into();
            if key.checked_shr(above).unwrap_or(0) == digit.prefix {
                counts[((key >> digit.shift) & mask) as usize] += 1;
            }
        }
    });
}

#[inline(always)]
pub fn magnitude_positions<W: Float>(delta: &Delta<'_>, key: u64, limit: usize) -> Vec<usize> {
    let key = W::key_from(key);
    let mut positions = Vec::new();
    blocks::<W>(delta, |start, values| {
        for (i, value) in values.iter().enumerate() {
            if value.key() == key && positions.len() < limit {
                positions.push(start + i);
            }
        }
    });
    positions
}

#[inline(always)]
pub fn magnitude_count<W: Float>(delta: &Delta<'_>, key: u64) -> u64 {
    let key = W::key_from(key);
    let mut count = 0;
    blocks::<W>(delta, |_, values| {
        let here: u32 = values.iter().map(|value| u32::from(value.key() == key)).sum();
        count += u64::from(here);
    });
    count
}

#[inline(always)]
pub fn magnitude_sums<W: Float>(delta: &Delta<'_>, selection: Selection, first_element: u64) -> (f64, f64) {
    let mut words = [0_u32; BLOCK];
    let (mut all, mut kept) = ([0.0; LANES], [0.0; LANES]);
    blocks::<W>(delta, |start, values| {
        accumulate_magnitude(&mut all, values);
        select(selection.rescaled(1.0), first_element + start as u64, values, &mut words);
        accumulate_magnitude(&mut kept, values);
    });
    (fold_lanes(all), fold_lanes(kept))
}

/// An exponent of all ones is an infinity or a NaN.
#[inline(always)]
pub fn non_finite(values: Operand<'_>) -> u64 {
    let narrow = |exponent: u16| {
        let mut count = 0_u64;
        for block in values.bytes.chunks(BLOCK * 2) {
            let here: u32 =
                block.as_chunks::<2>().0.iter().map(|b| u32::from(u16::from_le_bytes(*b) & exponent == exponent)).sum();
            count += u64::from(here);
        }
        count
    };
    match values.dtype {
        DType::BF16 => narrow(0x7f80),
        DType::F16 => narrow(0x7c00),
        DType::F32 => {
            let words = values.bytes.as_chunks::<4>().0;
            words.iter().map(|b| u64::from(u32::from_le_bytes(*b) & 0x7f80_0000 == 0x7f80_0000)).sum()
        }
        _ => {
            let words = values.bytes.as_chunks::<8>().0;
            words.iter().map(|b| u64::from(!f64::from_le_bytes(*b).is_finite())).sum()
        }
    }
}

#[inline(always)]
pub fn delta_statistics<W: Float>(base: Operand<'_>, tuned: &[Operand<'_>]) -> DeltaStatistics {
    let precision = crate::backend::Precision::F32;
    let vectors: Vec<Delta<'_>> = tuned.iter().map(|t| Delta { base: Some(base), tuned: *t, precision }).collect();
    let models = tuned.len();
    let mut result = DeltaStatistics {
        products: vec![0.0; models * (models + 1) / 2],
        zeros: vec![0; models],
        largest: vec![0.0; models],
        ..DeltaStatistics::default()
    };
    let mut base_lanes = [0.0; LANES];
    let mut lanes = vec![[0.0; LANES]; result.products.len()];
    let mut base_block = [W::default(); BLOCK];
    joint_blocks::<W>(&vectors, |start, all, n| {
        let zero = W::default();
        let base_block = &mut base_block[..n];
        load(&base, start, base_block);
        accumulate(&mut base_lanes, base_block, base_block);
        let (mut positive, mut negative) = ([0_u16; BLOCK], [0_u16; BLOCK]);
        let mut pair = 0;
        for i in 0..models {
            let mine = &all[i * BLOCK..i * BLOCK + n];
            let (mut zeros, mut largest) = (0_u32, 0.0_f64);
            for ((value, p), m) in mine.iter().zip(&mut positive).zip(&mut negative) {
                zeros += u32::from(*value == zero);
                *p += u16::from(*value > zero);
                *m += u16::from(*value < zero);
            }
            for value in mine {
                let magnitude = value.to_f64().abs();
                largest = if magnitude > largest { magnitude } else { largest };
            }
            result.zeros[i] += u64::from(zeros);
            result.largest[i] = result.largest[i].max(largest);
            for j in i..models {
                accumulate(&mut lanes[pair], mine, &all[j * BLOCK..j * BLOCK + n]);
                pair += 1;
            }
        }
        let (mut conflicts, mut contested) = (0_u32, 0_u32);
        for (p, m) in positive[..n].iter().zip(&negative[..n]) {
            conflicts += u32::from(*p > 0 && *m > 0);
            contested += u32::from(*p + *m > 1);
        }
        result.conflicts += u64::from(conflicts);
        result.contested += u64::from(contested);
    });
    result.base_square = fold_lanes(base_lanes);
    for (product, lanes) in result.products.iter_mut().zip(lanes) {
        *product = fold_lanes(lanes);
    }
    result
}
