//! Products of plain row-major matrices: what only the trainer needs, by the `gemm` crate on one thread.

use gemm::{Parallelism, gemm};

/// A matrix somewhere in a slice.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// Rows of `columns` values, `stride` apart.
    #[must_use]
    pub fn rows(data: &'a [f32], columns: usize, stride: usize) -> Self {
        let rows = if columns == 0 || data.len() < columns { 0 } else { (data.len() - columns) / stride.max(1) + 1 };
        Self { data, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// The transposed matrix.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    fn fits(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride < self.data.len()
    }
}

/// `out = scale * lhs rhs`, added to what is there if `accumulate`; rows of `out` are `stride` apart.
///
/// # Panics
/// When the shapes do not fit together.
pub fn multiply(lhs: View<'_>, rhs: View<'_>, scale: f32, accumulate: bool, out: &mut [f32], stride: usize) {
    let (m, n, k) = (lhs.rows, rhs.columns, lhs.columns);
    assert_eq!(k, rhs.rows, "inner extents of a product");
    if m == 0 || n == 0 {
        return;
    }
    assert!(lhs.fits() && rhs.fits() && n <= stride.max(n) && (m - 1) * stride + n <= out.len(), "operands");
    // SAFETY: all three matrices were checked to lie in their slices, and `out` is borrowed for us alone.
    unsafe {
        gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
