//! One SIMD abstraction for all kernels: vectors of sixteen `f32` lanes, three instruction-set levels, and the choice
//! among them at run time.
//!
//! [`Simd`] lists the operations; its implementations [`Scalar`], `Avx2` (x86-64-v3) and `Avx512` (x86-64-v4) are zero-sized
//! tokens that only the CPU check constructs, so that a token in hand makes calls into its instruction set sound.
//! [`Level`] is the token that was picked. A [`Task`] is a loop written once and compiled for each level.
//!
//! Every operation is one IEEE 754 operation a lane with one rounding, and Rust never contracts `a * b + c` on its own:
//! the same task gives the same bits at every level.
//!
//! Crates looked at instead: `multiversion` (has no operations, and a second detection beside this one), `wide` and
//! `pulp` (no bf16, no prefetch, no register tile).

mod level;
mod scalar;
mod tile;
mod vector;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use level::{Level, with_token};
pub(crate) use scalar::Scalar;
pub(crate) use tile::{AHEAD, Bf16, Element, F16, KC, LEFT_STRIDE, Line, Operands, PANEL, Start};
pub(crate) use vector::{Group, LANES, Simd, Task};
