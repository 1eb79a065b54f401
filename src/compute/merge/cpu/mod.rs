//! Kernels on the CPU.
//!
//! `kernels` holds loop bodies that are generic over the working type and written so that the
//! compiler vectorises them; [`dispatch`] compiles each for several instruction sets and picks one
//! at run time; `float` has what the bodies need of a working type; `avx512` has the kernels that most
//! of a merge's time goes to once more, in registers; [`scalar`] is the oracle.

#[cfg_attr(not(target_arch = "x86_64"), path = "no_avx512.rs")]
mod avx512;
pub(crate) mod dispatch;
mod float;
mod kernels;
mod random;
#[cfg(test)]
pub(crate) mod scalar;
mod statistics;

pub use dispatch::Cpu;
