//! The operations that kernels are written in, on vectors of sixteen lanes.
//!
//! Sixteen lanes whatever the registers are: one register with AVX-512, two with AVX2, an array in plain Rust. A sum
//! over lanes therefore has one order at every level.

use std::mem::MaybeUninit;

use super::tile::{Element, Line, Operands};

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;
/// One vector in memory.
pub(crate) type Group = [f32; LANES];

/// An instruction set; a value is the proof that the CPU has it.
pub(crate) trait Simd: Copy {
    /// Sixteen lanes in registers.
    type V: Copy;
    /// Most rows of the register tile (BLIS's `MR`): with the panel's vectors, as many sums as there are registers.
    const MR: usize;

    /// Runs a task in a function compiled for this instruction set.
    fn vectorize<T: Task>(self, task: T) -> T::Output;
    /// GEMM micro-kernel: a tile of `rows <= MR` rows by 32 columns.
    ///
    /// # Safety
    /// As [`Operands`] says.
    unsafe fn tile<E: Element>(self, rows: usize, operands: Operands<E>);

    fn splat(self, value: f32) -> Self::V;
    fn load(self, from: &Group) -> Self::V;
    fn store(self, v: Self::V, to: &mut Group);
    fn widen_bf16(self, from: &[u16; LANES]) -> Self::V;
    fn widen_f16(self, from: &[u16; LANES]) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c` with one rounding.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Maximum; `b` when they are equal or either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// Minimum; `b` when they are equal or either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `x` where `a < b`, else `y` (also where either is NaN).
    fn select_less(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// `v * 2^power` with one rounding, for |v| in [0.5, 2] and whole powers in [-160, 160].
    fn scale_by_power(self, v: Self::V, power: Self::V) -> Self::V;
    /// Prefetches a cache line into the first level; any address is allowed.
    fn prefetch<T>(self, address: *const T);

    /// Transposes a 16 x 16 block, half of sixteen lines: lane `j` of vector `i` is `lines[j].0[16 * half + i]`.
    #[inline(always)]
    fn transpose(self, lines: &[Line<f32>; LANES], half: usize) -> [Self::V; LANES] {
        let mut columns = [self.splat(0.0); LANES];
        for (i, column) in columns.iter_mut().enumerate() {
            let mut group = [0.0; LANES];
            for (element, line) in group.iter_mut().zip(lines) {
                *element = line.0[half * LANES + i];
            }
            *column = self.load(&group);
        }
        columns
    }

    /// Loads up to sixteen values; the other lanes are `fill`.
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::V {
        let mut group = [fill; LANES];
        group[..from.len()].copy_from_slice(from);
        self.load(&group)
    }

    /// [`Self::store`] to uninitialised memory.
    #[inline(always)]
    fn write(self, v: Self::V, to: &mut [MaybeUninit<f32>; LANES]) {
        let mut group = [0.0; LANES];
        self.store(v, &mut group);
        // SAFETY: `Group` and the sixteen elements have one layout; a write reads nothing.
        unsafe { std::ptr::from_mut(to).cast::<Group>().write(group) }
    }

    /// Sums all lanes by halves: 16 to 8 to 4 to 2 to 1.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut group = [0.0; LANES];
        self.store(v, &mut group);
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                group[lane] += group[lane + half];
            }
        }
        group[0]
    }

    /// Returns the greatest lane.
    #[inline(always)]
    fn greatest(self, v: Self::V) -> f32 {
        let mut group = [0.0; LANES];
        self.store(v, &mut group);
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                let (a, b) = (group[lane], group[lane + half]);
                group[lane] = if a > b { a } else { b };
            }
        }
        group[0]
    }
}

/// A loop compiled once for each level. `run` and all that it calls must be `inline(always)`: a function of its own
/// would be compiled for the baseline instruction set.
pub(crate) trait Task {
    /// Result of the task.
    type Output;
    /// Runs the task with the operations of one instruction set.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Defines methods that are one expression of intrinsics each.
#[cfg(target_arch = "x86_64")]
macro_rules! intrinsics {
    ($(fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? { $body:expr })*) => {
        $(
            #[inline(always)]
            fn $name(self, $($arg: $type),*) $(-> $result)? {
                // SAFETY: a token is only constructed after the CPU feature check; references cover what is read or written.
                unsafe { $body }
            }
        )*
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) use intrinsics;
