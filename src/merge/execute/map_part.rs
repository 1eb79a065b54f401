//! The map of a part of a chunk: from operands and the result of its reduction to output bytes.

use std::ops::Range;

use super::chunk::rows;
use crate::compute::merge::{Coefficient, DRAW_GROUP, MergeKernels, Operand, Output, TaskVectors, WeightedSum};
use crate::merge::execute::reduction::ChunkInputs;
use crate::merge::methods::{Coefficients, Map, MethodFault, ReductionResult};

/// Computes elements `range` of a tensor of some `shape` into `output`; `chunk` is the chunk that they are part of.
///
/// # Errors
/// A [`MethodFault`] when the map does not fit the inputs, or leaves an element of `output` unwritten: what lies there
/// belongs to another tensor.
pub(crate) fn map_part(
    backend: &dyn MergeKernels,
    shape: &[u64],
    map: &Map,
    reduced: &ReductionResult,
    chunk: &ChunkInputs<'_>,
    range: &Range<u64>,
    output: Output<'_>,
) -> Result<(), MethodFault> {
    let part = chunk.piece(range);
    let expected = range.end - range.start;
    let unwritten = |what, written| Err(MethodFault::Unwritten { what, expected, written });
    // Kernels write as many elements as their operands have.
    let lengths = part.operands.iter().map(|operand| operand.len() as u64);
    let room = (output.bytes.len() / output.dtype.bytes()) as u64;
    if let Some(length) = lengths.chain([room]).find(|length| *length != expected) {
        return unwritten("elements of a part", length);
    }
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
                    reduced.masks(chunk.index).into_iter().map(|mask| mask.map(|mask| &mask[skipped..])).collect();
                let values: Vec<Coefficient<'_>> = values.iter().map(|c| Coefficient::Uniform(*c)).collect();
                apply(backend, map, &part, &values, &masks, output);
                return Ok(());
            }
            Coefficients::PerRow(_) => (coefficients, false),
            Coefficients::PerColumn(_) => (coefficients, true),
        },
    };
    // A scalar is one row of one element.
    let length = if columns { shape.iter().skip(1).product() } else { shape.last().copied().unwrap_or(1) };
    let mut written = 0;
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
        apply(backend, map, &part.piece(&piece), &values, &[], Output { bytes, dtype });
        written += piece.end - piece.start;
    }
    if written == expected { Ok(()) } else { unwritten("elements of a part", written) }
}

fn apply(
    backend: &dyn MergeKernels,
    map: &Map,
    part: &ChunkInputs<'_>,
    coefficients: &[Coefficient<'_>],
    masks: &[Option<&[u64]>],
    output: Output<'_>,
) {
    match map {
        Map::WeightedSum { divisor, .. } => {
            let (inputs, precision) = (&part.operands[..], part.precision);
            backend.weighted_sum(&WeightedSum { inputs, coefficients, divisor: *divisor, precision }, output);
        }
        Map::TaskVectors { base, selections, consensus, normalize, divisor, scale, .. } => {
            let base = base.index();
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::merge::ComputeType;
    use crate::compute::merge::cpu::Cpu;
    use crate::dtype::DType;

    #[test]
    fn an_element_that_is_not_written_is_a_fault() {
        let bytes: Vec<u8> = (0..4).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let operand = |count: usize| Operand { bytes: &bytes[..count * 4], dtype: DType::F32 };
        let chunk = |count| ChunkInputs {
            index: 0,
            range: 0..count,
            operands: vec![operand(count as usize)],
            base: None,
            precision: ComputeType::F32,
        };
        let run = |shape: &[u64], chunk: &ChunkInputs<'_>, coefficients, room: usize| {
            let map = Map::WeightedSum { coefficients, divisor: None };
            let output = Output { bytes: &mut vec![0xAA; room * 4], dtype: DType::F32 };
            map_part(&Cpu, shape, &map, &ReductionResult::Nothing, chunk, &chunk.range, output)
        };
        let uniform = || Coefficients::Uniform(vec![1.0]);
        assert_eq!(run(&[4], &chunk(4), uniform(), 4), Ok(()));
        // An output that is longer than the inputs.
        assert!(matches!(
            run(&[4], &chunk(4), uniform(), 5),
            Err(MethodFault::Unwritten { expected: 4, written: 5, .. })
        ));
        // Rows that do not cover the part.
        let rows = Coefficients::PerRow(Vec::new());
        assert!(matches!(
            run(&[4, 0], &chunk(4), rows, 4),
            Err(MethodFault::Unwritten { expected: 4, written: 0, .. })
        ));
    }
}
