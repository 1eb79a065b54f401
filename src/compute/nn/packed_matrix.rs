//! The weight of a linear layer, packed once in the order in which GEMM reads it.

use std::mem::MaybeUninit;

#[cfg(target_arch = "x86_64")]
use super::amx::Amx;
use super::gemm_backward_input::BackwardInput;
use super::gemm_forward::Forward;
use super::gemm_kernel::{GemmTask, Shape};
use super::uninit::{as_uninit, vec_written_by};
use crate::compute::simd::{Bf16, F16, Level, Line, PANEL};
use crate::dtype::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

/// Storage type of a packed weight; the arithmetic is f32 for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum WeightDtype {
    /// IEEE 754 binary32.
    #[default]
    F32,
    /// bfloat16: eight bits of significand, the range of f32.
    Bf16,
    /// IEEE 754 binary16: eleven bits of significand, at most 65504.
    F16,
}

impl WeightDtype {
    /// Name in results, keys of caches and flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Returns the fastest storage for weights that are bf16 in the checkpoint: bf16 in place of f32 where the CPU has tile
    /// registers, which multiply it faster and as accurately in half the memory; else `self`, since f32 needs no widening.
    #[must_use]
    pub fn for_bf16_values(self) -> Self {
        #[cfg(target_arch = "x86_64")]
        if self == Self::F32 && matches!(GemmUnit::detected(), GemmUnit::Amx(_)) {
            return Self::Bf16;
        }
        self
    }
}

/// Lines of all panels, panel by panel, each over all of k.
pub(super) enum Panels {
    F32(Vec<Line<f32>>),
    Bf16(Vec<Line<Bf16>>),
    F16(Vec<Line<F16>>),
}

/// The weight of a linear layer, `[n, k]` with `n` outputs, packed into panels of 32 outputs.
///
/// A panel holds, for each k in turn, the elements of 32 outputs side by side, aligned to a cache line; the last panel is
/// padded with zeros.
pub struct PackedMatrix {
    n: usize,
    k: usize,
    panels: Panels,
    /// Whether no element of bf16 panels is an infinity or a NaN.
    finite: bool,
}

/// Exponent bits of a bf16, all ones in an infinity or a NaN.
const EXPONENT: u16 = 0x7f80;

/// Execution units that multiply weights.
#[derive(Clone, Copy)]
pub(super) enum GemmUnit {
    /// FMA loops at a SIMD level.
    Fma(Level),
    /// Tile registers for bf16 weights, FMA loops for others.
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
}

impl GemmUnit {
    /// Returns the fastest of this CPU.
    fn detected() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(amx) = Amx::detect() {
            return Self::Amx(amx);
        }
        Self::Fma(Level::detected())
    }
}

impl std::fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedMatrix").field("n", &self.n).field("k", &self.k).finish_non_exhaustive()
    }
}

impl PackedMatrix {
    /// Packs a weight of `n` outputs and `k` inputs; `fill` writes the `k` elements of a row, and is
    /// called once for each row in order. Elements are rounded to nearest, ties to even.
    pub fn pack(n: usize, k: usize, dtype: WeightDtype, fill: &mut dyn FnMut(usize, &mut [f32])) -> Self {
        let mut finite = true;
        let panels = match dtype {
            WeightDtype::F32 => Panels::F32(lines(n, k, fill, |value| value)),
            WeightDtype::Bf16 => Panels::Bf16(lines(n, k, fill, |value| {
                let value = f32_to_bf16(value);
                finite &= value & EXPONENT != EXPONENT;
                Bf16(value)
            })),
            WeightDtype::F16 => Panels::F16(lines(n, k, fill, |value| F16(f32_to_f16(value)))),
        };
        Self { n, k, panels, finite }
    }

    /// Returns the number of outputs.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Returns the number of inputs.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Returns the storage type.
    #[must_use]
    pub fn dtype(&self) -> WeightDtype {
        match self.panels {
            Panels::F32(_) => WeightDtype::F32,
            Panels::Bf16(_) => WeightDtype::Bf16,
            Panels::F16(_) => WeightDtype::F16,
        }
    }

