//! A weight in the order in which the products read it.

use std::mem::MaybeUninit;

#[cfg(target_arch = "x86_64")]
use super::amx::Amx;
use super::fresh::{again, fresh};
use super::matmul::{self, WeightProduct};
use super::simd::Level;
use super::tile::{Bf16, F16, PANEL};
use crate::compute::nn::gemm_backward_input;
use crate::dtype::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

/// What a packed weight is stored as; the arithmetic is f32 for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Precision {
    /// Four bytes an element.
    #[default]
    F32,
    /// Two bytes, eight bits of significand.
    Bf16,
    /// Two bytes, eleven bits of significand, at most 65504.
    F16,
}

impl Precision {
    /// The name in results, keys of caches and flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// What bf16 values are best stored as where f32 is asked for: with tile registers as they are, which multiply them
    /// faster and as accurately in half the memory; else as f32, which takes no widening.
    #[must_use]
    pub fn for_bf16_values(self) -> Self {
        #[cfg(target_arch = "x86_64")]
        if self == Self::F32 && matches!(Unit::detected(), Unit::Amx(_)) {
            return Self::Bf16;
        }
        self
    }
}

/// One depth of a panel: the elements of [`PANEL`] outputs.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line<E>(pub [E; PANEL]);

/// The lines of all panels, panel by panel, each over the whole depth.
pub(super) enum Panels {
    F32(Vec<Line<f32>>),
    Bf16(Vec<Line<Bf16>>),
    F16(Vec<Line<F16>>),
}

/// The weight of a linear layer, `[n, k]` with `n` outputs, cut into panels of outputs.
///
/// A panel holds, for each input in turn, the elements of 32 outputs side by side, aligned to a cache line;
/// the last panel is filled up with zeros.
pub struct PackedMatrix {
    n: usize,
    k: usize,
    panels: Panels,
    /// No element of bf16 panels is an infinity or a NaN.
    finite: bool,
}

/// The exponent of a bf16, all ones in an infinity or a NaN.
const EXPONENT: u16 = 0x7f80;

/// How weights are multiplied.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    /// As chains of multiply-adds.
    Chain(Level),
    /// Bf16 weights in tile registers, others as chains.
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
}

impl Unit {
    /// The fastest that this CPU has.
    fn detected() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(amx) = Amx::detect() {
            return Self::Amx(amx);
        }
        Self::Chain(Level::detected())
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
    pub fn pack(n: usize, k: usize, precision: Precision, fill: &mut dyn FnMut(usize, &mut [f32])) -> Self {
        let mut finite = true;
        let panels = match precision {
            Precision::F32 => Panels::F32(lines(n, k, fill, |value| value)),
            Precision::Bf16 => Panels::Bf16(lines(n, k, fill, |value| {
                let value = f32_to_bf16(value);
                finite &= value & EXPONENT != EXPONENT;
                Bf16(value)
            })),
            Precision::F16 => Panels::F16(lines(n, k, fill, |value| F16(f32_to_f16(value)))),
        };
        Self { n, k, panels, finite }
    }

    /// Outputs.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inputs.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// What the elements are stored as.
    #[must_use]
    pub fn precision(&self) -> Precision {
        match self.panels {
            Panels::F32(_) => Precision::F32,
            Panels::Bf16(_) => Precision::Bf16,
            Panels::F16(_) => Precision::F16,
        }
    }

