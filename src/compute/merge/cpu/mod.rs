//! Merge kernels on the CPU, at any SIMD level.
//!
//! `maps` and `reductions` hold loop bodies generic over the compute type, written so that the compiler vectorises them;
//! `detected` runs them at the detected level. `register_kernels` lists the operations that a level has written in its
//! own registers, where the compiler's code is slower than memory: `avx512` has those that most of a merge's time goes
//! to. The bytes are the same at every level.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod detected;
mod float;
mod maps;
mod portable;
mod random;
mod reductions;
mod register_kernels;

pub use detected::Cpu;
#[cfg(test)]
pub(crate) use float::Float;