    /// Returns the bytes that the panels occupy, padding included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(lines) => size_of_val(lines.as_slice()),
            Panels::Bf16(lines) => size_of_val(lines.as_slice()),
            Panels::F16(lines) => size_of_val(lines.as_slice()),
        }
    }

    /// Widens one row to f32: the embedding of a token, where the head is tied to it.
    ///
    /// # Panics
    /// When `row` is not below [`Self::n`] or `out` is not [`Self::k`] long.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.n, "row {row} of a matrix of {} rows", self.n);
        assert_eq!(out.len(), self.k, "a row of the matrix");
        let (panel, column) = (row / PANEL * self.k, row % PANEL);
        let depths = panel..panel + self.k;
        match &self.panels {
            Panels::F32(lines) => out.iter_mut().zip(&lines[depths]).for_each(|(o, line)| *o = line.0[column]),
            Panels::Bf16(lines) => {
                out.iter_mut().zip(&lines[depths]).for_each(|(o, line)| *o = bf16_to_f32(line.0[column].0));
            }
            Panels::F16(lines) => {
                out.iter_mut().zip(&lines[depths]).for_each(|(o, line)| *o = f16_to_f32(line.0[column].0));
            }
        }
    }

    /// `out = x W^T + bias`: `x` is `[m, k]`, `bias` `[n]`, `out` `[m, n]`, all row-major.
    ///
    /// Each element is one FMA loop over the inputs in order, from zero, plus the bias; or, for bf16 weights on a CPU with
    /// tile registers, the sum that the module `amx` describes. Its bits depend on its row of `x` alone.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    pub fn matmul(&self, x: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        self.write_matmul(GemmUnit::detected(), x, bias, as_uninit(out));
    }

    /// [`Self::matmul`] of `m` rows into a new vector.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    #[must_use]
    pub fn matmul_to_vec(&self, m: usize, x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        // SAFETY: `write_matmul` writes every element.
        unsafe { vec_written_by(m * self.n, |out| self.write_matmul(GemmUnit::detected(), x, bias, out)) }
    }

    #[cfg(test)]
    pub(crate) fn matmul_at(&self, level: Level, x: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        self.write_matmul(GemmUnit::Fma(level), x, bias, as_uninit(out));
    }

    /// Writes all of `out`.
    fn write_matmul(&self, unit: GemmUnit, x: &[f32], bias: Option<&[f32]>, out: &mut [MaybeUninit<f32>]) {
        if self.n == 0 {
            return;
        }
        let m = out.len() / self.n;
        assert_eq!(out.len(), m * self.n, "rows of outputs");
        assert_eq!(x.len(), m * self.k, "rows of inputs");
        assert!(bias.is_none_or(|b| b.len() == self.n), "a bias for each output");
        let shape = Shape { m, n: self.n, k: self.k };
        match &self.panels {
            Panels::F32(lines) => self.run(unit, Forward { shape, x, lines, bias, out }),
            Panels::Bf16(lines) => self.run(unit, Forward { shape, x, lines, bias, out }),
            Panels::F16(lines) => self.run(unit, Forward { shape, x, lines, bias, out }),
        }
    }

    /// `dX = dY W`: `dy` is `[m, n]`, `dx` `[m, k]`, both row-major; the backward pass of [`Self::matmul`] for its input.
    ///
    /// Each element is one sum over the outputs, made as in [`Self::matmul`]: its bits depend on its row of `dy` alone.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    pub fn matmul_transposed(&self, dy: &[f32], dx: &mut [f32]) {
        self.write_matmul_transposed(GemmUnit::detected(), dy, as_uninit(dx));
    }

    /// [`Self::matmul_transposed`] of `m` rows into a new vector.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    #[must_use]
    pub fn matmul_transposed_to_vec(&self, m: usize, dy: &[f32]) -> Vec<f32> {
        // SAFETY: `write_matmul_transposed` writes every element.
        unsafe { vec_written_by(m * self.k, |dx| self.write_matmul_transposed(GemmUnit::detected(), dy, dx)) }
    }

    #[cfg(test)]
    pub(crate) fn matmul_transposed_at(&self, level: Level, dy: &[f32], dx: &mut [f32]) {
        self.write_matmul_transposed(GemmUnit::Fma(level), dy, as_uninit(dx));
    }

    /// Writes all of `dx`.
    fn write_matmul_transposed(&self, unit: GemmUnit, dy: &[f32], dx: &mut [MaybeUninit<f32>]) {
        if self.k == 0 {
            return;
        }
        let m = dx.len() / self.k;
        assert_eq!(dx.len(), m * self.k, "rows of input gradients");
        assert_eq!(dy.len(), m * self.n, "rows of output gradients");
        let shape = Shape { m, n: self.n, k: self.k };
        match &self.panels {
            Panels::F32(lines) => self.run(unit, BackwardInput { shape, dy, lines, dx }),
            Panels::Bf16(lines) => self.run(unit, BackwardInput { shape, dy, lines, dx }),
            Panels::F16(lines) => self.run(unit, BackwardInput { shape, dy, lines, dx }),
        }
    }

    fn run(&self, unit: GemmUnit, product: impl GemmTask) {
        match unit {
            #[cfg(target_arch = "x86_64")]
            GemmUnit::Amx(amx) if self.finite && self.dtype() == WeightDtype::Bf16 => amx.run(product),
            // Infinity times the zero parts of a split row would be NaN.
            #[cfg(target_arch = "x86_64")]
            GemmUnit::Amx(_) => Level::detected().run(product),
            GemmUnit::Fma(level) => level.run(product),
        }
    }
}

/// Values of k that are packed at a time: a cache line of each row is read once.
const DEPTHS: usize = 16;

/// Packs the rows that `fill` writes, elements rounded by `narrow`.
fn lines<E: Copy>(
    n: usize,
    k: usize,
    fill: &mut dyn FnMut(usize, &mut [f32]),
    mut narrow: impl FnMut(f32) -> E,
) -> Vec<Line<E>> {
    let zero = narrow(0.0);
    let mut lines = Vec::with_capacity(n.div_ceil(PANEL) * k);
    let mut rows = vec![0.0; PANEL * k];
    for first in (0..n).step_by(PANEL) {
        let height = PANEL.min(n - first);
        if k > 0 {
            for (r, row) in rows.chunks_exact_mut(k).take(height).enumerate() {
                fill(first + r, row);
            }
        }
        for depth in (0..k).step_by(DEPTHS) {
            let depths = DEPTHS.min(k - depth);
            let mut block = [Line([zero; PANEL]); DEPTHS];
            for r in 0..height {
                let row = &rows[r * k + depth..][..depths];
                for (line, value) in block.iter_mut().zip(row) {
                    line.0[r] = narrow(*value);
                }
            }
            lines.extend_from_slice(&block[..depths]);
        }
    }
    lines
}
