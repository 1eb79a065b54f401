//! Parts of fused modules.

use candle_core::Tensor;

/// The rows of a fused module's tensor that one projection has; all of them as they are.
pub(super) fn part(whole: &Tensor, first_row: usize, rows: usize) -> candle_core::Result<Tensor> {
    if whole.dim(0)? == rows { Ok(whole.clone()) } else { whole.narrow(0, first_row, rows)?.contiguous() }
}
