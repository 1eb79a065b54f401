//! Detection of the instruction set, once, and the choice of a level.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;
use super::scalar::Scalar;
use super::vector::{Simd, Task};

/// An instruction set that this CPU has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Scalar(Scalar),
}

impl Level {
    /// All levels of this CPU, fastest first.
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

    /// The fastest level of this CPU.
    pub(crate) fn detected() -> Self {
        static DETECTED: OnceLock<Level> = OnceLock::new();
        *DETECTED.get_or_init(|| Self::available().first().copied().unwrap_or(Self::Scalar(Scalar)))
    }

    /// Runs a task at this level.
    #[inline]
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        with_token!(self, simd => simd.vectorize(task))
    }

    /// Runs a task at this level, with AVX2 in place of AVX-512: for loops too rare to be worth a third copy in the
    /// binary.
    #[inline]
    pub(crate) fn run_up_to_avx2<T: Task>(self, task: T) -> T::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => simd.avx2().vectorize(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd.vectorize(task),
            Self::Scalar(simd) => simd.vectorize(task),
        }
    }
}

/// Evaluates an expression with the token of a level bound to a name.
macro_rules! with_token {
    ($level:expr, $simd:ident => $body:expr) => {
        match $level {
            #[cfg(target_arch = "x86_64")]
            $crate::compute::simd::Level::Avx512($simd) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::compute::simd::Level::Avx2($simd) => $body,
            $crate::compute::simd::Level::Scalar($simd) => $body,
        }
    };
}

pub(crate) use with_token;
