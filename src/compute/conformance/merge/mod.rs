//! Suite of [`MergeKernels`](crate::compute::merge::MergeKernels), instantiated for the CPU at its own and at every SIMD
//! level.

mod cases;
mod maps;
mod reductions;
pub(crate) mod reference;

/// Instantiates the suite for each implementation; `None` skips one that this machine lacks.
macro_rules! conformance {
    ($($name:ident: $kernels:expr;)*) => {$(
        mod $name {
            #[test]
            fn maps_write_the_bytes_of_the_definition() {
                if let Some(kernels) = $kernels {
                    super::maps::maps(&kernels);
                }
            }

            #[test]
            fn reductions_match_the_definition() {
                if let Some(kernels) = $kernels {
                    super::reductions::reductions(&kernels);
                }
            }
        }
    )*};
}

conformance! {
    cpu: Some(crate::compute::merge::cpu::Cpu);
    avx512: crate::compute::conformance::levels::level("avx512");
    avx2: crate::compute::conformance::levels::level("avx2");
    scalar: crate::compute::conformance::levels::level("scalar");
}
