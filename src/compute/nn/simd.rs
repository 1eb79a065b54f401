//! Sixteen lanes of f32 on every CPU, and the choice of the instruction set.
//!
//! Kernels are written once against [`Simd`]. A vector is sixteen lanes whatever the registers are
//! (one with AVX-512, two with AVX2, an array in plain Rust), and every operation is one IEEE
//! operation per lane, so that all levels compute the same bits.
//!
//! A value of an instruction set's type is the proof that the CPU has it: only detection makes one.

use std::mem::MaybeUninit;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;
use super::packed::Line;
use super::scalar::Scalar;
use super::tile::{Element, Operands};

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;
/// The memory of one vector.
pub(crate) type Group = [f32; LANES];

/// The operations of kernels on sixteen lanes.
pub(crate) trait Simd: Copy {
    /// Sixteen lanes.
    type V: Copy;
    /// Most rows of a tile.
    const ROWS: usize;

    /// Runs a task compiled for this instruction set.
    fn vectorize<T: Task>(self, task: T) -> T::Output;
    /// Multiplies one tile of `rows <= ROWS` rows by 32 columns.
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
    /// The greater; `b` when they are equal or either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; `b` when they are equal or either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `x` where `a < b`, else `y` (also where either is NaN).
    fn select_less(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// `v * 2^power` with one rounding, for |v| in [0.5, 2] and whole powers in [-160, 160].
    fn scale_by_power(self, v: Self::V, power: Self::V) -> Self::V;
    /// Asks for a line of memory soon to be read; any address will do.
    fn prefetch<T>(self, address: *const T);

    /// The columns of a half of sixteen lines: lane `j` of vector `i` is `lines[j].0[16 * half + i]`.
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

    /// Up to sixteen values, the other lanes `fill`.
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::V {
        let mut group = [fill; LANES];
        group[..from.len()].copy_from_slice(from);
        self.load(&group)
    }

    /// [`Self::store`] to memory that may never have been written.
    #[inline(always)]
    fn write(self, v: Self::V, to: &mut [MaybeUninit<f32>; LANES]) {
        let mut group = [0.0; LANES];
        self.store(v, &mut group);
        // SAFETY: the same sixteen elements, of which nothing is read.
        unsafe { std::ptr::from_mut(to).cast::<Group>().write(group) }
    }

    /// The sum of all lanes, by halves.
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

    /// The greatest lane.
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

/// Work to be compiled for each instruction set. `run` and all it calls must be `inline(always)`.
pub(crate) trait Task {
    /// What it returns.
    type Output;
    /// Does the work with the operations of one instruction set.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Methods that are one expression of intrinsics.
#[cfg(target_arch = "x86_64")]
macro_rules! intrinsics {
    ($(fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? { $body:expr })*) => {
        $(
            #[inline(always)]
            fn $name(self, $($arg: $type),*) $(-> $result)? {
                // SAFETY: a value of `Self` proves the features; references cover what is read or written.
                unsafe { $body }
            }
        )*
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) use intrinsics;

/// An instruction set that this CPU has.
#[derive(Clone, Copy)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Scalar(Scalar),
}

impl Level {
    /// All that this CPU has, fastest first.
    pub(crate) fn available() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Avx512::detect().map(Self::Avx512));
            levels.extend(Avx2::detect().map(Self::Avx2));
        }
        levels.push(Self::Scalar(Scalar));
        levels
    }

    /// The fastest.
    pub(crate) fn detected() -> Self {
        static DETECTED: OnceLock<Level> = OnceLock::new();
        *DETECTED.get_or_init(|| Self::available().first().copied().unwrap_or(Self::Scalar(Scalar)))
    }

    /// Runs a task at this level.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => simd.vectorize(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd.vectorize(task),
            Self::Scalar(simd) => simd.vectorize(task),
        }
    }
}
