//! The map of a part of a chunk: from operands and what was measured to output bytes.

use std::ops::Range;

use super::chunk::rows;
use crate::compute::merge::{Coefficient, DRAW_GROUP, MergeKernels, Operand, Output, TaskVectors, WeightedSum};
use crate::merge::execute::reduction::ChunkInputs;
use crate::merge::methods::{Coefficients, Map, Measured, MethodFault};

/// Computes elements `range` of a tensor of some `shape` into `output`; `chunk` is the chunk that they are part of.
///
/// # Errors
/// A [`MethodFault`] when the map does not fit the inputs; nothing is written then.
pub(crate) fn map_part(
    backend: &dyn MergeKernels,
    shape: &[u64],
    map: &Map,
    measured: &Measured,
    chunk: &ChunkInputs<'_>,
    range: &Range<u64>,
    output: Output<'_>,
) -> Result<(), MethodFault> {
    let part = chunk.piece(range);
    let (coefficients, columns) = match map {
        Map::Copy if part.operands[0].dtype == output.dtype => {
            output.bytes.copy_from_slice(part.operands[0].bytes);
            return Ok(());
        }
        Map::Copy => {
            backend.scale(part.operands[0], 1.0, part.precision, output);
            return Ok(());
        }
        Map::Scale { factor } => {
            backend.scale(part.operands[0], *factor, part.precision, output);
            return Ok(());
        }
        Map::WeightedSum { coefficients, .. } | Map::TaskVectors { coefficients, .. } => match coefficients {
            Coefficients::Uniform(values) => {
                debug_assert!((range.start - chunk.range.start).is_multiple_of(DRAW_GROUP), "parts are whole groups");
                let skipped = (range.start - chunk.range.start) as usize / 64;
                let masks: Vec<_> =
                    measured.masks(chunk.index).into_iter().map(|mask| mask.map(|mask| &mask[skipped..])).collect();
                let values: Vec<Coefficient<'_>> = values.iter().map(|c| Coefficient::Uniform(*c)).collect();
                return apply(backend, map, &part, &values, &masks, output);
            }
            Coefficients::PerRow(_) => (coefficients, false),
            Coefficients::PerColumn(_) => (coefficients, true),
        },
    };
    let length = if columns { shape[1..].iter().product() } else { shape.last().copied().unwrap_or(1) };
    let Output { bytes, dtype } = output;
    let width = dtype.bytes();
    for (row, piece) in rows(range.clone(), length) {
        let bytes =
            &mut bytes[(piece.start - range.start) as usize * width..(piece.end - range.start) as usize * width];
        let first = (piece.start - row * length) as usize;
        let last = (piece.end - row * length) as usize;
        let values: Vec<Coefficient<'_>> = match coefficients {
            Coefficients::PerColumn(inputs) => {
                inputs.iter().map(|c| Coefficient::PerElement(&c[first..last])).collect()
            }
            Coefficients::PerRow(rows) => rows[row as usize].iter().map(|c| Coefficient::Uniform(*c)).collect(),
            Coefficients::Uniform(values) => values.iter().map(|c| Coefficient::Uniform(*c)).collect(),
        };
        apply(backend, map, &part.piece(&piece), &values, &[], Output { bytes, dtype })?;
    }
    Ok(())
}

fn apply(
    backend: &dyn MergeKernels,
    map: &Map,
    part: &ChunkInputs<'_>,
    coefficients: &[Coefficient<'_>],
    masks: &[Option<&[u64]>],
    output: Output<'_>,
) -> Result<(), MethodFault> {
    match map {
        Map::WeightedSum { divisor, .. } => {
            let (inputs, precision) = (&part.operands[..], part.precision);
            backend.weighted_sum(&WeightedSum { inputs, coefficients, divisor: *divisor, precision }, output);
        }
        Map::TaskVectors { selections, consensus, normalize, divisor, scale, .. } => {
            let base = part.base.ok_or(MethodFault::NoBase)?;
            let tuned: Vec<Operand<'_>> =
                (0..part.operands.len()).filter(|i| *i != base).map(|i| part.operands[i]).collect();
            let job = TaskVectors {
                base: part.operands[base],
                inputs: &tuned,
                selections,
                masks,
                coefficients,
                consensus: *consensus,
                normalize: *normalize,
                divisor: *divisor,
                scale: *scale,
                first_element: part.range.start,
                precision: part.precision,
            };
            backend.task_vectors(&job, output);
        }
        Map::Copy | Map::Scale { .. } => unreachable!("maps without coefficients have returned"),
    }
    Ok(())
}