    /// Bytes that the panels occupy, their filling included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(lines) => size_of_val(lines.as_slice()),
            Panels::Bf16(lines) => size_of_val(lines.as_slice()),
            Panels::F16(lines) => size_of_val(lines.as_slice()),
        }
    }

    /// One row as f32: the embedding of a token, where the head is tied to it.
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
    /// Each element is one chain of fused multiply-adds over the inputs in order, from zero, and then the bias; or, of
    /// bf16 weights on a CPU with tile registers, the sum that the module `amx` describes. Its bits depend on its row of `x` alone.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    pub fn matmul(&self, x: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        self.write_matmul(Unit::detected(), x, bias, again(out));
    }

    /// [`Self::matmul`] of `m` rows in a vector of its own.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    #[must_use]
    pub fn matmul_to_vec(&self, m: usize, x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        // SAFETY: every element is written.
        unsafe { fresh(m * self.n, |out| self.write_matmul(Unit::detected(), x, bias, out)) }
    }

    #[cfg(test)]
    pub(crate) fn matmul_at(&self, level: Level, x: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        self.write_matmul(Unit::Chain(level), x, bias, again(out));
    }

    /// Writes all of `out`.
    fn write_matmul(&self, unit: Unit, x: &[f32], bias: Option<&[f32]>, out: &mut [MaybeUninit<f32>]) {
        if self.n == 0 {
            return;
        }
        let m = out.len() / self.n;
        assert_eq!(out.len(), m * self.n, "rows of outputs");
        assert_eq!(x.len(), m * self.k, "rows of inputs");
        assert!(bias.is_none_or(|b| b.len() == self.n), "a bias for each output");
        let shape = matmul::Shape { m, n: self.n, k: self.k };
        match &self.panels {
            Panels::F32(lines) => self.run(unit, matmul::Product { shape, x, lines, bias, out }),
            Panels::Bf16(lines) => self.run(unit, matmul::Product { shape, x, lines, bias, out }),
            Panels::F16(lines) => self.run(unit, matmul::Product { shape, x, lines, bias, out }),
        }
    }

    /// `out = y W`: `y` is `[m, n]`, `out` `[m, k]`, both row-major. What [`Self::matmul`] maps forth, this maps
    /// back: the gradient of its inputs from that of its outputs.
    ///
    /// Each element is one sum over the outputs, made as in [`Self::matmul`]: its bits depend on its row of `y` alone.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    pub fn matmul_transposed(&self, y: &[f32], out: &mut [f32]) {
        self.write_matmul_transposed(Unit::detected(), y, again(out));
    }

    /// [`Self::matmul_transposed`] of `m` rows in a vector of its own.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    #[must_use]
    pub fn matmul_transposed_to_vec(&self, m: usize, y: &[f32]) -> Vec<f32> {
        // SAFETY: every element is written.
        unsafe { fresh(m * self.k, |out| self.write_matmul_transposed(Unit::detected(), y, out)) }
    }

    #[cfg(test)]
    pub(crate) fn matmul_transposed_at(&self, level: Level, y: &[f32], out: &mut [f32]) {
        self.write_matmul_transposed(Unit::Chain(level), y, again(out));
    }

    /// Writes all of `out`.
    fn write_matmul_transposed(&self, unit: Unit, y: &[f32], out: &mut [MaybeUninit<f32>]) {
        if self.k == 0 {
            return;
        }
        let m = out.len() / self.k;
        assert_eq!(out.len(), m * self.k, "rows of results");
        assert_eq!(y.len(), m * self.n, "rows of what is mapped back");
        let shape = matmul::Shape { m, n: self.n, k: self.k };
        match &self.panels {
            Panels::F32(lines) => self.run(unit, gemm_backward_input::Product { shape, y, lines, out }),
            Panels::Bf16(lines) => self.run(unit, gemm_backward_input::Product { shape, y, lines, out }),
            Panels::F16(lines) => self.run(unit, gemm_backward_input::Product { shape, y, lines, out }),
        }
    }

    fn run(&self, unit: Unit, product: impl WeightProduct) {
        match unit {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx(amx) if self.finite && self.precision() == Precision::Bf16 => amx.run(product),
            // An infinity times the parts of a row is no number.
            #[cfg(target_arch = "x86_64")]
            Unit::Amx(_) => Level::detected().run(product),
            Unit::Chain(level) => level.run(product),
        }
    }
}

/// Depths that are packed at a time.
const DEPTHS: usize = 16;

/// Panels of rows that `fill` writes, elements stored by `narrow`.
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
        // Sixteen depths at a time: a cache line of each row is read once.
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
