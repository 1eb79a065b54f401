//! Kernels on the CPU.
//!
//! `kernels` holds loop bodies that are generic over the working type and written so that the
//! compiler vectorises them; [`dispatch`] compiles each for several instruction sets and picks one
//! at run time; `float` has what the bodies need of a working type;
//! [`scalar`] is the oracle.

pub mod dispatch;
mod float;
mod kernels;
mod random;
pub mod scalar;
#[cfg(target_arch = "x86_64")]
mod sift_avx512;
mod statistics;

pub use dispatch::Cpu;
