//! Suites of the decoder's kernels, one an operation: the formula in f64 within bounds that follow from the arithmetic, and
//! the same bits whatever the batch, the blocks of the KV cache and the SIMD level.

#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod elementary;
mod elementwise;
mod gemm;
mod gemm_backward_input;
mod gemm_forward;
mod inputs;
mod log_softmax;
